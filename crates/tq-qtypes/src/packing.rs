//! Codes of a few bits, packed without gaps.
//!
//! The bits of a stream are numbered from the lowest bit of its first byte; the first code takes the lowest ones, the
//! next code those above them, and so on. For 2 and 4 bits this is how ONNX packs `int2` and `int4` (the first element
//! in the low bits of a byte); eight 3-bit codes take three bytes. Signed codes are kept in two's complement. Codes of
//! 8, 16 and 32 bits are little-endian words. Bits beyond the last code are zero.

use crate::QTypeError;

/// How wide a code is, and whether it has a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodeWidth {
    bits: u32,
    signed: bool,
}

impl CodeWidth {
    /// Codes of this many bits.
    ///
    /// # Errors
    /// [`QTypeError::PackedBits`] unless `bits` is 2, 3, 4, 8, 16 or 32.
    pub const fn new(bits: u32, signed: bool) -> Result<Self, QTypeError> {
        match bits {
            2 | 3 | 4 | 8 | 16 | 32 => Ok(Self { bits, signed }),
            _ => Err(QTypeError::PackedBits { bits }),
        }
    }

    pub(crate) const fn unsigned(bits: u32) -> Self {
        Self { bits, signed: false }
    }

    /// The narrowest width that holds every code of `min..=max`, signed when `min` is negative.
    ///
    /// ```
    /// use tq_qtypes::packing::CodeWidth;
    /// assert_eq!(CodeWidth::holding(-4, 3), CodeWidth::new(3, true)?);
    /// assert_eq!(CodeWidth::holding(0, 31), CodeWidth::new(8, false)?);
    /// # Ok::<(), tq_qtypes::QTypeError>(())
    /// ```
    #[must_use]
    pub fn holding(min: i32, max: i32) -> Self {
        let signed = min < 0;
        let fits = |bits: u32| {
            let (lo, hi) = Self { bits, signed }.range();
            lo <= i64::from(min) && i64::from(max) <= hi
        };
        let bits = [2, 3, 4, 8, 16].into_iter().find(|bits| fits(*bits)).unwrap_or(32);
        Self { bits, signed }
    }

    /// Bits a code.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.bits
    }

    /// True for two's complement.
    #[must_use]
    pub const fn signed(self) -> bool {
        self.signed
    }

    /// Smallest and largest code.
    #[must_use]
    pub const fn range(self) -> (i64, i64) {
        if self.signed {
            (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1)
        } else {
            (0, (1 << self.bits) - 1)
        }
    }

    /// Bytes that `numel` codes take; `None` where that is beyond what a `usize` counts.
    #[must_use]
    pub const fn packed_bytes(self, numel: usize) -> Option<usize> {
        let bits = self.bits as usize;
        // Eight codes take `bits` bytes.
        match (numel / 8).checked_mul(bits) {
            Some(whole) => whole.checked_add((numel % 8 * bits).div_ceil(8)),
            None => None,
        }
    }

    /// The code in the lowest bits of `raw`.
    const fn code(self, raw: u64) -> i32 {
        let unused = 32 - self.bits;
        if self.signed {
            ((raw as i32) << unused) >> unused
        } else {
            (((raw as u32) << unused) >> unused) as i32
        }
    }

    fn mask(self) -> u64 {
        (1 << self.bits) - 1
    }
}

/// Packs codes.
///
/// # Errors
/// [`QTypeError::CodeRange`] for the first code that does not fit the width.
///
/// ```
/// use tq_qtypes::packing::{CodeWidth, pack, unpack};
/// let width = CodeWidth::new(4, true)?;
/// let bytes = pack(&[1, -2, 7], width)?;
/// assert_eq!(bytes, [0xE1, 0x07]);
/// assert_eq!(unpack(&bytes, 3, width)?, [1, -2, 7]);
/// # Ok::<(), tq_qtypes::QTypeError>(())
/// ```
pub fn pack(codes: &[i32], width: CodeWidth) -> Result<Vec<u8>, QTypeError> {
    let (lo, hi) = width.range();
    check_codes(codes, 0, lo, hi)?;
    let mut packer = Packer::new(width, codes.len());
    packer.push(codes);
    Ok(packer.finish())
}

