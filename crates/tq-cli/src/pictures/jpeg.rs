//! Whether a JPEG file is all there.

/// True when the picture's end marker is there.
///
/// The decoder fills what a cut file lacks with grey and does not say so. Markers inside of segments, as those of a
/// thumbnail, do not count.
pub(super) fn is_complete(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    // In scan data every 0xFF that is no marker is followed by 0x00.
    let mut scan = false;
    loop {
        let Some(at) = rest.iter().position(|b| *b == 0xFF) else { return false };
        if at > 0 && !scan {
            // Bytes between segments belong to none: decoders skip them.
            rest = &rest[at..];
            continue;
        }
        let Some(marker) = rest.get(at + 1) else { return false };
        rest = &rest[at + 1..];
        match marker {
            0xFF => continue,
            0xD9 => return true,
            0x00 | 0x01 | 0xD0..=0xD8 => rest = &rest[1..],
            _ => {
                scan = *marker == 0xDA;
                let Some([high, low]) = rest.get(1..3) else { return false };
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                let Some(after) = rest.get(1 + length..) else { return false };
                rest = after;
            }
        }
    }
}
