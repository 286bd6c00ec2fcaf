//! The families besides matrix products: depthwise convolutions, pools, binary operators, conversions, tables.

use crate::product::{codes, requantize};
use crate::{Case, Out, Spec, Weights, Work, reals};
use tq_kernels::{
    AffineU8, AverageParams, BinaryOp, BinaryParams, Broadcast, DepthwiseRhs, Epilogue, GemmOut, KernelError,
    Kernels, MaxParams, Window2d, Window3d, WindowAxis,
};
use tq_qtypes::affine;

/// Scale and zero point of codes that stand for about -1.5 to 1.5.
pub(crate) const SIDE: AffineU8 = AffineU8 { scale: 0.012, zero_point: 120 };

/// A window over an image of one size, with a border that keeps the size at stride 1.
#[derive(Debug, Clone, Copy)]
pub struct Windows {
    /// Height and width of the image.
    pub side: usize,
    /// Channels.
    pub channels: usize,
    /// Height and width of the window.
    pub kernel: usize,
    /// Step.
    pub stride: usize,
}

impl Windows {
    fn window(self) -> Result<Window2d, KernelError> {
        let Self { side, channels, kernel, stride } = self;
        let pads = [kernel / 2; 4];
        Window2d::new(1, (side, side), channels, (kernel, kernel), (stride, stride), (1, 1), pads)
    }

    fn shape(self) -> String {
        let Self { side, channels, kernel, stride } = self;
        format!("{kernel}x{kernel}s{stride}/{side}x{side}x{channels}")
    }

    fn outputs(self) -> usize {
        self.side.div_ceil(self.stride).pow(2) * self.channels
    }

    fn taps(self) -> u64 {
        (self.outputs() * self.kernel * self.kernel) as u64
    }

    /// The depthwise convolution.
    #[must_use]
    pub fn depthwise(self) -> Spec {
        Spec::new(format!("depthwise/{}", self.shape()), Work::Macs(self.taps()), move |kernels| {
            depthwise(kernels, self.window()?.into())
        })
    }

    /// The largest code of each window.
    #[must_use]
    pub fn max(self) -> Spec {
        Spec::new(format!("max-pool/{}", self.shape()), Work::Elements(self.taps()), move |kernels| {
            let window = self.window()?;
            let image = codes(5, window.input_len()?, 255);
            let out = Out::U8(vec![0; window.out_rows()? * self.channels]);
            let kernels = kernels.clone();
            Ok(Case::new(kernels.pool().name(), out, move |out| {
                let Out::U8(out) = out else { return Ok(()) };
                kernels.pool().max(&window, &MaxParams::default(), &image, out)
            }))
        })
    }

    /// The average of each window.
    #[must_use]
    pub fn average(self) -> Spec {
        Spec::new(format!("average-pool/{}", self.shape()), Work::Elements(self.taps()), move |kernels| {
            let window = self.window()?;
            let image = codes(5, window.input_len()?, 255);
            let out = Out::U8(vec![0; window.out_rows()? * self.channels]);
            let kernels = kernels.clone();
            let params = AverageParams { input: SIDE, out: SIDE, count_include_pad: false, clamp: (0, 255) };
            Ok(Case::new(kernels.pool().name(), out, move |out| {
                let Out::U8(out) = out else { return Ok(()) };
                kernels.pool().average(&window, &params, &image, out)
            }))
        })
    }
}

/// A depthwise convolution over one axis, with a border that keeps the length.
#[must_use]
pub fn depthwise_line(len: usize, channels: usize, kernel: usize) -> Spec {
    let name = format!("depthwise/{kernel}s1/{len}x{channels}");
    Spec::new(name, Work::Macs((len * channels * kernel) as u64), move |kernels| {
        let pads = [0, kernel / 2, 0, kernel / 2];
        depthwise(kernels, Window2d::new(1, (1, len), channels, (1, kernel), (1, 1), (1, 1), pads)?.into())
    })
}

/// A depthwise convolution of a volume of this depth, height and width with a 3 × 3 × 3 kernel and a border that keeps the size.
#[must_use]
pub fn depthwise_volume([depth, height, width]: [usize; 3], channels: usize) -> Spec {
    let name = format!("depthwise/3x3x3s1/{depth}x{height}x{width}x{channels}");
    Spec::new(name, Work::Macs((depth * height * width * 27 * channels) as u64), move |kernels| {
        let plane = Window2d::new(1, (height, width), channels, (3, 3), (1, 1), (1, 1), [1; 4])?;
        depthwise(kernels, Window3d { plane, depth: WindowAxis::new(depth, 3, 1, 1, (1, 1))? })
    })
}