/// The first `numel` codes of a packed stream.
///
/// # Errors
/// [`QTypeError::Length`] unless `packed` is exactly as long as `numel` codes are; [`QTypeError::Padding`] when bits
/// beyond the last code are set.
pub fn unpack(packed: &[u8], numel: usize, width: CodeWidth) -> Result<Vec<i32>, QTypeError> {
    check_packed(packed, numel, width)?;
    let mut codes = vec![0; numel];
    unpack_at(packed, 0, width, &mut codes);
    Ok(codes)
}

/// Fails at the first code outside `lo..=hi`; `first` is the index of the first one.
pub(crate) fn check_codes(codes: &[i32], first: usize, lo: i64, hi: i64) -> Result<(), QTypeError> {
    match codes.iter().position(|c| i64::from(*c) < lo || i64::from(*c) > hi) {
        None => Ok(()),
        Some(at) => Err(QTypeError::CodeRange { index: first + at, code: codes[at], min: lo, max: hi }),
    }
}

/// Checks the length of a packed stream and that nothing is set beyond its last code.
pub(crate) fn check_packed(packed: &[u8], numel: usize, width: CodeWidth) -> Result<(), QTypeError> {
    let expected = width.packed_bytes(numel);
    if expected != Some(packed.len()) {
        let expected = expected.unwrap_or(usize::MAX);
        return Err(QTypeError::Length { what: "bytes of packed codes", expected, got: packed.len() });
    }
    let used = (numel % 8 * width.bits as usize) % 8;
    match packed.last() {
        Some(last) if used != 0 && last >> used != 0 => Err(QTypeError::Padding),
        _ => Ok(()),
    }
}

/// Collects codes that come in pieces.
pub(crate) struct Packer {
    width: CodeWidth,
    out: Vec<u8>,
    /// Codes that do not fill a whole number of bytes yet.
    pending: [i32; 8],
    waiting: usize,
}

impl Packer {
    /// Room for `numel` codes.
    pub(crate) fn new(width: CodeWidth, numel: usize) -> Self {
        let out = Vec::with_capacity(width.packed_bytes(numel).unwrap_or(0));
        Self { width, out, pending: [0; 8], waiting: 0 }
    }

    /// Appends codes, of which only the lowest bits are kept.
    pub(crate) fn push(&mut self, mut codes: &[i32]) {
        if self.waiting > 0 {
            let take = codes.len().min(8 - self.waiting);
            self.pending[self.waiting..self.waiting + take].copy_from_slice(&codes[..take]);
            self.waiting += take;
            codes = &codes[take..];
            if self.waiting < 8 {
                return;
            }
            let eight = self.pending;
            self.eights(&[eight]);
            self.waiting = 0;
        }
        let (eights, rest) = codes.as_chunks::<8>();
        self.eights(eights);
        self.pending[..rest.len()].copy_from_slice(rest);
        self.waiting = rest.len();
    }

    fn eights(&mut self, eights: &[[i32; 8]]) {
        match self.width.bits {
            2 => pack_eights::<2>(eights, &mut self.out),
            3 => pack_eights::<3>(eights, &mut self.out),
            4 => pack_eights::<4>(eights, &mut self.out),
            8 => self.out.extend(eights.as_flattened().iter().map(|c| *c as u8)),
            16 => self.out.extend(eights.as_flattened().iter().flat_map(|c| (*c as u16).to_le_bytes())),
            _ => self.out.extend(eights.as_flattened().iter().flat_map(|c| c.to_le_bytes())),
        }
    }

    /// The packed codes.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.waiting > 0 {
            let bytes = self.waiting * self.width.bits as usize;
            let end = self.out.len() + bytes.div_ceil(8);
            self.pending[self.waiting..].fill(0);
            let eight = self.pending;
            self.eights(&[eight]);
            self.out.truncate(end);
        }
        self.out
    }
}

