//! Sessions give the codes of PyTorch's quantized operators, all in integers, on every kernel.
//!
//! PyTorch (FBGEMM) adds the bias as a real number. A session adds it in whole units of the accumulator, as ONNX files hold
//! it: half a unit at most away. Where that decides how a result is rounded, its code is the next one.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its data has failed")]

mod common;
#[path = "../../tq-eval/tests/golden/mod.rs"]
mod golden;

use common::sessions;
use tq_eval::{Evaluator, Precision};

#[test]
fn golden_quantized_ops_run() {
    common::threads::prepare();
    let (mut codes_of_layers, mut off) = (0, 0);
    for mut case in golden::cases() {
        let real = Evaluator::new(&case.graph, Precision::F64).unwrap().run(&case.inputs).unwrap().remove(1);
        // A result that is also wanted as real numbers would be computed as such.
        case.graph.outputs.truncate(1);
        for session in sessions(&case.graph) {
            let codes = session.run(&case.inputs).unwrap().remove(0);
            let positions: usize = case.dims.iter().skip(2).product();
            let slack = |i: usize| match case.units.len() {
                0 => 0.0,
                channels => 0.5 * case.units[i / positions % channels],
            };
            off += case.compare(&codes, &real, slack);
            codes_of_layers += if case.units.is_empty() { 0 } else { codes.len() };
            let explanation = session.explain();
            assert!(explanation.floats().next().is_none(), "{}: {explanation}", case.name);
        }
    }
    println!("{off} of {codes_of_layers} codes of layers are the next one because of their bias");
    assert!(off * 1000 <= codes_of_layers, "{off} of {codes_of_layers}");
}
