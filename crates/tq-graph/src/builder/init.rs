//! Starting values of parameters.

/// What a parameter starts with.
#[derive(Debug, Clone, PartialEq)]
pub enum Init {
    /// One value everywhere.
    Constant(f32),
    /// Uniform between minus and plus this bound.
    Uniform(f32),
    /// Normal, mean 0 and standard deviation 1; one row may be zero.
    Normal {
        /// The row of zeros.
        zero_row: Option<usize>,
    },
}

impl Init {
    /// Uniform within `1 / sqrt(fan_in)`: what PyTorch's `kaiming_uniform_` with `a = sqrt(5)` comes to, and its bound
    /// for biases.
    #[must_use]
    pub fn fan_in(fan_in: usize) -> Self {
        Init::Uniform(if fan_in == 0 { 0.0 } else { libm::sqrt(1.0 / fan_in as f64) as f32 })
    }
}

/// The generator SplitMix64 (Steele, Lea and Flood, 2014): kept results depend on it, so it is written out here.
struct SplitMix64(u64);

impl SplitMix64 {
    /// The generator for one parameter: its name (by FNV-1a) is mixed into the seed, so that other parameters do not
    /// change it.
    fn of(seed: u64, name: &str) -> Self {
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let mut mixed = Self(seed);
        Self(mixed.next() ^ hash)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in 0..1, without 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The values of one parameter.
pub(super) fn values(init: &Init, dims: &[usize], seed: u64, name: &str) -> Vec<f32> {
    let len: usize = dims.iter().product();
    let mut random = SplitMix64::of(seed, name);
    match init {
        Init::Constant(v) => vec![*v; len],
        Init::Uniform(bound) => {
            (0..len).map(|_| ((2.0 * random.unit() - 1.0) * f64::from(*bound)) as f32).collect()
        }
        Init::Normal { zero_row } => {
            // Box and Muller's transform; 1 - u is never zero.
            let mut normal = || {
                let radius = libm::sqrt(-2.0 * libm::log(1.0 - random.unit()));
                (radius * libm::cos(std::f64::consts::TAU * random.unit())) as f32
            };
            let mut values: Vec<f32> = (0..len).map(|_| normal()).collect();
            let width = dims.get(1..).map_or(0, |d| d.iter().product());
            if let Some(row) = zero_row {
                values.iter_mut().skip(row.saturating_mul(width)).take(width).for_each(|v| *v = 0.0);
            }
            values
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of the reference implementation (prng.di.unimi.it/splitmix64.c) for the state 1234567.
    #[test]
    fn the_generator_is_the_published_one() {
        let mut random = SplitMix64(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn values_have_the_distribution_and_depend_on_seed_and_name() {
        let uniform = values(&Init::Uniform(0.5), &[10_000], 1, "w");
        assert!(uniform.iter().all(|v| v.abs() <= 0.5));
        let mean = uniform.iter().sum::<f32>() / 1e4;
        let square = uniform.iter().map(|v| v * v).sum::<f32>() / 1e4;
        assert!(mean.abs() < 0.01 && (square - 0.25 / 3.0).abs() < 0.002, "{mean} {square}");
        let normal = values(&Init::Normal { zero_row: Some(1) }, &[100, 100], 1, "w");
        let square = normal.iter().map(|v| v * v).sum::<f32>() / 9900.0;
        assert!((square - 1.0).abs() < 0.05, "{square}");
        assert!(normal[100..200].iter().all(|v| *v == 0.0) && normal[99] != 0.0);
        assert_eq!(uniform, values(&Init::Uniform(0.5), &[10_000], 1, "w"));
        assert_ne!(uniform, values(&Init::Uniform(0.5), &[10_000], 2, "w"));
        assert_ne!(uniform, values(&Init::Uniform(0.5), &[10_000], 1, "v"));
    }
}
