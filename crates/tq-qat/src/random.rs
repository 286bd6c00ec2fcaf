//! Random numbers that are the same everywhere: SplitMix64 (Steele, Lea and Flood, 2014), by position.

/// What a step of the generator adds to its state.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Number `index` of the sequence of `seed`: what threads can draw in any order.
pub(crate) fn bits_at(seed: u64, index: u64) -> u64 {
    mixed(seed.wrapping_add(index.wrapping_add(1).wrapping_mul(STEP)))
}

/// [`bits_at`] as a number of `0..1`.
pub(crate) fn uniform_at(seed: u64, index: u64) -> f32 {
    (bits_at(seed, index) >> 40) as f32 / (1u64 << 24) as f32
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
    fn the_sequence_is_the_published_one() {
        let first = [6_457_827_717_110_365_317u64, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        for (i, bits) in first.iter().enumerate() {
            assert_eq!(bits_at(1_234_567, i as u64), *bits);
            assert_eq!(uniform_at(1_234_567, i as u64), (bits >> 40) as f32 / 16_777_216.0);
        }
    }
}
