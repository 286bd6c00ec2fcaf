//! Inputs: a small generator with its own arithmetic, so that seeds keep their meaning.

use tq_qtypes::fixed_point::FixedPointMultiplier;

/// SplitMix64.
pub(super) struct Data {
    state: u64,
}

/// How a matrix of codes is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    /// All codes.
    Random,
    /// Only the two ends.
    Ends,
    /// The upper end everywhere.
    High,
    /// The lower end everywhere.
    Low,
    /// Away from the lower end.
    Band,
}

impl Pattern {
    pub(super) const ALL: [Pattern; 5] =
        [Pattern::Random, Pattern::Ends, Pattern::High, Pattern::Low, Pattern::Band];
}

impl Data {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.bits() % n.max(1) as u64) as usize
    }

    /// One of these.
    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A number in `min..=max`.
    pub(super) fn int(&mut self, min: i32, max: i32) -> i32 {
        min + self.below((max - min + 1) as usize) as i32
    }

    /// A number in 0..1.
    pub(super) fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 24) as f32
    }

    pub(super) fn lhs(&mut self, pattern: Pattern, len: usize) -> Vec<u8> {
        let mut code = || match pattern {
            Pattern::Random => self.bits() as u8,
            Pattern::Ends => self.pick(&[0, 255]),
            Pattern::High => 255,
            Pattern::Low => 0,
            Pattern::Band => 90 + self.below(90) as u8,
        };
        (0..len).map(|_| code()).collect()
    }

    pub(super) fn rhs(&mut self, pattern: Pattern, len: usize) -> Vec<i8> {
        let mut code = || match pattern {
            Pattern::Random => self.bits() as i8,
            Pattern::Ends => self.pick(&[-128, 127]),
            Pattern::High => 127,
            Pattern::Low => -128,
            Pattern::Band => 40 + self.below(50) as i8,
        };
        (0..len).map(|_| code()).collect()
    }

    /// A clamp range: all codes, or a part of them.
    pub(super) fn clamp(&mut self) -> (i32, i32) {
        if self.below(2) == 0 {
            return (0, 255);
        }
        let (a, b) = (self.int(0, 255), self.int(0, 255));
        (a.min(b), a.max(b))
    }

    /// Multipliers around `1 / size`: random ones, powers of two (whose products often tie), a few extremes.
    pub(super) fn multipliers(&mut self, n: usize, size: f32) -> Vec<f32> {
        let count = if self.below(2) == 0 { 1 } else { n };
        // Kernels may take another way where one of them is not below 1.
        let kinds = self.pick(&[6, 8]);
        (0..count)
            .map(|_| match self.below(kinds) {
                4..=5 if kinds == 6 => (2.0f32).powi(-1 - self.below(24) as i32),
                0..=3 => (0.1 + self.unit()) / size,
                4..=5 => (2.0f32).powi(-(self.below(24) as i32)),
                6 => self.pick(&[0.0, 1e-30, 1e30, f32::INFINITY, f32::MIN_POSITIVE / 2.0]),
                _ => self.unit(),
            })
            .collect()
    }

    /// What real outputs of `n` channels are multiplied by besides their scales, and a bias for them.
    pub(super) fn reals(&mut self, n: usize) -> (f32, Vec<f32>) {
        let lhs_scale = self.pick(&[1.0, 0.3, 1e-30, f32::INFINITY]);
        (lhs_scale, (0..n).map(|_| self.unit() - 0.5).collect())
    }

    /// Fixed-point multipliers around `1 / size`: random ones, powers of two, whose products tie, a few extremes.
    pub(super) fn fixed_multipliers(&mut self, n: usize, size: f32) -> Vec<FixedPointMultiplier> {
        let real = self.multipliers(n, size);
        // With every bit of the fraction in use.
        let fine = 1.0 + f64::from(self.unit()) * 1e-8;
        real.iter().map(|m| FixedPointMultiplier::new(f64::from(*m) * fine)).collect()
    }

    /// A scale whose quotients often tie, or any.
    pub(super) fn scale(&mut self) -> f32 {
        if self.below(2) == 0 {
            (2.0f32).powi(-(self.below(8) as i32))
        } else {
            0.001 + self.unit() * self.pick(&[0.01, 1.0, 100.0])
        }
    }

    /// Zero points of `n` channels: none, one, or one each.
    pub(super) fn rhs_zero_points(&mut self, n: usize) -> Vec<i32> {
        match self.below(4) {
            0 | 1 => vec![0],
            2 => vec![self.pick(&[-128, -1, 5, 127])],
            _ => (0..n).map(|_| self.int(-128, 127)).collect(),
        }
    }

    /// A bias of moderate size for each of `n` channels, or none.
    pub(super) fn bias(&mut self, n: usize) -> Option<Vec<i32>> {
        (self.below(2) == 0).then(|| (0..n).map(|_| self.int(-100_000, 100_000)).collect())
    }
}
