//! No kernel reads or writes a byte outside its buffers: every allocation of this program lies against an inaccessible page,
//! once with its end and once with its beginning, so that one byte further ends the program.
//!
//! The conformance suite runs that way for the drivers, whose operands are the user's memory. They copy some operands to
//! scratch, so the loops below them are called here as well, with slices that are as short as their contracts allow.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use tq_kernel_tests::guarded::Guarded;
use tq_kernel_tests::{outputs_stay_inside, rows_stay_inside, stays_inside};
use tq_kernels::Isa;
use tq_x86::{Avx2, Avx2Library, Avx512Vnni, AvxVnni, VnniLibrary};

#[global_allocator]
static ALLOCATOR: Guarded = Guarded;

#[test]
fn avx2_stays_inside_its_buffers() {
    stays_inside(Isa::Avx2, Avx2::detect(), &[2], |token| Box::new(Avx2Library::new(token)));
}

#[test]
fn avxvnni_stays_inside_its_buffers() {
    stays_inside(Isa::AvxVnni, AvxVnni::detect(), &[2], |token| Box::new(VnniLibrary::<AvxVnni>::new(token)));
}

#[test]
fn avx512vnni_stays_inside_its_buffers() {
    stays_inside(Isa::Avx512Vnni, Avx512Vnni::detect(), &[2], |token| {
        Box::new(VnniLibrary::<Avx512Vnni>::new(token))
    });
}

#[test]
fn loops_over_rows_stay_inside_their_buffers() {
    rows_stay_inside(Isa::Avx2, Avx2::detect());
}

#[test]
fn loops_that_make_outputs_stay_inside_their_buffers() {
    outputs_stay_inside(Isa::AvxVnni, AvxVnni::detect());
    outputs_stay_inside(Isa::Avx512Vnni, Avx512Vnni::detect());
}