fn pack_eights<const BITS: usize>(eights: &[[i32; 8]], out: &mut Vec<u8>) {
    let mask = (1u64 << BITS) - 1;
    for eight in eights {
        let mut bits = 0u64;
        for (i, code) in eight.iter().enumerate() {
            // The low bits of a two's complement number.
            bits |= (*code as u64 & mask) << (i * BITS);
        }
        out.extend_from_slice(&bits.to_le_bytes()[..BITS]);
    }
}

/// Fills `out` with the codes of a checked stream from code `start` on.
pub(crate) fn unpack_at(packed: &[u8], start: usize, width: CodeWidth, out: &mut [i32]) {
    match width.bits {
        2 => unpack_bits::<2>(packed, start, width, out),
        3 => unpack_bits::<3>(packed, start, width, out),
        4 => unpack_bits::<4>(packed, start, width, out),
        8 if width.signed => {
            out.iter_mut().zip(&packed[start..]).for_each(|(o, b)| *o = i32::from(*b as i8));
        }
        8 => out.iter_mut().zip(&packed[start..]).for_each(|(o, b)| *o = i32::from(*b)),
        16 => {
            let (words, _) = packed[2 * start..].as_chunks::<2>();
            let read = |w: &[u8; 2]| width.code(u16::from_le_bytes(*w).into());
            out.iter_mut().zip(words).for_each(|(o, w)| *o = read(w));
        }
        _ => {
            let (words, _) = packed[4 * start..].as_chunks::<4>();
            out.iter_mut().zip(words).for_each(|(o, w)| *o = i32::from_le_bytes(*w));
        }
    }
}

fn unpack_bits<const BITS: usize>(packed: &[u8], start: usize, width: CodeWidth, out: &mut [i32]) {
    // Single codes up to a multiple of eight, then eight at a time out of `BITS` bytes.
    let head = (start.next_multiple_of(8) - start).min(out.len());
    let (first, rest) = out.split_at_mut(head);
    for (i, o) in first.iter_mut().enumerate() {
        *o = one_code(packed, start + i, width);
    }
    let start = start + head;
    let (eights, last) = rest.as_chunks_mut::<8>();
    let tail = start + 8 * eights.len();
    for (eight, bytes) in eights.iter_mut().zip(packed[start / 8 * BITS..].as_chunks::<BITS>().0) {
        let mut word = [0; 8];
        word[..BITS].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(word);
        for (i, o) in eight.iter_mut().enumerate() {
            *o = width.code(bits >> (i * BITS));
        }
    }
    for (i, o) in last.iter_mut().enumerate() {
        *o = one_code(packed, tail + i, width);
    }
}

