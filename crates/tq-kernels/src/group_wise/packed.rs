//! Packed 4-bit weights.

use super::{GroupKernel, GroupPanel, GroupWiseRhs, MAX_GROUP_SIZE};
use crate::buffer::AlignedBuffer;
use crate::error::{check_len, check_zero_point, product, reserve};
use crate::{KernelError, Result};

/// What turns a code of -8..=7 into one of 0..=15.
const SHIFT: i32 = 8;

/// 4-bit weights in the layout of one kernel.
#[derive(Debug, Clone)]
pub struct PackedGroupWise {
    kernel: &'static str,
    n: usize,
    k: usize,
    groups: Groups,
    codes: AlignedBuffer,
    // Of every panel what a `GroupPanel` has.
    zero_points: Vec<u8>,
    sums: Vec<i32>,
    scales: Vec<f32>,
    bias: Vec<f32>,
}

/// How K is cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Groups {
    /// Elements of K a group; the last may have fewer.
    pub(super) size: usize,
    /// Groups.
    pub(super) count: usize,
    /// Elements of a group with its padding.
    pub(super) padded: usize,
    /// Elements of all groups with their padding.
    pub(super) k_padded: usize,
}

impl Groups {
    /// Groups of `size` of `k` elements, each padded to a multiple of `step`.
    fn new(k: usize, size: usize, step: usize) -> Result<Self> {
        if size == 0 {
            return Err(KernelError::Zero { what: "group size" });
        }
        let size = size.min(k.max(1));
        if size > MAX_GROUP_SIZE {
            return Err(KernelError::LongGroup { group_size: size, limit: MAX_GROUP_SIZE });
        }
        let (count, padded) = (k.div_ceil(size), size.next_multiple_of(step));
        let whole = product("padded K", &[count.saturating_sub(1), padded])?;
        let last = (k - count.saturating_sub(1) * size).next_multiple_of(step);
        let k_padded = whole.checked_add(last).ok_or(KernelError::SizeOverflow { what: "padded K" })?;
        Ok(Self { size, count, padded, k_padded })
    }

    /// True where no group has padding.
    pub(super) fn are_whole(&self, k: usize) -> bool {
        self.k_padded == k
    }
}

impl PackedGroupWise {
    pub(super) fn new<K: GroupKernel>(kernel: &K, rhs: &GroupWiseRhs) -> Result<Self> {
        let groups = check_rhs(rhs, 2 * K::KU)?;
        let (n, k) = (rhs.n, rhs.k);
        let panels = n.div_ceil(K::NR);
        let panel_bytes = product("packed rhs", &[groups.k_padded, K::NR])? / 2;
        let per_group = product("packed rhs", &[panels, groups.count, K::NR])?;
        let mut bias = Vec::new();
        reserve("channels", &mut bias, n)?;
        match rhs.bias {
            Some(given) => bias.extend_from_slice(given),
            None => bias.resize(n, 0.0),
        }
        let mut packed = Self {
            kernel: kernel.name(),
            n,
            k,
            groups,
            codes: AlignedBuffer::zeroed(product("packed rhs", &[panels, panel_bytes])?),
            zero_points: vec![0; per_group],
            sums: vec![0; per_group],
            scales: vec![0.0; per_group],
            bias,
        };
        let codes = packed.codes.as_mut_slice::<u8>();
        for c in 0..n {
            let (panel, column) = (c / K::NR, c % K::NR);
            for g in 0..groups.count {
                let weights = &rhs.data[c * k..][..k];
                let weights = &weights[g * groups.size..k.min((g + 1) * groups.size)];
                let at = c * groups.count + g;
                let zero_point =
                    if rhs.zero_point.len() == 1 { rhs.zero_point[0] } else { rhs.zero_point[at] };
                let to = (panel * groups.count + g) * K::NR + column;
                packed.zero_points[to] = (zero_point + SHIFT) as u8;
                packed.sums[to] = weights.iter().map(|&w| i32::from(w) - zero_point).sum();
                packed.scales[to] = rhs.scale[at];
                let bytes = &mut codes[panel * panel_bytes + g * groups.padded * K::NR / 2..];
                let padded = weights.len().next_multiple_of(2 * K::KU);
                for i in 0..padded {
                    let code = weights.get(i).map_or(zero_point, |&w| i32::from(w)) + SHIFT;
                    let (step, half) = (i / (2 * K::KU), i / K::KU % 2);
                    bytes[(step * K::NR + column) * K::KU + i % K::KU] |= (code as u8) << (4 * half);
                }
            }
        }
        Ok(packed)
    }

    /// Name of the kernel whose layout this is.
    #[must_use]
    pub fn kernel(&self) -> &'static str {
        self.kernel
    }

    /// Output channels.
    #[must_use]
    pub fn n(&self) -> usize {
        self.n
    }

    /// Weights a channel.
    #[must_use]
    pub fn k(&self) -> usize {
        self.k
    }

    /// Bytes of the packed weights, with what belongs to their groups.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.codes.len() + self.zero_points.len() + size_of_val(&*self.sums) + size_of_val(&*self.scales)
    }

    /// One bias a channel, zeros if none was given.
    pub(super) fn bias(&self) -> &[f32] {
        &self.bias
    }

    pub(super) fn groups(&self) -> Groups {
        self.groups
    }

    /// Panel `p` of `nr` columns.
    pub(super) fn panel(&self, p: usize, nr: usize) -> GroupPanel<'_> {
        let bytes = self.groups.k_padded * nr / 2;
        let each = self.groups.count * nr;
        GroupPanel {
            codes: &self.codes.as_slice()[p * bytes..][..bytes],
            group_bytes: self.groups.padded * nr / 2,
            zero_points: &self.zero_points[p * each..][..each],
            sums: &self.sums[p * each..][..each],
            scales: &self.scales[p * each..][..each],
        }
    }
}

/// Checks lengths, codes and zero points of weights to pack; gives their groups, each padded to a multiple of `step`.
fn check_rhs(rhs: &GroupWiseRhs, step: usize) -> Result<Groups> {
    check_len("rhs weights", product("rhs weights", &[rhs.n, rhs.k])?, rhs.data.len())?;
    let groups = Groups::new(rhs.k, rhs.group_size, step)?;
    let per_group = product("rhs groups", &[rhs.n, groups.count])?;
    check_len("rhs scales", per_group, rhs.scale.len())?;
    if rhs.zero_point.len() != 1 {
        check_len("rhs zero points", per_group, rhs.zero_point.len())?;
    }
    for &zero_point in rhs.zero_point {
        check_zero_point("rhs", zero_point, -SHIFT, SHIFT - 1)?;
    }
    if let Some(index) = rhs.data.iter().position(|&w| !(-SHIFT..SHIFT).contains(&i32::from(w))) {
        return Err(KernelError::Code { index, code: rhs.data[index].into(), min: -SHIFT, max: SHIFT - 1 });
    }
    rhs.bias.map_or(Ok(()), |bias| check_len("bias", rhs.n, bias.len()))?;
    Ok(groups)
}
