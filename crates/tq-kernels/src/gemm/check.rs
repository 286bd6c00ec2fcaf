//! Argument checks, done once before any work.

use super::{Epilogue, GemmOut, Lhs, OutputStage, PackedRhs};
use crate::error::{check_at_least, check_clamp, check_len, check_rows, check_zero_point};
use crate::row::Addend;
use crate::{KernelError, Result};

/// Checks every argument of [`super::QGemm::run`] for the kernel named `kernel`.
///
/// # Errors
/// As documented there.
pub fn check_run(
    kernel: &'static str,
    lhs: &Lhs,
    rhs: &PackedRhs,
    epilogue: &Epilogue,
    out: &GemmOut,
) -> Result<()> {
    if rhs.kernel() != kernel {
        return Err(KernelError::KernelMismatch { packed: rhs.kernel(), running: kernel });
    }
    check_lhs(lhs, rhs)?;
    check_epilogue(epilogue, rhs.n(), rhs.wide_channels().first().copied(), lhs.rows(), out)
}

fn check_lhs(lhs: &Lhs, rhs: &PackedRhs) -> Result<()> {
    match *lhs {
        Lhs::Dense { data, rows, row_stride } => check_rows("lhs", rows, rhs.k(), row_stride, data.len()),
        Lhs::Indirect { data, gather, rows, .. } => {
            check_len("lhs taps * run", rhs.k(), gather.k())?;
            check_at_least("gathered lhs rows", rows, gather.rows())?;
            check_at_least("lhs", gather.reach(rows), data.len())
        }
    }
}

/// Checks an epilogue and the output of `rows` rows of `n` channels that it writes; `wide` is a channel whose
/// accumulator needs 64 bits.
///
/// # Errors
/// Zero points, clamp ranges or counts that do not fit; an output type that the stage does not make; a wide
/// channel where 32-bit accumulators are asked for.
pub fn check_epilogue(
    epilogue: &Epilogue,
    n: usize,
    wide: Option<usize>,
    rows: usize,
    out: &GemmOut,
) -> Result<()> {
    check_zero_point("lhs", epilogue.lhs_zero_point, 0, 255)?;
    let per_channel = |what, len| if len == 1 { Ok(()) } else { check_len(what, n, len) };
    match (epilogue.stage, out) {
        (OutputStage::Requantize { multiplier, zero_point, clamp }, GemmOut::U8 { .. }) => {
            per_channel("multipliers", multiplier.len())?;
            check_zero_point("output", zero_point, 0, 255)?;
            check_clamp(clamp)?;
        }
        (OutputStage::Dequantize { scale, addend, .. }, GemmOut::F32 { .. }) => {
            per_channel("scales", scale.len())?;
            if let Addend::Columns(bias) = addend {
                check_len("addend", n, bias.len())?;
            }
        }
        (OutputStage::Accumulators, GemmOut::I32 { .. }) => {
            if let Some(channel) = wide {
                return Err(KernelError::WideChannel { channel });
            }
        }
        (stage, out) => {
            return Err(KernelError::OutputType { stage: stage.name(), out: out.type_name() });
        }
    }
    let (len, row_stride) = match out {
        GemmOut::U8 { data, row_stride } => (data.len(), *row_stride),
        GemmOut::F32 { data, row_stride } => (data.len(), *row_stride),
        GemmOut::I32 { data, row_stride } => (data.len(), *row_stride),
    };
    check_rows("output", rows, n, row_stride, len)
}
