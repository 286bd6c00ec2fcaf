//! Errors of this crate.

/// What can be wrong with a call of a kernel. Arguments are checked before any work is done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A slice has the wrong length.
    #[error("{what}: expected {expected} elements, got {got}")]
    Length {
        /// What was counted.
        what: &'static str,
        /// How many there should be (at least, for buffers with a stride, and for gathered rows and what they read).
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// Rows of a matrix would overlap.
    #[error("{what}: row stride {row_stride} is below the row length {width}")]
    Stride {
        /// Which matrix.
        what: &'static str,
        /// The stride given.
        row_stride: usize,
        /// Length of a row.
        width: usize,
    },
    /// A product of sizes does not fit `usize`, or memory has no room for so many.
    #[error("{what}: the size does not fit memory")]
    SizeOverflow {
        /// What was computed.
        what: &'static str,
    },
    /// A size that must be at least one is zero.
    #[error("{what} must be at least 1")]
    Zero {
        /// Which size.
        what: &'static str,
    },
    /// A zero point that is not a code.
    #[error("{what} zero point {zero_point} is outside {min}..={max}")]
    ZeroPoint {
        /// Which operand.
        what: &'static str,
        /// The offending value.
        zero_point: i32,
        /// Smallest code.
        min: i32,
        /// Largest code.
        max: i32,
    },
    /// A weight that is no code of its type.
    #[error("weight {index} is {code}, outside {min}..={max}")]
    Code {
        /// Index into the weights.
        index: usize,
        /// The offending code.
        code: i32,
        /// Smallest code.
        min: i32,
        /// Largest code.
        max: i32,
    },
    /// A group of weights whose sums may not fit 32 bits.
    #[error("groups of {group_size} weights are longer than {limit}, the most whose sums fit 32 bits")]
    LongGroup {
        /// Weights a group.
        group_size: usize,
        /// The most there may be.
        limit: usize,
    },
    /// A clamp range that is empty or not made of `u8` codes.
    #[error("clamp range {min}..={max} is empty or outside 0..=255")]
    Clamp {
        /// Lower end.
        min: i32,
        /// Upper end.
        max: i32,
    },
    /// A scale that is not finite and positive.
    #[error("{what} scale {scale} is not finite and positive")]
    Scale {
        /// Which operand.
        what: &'static str,
        /// The offending scale.
        scale: f32,
    },
    /// An offset of a gathered window points outside its data.
    #[error("offset {offset} at index {index} with runs of {run} is outside {len} codes")]
    Offset {
        /// Index into the list of offsets.
        index: usize,
        /// The offending offset.
        offset: usize,
        /// Codes read from it.
        run: usize,
        /// Codes there are.
        len: usize,
    },
    /// Weights packed by one kernel were given to another.
    #[error("weights packed for `{packed}` were given to `{running}`")]
    KernelMismatch {
        /// The kernel that packed.
        packed: &'static str,
        /// The kernel that was asked to run.
        running: &'static str,
    },
    /// The type of the output is not what the output stage makes.
    #[error("output stage `{stage}` cannot write {out}")]
    OutputType {
        /// The stage asked for.
        stage: &'static str,
        /// The type of the output.
        out: &'static str,
    },
    /// 32-bit accumulators were asked for, but a channel needs 64 bits.
    #[error("accumulators of channel {channel} do not fit 32 bits for every input")]
    WideChannel {
        /// The first such channel.
        channel: usize,
    },
    /// A pooling window that holds no element of the input.
    #[error("window {position} along the {axis} holds no input element")]
    EmptyWindow {
        /// `height`, `width`, or `list` for windows that are lists of places.
        axis: &'static str,
        /// Index of the output position.
        position: usize,
    },
    /// A name that is no instruction-set level.
    #[error(
        "unknown instruction-set level `{name}`; known: scalar, avx2, avxvnni, avx512vnni, neon, dotprod, i8mm"
    )]
    UnknownIsa {
        /// The name given.
        name: String,
    },
    /// `TQ_REQUIRE_ISA` names a level that this run cannot exercise.
    #[error("TQ_REQUIRE_ISA names `{isa}`, which is not available here")]
    RequiredIsaMissing {
        /// The level.
        isa: &'static str,
    },
}

pub(crate) fn check_len(what: &'static str, expected: usize, got: usize) -> crate::Result<()> {
    if expected == got { Ok(()) } else { Err(KernelError::Length { what, expected, got }) }
}

pub(crate) fn check_at_least(what: &'static str, expected: usize, got: usize) -> crate::Result<()> {
    if expected <= got { Ok(()) } else { Err(KernelError::Length { what, expected, got }) }
}

/// Product of sizes, or an error that names them.
pub(crate) fn product(what: &'static str, sizes: &[usize]) -> crate::Result<usize> {
    let product = sizes.iter().try_fold(1usize, |acc, &size| acc.checked_mul(size));
    product.ok_or(KernelError::SizeOverflow { what })
}

/// Room for `n` more elements, or an error: channels without weights may be of any number.
pub(crate) fn reserve<T>(what: &'static str, to: &mut Vec<T>, n: usize) -> crate::Result<()> {
    to.try_reserve_exact(n).map_err(|_| KernelError::SizeOverflow { what })
}

/// Checks that `rows` rows of `width` elements, `row_stride` apart, do not overlap and fit `len`.
pub(crate) fn check_rows(
    what: &'static str,
    rows: usize,
    width: usize,
    row_stride: usize,
    len: usize,
) -> crate::Result<()> {
    if rows == 0 {
        return Ok(());
    }
    if rows > 1 && row_stride < width {
        return Err(KernelError::Stride { what, row_stride, width });
    }
    let expected = (rows - 1)
        .checked_mul(row_stride)
        .and_then(|x| x.checked_add(width))
        .ok_or(KernelError::SizeOverflow { what })?;
    check_at_least(what, expected, len)
}

pub(crate) fn check_zero_point(what: &'static str, zero_point: i32, min: i32, max: i32) -> crate::Result<()> {
    if (min..=max).contains(&zero_point) {
        Ok(())
    } else {
        Err(KernelError::ZeroPoint { what, zero_point, min, max })
    }
}

pub(crate) fn check_clamp(clamp: (i32, i32)) -> crate::Result<()> {
    let (min, max) = clamp;
    if 0 <= min && min <= max && max <= 255 { Ok(()) } else { Err(KernelError::Clamp { min, max }) }
}

pub(crate) fn check_scale(what: &'static str, scale: f32) -> crate::Result<()> {
    if scale.is_finite() && scale > 0.0 { Ok(()) } else { Err(KernelError::Scale { what, scale }) }
}
