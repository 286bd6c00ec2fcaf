//! Small QDQ graphs, and what every session is held to.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its own part of this, and all of them may panic"
)]

pub(crate) mod models;
pub(crate) mod threads;

use tq_eval::{Evaluator, Precision};
use tq_graph::op::{ConvAttrs, Padding, PoolAttrs};
use tq_graph::{Graph, Op, Tensor, ValueId};
use tq_kernels::Isa;
use tq_qtypes::DType;
use tq_runtime::{Execution, KernelChoice, RuntimeError, Session, SessionOptions, judge};

/// Numbers that look random and are the same every time.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    pub(crate) fn real(&mut self) -> f32 {
        self.next() as f32 / (1u64 << 31) as f32
    }
    pub(crate) fn i8s(&mut self, n: usize) -> Vec<i8> {
        (0..n).map(|_| self.next() as u8 as i8).collect()
    }
    pub(crate) fn u8s(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

/// Parameters of a tensor of codes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct P {
    pub(crate) dtype: DType,
    pub(crate) scale: f32,
    pub(crate) zero: i32,
}

pub(crate) fn u8p(scale: f32, zero: i32) -> P {
    P { dtype: DType::U8, scale, zero }
}

pub(crate) fn i8p(scale: f32, zero: i32) -> P {
    P { dtype: DType::I8, scale, zero }
}

impl P {
    fn zero_tensor(self) -> Tensor {
        match self.dtype {
            DType::I8 => Tensor::scalar(self.zero as i8),
            _ => Tensor::scalar(self.zero as u8),
        }
    }
    /// Reals that have exact codes, all of them among the values if there are enough.
    pub(crate) fn reals(self, dims: &[usize], seed: u64) -> Tensor {
        let mut numbers = Numbers(seed);
        let lowest = if self.dtype == DType::I8 { -128 } else { 0 };
        let n = dims.iter().product();
        let data =
            (0..n).map(|_| (numbers.below(256) as i32 + lowest - self.zero) as f32 * self.scale).collect();
        Tensor::new(dims, data).unwrap()
    }
}

pub(crate) struct Build {
    pub(crate) g: Graph,
    n: usize,
}

impl Build {
    pub(crate) fn new() -> Self {
        Self { g: Graph::new("test"), n: 0 }
    }
    fn name(&mut self, what: &str) -> String {
        self.n += 1;
        format!("{what}{}", self.n)
    }
    pub(crate) fn constant(&mut self, t: Tensor) -> ValueId {
        let name = self.name("const");
        self.g.add_constant(name, t)
    }
    pub(crate) fn node(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let (node, out) = (self.name(op.name()), self.name("value"));
        self.g.add_node(node, op, inputs, out)
    }
    pub(crate) fn input(&mut self, dims: &[usize]) -> ValueId {
        let name = self.name("x");
        // The batch is free.
        let shape = dims
            .iter()
            .enumerate()
            .map(|(i, d)| if i == 0 { tq_graph::Dim::symbol("N") } else { (*d).into() })
            .collect();
        self.g.add_input(name, DType::F32, shape)
    }
    pub(crate) fn q(&mut self, x: ValueId, p: P) -> ValueId {
        let s = self.constant(Tensor::scalar(p.scale));
        let z = self.constant(p.zero_tensor());
        self.node(
            Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype: None, saturate: true },
            &[x, s, z],
        )
    }
    pub(crate) fn dq(&mut self, q: ValueId, p: P) -> ValueId {
        let s = self.constant(Tensor::scalar(p.scale));
        let z = self.constant(p.zero_tensor());
        self.node(Op::DequantizeLinear { axis: 1, block_size: 0 }, &[q, s, z])
    }
    pub(crate) fn qdq(&mut self, x: ValueId, p: P) -> ValueId {
        let q = self.q(x, p);
        self.dq(q, p)
    }
    /// Constant codes behind a Dequantize node with these scales along `axis`.
    pub(crate) fn weights(&mut self, codes: Tensor, scale: Vec<f32>, zero: Vec<i32>, axis: i64) -> ValueId {
        let zero = match codes.dtype() {
            DType::I8 => Tensor::vector(zero.iter().map(|z| *z as i8).collect()),
            DType::I32 => Tensor::vector(zero),
            _ => Tensor::vector(zero.iter().map(|z| *z as u8).collect()),
        };
        let (zero, scale) = match scale.len() {
            1 => (zero.reshape(&[]).unwrap(), Tensor::scalar(scale[0])),
            _ => (zero, Tensor::vector(scale)),
        };
        let c = self.constant(codes);
        let s = self.constant(scale);
        let z = self.constant(zero);
        self.node(Op::DequantizeLinear { axis, block_size: 0 }, &[c, s, z])
    }
    pub(crate) fn finish(mut self, out: ValueId) -> Graph {
        self.g.outputs.push(out);
        tq_graph::infer::infer(&mut self.g).unwrap();
        self.g
    }
}

