//! What is asked of the lhs before it is multiplied. Plain loops, which compilers vectorise for AVX2 here.

/// The largest code; 0 for none.
#[target_feature(enable = "avx2")]
pub(in super::super) fn largest(codes: &[u8]) -> u8 {
    codes.iter().copied().fold(0, u8::max)
}

/// Codes in 16 bits.
#[target_feature(enable = "avx2")]
pub(in super::super) fn widen(codes: &[u8], widened: &mut [i16]) {
    for (d, &s) in widened.iter_mut().zip(codes) {
        *d = i16::from(s);
    }
}
