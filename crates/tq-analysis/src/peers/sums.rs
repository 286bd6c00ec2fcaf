//! Sums of products as `vpmaddubsw` makes them, and the exact ones.

/// The exact sum of products.
pub(crate) fn exact(codes: &[u8], weights: &[i16]) -> i32 {
    codes.iter().zip(weights).map(|(a, w)| i32::from(*a) * i32::from(*w)).fold(0, i32::wrapping_add)
}

/// The sum of products by pairs, each pair saturated to 16 bits (`vpmaddubsw`), the pairs added in 32 bits (`vpmaddwd` with
/// ones, `vpaddd`). Codes are unsigned, weights signed, pairs those of even and odd place along the products of an
/// accumulator; a last one alone is paired with zero.
pub(crate) fn saturating(codes: &[u8], weights: &[i16]) -> i32 {
    let pair = |a: &[u8], w: &[i16]| {
        let sum: i32 = a.iter().zip(w).map(|(a, w)| i32::from(*a) * i32::from(*w)).sum();
        sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX))
    };
    let (a, a_rest) = codes.as_chunks::<2>();
    let (w, w_rest) = weights.as_chunks::<2>();
    let pairs = a.iter().zip(w).map(|(a, w)| pair(a, w)).fold(0, i32::wrapping_add);
    pairs.wrapping_add(pair(a_rest, w_rest))
}

/// Whether the sum of a pair of products may leave 16 bits for codes of `0..=largest`.
pub(crate) fn may_saturate(pair: &[i16], largest: i32) -> bool {
    let sum = |of: fn(i32) -> i32| pair.iter().map(|w| of(i32::from(*w))).sum::<i32>();
    let (positive, negative) = (sum(|w| w.max(0)), sum(|w| w.min(0)));
    positive * largest > i32::from(i16::MAX) || negative * largest < i32::from(i16::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Intel's definition, a byte at a time: `SaturateToSignedWord(a[i+1] * b[i+1] + a[i] * b[i])`.
    fn vpmaddubsw(a: [u8; 2], b: [i8; 2]) -> i16 {
        let low = i64::from(a[0]) * i64::from(b[0]);
        let high = i64::from(a[1]) * i64::from(b[1]);
        match low + high {
            s if s > 32_767 => 32_767,
            s if s < -32_768 => -32_768,
            s => s as i16,
        }
    }

    proptest! {
        #[test]
        fn sums_are_those_of_the_instruction(codes in proptest::collection::vec(any::<u8>(), 0..40), seed: u64) {
            let weights: Vec<i8> = (0..codes.len()).map(|i| (seed.rotate_left(i as u32 * 7) & 0xff) as u8 as i8).collect();
            let wide: Vec<i16> = weights.iter().map(|w| i16::from(*w)).collect();
            let padded = |i: usize| (codes.get(i).copied().unwrap_or(0), weights.get(i).copied().unwrap_or(0));
            let mut sum = 0i64;
            for i in (0..codes.len()).step_by(2) {
                let ((a, v), (b, w)) = (padded(i), padded(i + 1));
                sum += i64::from(vpmaddubsw([a, b], [v, w]));
            }
            prop_assert_eq!(i64::from(saturating(&codes, &wide)), sum);
            let real: i64 = codes.iter().zip(&weights).map(|(a, w)| i64::from(*a) * i64::from(*w)).sum();
            prop_assert_eq!(i64::from(exact(&codes, &wide)), real);
        }
    }

    /// All pairs of weights against all codes that matter: the ends of the range.
    #[test]
    fn pairs_that_may_saturate_are_those_that_do() {
        for largest in [255, 127] {
            for v in -128..=127 {
                for w in -128..=127 {
                    let ends = [0, largest];
                    let leaves = ends.iter().any(|a| {
                        ends.iter()
                            .any(|b| !(-32_768..=32_767).contains(&(a * i32::from(v) + b * i32::from(w))))
                    });
                    assert_eq!(may_saturate(&[v, w], largest), leaves, "{v} {w} {largest}");
                }
            }
        }
        assert!(!may_saturate(&[-128], 255));
    }
}
