//! Codes of two and four bits: one a byte in memory, four or two a byte in a file.
//!
//! The first code stands in the lowest bits, as `tq_qtypes::packing` has it and as ONNX has it. Bits after the last code
//! are zero.

use tq_qtypes::DType;

/// Bits a code and whether it has a sign, for types that files keep packed.
const fn width(dtype: DType) -> Option<(u32, bool)> {
    match dtype {
        DType::I2 => Some((2, true)),
        DType::U2 => Some((2, false)),
        DType::I4 => Some((4, true)),
        DType::U4 => Some((4, false)),
        _ => None,
    }
}

pub(crate) const fn is_packed(dtype: DType) -> bool {
    width(dtype).is_some()
}

/// Codes a byte.
const fn per_byte(bits: u32) -> usize {
    (8 / bits) as usize
}

/// The bytes of these codes, each of which stands in the lowest bits of its byte.
pub(crate) fn pack(dtype: DType, codes: &[u8]) -> Vec<u8> {
    let bits = width(dtype).map_or(8, |(bits, _)| bits);
    let mask = (!0u8) >> (8 - bits);
    let byte = |codes: &[u8]| codes.iter().rev().fold(0, |byte, code| (byte << (bits % 8)) | (code & mask));
    codes.chunks(per_byte(bits)).map(byte).collect()
}

/// Appends the codes of these bytes, signed ones as the bits of an `i8`, until there are `numel` in all. False where
/// bits after the last one are set.
pub(crate) fn unpack(dtype: DType, bytes: &[u8], numel: usize, codes: &mut Vec<u8>) -> bool {
    let (bits, signed) = width(dtype).unwrap_or((8, false));
    let unused = 8 - bits;
    for byte in bytes {
        let here = per_byte(bits).min(numel - codes.len());
        for i in 0..here as u32 {
            let high = byte << (unused - i * bits);
            codes.push(if signed { ((high as i8) >> unused) as u8 } else { high >> unused });
        }
        let used = here as u32 * bits;
        if used < 8 && byte >> used != 0 {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tq_qtypes::packing::{self, CodeWidth};

    proptest! {
        #[test]
        fn as_the_packing_of_quantized_types(seed in any::<u64>(), numel in 0usize..40) {
            for dtype in [DType::I2, DType::U2, DType::I4, DType::U4] {
                let (bits, signed) = width(dtype).unwrap();
                let width = CodeWidth::new(bits, signed).unwrap();
                let (lo, hi) = width.range();
                let codes: Vec<i32> = (0..numel as u64)
                    .map(|i| (seed.wrapping_mul(i * 2 + 1) >> 40) as i64 % (hi - lo + 1) + lo)
                    .map(|c| c as i32)
                    .collect();
                let raw: Vec<u8> = codes.iter().map(|c| *c as u8).collect();
                let bytes = pack(dtype, &raw);
                prop_assert_eq!(&bytes, &packing::pack(&codes, width).unwrap());
                let mut again = Vec::new();
                prop_assert!(unpack(dtype, &bytes, numel, &mut again));
                prop_assert_eq!(again, raw);
            }
        }
    }

    #[test]
    fn no_bits_are_left_over() {
        assert!(!unpack(DType::U4, &[0x10], 1, &mut Vec::new()));
        assert!(!unpack(DType::I2, &[0b0100_0000], 3, &mut Vec::new()));
        assert!(unpack(DType::I2, &[0b0011_0000], 3, &mut Vec::new()));
    }
}
