//! Which vectors loops over floats take.

use pulp::Arch;

/// The vectors of this processor, of 256 bits at most: what convolutions and products of few rows are cut for. Rows of images fill longer
/// ones less well: with 512 bits a training step of a ResNet-20 takes 1.1 times as long.
pub(crate) fn arch() -> Arch {
    match Arch::new() {
        #[cfg(target_arch = "x86_64")]
        Arch::V4(_) => pulp::x86::V3::try_new().map_or(Arch::Scalar, Arch::V3),
        other => other,
    }
}
