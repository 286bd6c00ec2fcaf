//! Any operator on any tensors with any attributes gives tensors or an error: no panic, no overflow, no hunger.

#![allow(clippy::unwrap_used)]

mod networks;
mod values;

use half::{bf16, f16};
use proptest::prelude::*;
use std::collections::BTreeSet;
use tq_eval::{EvalError, Evaluator, Precision};
use tq_graph::op::{BinaryOp, ConvAttrs, PadMode, Padding, PoolAttrs, ReduceKind, UnaryOp};
use tq_graph::{Graph, Node, Op, Tensor};
use tq_qtypes::{DType, DynamicFormula};

const DTYPES: [DType; 21] = [
    DType::F16,
    DType::BF16,
    DType::F32,
    DType::F64,
    DType::I2,
    DType::U2,
    DType::I4,
    DType::U4,
    DType::I8,
    DType::U8,
    DType::I16,
    DType::U16,
    DType::I32,
    DType::U32,
    DType::I64,
    DType::U64,
    DType::Bool,
    DType::F8E4M3FN,
    DType::F8E4M3FNUZ,
    DType::F8E5M2,
    DType::F8E5M2FNUZ,
];

/// Reproducible numbers.
struct Source(u64);

impl Source {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn flag(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// Mostly small, sometimes extreme.
    fn int(&mut self) -> i64 {
        match self.below(12) {
            0 => self.pick(&[i64::MIN, i64::MAX, i64::MIN + 1, 1 << 40, -(1 << 40), 1 << 62]),
            _ => self.below(9) as i64 - 4,
        }
    }

    fn size(&mut self) -> usize {
        match self.below(16) {
            0 => self.pick(&[usize::MAX, usize::MAX / 2, 1 << 40, 1 << 60, 1 << 20]),
            _ => self.below(5),
        }
    }

    fn list(&mut self, len: usize) -> Vec<usize> {
        let len = if self.below(8) == 0 { self.below(4) } else { len };
        (0..len).map(|_| self.size()).collect()
    }

    fn dims(&mut self) -> Vec<usize> {
        (0..self.below(6)).map(|_| self.pick(&[0, 1, 1, 2, 2, 3, 4])).collect()
    }

    fn tensor(&mut self, dtype: DType, dims: &[usize]) -> Tensor {
        let n = dims.iter().product();
        let ints: Vec<i64> = (0..n).map(|_| self.int()).collect();
        let floats: Vec<f64> = (0..n)
            .map(|_| match self.below(10) {
                0 => self.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, 1e-300, -0.0]),
                _ => self.below(9) as f64 * 0.5 - 2.0,
            })
            .collect();
        let (i, f) = (ints.iter(), floats.iter());
        match dtype {
            DType::F16 => Tensor::new(dims, f.map(|v| f16::from_f64(*v)).collect()),
            DType::BF16 => Tensor::new(dims, f.map(|v| bf16::from_f64(*v)).collect()),
            DType::F32 => Tensor::new(dims, f.map(|v| *v as f32).collect()),
            DType::F64 => Tensor::new(dims, floats),
            DType::I2 => {
                Tensor::with_dtype(dtype, dims, i.map(|v| v.clamp(&-2, &1)).map(|v| *v as i8).collect())
            }
            DType::U2 => Tensor::with_dtype(dtype, dims, i.map(|v| (*v as u8) & 3).collect()),
            DType::I4 => {
                Tensor::with_dtype(dtype, dims, i.map(|v| v.clamp(&-8, &7)).map(|v| *v as i8).collect())
            }
            DType::U4 => Tensor::with_dtype(dtype, dims, i.map(|v| (*v as u8) & 15).collect()),
            DType::I8 => Tensor::new(dims, i.map(|v| *v as i8).collect()),
            DType::I16 => Tensor::new(dims, i.map(|v| *v as i16).collect()),
            DType::U16 => Tensor::new(dims, i.map(|v| *v as u16).collect()),
            DType::I32 => Tensor::new(dims, i.map(|v| *v as i32).collect()),
            DType::U32 => Tensor::new(dims, i.map(|v| *v as u32).collect()),
            DType::I64 => Tensor::new(dims, ints),
            DType::U64 => Tensor::new(dims, i.map(|v| *v as u64).collect()),
            DType::Bool => Tensor::new(dims, i.map(|v| v & 1 == 1).collect()),
            _ => Tensor::with_dtype(dtype, dims, i.map(|v| *v as u8).collect()),
        }
        .unwrap()
    }

    fn padding(&mut self) -> Padding {
        match self.below(4) {
            0 => Padding::SameUpper,
            1 => Padding::SameLower,
            _ => Padding::Explicit { begin: self.list(2), end: self.list(2) },
        }
    }

    fn conv(&mut self) -> ConvAttrs {
        let (strides, dilations, padding) = (self.list(2), self.list(2), self.padding());
        ConvAttrs { strides, dilations, padding, groups: self.pick(&[1, 1, 1, 2, 0, usize::MAX]) }
    }

    fn pool(&mut self) -> PoolAttrs {
        let (kernel, strides, dilations) = (self.list(2), self.list(2), self.list(2));
        PoolAttrs { kernel, strides, dilations, padding: self.padding(), ceil_mode: self.flag() }
    }

    fn op(&mut self) -> Op {
        let axis = self.int();
        let saturate = self.flag();
        let block_size = self.pick(&[0, 0, 1, 2, usize::MAX]);
        let f = self.pick(&[0.0f32, 1.0, -0.5, f32::NAN, f32::INFINITY]);
        match self.below(90) {
            55..81 => self.values_op(axis),
            81..85 => Op::Unary(self.unary()),
            0 | 1 => Op::Conv(self.conv()),
            2 => Op::Gemm { alpha: f, beta: f, trans_a: self.flag(), trans_b: self.flag() },
            3 => Op::MatMul,
            4 => Op::Unary(UnaryOp::Relu),
            5 => Op::Unary(UnaryOp::Elu { alpha: f }),
            6 => Op::Unary(UnaryOp::Sigmoid),
            7 => Op::Unary(UnaryOp::HardSigmoid { alpha: f, beta: f }),
            8 => Op::Unary(UnaryOp::HardSwish),
            9 => Op::Binary(BinaryOp::Add),
            10 => Op::Binary(BinaryOp::Sub),
            11 => Op::Binary(BinaryOp::Mul),
            12 => Op::Binary(BinaryOp::Div),
            13 => Op::Clip,
            14 => Op::BatchNormalization { epsilon: f },
            15 | 16 => Op::MaxPool { attrs: self.pool(), column_major: self.flag() },
            17 | 18 => Op::AveragePool { attrs: self.pool(), count_include_pad: self.flag() },
            19 => Op::GlobalAveragePool,
            20 => Op::Reduce {
                kind: ReduceKind::Mean,
                keep_dims: self.flag(),
                noop_with_empty_axes: self.flag(),
            },
            21 => Op::Flatten { axis },
            22 => Op::Reshape { allow_zero: self.flag() },
            23 => Op::Transpose { perm: self.flag().then(|| self.list(3)) },
            24 => Op::Squeeze,
            25 => Op::Unsqueeze,
            26 => Op::Concat { axis },
            27 => Op::Slice,
            28 => Op::Split { axis },
            29 => Op::Pad {
                mode: self.pick(&[PadMode::Constant, PadMode::Reflect, PadMode::Edge, PadMode::Wrap]),
            },
            30 => Op::Shape { start: axis, end: self.flag().then(|| self.int()) },
            31 => Op::Gather { axis },
            32 => Op::Cast { to: self.pick(&DTYPES), saturate },
            33 => {
                let (dtype, dims) = (self.pick(&DTYPES), self.pick(&[vec![], vec![1], vec![2]]));
                Op::ConstantOfShape { value: self.tensor(dtype, &dims) }
            }
            34 => Op::Softmax { axis },
            35 => {
                let output_dtype = self.flag().then(|| self.pick(&DTYPES));
                Op::QuantizeLinear { axis, block_size, output_dtype, saturate }
            }
            36 => Op::DequantizeLinear { axis, block_size },
            37 => self.pick(&[
                Op::DynamicQuantizeLinear { formula: DynamicFormula::Onnx },
                Op::DynamicQuantizeLinear { formula: DynamicFormula::Fbgemm { reduce_range: saturate } },
                Op::Dropout,
                Op::Identity,
            ]),
            38 => self.pick(&[Op::MatMulInteger, Op::QLinearMatMul]),
            40..=54 | 85..=89 => self.network(axis, f),
            _ if self.flag() => Op::ConvInteger(self.conv()),
            _ => Op::QLinearConv(self.conv()),
        }
    }

    /// Type and shape of input `i` of an operator that picks, repeats or makes elements, as it would like them.
    fn liked(&mut self, op: &Op, i: usize, family: DType, base: &[usize]) -> Option<(DType, Vec<usize>)> {
        let rank = base.len();
        let one = self.pick(&[vec![], vec![1]]);
        // Not larger than the data, and the same each time.
        let smaller: Vec<usize> = base.iter().map(|d| *d.min(&1)).collect();
        Some(match (op, i) {
            (Op::Expand | Op::Tile, 1) => (DType::I64, vec![rank]),
            (Op::TopK { .. } | Op::CumSum { .. } | Op::Trilu { .. }, 1) => (DType::I64, one),
            (Op::GatherElements { .. } | Op::ScatterElements { .. }, 1) => (DType::I64, smaller),
            (Op::GatherND { .. } | Op::ScatterND { .. }, 1) => {
                (DType::I64, vec![self.below(3), self.below(rank + 1)])
            }
            (Op::ScatterElements { .. }, 2) => (family, smaller),
            (Op::ScatterND { .. }, 2) => (family, vec![self.below(3)]),
            (Op::Range, _) => (self.pick(&[DType::I64, DType::F32, family]), one),
            (Op::OneHot { .. }, 1) => (self.pick(&[DType::I64, DType::F32]), one),
            (Op::OneHot { .. }, 2) => (family, vec![2]),
            (Op::Where, 0) => (DType::Bool, base.to_vec()),
            (Op::Logic(_) | Op::Not, _) => (DType::Bool, base.to_vec()),
            (Op::DepthToSpace { .. } | Op::SpaceToDepth { .. }, _) => (family, vec![1, 4, 2, 2]),
            (Op::EyeLike { .. }, _) => (family, vec![self.below(4), self.below(4)]),
            (Op::Compare(_) | Op::Bitwise(_) | Op::Variadic(_) | Op::Where, _) => (family, base.to_vec()),
            _ => return None,
        })
    }

    /// Inputs that often fit the operator, so that it gets past its first checks.
    fn inputs(&mut self, op: &Op) -> Vec<Option<Tensor>> {
        let (lo, hi) = op.input_arity();
        let n = lo + self.below(hi.min(lo + 5) - lo + 1);
        let family = self.pick(&DTYPES);
        let base = self.dims();
        (0..n)
            .map(|i| {
                if let Some((dtype, dims)) = self.liked(op, i, family, &base)
                    && self.below(8) > 0
                {
                    return (i < lo || self.below(4) > 0).then(|| self.tensor(dtype, &dims));
                }
                let attribute = i > 0
                    && matches!(
                        op,
                        Op::Reduce { .. }
                            | Op::Reshape { .. }
                            | Op::Squeeze
                            | Op::Unsqueeze
                            | Op::Slice
                            | Op::Split { .. }
                            | Op::Pad { .. }
                            | Op::Gather { .. }
                    );
                let quantized = matches!(op, Op::QLinearConv(_) | Op::QLinearMatMul);
                let linear = matches!(op, Op::QuantizeLinear { .. } | Op::DequantizeLinear { .. });
                let dtype = match self.below(10) {
                    0 => self.pick(&DTYPES),
                    _ if i == 4 && matches!(op, Op::Recurrent { .. }) => DType::I32,
                    _ if matches!((i, op), (2, Op::NonMaxSuppression { .. }) | (3, Op::Resize(_))) => {
                        DType::I64
                    }
                    _ if i > 0 && matches!(op, Op::NonMaxSuppression { .. } | Op::Resize(_)) => DType::F32,
                    _ if attribute || matches!(op, Op::ConstantOfShape { .. }) => DType::I64,
                    _ if quantized && [1, 4, 6].contains(&i) => DType::F32,
                    _ if quantized && i == 8 => DType::I32,
                    _ if quantized || matches!(op, Op::ConvInteger(_) | Op::MatMulInteger) => {
                        self.pick(&[DType::U8, DType::I8])
                    }
                    _ if linear && i == 1 => DType::F32,
                    _ => family,
                };
                let window = matches!(op, Op::Conv(_) | Op::ConvInteger(_) | Op::QLinearConv(_));
                let weights = if quantized { 3 } else { 1 };
                if let Some(dims) = self.network_dims(op, i, &base) {
                    return (i < lo || self.below(4) > 0).then(|| self.tensor(dtype, &dims));
                }
                let dims = match self.below(if window || quantized { 40 } else { 6 }) {
                    0 => self.dims(),
                    _ if window && i == 0 => vec![self.below(3), 2, self.below(6), self.below(6)],
                    _ if window && i == weights => {
                        vec![
                            self.pick(&[0, 1, 2, 4]),
                            self.pick(&[1, 2]),
                            1 + self.below(3),
                            1 + self.below(3),
                        ]
                    }
                    _ if matches!(op, Op::BatchNormalization { .. }) => {
                        self.pick(&[vec![2], vec![2], vec![3, 2, 1]])
                    }
                    _ if attribute => vec![self.below(4)],
                    _ if matches!(op, Op::ConstantOfShape { .. }) => vec![self.below(4)],
                    _ if (quantized || linear) && [1, 2, 4, 5, 6, 7].contains(&i) => {
                        self.pick(&[vec![], vec![1], vec![2]])
                    }
                    _ if i > 1 => self.pick(&[vec![], vec![1], vec![2], base.clone()]),
                    _ => base.clone(),
                };
                (i < lo || self.below(4) > 0).then(|| self.tensor(dtype, &dims))
            })
            .collect()
    }
}

