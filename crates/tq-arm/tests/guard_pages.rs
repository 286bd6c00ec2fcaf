//! No kernel reads or writes a byte outside its buffers: every allocation of this program lies against an inaccessible page,
//! once with its end and once with its beginning, so that one byte further ends the program.
//!
//! The conformance suite runs that way for the drivers, and the loops below them with slices that are as short as their contracts
//! allow.
#![cfg(all(target_arch = "aarch64", target_os = "linux"))]

use tq_arm::{ArmLibrary, DotProd, I8mm, Neon};
use tq_kernel_tests::guarded::Guarded;
use tq_kernel_tests::{rows_stay_inside, stays_inside};
use tq_kernels::Isa;

#[global_allocator]
static ALLOCATOR: Guarded = Guarded;

#[test]
fn neon_stays_inside_its_buffers() {
    stays_inside(Isa::Neon, Neon::detect(), &[], |token| Box::new(ArmLibrary::<Neon>::new(token)));
}

#[test]
fn dotprod_stays_inside_its_buffers() {
    stays_inside(Isa::DotProd, DotProd::detect(), &[], |token| Box::new(ArmLibrary::<DotProd>::new(token)));
}

#[test]
fn i8mm_stays_inside_its_buffers() {
    stays_inside(Isa::I8mm, I8mm::detect(), &[], |token| Box::new(ArmLibrary::<I8mm>::new(token)));
}

#[test]
fn loops_over_rows_stay_inside_their_buffers() {
    rows_stay_inside(Isa::Neon, Neon::detect());
}
