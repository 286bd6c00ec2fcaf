//! Random numbers that are the same everywhere: SplitMix64 (Steele, Lea and Flood, 2014), also by position.

/// What a step of the generator adds to its state.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A generator. Its state says all about what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SplitMix64(pub(crate) u64);

impl SplitMix64 {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mixed(self.0)
    }

    /// The next number below `bound`, each as likely but for 2^-64 of `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// Brings the elements into random order (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, elements: &mut [T]) {
        for i in (1..elements.len()).rev() {
            elements.swap(i, self.below(i + 1));
        }
    }
}

/// Number `index` of the sequence of `seed`, in `0..1`: what threads can draw in any order.
pub(crate) fn uniform_at(seed: u64, index: u64) -> f32 {
    let bits = mixed(seed.wrapping_add(index.wrapping_add(1).wrapping_mul(STEP)));
    (bits >> 40) as f32 / (1u64 << 24) as f32
}

/// One seed of two.
pub(crate) fn seed_of(seed: u64, stream: u64) -> u64 {
    mixed(mixed(seed) ^ stream)
}

fn mixed(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of the reference implementation (prng.di.unimi.it/splitmix64.c) for the state 1234567.
    #[test]
    fn the_generator_is_the_published_one_and_can_be_asked_by_position() {
        let mut random = SplitMix64(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
        for (i, bits) in first.iter().enumerate() {
            assert_eq!(uniform_at(1_234_567, i as u64), (bits >> 40) as f32 / 16_777_216.0);
        }
    }

    #[test]
    fn shuffling_keeps_all_elements_and_moves_each_everywhere() {
        let mut random = SplitMix64(7);
        let mut first = [0; 5];
        for _ in 0..5000 {
            let mut order: Vec<usize> = (0..5).collect();
            random.shuffle(&mut order);
            first[order[0]] += 1;
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3, 4]);
        }
        assert!(first.iter().all(|n| (850..1150).contains(n)), "{first:?}");
    }
}
