//! Products with 4-bit weights in groups.

use super::data::Pattern;
use super::{Check, Failure};
use crate::{GroupWiseLhs, GroupWiseRhs, KernelError, QGroupWise};

/// One problem: the operands as the reference wants them.
struct Problem {
    rows: usize,
    n: usize,
    k: usize,
    group_size: usize,
    /// `[rows][row_stride]`
    lhs: Vec<u8>,
    row_stride: usize,
    lhs_scale: f32,
    lhs_zero_point: i32,
    /// `[n][k]`
    rhs: Vec<i8>,
    /// `[n][groups]`
    scale: Vec<f32>,
    /// One, or `[n][groups]`.
    zero_point: Vec<i32>,
    bias: Option<Vec<f32>>,
    name: String,
}

impl Problem {
    fn random(check: &mut Check, (rows, n, k): (usize, usize, usize), group_size: usize) -> Self {
        let data = &mut check.data;
        let (lhs_pattern, rhs_pattern) = (data.pick(&Pattern::ALL), data.pick(&Pattern::ALL));
        let row_stride = k + data.pick(&[0, 0, 1, 5]);
        let per_group = n * k.div_ceil(group_size);
        let zero_point = match data.below(4) {
            0 | 1 => vec![0],
            2 => vec![data.pick(&[-8, 7])],
            _ => (0..per_group).map(|_| data.int(-8, 7)).collect(),
        };
        let real = |data: &mut super::Data| {
            (data.unit() - 0.5) * data.pick(&[1e-30, 0.001, 1.0, 1.0, 1.0, 1000.0, 1e30])
        };
        Self {
            rows,
            n,
            k,
            group_size,
            lhs: data.lhs(lhs_pattern, (rows.max(1) - 1) * row_stride + k),
            row_stride,
            lhs_scale: data.scale(),
            lhs_zero_point: data.pick(&[0, 1, 128, 255]),
            rhs: data.rhs(rhs_pattern, n * k).into_iter().map(|w| w >> 4).collect(),
            scale: (0..per_group).map(|_| real(data)).collect(),
            zero_point,
            bias: (data.below(2) == 0).then(|| (0..n).map(|_| real(data)).collect()),
            name: format!(
                "{rows}x{n}x{k} (M, N, K) in groups of {group_size}, {lhs_pattern:?} x {rhs_pattern:?}"
            ),
        }
    }

    fn matrix(&self) -> GroupWiseRhs<'_> {
        GroupWiseRhs {
            data: &self.rhs,
            n: self.n,
            k: self.k,
            group_size: self.group_size,
            scale: &self.scale,
            zero_point: &self.zero_point,
            bias: self.bias.as_deref(),
        }
    }

    fn activations(&self) -> GroupWiseLhs<'_> {
        GroupWiseLhs {
            data: &self.lhs,
            rows: self.rows,
            row_stride: self.row_stride,
            scale: self.lhs_scale,
            zero_point: self.lhs_zero_point,
        }
    }

    /// The element of row `r` and channel `c`.
    fn expected(&self, r: usize, c: usize) -> f32 {
        let groups = self.k.div_ceil(self.group_size);
        let mut total = 0f32;
        for g in 0..groups {
            let zero_point = if self.zero_point.len() == 1 { 0 } else { c * groups + g };
            let zero_point = i64::from(self.zero_point[zero_point]);
            let mut acc = 0i64;
            for k in g * self.group_size..self.k.min((g + 1) * self.group_size) {
                let code = i64::from(self.lhs[r * self.row_stride + k]) - i64::from(self.lhs_zero_point);
                acc += code * (i64::from(self.rhs[c * self.k + k]) - zero_point);
            }
            total += acc as f32 * self.scale[c * groups + g];
        }
        total * self.lhs_scale + self.bias.as_ref().map_or(0.0, |bias| bias[c])
    }
}

pub(super) fn check(kernel: &dyn QGroupWise, check: &mut Check) -> Result<(), Failure> {
    let sizes_k = [0, 1, 3, 7, 8, 9, 16, 17, 24, 31, 32, 33, 64, 72, 100, 128, 130, 257];
    let sizes_group = [1, 2, 3, 8, 15, 16, 24, 32, 33, 64, 128, 1000];
    for k in sizes_k {
        for group_size in sizes_group {
            let (m, n) =
                (check.data.pick(&[1, 2, 3, 4, 5, 7, 9, 17]), check.data.pick(&[1, 3, 7, 8, 9, 16, 21, 33]));
            product(kernel, check, (m, n, k), group_size)?;
        }
    }
    // The longest sums of a group, and more rows than go over a panel at a time.
    for sizes in [(3, 9, 9000), (131, 10, 64)] {
        product(kernel, check, sizes, 8192)?;
    }
    // Large enough to be split between threads, by rows and by columns.
    for (sizes, group_size) in [((200, 70, 300), 32), ((1, 2100, 1030), 32), ((7, 500, 800), 40)] {
        product(kernel, check, sizes, group_size)?;
    }
    bad_arguments(kernel, check)
}

