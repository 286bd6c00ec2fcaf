//! Products with 4-bit weights in groups.

use crate::product::{Shape, codes};
use crate::{Case, Out, Spec, Work, noise, reals};
use tq_kernels::{GroupWiseLhs, GroupWiseRhs, KernelError, Kernels};

/// A product of any codes with symmetric 4-bit weights.
#[derive(Debug, Clone, Copy)]
pub struct GroupWise {
    /// Rows, inner dimension, columns.
    pub shape: Shape,
    /// Weights that share a scale.
    pub group_size: usize,
}

impl GroupWise {
    /// It as a case.
    #[must_use]
    pub fn spec(self) -> Spec {
        let (m, k, n) = self.shape;
        let name = format!("group-wise/{m}x{k}x{n}/{}", self.group_size);
        Spec::new(name, Work::Macs((m * k * n) as u64), move |kernels| self.case(kernels))
    }

    fn case(self, kernels: &Kernels) -> Result<Case, KernelError> {
        let Self { shape: (m, k, n), group_size } = self;
        let data: Vec<i8> = noise(3, n * k).into_iter().map(|v| (v % 16) as i8 - 8).collect();
        let scale: Vec<f32> = reals(5, n * k.div_ceil(group_size)).iter().map(|s| 0.01 + 0.005 * s).collect();
        let rhs = GroupWiseRhs { data: &data, n, k, group_size, scale: &scale, zero_point: &[0], bias: None };
        let packed = kernels.group_wise().pack(&rhs)?;
        let lhs = codes(1, m * k, 255);
        let kernels = kernels.clone();
        Ok(Case::new(kernels.group_wise().name(), Out::F32(vec![0.0; m * n]), move |out| {
            let Out::F32(out) = out else { return Ok(()) };
            let lhs = GroupWiseLhs { data: &lhs, rows: m, row_stride: k, scale: 0.02, zero_point: 128 };
            kernels.group_wise().run(&lhs, &packed, out, n)
        }))
    }
}