fn depthwise(kernels: &Kernels, window: Window3d) -> Result<Case, KernelError> {
    let (channels, kernel, taps) = (window.plane.channels, window.kernel(), window.taps());
    let image = codes(5, window.input_len()?, 255);
    let weights = Weights::Normal.make(channels, taps);
    let rhs = DepthwiseRhs { data: &weights, channels, kernel, zero_point: &[0], bias: None };
    let packed = kernels.depthwise().pack(&rhs)?;
    let multiplier = vec![1.0 / (16.0 * taps as f32); channels];
    let out = Out::U8(vec![0; window.out_rows()? * channels]);
    let kernels = kernels.clone();
    Ok(Case::new(kernels.depthwise().name(), out, move |out| {
        let Out::U8(data) = out else { return Ok(()) };
        let epilogue = Epilogue { lhs_zero_point: 3, stage: requantize(&multiplier) };
        let out = GemmOut::U8 { data, row_stride: channels };
        kernels.depthwise().run(&window, &image, &packed, &epilogue, out)
    }))
}

/// The average of a whole image for each channel.
#[must_use]
pub fn global_average(side: usize, channels: usize) -> Spec {
    let len = side * side * channels;
    Spec::new(
        format!("average-pool/all/{side}x{side}x{channels}"),
        Work::Elements(len as u64),
        move |kernels| {
            let window = Window2d::new(1, (side, side), channels, (side, side), (1, 1), (1, 1), [0; 4])?;
            let image = codes(5, len, 255);
            let kernels = kernels.clone();
            let params = AverageParams { input: SIDE, out: SIDE, count_include_pad: false, clamp: (0, 255) };
            Ok(Case::new(kernels.pool().name(), Out::U8(vec![0; channels]), move |out| {
                let Out::U8(out) = out else { return Ok(()) };
                kernels.pool().average(&window, &params, &image, out)
            }))
        },
    )
}

/// A binary operator on `len` codes: with as many others, or with one a channel for `channels` of them.
#[must_use]
pub fn binary(op: BinaryOp, len: usize, channels: Option<usize>) -> Spec {
    let way = channels.map_or_else(|| "same".to_owned(), |c| format!("by-channel-{c}"));
    let name = format!("{}/{way}/{len}", format!("{op:?}").to_lowercase());
    Spec::new(name, Work::Elements(len as u64), move |kernels| {
        let broadcast = channels.map_or(Broadcast::Same, |channels| Broadcast::PerChannel { channels });
        let (lhs, rhs) = (codes(5, len, 255), codes(7, channels.unwrap_or(len), 255));
        let out = AffineU8 { scale: 0.02, zero_point: 130 };
        let params = BinaryParams { op, lhs: SIDE, rhs: SIDE, out, clamp: (0, 255) };
        let kernels = kernels.clone();
        Ok(Case::new(kernels.binary().name(), Out::U8(vec![0; len]), move |out| {
            let Out::U8(out) = out else { return Ok(()) };
            kernels.binary().run(&params, &lhs, &rhs, broadcast, out)
        }))
    })
}

/// Codes of `len` real values.
#[must_use]
pub fn quantize(len: usize) -> Spec {
    Spec::new(format!("quantize/{len}"), Work::Elements(len as u64), move |kernels| {
        let src = reals(9, len);
        let kernels = kernels.clone();
        Ok(Case::new(kernels.convert().name(), Out::U8(vec![0; len]), move |out| {
            let Out::U8(out) = out else { return Ok(()) };
            kernels.convert().quantize(&src, SIDE, (0, 255), out)
        }))
    })
}

/// Real values of `len` codes.
#[must_use]
pub fn dequantize(len: usize) -> Spec {
    Spec::new(format!("dequantize/{len}"), Work::Elements(len as u64), move |kernels| {
        let src = codes(9, len, 255);
        let kernels = kernels.clone();
        Ok(Case::new(kernels.convert().name(), Out::F32(vec![0.0; len]), move |out| {
            let Out::F32(out) = out else { return Ok(()) };
            kernels.convert().dequantize(&src, SIDE, out)
        }))
    })
}

/// A function of one code, for `len` of them.
#[must_use]
pub fn lookup(len: usize) -> Spec {
    of_table(format!("lookup/{len}"), len, std::array::from_fn(|i| (i as u8).wrapping_mul(7)))
}

/// Codes of other parameters for `len` codes, by the table that sessions make of the two.
#[must_use]
pub fn requantize_codes(len: usize) -> Spec {
    let to = AffineU8 { scale: 0.02, zero_point: 130 };
    let table = std::array::from_fn(|code| {
        let real = affine::dequantize_f64(code as i32, f64::from(SIDE.scale), SIDE.zero_point);
        affine::quantize_f64(real, f64::from(to.scale), to.zero_point, 0, 255) as u8
    });
    of_table(format!("requantize/{len}"), len, table)
}

fn of_table(name: String, len: usize, table: [u8; 256]) -> Spec {
    Spec::new(name, Work::Elements(len as u64), move |kernels| {
        let src = codes(9, len, 255);
        let kernels = kernels.clone();
        Ok(Case::new(kernels.lookup().name(), Out::U8(vec![0; len]), move |out| {
            let Out::U8(out) = out else { return Ok(()) };
            kernels.lookup().lookup(&table, &src, out)
        }))
    })
}
