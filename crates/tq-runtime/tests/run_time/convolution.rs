//! Convolutions whose data is quantized while the network runs.

use super::{Numbers, integer, run};
use tq_eval::{Evaluator, Precision};
use tq_graph::op::{BinaryOp, ConvAttrs, Padding};
use tq_graph::{Dim, Graph, Node, Op, Tensor, ValueId};
use tq_onnx::{ExportOptions, export_bytes, import_bytes};
use tq_passes::module_type::{Conv1d, Conv2d, Conv3d};
use tq_passes::{
    BackendConfig, DynamicSpec, Recipe, convert, default_dynamic_qconfig, pytorch_dynamic_qconfig,
    quantize_dynamic, quantize_fx,
};
use tq_qtypes::{DType, DynamicFormula, OperatorKind};

/// A convolution over one to three axes, as chance wants it.
fn convolution(n: &mut Numbers) -> (Graph, Vec<usize>, usize) {
    let spatial = 1 + n.below(3);
    let depthwise = n.below(3) == 0;
    let (groups, each_in) = if depthwise { (1 + n.below(9), 1) } else { (1 + n.below(3), 1 + n.below(7)) };
    let each_out = if depthwise { 1 } else { 1 + n.below(6) };
    let mut pick = |lo: usize, range: usize| (0..spatial).map(|_| lo + n.below(range)).collect::<Vec<_>>();
    let (kernel, strides, dilations) = (pick(1, 3), pick(1, 2), pick(1, 2));
    let (begin, end, lens) = (pick(0, 3), pick(0, 2), pick(6, 5));
    let padding = match n.below(4) {
        0 => Padding::SameUpper,
        1 => Padding::SameLower,
        _ => Padding::Explicit { begin, end },
    };
    let mut g = Graph::new("net");
    let channels = groups * each_in;
    let mut shape = vec![Dim::symbol("N"), channels.into()];
    shape.extend(lens.iter().map(|d| Dim::from(*d)));
    let x = g.add_input("x", DType::F32, shape);
    let w = n.tensor(&[&[groups * each_out, each_in], &kernel[..]].concat(), 0.4);
    let w = g.add_constant("w", w);
    let mut inputs = vec![x, w];
    if n.flag() {
        let b = n.tensor(&[groups * each_out], 1.0);
        inputs.push(g.add_constant("b", b));
    }
    let attrs = ConvAttrs { strides, dilations, padding, groups };
    let y = g.add_node("conv", Op::Conv(attrs), &inputs, "y");
    g.outputs.push(y);
    (g, [&[channels], &lens[..]].concat(), spatial)
}

#[test]
fn convolutions_of_every_shape_are_the_evaluator_bit_for_bit() {
    for seed in 0..super::threads::fewer(60) {
        let mut n = Numbers(seed);
        let (g, dims, spatial) = convolution(&mut n);
        let qconfig = [default_dynamic_qconfig(), pytorch_dynamic_qconfig()][n.below(4) / 3].clone();
        let is_onnx = qconfig == default_dynamic_qconfig();
        let rules = ["Conv1d", "Conv2d", "Conv3d"][spatial - 1];
        let rules = tq_passes::QConfigDict::new().set_module_type_name(rules, qconfig);
        let quantized = quantize_dynamic(g.clone(), rules, DType::I8).unwrap();
        assert_eq!(quantized.report.integer_nodes().count(), 1);
        let quantized = quantized.graph;
        for (rows, scale) in [(1, 1.0), (3, 20.0), (2, 0.0)] {
            let x = [n.tensor(&[&[rows], &dims[..]].concat(), scale)];
            let (session, y) = run(&quantized, &x);
            let explanation = session.explain();
            assert_eq!(integer(&session, "ConvInteger"), 1, "seed {seed}: {explanation}");
            assert!(explanation.floats().count() == 0 && explanation.reproducible(), "seed {seed}");
            assert!(explanation.macs().0 > 0 && explanation.macs().1 == 0, "seed {seed}: {explanation}");
            let reference = Evaluator::new(&quantized, Precision::F32).unwrap().run(&x).unwrap();
            assert_eq!(y, reference, "seed {seed}");
            let float = Evaluator::new(&g, Precision::F32).unwrap().run(&x).unwrap();
            // Weights off by half a code of 0.4 / 127, data by one of the range over 255 (over 127 in PyTorch's way).
            let (taps, data) = (2 * 7 * 27, if is_onnx { 1.0 / 255.0 } else { 1.0 / 126.0 });
            let allowed = taps as f32 * scale * (0.4 * data + 0.4 / 254.0) + 1e-6;
            assert!(super::largest(&y, &float) <= allowed, "seed {seed}");
            if is_onnx {
                let bytes = export_bytes(&quantized, &ExportOptions::default()).unwrap();
                assert_eq!(run(&import_bytes(&bytes, None).unwrap(), &x).1, y, "seed {seed}");
            }
        }
    }
}

