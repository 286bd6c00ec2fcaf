//! Copying and filling short runs of codes, as gathered rows of convolutions are made of: a call of the system's own copy costs
//! as much as the 16 to 100 codes that a run has.

/// Copies `src` over `dst`.
///
/// # Panics
/// When the lengths differ, as `copy_from_slice`.
#[inline]
pub fn copy(dst: &mut [u8], src: &[u8]) {
    assert!(dst.len() == src.len(), "runs of {} and {} codes", dst.len(), src.len());
    // From both ends: the pieces may overlap in the middle, where they agree.
    match dst.len() {
        0 => {}
        // No loop: compilers make a call of it.
        1 => both_ends::<1>(dst, src),
        2..4 => both_ends::<2>(dst, src),
        4..8 => both_ends::<4>(dst, src),
        8..16 => both_ends::<8>(dst, src),
        16..=32 => both_ends::<16>(dst, src),
        33..=64 => both_ends::<32>(dst, src),
        65..=128 => both_ends::<64>(dst, src),
        _ => dst.copy_from_slice(src),
    }
}

/// Sets every code of `dst` to `code`.
#[inline]
pub fn fill(dst: &mut [u8], code: u8) {
    match dst.len() {
        0 => {}
        1 => ends(dst, [code; 1]),
        2..4 => ends(dst, [code; 2]),
        4..8 => ends(dst, [code; 4]),
        8..16 => ends(dst, [code; 8]),
        16..=32 => ends(dst, [code; 16]),
        33..=64 => ends(dst, [code; 32]),
        65..=128 => ends(dst, [code; 64]),
        _ => dst.fill(code),
    }
}

#[inline]
fn both_ends<const N: usize>(dst: &mut [u8], src: &[u8]) {
    if let (Some(first), Some(last)) = (src.first_chunk::<N>(), src.last_chunk::<N>()) {
        let (first, last) = (*first, *last);
        if let Some(d) = dst.first_chunk_mut() {
            *d = first;
        }
        if let Some(d) = dst.last_chunk_mut() {
            *d = last;
        }
    }
}

#[inline]
fn ends<const N: usize>(dst: &mut [u8], codes: [u8; N]) {
    if let Some(d) = dst.first_chunk_mut() {
        *d = codes;
    }
    if let Some(d) = dst.last_chunk_mut() {
        *d = codes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_copied_and_filled() {
        let src: Vec<u8> = (0..300u32).map(|i| (i * 7 + 1) as u8).collect();
        for len in 0..src.len() {
            let mut dst = vec![0u8; len + 2];
            copy(&mut dst[1..=len], &src[..len]);
            assert!(dst[1..=len] == src[..len] && dst[0] == 0 && dst[len + 1] == 0, "{len}");
            fill(&mut dst[1..=len], 9);
            assert!(dst[1..=len].iter().all(|&d| d == 9) && dst[0] == 0 && dst[len + 1] == 0, "{len}");
        }
    }
}