/// The operators that the source of the graph has names for.
fn known() -> BTreeSet<&'static str> {
    let sources = [
        include_str!("../../../tq-graph/src/op/signature.rs"),
        include_str!("../../../tq-graph/src/op/elementwise.rs"),
        include_str!("../../../tq-graph/src/op/reduce.rs"),
        include_str!("../../../tq-graph/src/op/recurrent.rs"),
    ];
    let lines = sources.iter().flat_map(|s| s.lines()).filter(|l| !l.contains("Activation::"));
    let names = lines.filter_map(|l| l.split_once("=> \"")?.1.split_once('"')).map(|(name, _)| name);
    names.filter(|n| n.starts_with(char::is_uppercase)).collect()
}

/// What is not drawn is not tested: no operator is forgotten.
#[test]
fn every_operator_is_drawn() {
    let mut source = Source(1);
    let drawn: BTreeSet<&str> = (0..40_000).map(|_| source.op().name()).collect();
    let known = known();
    let left: Vec<_> = known.difference(&drawn).collect();
    assert!(known.len() > 130 && left.is_empty() && drawn.is_subset(&known), "not drawn: {left:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_operator_answers_or_refuses(seed: u64) {
        let mut source = Source(seed);
        let op = source.op();
        let inputs = source.inputs(&op);
        let (lo, hi) = op.output_arity();
        let n_outputs = lo + source.below(hi.min(lo + 2) - lo + 1);
        let mut graph = Graph::new("one");
        let inputs = inputs
            .into_iter()
            .enumerate()
            .map(|(i, t)| t.map(|t| graph.add_constant(format!("i{i}"), t)))
            .collect();
        let outputs: Vec<_> = (0..n_outputs).map(|i| graph.add_value(format!("o{i}"), None, None)).collect();
        graph.outputs = outputs.clone();
        let outputs = outputs.into_iter().map(Some).collect();
        graph.nodes.push(Node { name: "node".into(), op, inputs, outputs });
        for precision in [Precision::F32, Precision::F64] {
            let evaluator = Evaluator::new(&graph, precision).unwrap().max_tensor_bytes(1 << 16);
            match evaluator.run(&[]) {
                Ok(outputs) => prop_assert_eq!(outputs.len(), n_outputs),
                Err(EvalError::Node { node, .. }) => prop_assert_eq!(node, "node"),
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}