#[test]
fn the_recipe_and_the_types_reach_convolutions_and_the_global_rule_does_not() {
    let (g, ..) = convolution(&mut Numbers(3));
    let of =
        |recipe: Recipe| convert(quantize_fx(g.clone(), recipe, BackendConfig::default()).unwrap()).unwrap();
    let count = |q: &tq_passes::Quantized| q.report.integer_nodes().count();
    let dynamic = of(Recipe::Int8Dynamic);
    assert_eq!(count(&dynamic), 0);
    let reason = dynamic.report.nodes[0].placement.float_reason().unwrap();
    assert!(reason.contains("a rule of its own"), "{reason}");
    assert_eq!(count(&of(Recipe::Int8DynamicAll)), 1);
    let types = quantize_dynamic(g.clone(), (Conv1d, Conv2d, Conv3d), DType::I8).unwrap();
    assert_eq!(count(&types), 1);
    let rule = DynamicSpec::from(default_dynamic_qconfig());
    assert_eq!(count(&quantize_dynamic(g.clone(), rule, DType::I8).unwrap()), 0);
    // A bias that is data has no place in the form.
    let mut open = g;
    let b = open.add_input(
        "free",
        DType::F32,
        vec![
            open.value(open.nodes[0].output(0).unwrap())
                .shape
                .as_ref()
                .map_or(Dim::symbol("C"), |s| s[1].clone()),
        ],
    );
    open.nodes[0].inputs.truncate(2);
    open.nodes[0].inputs.push(Some(b));
    let q = quantize_dynamic(open, (Conv1d, Conv2d, Conv3d), DType::I8).unwrap();
    let reason = q.report.nodes[0].placement.float_reason().unwrap();
    assert!(reason.contains("bias free is not constant"), "{reason}");
}

/// The form that ONNX Runtime's quantizer writes: u8 weights with one scale and zero point, Mul operands either way round,
/// a bias with four axes; and what is not that form.
#[test]
fn convolutions_in_the_form_of_other_quantizers_are_integer() {
    let mut n = Numbers(8);
    for case in 0..16 {
        let (scales, four_axes, biased, wrong) = (case & 1 > 0, case & 2 > 0, case & 4 > 0, case & 8 > 0);
        let mut g = Graph::new("net");
        let x =
            g.add_input("x", DType::F32, vec![Dim::symbol("N"), 3usize.into(), 6usize.into(), 5usize.into()]);
        let values: Vec<ValueId> = ["q", "s", "z"].iter().map(|v| g.add_value(*v, None, None)).collect();
        g.nodes.push(Node {
            name: "dql".into(),
            op: Op::DynamicQuantizeLinear { formula: DynamicFormula::Onnx },
            inputs: vec![Some(x)],
            outputs: values.iter().map(|v| Some(*v)).collect(),
        });
        let codes = (0..4 * 3 * 6).map(|_| n.below(256) as u8).collect();
        let w = g.add_constant("w", Tensor::new(&[4, 3, 3, 2], codes).unwrap());
        let z = g.add_constant("wz", Tensor::scalar(121u8));
        let shape: &[usize] = match (scales, wrong) {
            (false, _) => &[],
            (true, false) => &[4, 1, 1],
            // One a column of the result, not one a channel.
            (true, true) => &[4],
        };
        let scale = (0..shape.iter().product()).map(|i| 0.01 * (i + 1) as f32).collect();
        let sw = g.add_constant("sw", Tensor::new(shape, scale).unwrap());
        let mul = Op::Binary(BinaryOp::Mul);
        let scale = g.add_node("scales", mul.clone(), &[sw, values[1]], "scales");
        let attrs = ConvAttrs {
            strides: vec![1; 2],
            dilations: vec![1; 2],
            padding: Padding::Explicit { begin: vec![1, 0], end: vec![1, 0] },
            groups: 1,
        };
        let sums = g.add_node("product", Op::ConvInteger(attrs), &[values[0], w, values[2], z], "sums");
        let real = g.add_node("cast", Op::Cast { to: DType::F32, saturate: true }, &[sums], "real");
        let mut y = g.add_node("mul", mul, &[scale, real], "scaled");
        if biased {
            let dims: &[usize] = if four_axes { &[1, 4, 1, 1] } else { &[4, 1, 1] };
            let b = g.add_constant("b", n.tensor(dims, 1.0));
            y = g.add_node("add", Op::Binary(BinaryOp::Add), &[b, y], "y");
        }
        g.outputs.push(y);
        let x = [n.tensor(&[3, 3, 6, 5], 4.0)];
        let (session, y) = run(&g, &x);
        let expected = usize::from(!(scales && wrong));
        assert_eq!(integer(&session, "ConvInteger"), expected, "case {case}: {}", session.explain());
        assert_eq!(y, Evaluator::new(&g, Precision::F32).unwrap().run(&x).unwrap(), "case {case}");
        let kinds: Vec<_> =
            tq_runtime::judge(&session, &x).unwrap().operators.iter().map(|o| o.kind).collect();
        assert_eq!(kinds, vec![OperatorKind::Conv; expected]);
    }
}