fn product(
    kernel: &dyn QGroupWise,
    check: &mut Check,
    sizes: (usize, usize, usize),
    group_size: usize,
) -> Result<(), Failure> {
    let problem = Problem::random(check, sizes, group_size);
    let packed = kernel.pack(&problem.matrix()).map_err(|e| check.failure(&problem.name, e.to_string()))?;
    let (rows, n) = (problem.rows, problem.n);
    let stride = n + check.data.pick(&[0, 3]);
    let before = vec![-1.5f32; (rows - 1) * stride + n];
    let mut expected = before.clone();
    for r in 0..rows {
        for c in 0..n {
            expected[r * stride + c] = problem.expected(r, c);
        }
    }
    check.compare(&problem.name, &before, &expected, |out| {
        kernel.run(&problem.activations(), &packed, out, stride)
    })
}

fn bad_arguments(kernel: &dyn QGroupWise, check: &mut Check) -> Result<(), Failure> {
    let problem = Problem::random(check, (2, 3, 40), 16);
    let good = problem.matrix();
    let packs = [
        GroupWiseRhs { data: &problem.rhs[1..], ..good },
        GroupWiseRhs { scale: &problem.scale[1..], ..good },
        GroupWiseRhs { zero_point: &[0; 4], ..good },
        GroupWiseRhs { bias: Some(&[0.0; 2]), ..good },
    ];
    for rhs in packs {
        let result = kernel.pack(&rhs).map(drop);
        check.expect_error(&"bad lengths", result, |e| matches!(e, KernelError::Length { .. }))?;
    }
    let none =
        GroupWiseRhs { data: &[], scale: &[], zero_point: &[0], bias: None, n: usize::MAX, k: 0, ..good };
    let result = kernel.pack(&none).map(drop);
    check.expect_error(&"channels without weights", result, |e| {
        matches!(e, KernelError::SizeOverflow { .. })
    })?;
    let result = kernel.pack(&GroupWiseRhs { group_size: 0, ..good }).map(drop);
    check.expect_error(&"groups of nothing", result, |e| matches!(e, KernelError::Zero { .. }))?;
    let result = kernel.pack(&GroupWiseRhs { zero_point: &[8], ..good }).map(drop);
    check.expect_error(&"zero point 8", result, |e| matches!(e, KernelError::ZeroPoint { .. }))?;
    for code in [8, -9] {
        let mut data = problem.rhs.clone();
        data[5] = code;
        let result = kernel.pack(&GroupWiseRhs { data: &data, ..good }).map(drop);
        check.expect_error(
            &"a code of more bits",
            result,
            |e| matches!(e, KernelError::Code { index: 5, code: c, .. } if *c == i32::from(code)),
        )?;
    }
    let long = crate::group_wise::MAX_GROUP_SIZE + 1;
    let result = kernel
        .pack(&GroupWiseRhs {
            data: &vec![7; long],
            n: 1,
            k: long,
            group_size: long,
            scale: &[1.0],
            zero_point: &[0],
            bias: None,
        })
        .map(drop);
    check.expect_error(&"a long group", result, |e| matches!(e, KernelError::LongGroup { .. }))?;
    let packed = kernel.pack(&good).map_err(|e| check.failure(&"bad arguments", e.to_string()))?;
    let lhs = problem.activations();
    let runs = [
        (GroupWiseLhs { row_stride: 39, ..lhs }, 6, 3),
        (GroupWiseLhs { data: &problem.lhs[1..], ..lhs }, 6, 3),
        (GroupWiseLhs { zero_point: 256, ..lhs }, 6, 3),
        (lhs, 5, 3),
        (lhs, 6, 2),
    ];
    for (i, (lhs, len, stride)) in runs.into_iter().enumerate() {
        let mut out = vec![7.0; len];
        let result = kernel.run(&lhs, &packed, &mut out, stride);
        check.expect_error(&format!("bad argument {i}"), result, |e| {
            matches!(
                e,
                KernelError::Length { .. } | KernelError::Stride { .. } | KernelError::ZeroPoint { .. }
            )
        })?;
        if out.iter().any(|v| *v != 7.0) {
            return Err(check.failure(&format!("bad argument {i}"), "output was written before the error"));
        }
    }
    Ok(())
}
