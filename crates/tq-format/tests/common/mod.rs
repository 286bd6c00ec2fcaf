//! Random operators, tensors and graphs, the same every time.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its own part, and all may panic")]

pub(crate) mod ops;

use half::{bf16, f16};
use tq_graph::{Dim, Graph, Node, Tensor, ValueId};
use tq_qtypes::DType;

/// Reproducible numbers.
pub(crate) struct Source(pub(crate) u64);

impl Source {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.next() & 1 == 1
    }

    pub(crate) fn int(&mut self) -> i64 {
        match self.below(4) {
            0 => self.pick(&[i64::MIN, i64::MAX, -1, 0, 1 << 53, (1 << 53) + 1]),
            _ => self.below(9) as i64 - 4,
        }
    }

    pub(crate) fn size(&mut self) -> usize {
        match self.below(8) {
            0 => self.pick(&[usize::MAX, usize::MAX / 2 + 1, 1 << 53]),
            _ => self.below(5),
        }
    }

    /// Any float but those that are not a number, which equal nothing.
    pub(crate) fn float(&mut self) -> f32 {
        let f = f32::from_bits(self.next() as u32);
        if f.is_nan() { f32::NEG_INFINITY } else { f }
    }

    pub(crate) fn sizes(&mut self) -> Vec<usize> {
        (0..self.below(4)).map(|_| self.size()).collect()
    }

    pub(crate) fn ints(&mut self) -> Vec<i64> {
        (0..self.below(4)).map(|_| self.int()).collect()
    }

    pub(crate) fn dtype(&mut self) -> DType {
        self.pick(&DType::ALL)
    }

    pub(crate) fn dims(&mut self) -> Vec<usize> {
        (0..self.below(4)).map(|_| self.pick(&[0, 1, 2, 3, 5])).collect()
    }

    pub(crate) fn tensor(&mut self, dtype: DType, dims: &[usize]) -> Tensor {
        let n: usize = dims.iter().product();
        let raw: Vec<u64> = (0..n).map(|_| self.next()).collect();
        let raw = raw.iter();
        match dtype {
            DType::F16 => {
                let finite = |v: &u64| f16::from_bits(*v as u16 & !0x0400);
                Tensor::new(dims, raw.map(finite).collect())
            }
            DType::BF16 => {
                let finite = |v: &u64| bf16::from_bits(*v as u16 & !0x0080);
                Tensor::new(dims, raw.map(finite).collect())
            }
            DType::F32 => Tensor::new(dims, (0..n).map(|_| self.float()).collect()),
            DType::F64 => Tensor::new(dims, raw.map(|v| *v as f64 / 3.0).collect()),
            DType::I2 => Tensor::with_dtype(dtype, dims, raw.map(|v| (v & 3) as i8 - 2).collect()),
            DType::U2 => Tensor::with_dtype(dtype, dims, raw.map(|v| (v & 3) as u8).collect()),
            DType::I4 => Tensor::with_dtype(dtype, dims, raw.map(|v| (v & 15) as i8 - 8).collect()),
            DType::U4 => Tensor::with_dtype(dtype, dims, raw.map(|v| (v & 15) as u8).collect()),
            DType::I8 => Tensor::new(dims, raw.map(|v| *v as i8).collect()),
            DType::I16 => Tensor::new(dims, raw.map(|v| *v as i16).collect()),
            DType::U16 => Tensor::new(dims, raw.map(|v| *v as u16).collect()),
            DType::I32 => Tensor::new(dims, raw.map(|v| *v as i32).collect()),
            DType::U32 => Tensor::new(dims, raw.map(|v| *v as u32).collect()),
            DType::I64 => Tensor::new(dims, raw.map(|v| *v as i64).collect()),
            DType::U64 => Tensor::new(dims, raw.copied().collect()),
            DType::Bool => Tensor::new(dims, raw.map(|v| v & 1 == 1).collect()),
            _ => Tensor::with_dtype(dtype, dims, raw.map(|v| *v as u8).collect()),
        }
        .unwrap()
    }

    /// A number, a name, or an expression.
    pub(crate) fn dim(&mut self) -> Dim {
        let mut dim = Dim::symbol(self.pick(&["N", "batch size", "?1", "", "π\n\"", "2*N"]));
        for _ in 0..self.below(6) {
            let other = match self.below(3) {
                0 => Dim::symbol("H"),
                _ => Dim::from(self.below(7) as i64 + 1),
            };
            let next = match self.below(4) {
                0 => dim.checked_add(&other),
                1 => dim.checked_sub(&other),
                2 => dim.checked_mul(&other),
                _ => dim.checked_div_floor(&other),
            };
            dim = next.unwrap_or(dim);
        }
        if self.flag() { Dim::from(self.below(5)) } else { dim }
    }

    /// A graph that is valid in its structure, of any operators on anything.
    pub(crate) fn graph(&mut self) -> Graph {
        let mut g = Graph::new(self.pick(&["", "main", "a \"graph\"\u{0}"]));
        for (key, text) in [("b", "2"), ("a\n", "1\u{7f}"), ("", "")] {
            if self.flag() {
                g.metadata.insert(key.into(), text.into());
            }
        }
        let odd_names = ["", "__metadata__", "__metadata___", "w/é\u{0}\\\"", "torsh-quantization.graph"];
        for i in 0..=self.below(12) {
            let name = if i < odd_names.len() && self.flag() { odd_names[i].into() } else { format!("v{i}") };
            if self.flag() {
                let (dtype, dims) = (self.dtype(), self.dims());
                let tensor = self.tensor(dtype, &dims);
                g.add_constant(name, tensor);
            } else {
                let shape = (0..self.below(4)).map(|_| self.dim()).collect();
                let dtype = self.dtype();
                g.add_input(name, dtype, shape);
            }
        }
        for i in 0..self.below(12) {
            let op = ops::op(self);
            let known = g.values.len();
            let (fewest, most) = op.input_arity();
            let count = fewest + self.below(most.min(fewest + 4) - fewest + 1);
            let inputs =
                (0..count).map(|j| (j < fewest || self.flag()).then(|| ValueId(self.below(known)))).collect();
            let (fewest, most) = op.output_arity();
            let count = fewest + self.below(most.min(fewest + 2) - fewest + 1);
            let outputs = (0..count)
                .map(|j| {
                    let dtype = self.flag().then(|| self.dtype());
                    let shape = self.flag().then(|| (0..self.below(4)).map(|_| self.dim()).collect());
                    (j < fewest || self.flag()).then(|| g.add_value(format!("n{i}.{j}"), dtype, shape))
                })
                .collect();
            g.nodes.push(Node { name: format!("node {i}\t"), op, inputs, outputs });
        }
        for _ in 0..self.below(4) {
            g.outputs.push(ValueId(self.below(g.values.len())));
        }
        g.validate().unwrap();
        g
    }
}

pub(crate) fn to_bytes(graph: &Graph) -> Vec<u8> {
    let mut bytes = Vec::new();
    tq_format::write(graph, &mut bytes).unwrap();
    bytes
}

pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Graph, tq_format::FormatError> {
    tq_format::read(bytes)
}