/// Code `index` of a checked stream of 2, 3 or 4 bits.
fn one_code(packed: &[u8], index: usize, width: CodeWidth) -> i32 {
    // Which eight it is in, and its first bit there, so that no product overflows.
    let bits = width.bits as usize;
    let bit = index % 8 * bits;
    let byte = index / 8 * bits + bit / 8;
    let low = u64::from(packed[byte]);
    let high = packed.get(byte + 1).map_or(0, |b| u64::from(*b) << 8);
    width.code(((low | high) >> (bit % 8)) & width.mask())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bit_order_is_that_of_onnx() {
        let pack = |bits, signed, codes: &[i32]| pack(codes, CodeWidth::new(bits, signed).unwrap()).unwrap();
        // onnx.helper.pack_float32_to_4bit([1, 2, -3, 7, -8], signed=True); then four 2-bit codes a byte.
        assert_eq!(pack(4, true, &[1, 2, -3, 7, -8]), [0x21, 0x7D, 0x08]);
        assert_eq!(pack(2, false, &[0, 1, 2, 3, 1]), [0b1110_0100, 0b01]);
        assert_eq!(pack(2, true, &[0, 1, -2, -1]), [0b1110_0100]);
        // Codes 1..=7 and 0, three bits each: 0b000_111_110_101_100_011_010_001.
        assert_eq!(pack(3, false, &[1, 2, 3, 4, 5, 6, 7, 0]), [0xD1, 0x58, 0x1F]);
        assert_eq!(pack(3, true, &[-4, 3]), [0b011_100]);
        assert_eq!(pack(16, true, &[-2, 258]), [0xFE, 0xFF, 2, 1]);
        assert_eq!(pack(32, true, &[i32::MIN]), [0, 0, 0, 0x80]);
    }

    #[test]
    fn wrong_codes_lengths_and_padding_are_errors() {
        let width = CodeWidth::new(3, true).unwrap();
        assert_eq!(
            pack(&[0, 3, 4], width),
            Err(QTypeError::CodeRange { index: 2, code: 4, min: -4, max: 3 })
        );
        for (bytes, numel) in [(&[0u8, 0][..], 2), (&[0], 3), (&[], 1), (&[0], 0), (&[0], usize::MAX)] {
            assert!(matches!(unpack(bytes, numel, width), Err(QTypeError::Length { .. })), "{numel}");
        }
        assert_eq!(unpack(&[0b0100_0000], 2, width), Err(QTypeError::Padding));
        assert_eq!(unpack(&[], 0, width), Ok(vec![]));
        for bits in [0, 1, 5, 7, 12, 64] {
            assert_eq!(CodeWidth::new(bits, false), Err(QTypeError::PackedBits { bits }));
        }
    }

    #[test]
    fn the_narrowest_width_holds_the_codes() {
        let bits = |min, max| (CodeWidth::holding(min, max).bits, CodeWidth::holding(min, max).signed);
        assert_eq!(bits(-1, 1), (2, true));
        assert_eq!(bits(-2, 1), (2, true));
        assert_eq!(bits(-2, 2), (3, true));
        assert_eq!(bits(-3, 3), (3, true));
        assert_eq!(bits(0, 3), (2, false));
        assert_eq!(bits(0, 7), (3, false));
        assert_eq!(bits(0, 15), (4, false));
        assert_eq!(bits(-8, 7), (4, true));
        assert_eq!(bits(-9, 7), (8, true));
        assert_eq!(bits(0, 65_535), (16, false));
        assert_eq!(bits(-1, 65_535), (32, true));
        assert_eq!(bits(i32::MIN, i32::MAX), (32, true));
    }

    proptest! {
        #[test]
        fn packing_and_unpacking_give_the_codes_back(
            seed in proptest::collection::vec(any::<i32>(), 0..70),
            bits in proptest::sample::select(vec![2u32, 3, 4, 8, 16, 32]),
            signed: bool,
            cut in 0usize..70,
        ) {
            let width = CodeWidth::new(bits, signed || bits == 32).unwrap();
            let codes: Vec<i32> = seed.iter().map(|c| width.code(*c as u32 as u64)).collect();
            let packed = pack(&codes, width).unwrap();
            prop_assert_eq!(packed.len(), (codes.len() * bits as usize).div_ceil(8));
            prop_assert_eq!(&unpack(&packed, codes.len(), width).unwrap(), &codes);
            // In two pieces, and from the middle.
            let cut = cut.min(codes.len());
            let mut packer = Packer::new(width, codes.len());
            packer.push(&codes[..cut]);
            packer.push(&codes[cut..]);
            prop_assert_eq!(&packer.finish(), &packed);
            let mut tail = vec![0; codes.len() - cut];
            unpack_at(&packed, cut, width, &mut tail);
            prop_assert_eq!(&tail, &codes[cut..]);
            // Bit by bit, as the module says.
            for (i, code) in codes.iter().enumerate() {
                for b in 0..bits as usize {
                    let at = i * bits as usize + b;
                    prop_assert_eq!(packed[at / 8] >> (at % 8) & 1, (*code >> b & 1) as u8);
                }
            }
        }
    }
}
