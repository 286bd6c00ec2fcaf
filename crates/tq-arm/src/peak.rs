//! What the sequences of instructions that the matrix products are made of reach when all operands lie in registers: the limit of
//! every kernel built on them.
#![allow(unsafe_code, reason = "instructions in a fixed order, which no compiler may shorten")]

use crate::{DotProd, I8mm, Neon};
use std::arch::asm;
use std::time::Duration;
use tq_kernels::Isa;
use tq_kernels::peak::Peak;

/// Defines a function that repeats groups of instructions: each group works on a sum of its own, so that none waits for another.
macro_rules! repeated {
    ($name:ident, $features:literal, $($group:expr),+) => {
        #[target_feature(enable = $features)]
        fn $name(rounds: u64) {
            // SAFETY: the instructions belong to the features that callers of this function have; they read and write vector
            // registers alone, all of which are named as overwritten, the count of rounds, and the flags.
            unsafe {
                asm!(
                    "2:", $($group,)+ "subs {n}, {n}, #1", "b.ne 2b",
                    n = inout(reg) rounds => _,
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _,
                    out("v7") _, out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _,
                    out("v14") _, out("v15") _, out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _,
                    out("v21") _, out("v22") _, out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _,
                    out("v28") _, out("v29") _, out("v30") _, out("v31") _,
                    options(nomem, nostack),
                );
            }
        }
    };
}

/// 16 products, added in pairs of 16 bits before they are widened.
macro_rules! pairs {
    ($sum:literal, $t:literal) => {
        concat!(
            "smull v",
            $t,
            ".8h, v30.8b, v31.8b\n",
            "smlal2 v",
            $t,
            ".8h, v30.16b, v31.16b\n",
            "sadalp v",
            $sum,
            ".4s, v",
            $t,
            ".8h"
        )
    };
}

/// 16 products, each widened by itself.
macro_rules! widened {
    ($sum:literal, $t:literal, $u:literal) => {
        concat!(
            "smull v",
            $t,
            ".8h, v30.8b, v31.8b\n",
            "smull2 v",
            $u,
            ".8h, v30.16b, v31.16b\n",
            "sadalp v",
            $sum,
            ".4s, v",
            $t,
            ".8h\n",
            "sadalp v",
            $sum,
            ".4s, v",
            $u,
            ".8h"
        )
    };
}

/// Four products for each of four sums in one instruction.
macro_rules! dot {
    ($sum:literal) => {
        concat!("sdot v", $sum, ".4s, v30.16b, v31.4b[0]")
    };
}

/// Eight products for each of four sums in one instruction.
macro_rules! matrix {
    ($sum:literal) => {
        concat!("usmmla v", $sum, ".4s, v30.16b, v31.16b")
    };
}

repeated!(
    run_pairs,
    "neon",
    pairs!("0", "12"),
    pairs!("1", "13"),
    pairs!("2", "14"),
    pairs!("3", "15"),
    pairs!("4", "16"),
    pairs!("5", "17"),
    pairs!("6", "18"),
    pairs!("7", "19"),
    pairs!("8", "20"),
    pairs!("9", "21"),
    pairs!("10", "22"),
    pairs!("11", "23")
);
repeated!(
    run_widened,
    "neon",
    widened!("0", "8", "16"),
    widened!("1", "9", "17"),
    widened!("2", "10", "18"),
    widened!("3", "11", "19"),
    widened!("4", "12", "20"),
    widened!("5", "13", "21"),
    widened!("6", "14", "22"),
    widened!("7", "15", "23")
);
repeated!(
    run_dot,
    "neon,dotprod",
    dot!("0"),
    dot!("1"),
    dot!("2"),
    dot!("3"),
    dot!("4"),
    dot!("5"),
    dot!("6"),
    dot!("7"),
    dot!("8"),
    dot!("9"),
    dot!("10"),
    dot!("11"),
    dot!("12"),
    dot!("13"),
    dot!("14"),
    dot!("15")
);
repeated!(
    run_matrix,
    "neon,i8mm",
    matrix!("0"),
    matrix!("1"),
    matrix!("2"),
    matrix!("3"),
    matrix!("4"),
    matrix!("5"),
    matrix!("6"),
    matrix!("7"),
    matrix!("8"),
    matrix!("9"),
    matrix!("10"),
    matrix!("11"),
    matrix!("12"),
    matrix!("13"),
    matrix!("14"),
    matrix!("15")
);

/// The peak of every sequence of the levels that this processor has and `TQ_ISA` allows, on one thread, `bursts` bursts of about
/// `burst` each.
///
/// ```
/// # #[cfg(target_arch = "aarch64")]
/// for peak in tq_arm::peak::peaks(std::time::Duration::from_micros(200), 3) {
///     println!("{}: {:.0} GMAC/s", peak.sequence, peak.macs_per_second.last().unwrap_or(&0.0) / 1e9);
/// }
/// ```
#[must_use]
pub fn peaks(burst: Duration, bursts: usize) -> Vec<Peak> {
    let mut peaks = Vec::new();
    let mut add = |isa, sequence, macs, run: &dyn Fn(u64)| {
        peaks.push(Peak::measure(isa, sequence, macs, (burst, bursts), run));
    };
    let allowed = Isa::allowed_by_env;
    if I8mm::detect().is_some() && allowed(Isa::I8mm) {
        // SAFETY: the processor has NEON and the matrix products: the token was made.
        add(Isa::I8mm, "usmmla", 16.0 * 32.0, &|n| unsafe { run_matrix(n) });
    }
    if DotProd::detect().is_some() && allowed(Isa::DotProd) {
        // SAFETY: the processor has NEON and the dot products: the token was made.
        add(Isa::DotProd, "sdot", 16.0 * 16.0, &|n| unsafe { run_dot(n) });
    }
    if Neon::detect().is_some() && allowed(Isa::Neon) {
        // SAFETY: the processor has NEON: the token was made.
        add(Isa::Neon, "smull, smlal2, sadalp", 12.0 * 16.0, &|n| unsafe { run_pairs(n) });
        // SAFETY: as above.
        add(Isa::Neon, "smull, smull2, sadalp", 8.0 * 16.0, &|n| unsafe { run_widened(n) });
    }
    peaks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Under an emulator figures say nothing; that every sequence runs, and belongs to a level that is there, can be seen.
    #[test]
    fn every_level_has_its_peaks() {
        let peaks = peaks(Duration::from_micros(300), 5);
        for peak in &peaks {
            let speeds = &peak.macs_per_second;
            assert!(speeds.is_sorted() && speeds.len() == 5 && speeds[0] > 0.0, "{peak:?}");
            // Four instructions of 32 at 8 GHz.
            assert!(speeds[4] < 1.1e12, "{peak:?}");
        }
        let levels = [
            (Isa::I8mm, I8mm::detect().is_some(), 1),
            (Isa::DotProd, DotProd::detect().is_some(), 1),
            (Isa::Neon, Neon::detect().is_some(), 2),
        ];
        for (isa, there, count) in levels {
            let expected = if there && isa.allowed_by_env() { count } else { 0 };
            assert_eq!(peaks.iter().filter(|peak| peak.isa == isa).count(), expected, "{isa}");
        }
    }
}
