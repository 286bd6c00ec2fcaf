//! What the sequences of instructions that the matrix products are made of reach when all operands lie in registers: the limit of
//! every kernel built on them.
#![allow(unsafe_code, reason = "instructions in a fixed order, which no compiler may shorten")]

use crate::{Avx2, Avx512Vnni, AvxVnni};
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
            // registers alone, all of which are named as overwritten, and the count of rounds.
            unsafe {
                asm!(
                    "2:", $($group,)+ "dec {n}", "jnz 2b",
                    n = inout(reg) rounds => _,
                    out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
                    out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
                    out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                    options(nomem, nostack),
                );
            }
        }
    };
}

/// Sums of 16 bits widened and added: by `$sum` a sum, by `$t` what is added, by `$ones` a register of ones.
macro_rules! widened_sum {
    ($sum:literal, $t:literal, $ones:literal) => {
        concat!(
            "vpmaddwd ymm",
            $t,
            ", ymm",
            $t,
            ", ymm",
            $ones,
            "\n",
            "vpaddd ymm",
            $sum,
            ", ymm",
            $sum,
            ", ymm",
            $t
        )
    };
}

/// 32 products added in pairs, widened, added: sum `$sum`, other register `$t`.
macro_rules! one_deep {
    ($sum:literal, $t:literal) => {
        concat!("vpmaddubsw ymm", $t, ", ymm14, ymm15\n", widened_sum!($sum, $t, "13"))
    };
}

/// Twice 32 products, added in 16 bits before they are widened.
macro_rules! two_deep {
    ($sum:literal, $t:literal, $u:literal) => {
        concat!(
            "vpmaddubsw ymm",
            $t,
            ", ymm14, ymm15\n",
            "vpmaddubsw ymm",
            $u,
            ", ymm13, ymm15\n",
            "vpaddw ymm",
            $t,
            ", ymm",
            $t,
            ", ymm",
            $u,
            "\n",
            widened_sum!($sum, $t, "12")
        )
    };
}

/// 32 products by magnitude: codes take the signs of their weights, and what follows is [`one_deep`].
macro_rules! plain {
    ($sum:literal, $t:literal) => {
        concat!(
            "vpxor ymm",
            $t,
            ", ymm14, ymm12\n",
            "vpmaddubsw ymm",
            $t,
            ", ymm15, ymm",
            $t,
            "\n",
            widened_sum!($sum, $t, "13")
        )
    };
}

/// 32 or 64 products in one instruction.
macro_rules! dot {
    ($prefix:literal, $register:literal, $sum:literal) => {
        concat!($prefix, "vpdpbusd ", $register, $sum, ", ", $register, "14, ", $register, "15")
    };
}

repeated!(
    run_one_deep,
    "avx2",
    one_deep!("0", "6"),
    one_deep!("1", "7"),
    one_deep!("2", "8"),
    one_deep!("3", "9"),
    one_deep!("4", "10"),
    one_deep!("5", "11")
);
repeated!(
    run_two_deep,
    "avx2",
    two_deep!("0", "4", "8"),
    two_deep!("1", "5", "9"),
    two_deep!("2", "6", "10"),
    two_deep!("3", "7", "11")
);
repeated!(
    run_plain,
    "avx2",
    plain!("0", "6"),
    plain!("1", "7"),
    plain!("2", "8"),
    plain!("3", "9"),
    plain!("4", "10"),
    plain!("5", "11")
);
repeated!(
    run_dot_256,
    "avx2,avxvnni",
    dot!("{{vex}} ", "ymm", "0"),
    dot!("{{vex}} ", "ymm", "1"),
    dot!("{{vex}} ", "ymm", "2"),
    dot!("{{vex}} ", "ymm", "3"),
    dot!("{{vex}} ", "ymm", "4"),
    dot!("{{vex}} ", "ymm", "5"),
    dot!("{{vex}} ", "ymm", "6"),
    dot!("{{vex}} ", "ymm", "7"),
    dot!("{{vex}} ", "ymm", "8"),
    dot!("{{vex}} ", "ymm", "9"),
    dot!("{{vex}} ", "ymm", "10"),
    dot!("{{vex}} ", "ymm", "11")
);
repeated!(
    run_dot_512,
    "avx512f,avx512vnni",
    dot!("", "zmm", "0"),
    dot!("", "zmm", "1"),
    dot!("", "zmm", "2"),
    dot!("", "zmm", "3"),
    dot!("", "zmm", "4"),
    dot!("", "zmm", "5"),
    dot!("", "zmm", "6"),
    dot!("", "zmm", "7"),
    dot!("", "zmm", "8"),
    dot!("", "zmm", "9"),
    dot!("", "zmm", "10"),
    dot!("", "zmm", "11")
);

/// The peak of every sequence of the levels that this processor has and `TQ_ISA` allows, on one thread, `bursts` bursts of about
/// `burst` each.
///
/// ```
/// for peak in tq_x86::peak::peaks(std::time::Duration::from_micros(200), 3) {
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
    if Avx512Vnni::detect().is_some() && allowed(Isa::Avx512Vnni) {
        // SAFETY: the processor has AVX-512F and AVX-512 VNNI: the token was made.
        add(Isa::Avx512Vnni, "vpdpbusd, 512 bits", 12.0 * 64.0, &|n| unsafe { run_dot_512(n) });
    }
    if AvxVnni::detect().is_some() && allowed(Isa::AvxVnni) {
        // SAFETY: the processor has AVX2 and AVX-VNNI: the token was made.
        add(Isa::AvxVnni, "vpdpbusd, 256 bits", 12.0 * 32.0, &|n| unsafe { run_dot_256(n) });
    }
    if Avx2::detect().is_some() && allowed(Isa::Avx2) {
        // SAFETY: the processor has AVX2: the token was made. So for the two below.
        add(Isa::Avx2, "two deep", 4.0 * 64.0, &|n| unsafe { run_two_deep(n) });
        // SAFETY: as above.
        add(Isa::Avx2, "one deep", 6.0 * 32.0, &|n| unsafe { run_one_deep(n) });
        // SAFETY: as above.
        add(Isa::Avx2, "plain", 6.0 * 32.0, &|n| unsafe { run_plain(n) });
    }
    peaks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_are_those_of_real_processors() {
        for peak in peaks(Duration::from_micros(300), 5) {
            let speeds = &peak.macs_per_second;
            assert!(speeds.is_sorted() && speeds.len() == 5, "{peak:?}");
            // Between a tenth of a multiply-add a nanosecond and four instructions of 64 at 8 GHz.
            assert!(speeds[0] > 1e8 && speeds[4] < 2.1e12, "{peak:?}");
        }
    }
}
