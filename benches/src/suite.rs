//! What `cargo xtask bench-x86` times: every kernel family at the shapes of the tables, sessions of one operator, and whole networks.

use crate::gathered::Transposed;
use crate::models::{Error, Net, digits, dynamic_linear, dynamic_lstm, mobilenet_v2, resnet};
use crate::operators::{self, Operator};
use crate::product::{Conv, Shape};
use crate::rows::{
    Windows, binary, depthwise_line, depthwise_volume, dequantize, global_average, lookup, quantize,
    requantize_codes,
};
use crate::{GroupWise, Mode, Product, Spec};
use tq_kernels::{BinaryOp, Kernels};

/// Rows, inner dimension and columns of the products of the tables: square ones, convolutions of ResNet, linear layers, single rows.
pub const PRODUCTS: [Shape; 15] = [
    (256, 256, 256),
    (512, 512, 512),
    (1024, 1024, 1024),
    (2048, 2048, 2048),
    (3136, 576, 64),
    (784, 1152, 128),
    (196, 2304, 256),
    (49, 4608, 512),
    (3136, 64, 64),
    (16, 768, 768),
    (16, 768, 3072),
    (128, 768, 3072),
    (128, 3072, 768),
    (1, 768, 3072),
    (1, 4096, 4096),
];

/// The transposed convolutions: of a U-Net, and of a decoder whose windows overlap.
const TRANSPOSED: [Transposed; 2] = [
    Transposed { side: 28, channels: (128, 64), kernel: 2, stride: 2 },
    Transposed { side: 28, channels: (128, 64), kernel: 4, stride: 2 },
];

/// Prefix of the cases whose weights come from memory; `cargo xtask bench-x86` holds them to its bandwidth.
const FROM_MEMORY: &str = "gemv-from-memory/";

/// The libraries that this processor runs and `TQ_ISA` allows, the one that sessions use first, the scalar one left out.
#[must_use]
pub fn libraries() -> Vec<Kernels> {
    #[cfg(target_arch = "x86_64")]
    let all = tq_x86::libraries();
    #[cfg(target_arch = "aarch64")]
    let all = tq_arm::libraries();
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let all = std::iter::empty();
    all.map(|library| Kernels::new(Some(library))).collect()
}

/// [`PRODUCTS`], with `quick` the small ones alone.
pub fn products(quick: bool) -> impl Iterator<Item = Shape> {
    PRODUCTS.into_iter().filter(move |(m, k, n)| !quick || m * k * n <= 1 << 26)
}

/// Every kernel family. With `quick` the small shapes alone.
#[must_use]
pub fn kernels(quick: bool) -> Vec<Spec> {
    let mut specs = Vec::new();
    for shape in products(quick) {
        let (m, k, n) = shape;
        for mode in Mode::ALL {
            specs.push(Product::of_mode(shape, mode).spec(format!("gemm/{m}x{k}x{n}/{}", mode.name())));
        }
    }
    if !quick {
        for mode in Mode::ALL {
            // 128 MiB are more than a desktop's last cache, and than one machine's share of a server's.
            let product = Product::of_mode((1, 4096, 4096), mode);
            specs.push(product.from_memory(format!("{FROM_MEMORY}1x4096x4096/{}", mode.name()), 8));
        }
    }
    for shape in [(1, 768, 3072), (16, 768, 3072), (128, 3072, 768), (1, 4096, 4096)] {
        specs.push(GroupWise { shape, group_size: 32 }.spec());
    }
    for (side, channels, kernel) in
        [(56, 64, 3), (28, 128, 3), (14, 256, 3), (7, 512, 3), (56, 64, 1), (32, 16, 3)]
    {
        for largest in [127, 255] {
            let conv = Conv { side, channels: (channels, channels), kernel, stride: 1, largest };
            let name = format!("conv/{kernel}x{kernel}/{side}x{side}x{channels}/codes-to-{largest}");
            specs.push(conv.spec(name));
        }
    }
    // First layers: three channels.
    let first = Conv { side: 112, channels: (3, 32), kernel: 3, stride: 1, largest: 255 };
    specs.push(first.spec("conv/3x3/112x112x3/codes-to-255"));
    let first = Conv { side: 224, channels: (3, 64), kernel: 7, stride: 2, largest: 255 };
    specs.push(first.spec("conv/7x7s2/224x224x3/codes-to-255"));
    specs.extend(TRANSPOSED.map(Transposed::spec));
    let window = |kernel, stride, side, channels| Windows { side, channels, kernel, stride };
    specs.extend([
        window(3, 1, 56, 144).depthwise(),
        window(3, 2, 56, 144).depthwise(),
        window(3, 1, 14, 576).depthwise(),
        window(5, 1, 28, 240).depthwise(),
        depthwise_line(500, 256, 9),
        depthwise_line(500, 256, 31),
        depthwise_volume([8, 28, 28], 32),
        window(3, 2, 112, 64).max(),
        window(3, 1, 28, 64).average(),
        global_average(7, 1280),
        binary(BinaryOp::Add, 100_000, None),
        binary(BinaryOp::Mul, 100_000, None),
        binary(BinaryOp::Mul, 100_000, Some(100)),
        quantize(100_000),
        dequantize(100_000),
        lookup(100_000),
        requantize_codes(100_000),
    ]);
    specs
}

/// Sessions of one operator. With `quick` the small ones alone.
///
/// # Errors
/// Where one cannot be built: none of these.
pub fn operators(quick: bool) -> Result<Vec<Operator>, Error> {
    let mut all = vec![operators::dynamic_quantize(768)?, operators::dynamic_quantize(100_000)?];
    if quick {
        return Ok(all);
    }
    all.extend([
        operators::concat(3136, (64, 64), false)?,
        operators::concat(3136, (64, 64), true)?,
        operators::first_layer(224)?,
    ]);
    for conv in TRANSPOSED {
        all.push(operators::transposed(conv)?);
    }
    Ok(all)
}

/// Whole networks. With `quick` the small ones alone.
///
/// # Errors
/// Where one cannot be built: none of these.
pub fn networks(quick: bool) -> Result<Vec<Net>, Error> {
    let mut nets = vec![digits()?];
    for batch in [1, 16, 128] {
        nets.push(dynamic_linear(batch, 768, 3072)?);
    }
    for batch in [1, 8] {
        nets.push(dynamic_lstm(64, batch, 256, 512)?);
    }
    if !quick {
        nets.extend([mobilenet_v2()?, resnet(false)?, resnet(true)?]);
    }
    Ok(nets)
}
