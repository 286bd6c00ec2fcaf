//! What is asked of the lhs before it is multiplied. Plain loops, which compilers vectorise for AVX2 here: closures handed to
//! iterators would not be compiled for it.

/// The smallest and the largest code; 255 and 0 for none.
#[target_feature(enable = "avx2")]
pub(in super::super) fn range(codes: &[u8]) -> (u8, u8) {
    let (mut least, mut most) = (u8::MAX, 0);
    for &a in codes {
        least = least.min(a);
        most = most.max(a);
    }
    (least, most)
}

/// Codes in 16 bits.
#[target_feature(enable = "avx2")]
pub(in super::super) fn widen(codes: &[u8], widened: &mut [i16]) {
    for (d, &s) in widened.iter_mut().zip(codes) {
        *d = i16::from(s);
    }
}
