//! Calls every kernel once, for `cargo xtask bench-counts`, which has an emulator count the instructions.
//!
//! What is counted are calls of [`counted`], which comes once for every case; building cases, packing and holding results to the
//! scalar kernels lie outside. The names of the cases go to stdout, one a line, in the order of the calls. One thread.
#![forbid(unsafe_code)]

use benches::gathered::Transposed;
use benches::models::{Error, Net, digits, dynamic_linear, dynamic_lstm};
use benches::operators::{self, Operator};
use benches::product::{Conv, packing};
use benches::rows::{
    Windows, binary, depthwise_line, depthwise_volume, dequantize, global_average, lookup, quantize,
    requantize_codes,
};
use benches::{GroupWise, Mode, ONE_DEEP, PLAIN, Product, Spec, Stage, TWO_DEEP, Weights};
use std::hint::black_box;
use torsh_quantization::prelude::*;
use tq_kernels::BinaryOp;
use tq_kernels::Kernels;

/// The instructions between entry and return are a case's figure.
#[inline(never)]
fn counted(call: &mut dyn FnMut() -> Result<(), Error>) -> Result<(), Error> {
    black_box(call())
}

fn products() -> Vec<Spec> {
    let mut specs = Vec::new();
    // Every tile of 1 to 8 rows, every sequence of instructions.
    for rows in 1..=8 {
        for (depth, weight) in [("two-deep", TWO_DEEP), ("one-deep", ONE_DEEP), ("plain", PLAIN)] {
            let product = Product {
                shape: (rows, 512, 64),
                weights: Weights::Same(weight),
                largest: 255,
                stage: Stage::Codes,
            };
            specs.push(product.spec(format!("gemm/rows-{rows}/{depth}")));
        }
    }
    for (stage, name) in [
        (Stage::Codes, "requantize"),
        (Stage::CodesByChannel, "requantize-by-channel"),
        (Stage::Reals, "dequantize"),
        (Stage::Sums, "sums"),
    ] {
        let product = Product { shape: (48, 64, 64), weights: Weights::Normal, largest: 127, stage };
        specs.push(product.spec(format!("gemm/stage/{name}")));
    }
    for mode in Mode::ALL {
        for shape in [(48, 64, 64), (96, 576, 64), (16, 768, 256), (1, 1024, 512)] {
            let (m, k, n) = shape;
            specs.push(Product::of_mode(shape, mode).spec(format!("gemm/{m}x{k}x{n}/{}", mode.name())));
        }
    }
    for (shape, group_size) in [((48, 256, 64), 32), ((1, 1024, 512), 32), ((1, 1024, 512), 128)] {
        specs.push(GroupWise { shape, group_size }.spec());
    }
    specs.extend([false, true].map(|once| packing(64, 576, once)));
    for (kernel, largest) in [(1, 127), (3, 127), (3, 255)] {
        let conv = Conv { side: 14, channels: (32, 32), kernel, stride: 1, largest };
        specs.push(conv.spec(format!("conv/{kernel}x{kernel}/14x14x32/{largest}")));
    }
    // First layers: three channels.
    let first = |kernel, stride| Conv { side: 24, channels: (3, 32), kernel, stride, largest: 255 };
    specs.push(first(3, 1).spec("conv/3x3/24x24x3/255"));
    specs.push(first(7, 2).spec("conv/7x7s2/24x24x3/255"));
    specs.extend([2, 4].map(|kernel| transposed(kernel).spec()));
    specs
}

fn transposed(kernel: usize) -> Transposed {
    Transposed { side: 7, channels: (32, 32), kernel, stride: 2 }
}

fn others() -> Vec<Spec> {
    let window = |kernel, stride, channels| Windows { side: 14, channels, kernel, stride };
    vec![
        window(3, 1, 96).depthwise(),
        window(3, 2, 96).depthwise(),
        window(5, 1, 96).depthwise(),
        window(3, 1, 20).depthwise(),
        depthwise_line(100, 96, 9),
        depthwise_volume([3, 7, 7], 8),
        window(3, 2, 64).max(),
        window(3, 1, 64).average(),
        global_average(7, 256),
        binary(BinaryOp::Add, 20_000, None),
        binary(BinaryOp::Mul, 20_000, None),
        binary(BinaryOp::Mul, 20_000, Some(100)),
        quantize(20_000),
        dequantize(20_000),
        lookup(20_000),
        requantize_codes(20_000),
    ]
}

fn sessions() -> Result<Vec<Net>, Error> {
    Ok(vec![digits()?, dynamic_linear(4, 256, 256)?, dynamic_lstm(4, 1, 64, 64)?])
}

fn operators() -> Result<Vec<Operator>, Error> {
    Ok(vec![
        operators::concat(196, (32, 32), false)?,
        operators::concat(196, (32, 32), true)?,
        operators::dynamic_quantize(2000)?,
        operators::transposed(transposed(4))?,
    ])
}

fn count_session(name: &str, graph: &Graph, inputs: &[Tensor]) -> Result<(), Error> {
    let session = Session::new(graph, SessionOptions::default())?;
    let mut outputs = session.run(inputs)?;
    counted(&mut || Ok(session.run_into(inputs, &mut outputs)?))?;
    println!("session/{name}");
    Ok(())
}

fn count(kernels: &Kernels) -> Result<(), Error> {
    for spec in products().into_iter().chain(others()) {
        let mut case = spec.checked(kernels)?;
        counted(&mut || Ok(case.run()?))?;
        println!("{}", spec.name);
    }
    for net in sessions()? {
        count_session(&net.name, &net.quantized(Mode::B)?, &net.inputs)?;
    }
    for operator in operators()? {
        count_session(&operator.name, &operator.graph, &operator.inputs)?;
    }
    Ok(())
}

fn main() -> Result<(), Error> {
    #[cfg(target_arch = "x86_64")]
    let kernels = Kernels::new(tq_x86::library());
    #[cfg(not(target_arch = "x86_64"))]
    let kernels = Kernels::scalar();
    eprintln!("{}", kernels.gemm().name());
    // The one thread of the pool is the one that all runs on: an emulator counts each thread by itself.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    pool.install(|| count(&kernels))
}
