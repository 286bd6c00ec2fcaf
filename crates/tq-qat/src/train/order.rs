//! The order of samples.

use crate::random::{bits_at, seed_of};

/// The stream of splits; epochs have those from 1 on.
pub(super) const SPLIT: u64 = 0;

/// The numbers below `n` in an order that the seed and the stream decide, each order as likely (Fisher and Yates).
pub(super) fn permutation(seed: u64, stream: u64, n: usize) -> Vec<usize> {
    let seed = seed_of(seed, stream);
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        // The high half of the product is even up to 2^-40 for as many samples as memory holds.
        let draw = (u128::from(bits_at(seed, i as u64)) * (i as u128 + 1)) >> 64;
        order.swap(i, draw as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_there_and_every_place_as_likely() {
        let mut counts = [[0u32; 5]; 5];
        for seed in 0..2000 {
            let order = permutation(seed, 1, 5);
            for (place, number) in order.iter().enumerate() {
                counts[place][*number] += 1;
            }
            let mut sorted = order;
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
        }
        // 400 expected, standard deviation 18.
        assert!(counts.iter().flatten().all(|c| (310..490).contains(c)), "{counts:?}");
        assert_ne!(permutation(3, 1, 50), permutation(3, 2, 50));
        assert_eq!(permutation(3, 1, 1), [0]);
    }
}