pub(crate) fn conv_attrs(
    strides: &[usize],
    dilations: &[usize],
    begin: &[usize],
    end: &[usize],
    groups: usize,
) -> ConvAttrs {
    ConvAttrs {
        strides: strides.to_vec(),
        dilations: dilations.to_vec(),
        padding: Padding::Explicit { begin: begin.to_vec(), end: end.to_vec() },
        groups,
    }
}

pub(crate) fn pool_attrs(
    kernel: &[usize],
    strides: &[usize],
    begin: &[usize],
    end: &[usize],
    ceil_mode: bool,
) -> PoolAttrs {
    PoolAttrs {
        kernel: kernel.to_vec(),
        strides: strides.to_vec(),
        dilations: vec![1; kernel.len()],
        padding: Padding::Explicit { begin: begin.to_vec(), end: end.to_vec() },
        ceil_mode,
    }
}

pub(crate) fn scalar(graph: &Graph) -> Session {
    threads::prepare();
    Session::new(graph, SessionOptions::with_isa(Isa::Scalar)).unwrap()
}

/// The sessions that this machine can run: the scalar one first.
pub(crate) fn sessions(graph: &Graph) -> Vec<Session> {
    let mut all = vec![scalar(graph)];
    match Session::new(graph, SessionOptions::with_isa(Isa::Avx2)) {
        Ok(session) => all.push(session),
        Err(RuntimeError::IsaUnavailable(isa)) => {
            isa.exercise(false).unwrap();
        }
        Err(e) => panic!("{e}"),
    }
    let best =
        Session::new(graph, SessionOptions { kernels: KernelChoice::Auto, ..Default::default() }).unwrap();
    // `cargo xtask` knows what the processor that it tests on has to give.
    if let Ok(expected) = std::env::var("TQ_EXPECT_ISA") {
        assert_eq!(best.kernels().library().isa().name(), expected);
    }
    all.push(best);
    all
}

/// Runs every session on `inputs`: all agree to the bit, for any number of threads, hold against the judge, and the
/// outputs are those of the reference evaluator to within `steps` steps of `scale`.
pub(crate) fn check(graph: &Graph, inputs: &[Tensor], scale: f32, steps: f32) -> Session {
    let all = sessions(graph);
    let first = all[0].run(inputs).unwrap();
    for session in &all {
        for count in [1, 4] {
            let out = threads::on(count, || session.run(inputs)).unwrap();
            assert_eq!(out.len(), first.len());
            for (a, b) in out.iter().zip(&first) {
                assert!(a == b, "{session:?} with {count} threads differs from the scalar session");
            }
        }
    }
    let report = judge(&all[0], inputs).unwrap();
    let (codes, equal) = report.totals();
    assert!(report.max_off() <= 1, "{report}");
    // Small tensors: a single tie must not fail the test.
    assert!(codes - equal <= 1 + codes / 1000, "{report}");
    assert!(report.operators.iter().all(|op| op.real_error < 1e-5), "{report}");
    let reference = Evaluator::new(graph, Precision::F64).unwrap().run(inputs).unwrap();
    for (got, expected) in first.iter().zip(&reference) {
        assert_eq!(got.dims(), expected.dims());
        let (got, expected) = (reals(got), reals(expected));
        for (i, (a, b)) in got.iter().zip(&expected).enumerate() {
            let allowed = f64::from(steps * scale) * 1.001 + 1e-5 * b.abs();
            assert!((a - b).abs() <= allowed, "element {i}: {a}, expected {b}");
        }
    }
    all.into_iter().next().unwrap()
}

fn reals(t: &Tensor) -> Vec<f64> {
    match t.to_i64_vec() {
        Some(v) => v.into_iter().map(|v| v as f64).collect(),
        None => t.to_f64_vec().unwrap(),
    }
}

/// The operators of `op` in the explanation, with how they run.
pub(crate) fn executions(session: &Session, op: &str) -> Vec<(Execution, Option<String>)> {
    let explanation = session.explain();
    explanation.nodes.iter().filter(|n| n.op == op).map(|n| (n.execution, n.reason.clone())).collect()
}

pub(crate) fn assert_integer(session: &Session, op: &str) {
    let got = executions(session, op);
    assert!(
        !got.is_empty() && got.iter().all(|(e, _)| *e == Execution::Integer),
        "{op}: {got:?}\n{}",
        session.explain()
    );
}

/// Every session allocates nothing once it has run twice.
pub(crate) fn assert_warm_runs_allocate_nothing(graph: &Graph, x: &[Tensor]) {
    for session in sessions(graph) {
        let counts: Vec<u64> = threads::on(1, || {
            let mut out = session.run(x).unwrap();
            (0..3)
                .map(|_| allocation_counter::measure(|| session.run_into(x, &mut out).unwrap()).count_total)
                .collect()
        });
        assert_eq!(counts[1..], [0, 0], "{session:?}: {counts:?}");
    }
}
