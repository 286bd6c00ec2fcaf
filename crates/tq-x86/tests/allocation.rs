//! Warm kernels allocate nothing, on any number of threads.
#![allow(unsafe_code, reason = "a global allocator that counts")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use tq_kernels::buffer::warm_up;
use tq_kernels::{
    DepthwiseRhs, Epilogue, GatheredRows, GemmOut, Kernels, Lhs, MaxParams, Multipliers, OutputStage, PAD,
    RhsMatrix, Window2d,
};

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed to the system allocator unchanged; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is the same here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from `System` by `alloc` above, with this layout.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn work(kernels: &Kernels) -> impl Fn(&mut [u8]) + Send + Sync {
    let (rows, taps, run, n) = (300, 9, 30, 70);
    let image = vec![200u8; 50 * run];
    let offsets: Vec<usize> = (0..rows * taps).map(|i| if i % 7 == 0 { PAD } else { i % 50 * run }).collect();
    let gather = GatheredRows::new(&offsets, rows, taps, run).unwrap();
    let rhs = kernels.gemm().pack(&RhsMatrix::new(&vec![-3; n * taps * run], n, taps * run)).unwrap();
    let window = Window2d::new(1, (60, 60), 20, (3, 3), (1, 1), (1, 1), [1; 4]).unwrap();
    let volume = window.into();
    let depthwise =
        DepthwiseRhs { data: &[5; 9 * 20], channels: 20, kernel: [1, 3, 3], zero_point: &[0], bias: None };
    let depthwise = kernels.depthwise().pack(&depthwise).unwrap();
    let pixels = vec![9u8; 60 * 60 * 20];
    let kernels = kernels.clone();
    move |out| {
        let stage = OutputStage::Requantize {
            multiplier: Multipliers::Float(&[1e-3]),
            zero_point: 4,
            clamp: (0, 255),
        };
        let epilogue = Epilogue { lhs_zero_point: 1, stage };
        let lhs = Lhs::Indirect { data: &image, gather: &gather, rows, pad: 1 };
        let gemm_out = GemmOut::U8 { data: out, row_stride: n };
        kernels.gemm().run(lhs, &rhs, &epilogue, gemm_out).unwrap();
        let depthwise_out = GemmOut::U8 { data: out, row_stride: 20 };
        kernels.depthwise().run(&volume, &pixels, &depthwise, &epilogue, depthwise_out).unwrap();
        kernels.pool().max(&window, &MaxParams::default(), &pixels, &mut out[..pixels.len()]).unwrap();
    }
}

#[test]
fn warm_kernels_allocate_nothing() {
    let kernels = Kernels::new(tq_x86::library());
    let work = work(&kernels);
    let mut out = vec![0u8; 60 * 60 * 20];
    for threads in [1, 4] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            warm_up();
            // The pool's own queues grow while it starts.
            (0..50).for_each(|_| work(&mut out));
            let before = COUNT.load(Ordering::Relaxed);
            (0..50).for_each(|_| work(&mut out));
            assert_eq!(COUNT.load(Ordering::Relaxed) - before, 0, "{threads} threads");
        });
    }
}
