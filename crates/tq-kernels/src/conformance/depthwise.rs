//! Depthwise convolutions.

use super::data::Pattern;
use super::reference::{self, Channel};
use super::{Check, Failure};
use crate::{
    Addend, DepthwiseRhs, Epilogue, GemmOut, KernelError, Multipliers, OutputStage, QDepthwise, Window2d,
    Window3d, WindowAxis,
};

type Geometry = ((usize, usize), (usize, usize), (usize, usize), (usize, usize), [usize; 4]);

/// Input, kernel, stride, dilation, pads.
const GEOMETRIES: [Geometry; 8] = [
    ((6, 7), (3, 3), (1, 1), (1, 1), [1, 1, 1, 1]),
    ((9, 8), (3, 3), (2, 2), (1, 1), [0, 1, 1, 0]),
    ((7, 7), (5, 5), (1, 2), (1, 1), [2, 2, 2, 2]),
    ((1, 20), (1, 4), (1, 3), (1, 2), [0, 3, 0, 2]),
    ((9, 9), (7, 7), (1, 1), (1, 1), [3, 3, 3, 3]),
    ((8, 5), (2, 3), (1, 1), (3, 1), [0, 0, 0, 0]),
    ((4, 4), (1, 1), (1, 1), (1, 1), [0, 0, 0, 0]),
    // Windows that lie in the padding altogether.
    ((2, 2), (2, 2), (1, 1), (1, 1), [3, 3, 3, 3]),
];

/// The same along a third axis.
type Depth = (usize, usize, usize, usize, (usize, usize));

const IMAGE: Depth = (1, 1, 1, 1, (0, 0));

const VOLUMES: [(Depth, Geometry); 8] = [
    ((5, 3, 1, 1, (1, 1)), ((6, 7), (3, 3), (1, 1), (1, 1), [1, 1, 1, 1])),
    ((7, 3, 2, 1, (0, 1)), ((5, 8), (3, 2), (2, 1), (1, 2), [0, 1, 1, 0])),
    ((8, 3, 1, 2, (3, 0)), ((4, 9), (2, 3), (1, 2), (1, 1), [0, 0, 0, 0])),
    ((6, 4, 3, 1, (2, 2)), ((3, 9), (1, 1), (1, 1), (1, 1), [0, 0, 0, 0])),
    // As many taps as are done from codes to codes, and more.
    ((5, 4, 1, 1, (1, 2)), ((5, 6), (4, 4), (1, 1), (1, 1), [1, 2, 1, 2])),
    ((4, 3, 1, 1, (1, 1)), ((5, 5), (5, 5), (1, 1), (1, 1), [2, 2, 2, 2])),
    // Windows that lie in the padding altogether, and one that fits nowhere.
    ((2, 2, 1, 1, (3, 3)), ((3, 4), (2, 2), (1, 1), (1, 1), [0, 1, 1, 0])),
    ((2, 3, 1, 1, (0, 0)), ((3, 4), (2, 2), (1, 1), (1, 1), [0, 0, 0, 0])),
];

pub(super) fn check(depthwise: &dyn QDepthwise, check: &mut Check) -> Result<(), Failure> {
    let mut all = |depth, geometry, channels, batch, wide| {
        let window = window(depth, geometry, channels, batch)
            .map_err(|error| check.failure(&"setting up", error.to_string()))?;
        case(depthwise, check, &window, wide)
    };
    for geometry in GEOMETRIES {
        for channels in [1, 3, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 100, 130] {
            all(IMAGE, geometry, channels, 1 + channels % 2, false)?;
        }
        all(IMAGE, geometry, 20, 1, true)?;
    }
    for (depth, geometry) in VOLUMES {
        for channels in [1, 9, 15, 16, 17, 31, 32, 33, 48, 65, 100] {
            all(depth, geometry, channels, 1 + channels % 2, false)?;
        }
        all(depth, geometry, 20, 2, true)?;
    }
    // Large enough to be split between threads.
    all(IMAGE, ((40, 40), (3, 3), (1, 1), (1, 1), [1, 1, 1, 1]), 65, 1, false)?;
    all((3, 3, 1, 1, (1, 1)), ((12, 12), (3, 3), (1, 1), (1, 1), [1, 1, 1, 1]), 65, 1, false)?;
    bad_arguments(depthwise, check)
}

fn window(depth: Depth, geometry: Geometry, channels: usize, batch: usize) -> crate::Result<Window3d> {
    let (size, kernel, stride, dilation, pads) = geometry;
    let plane = Window2d::new(batch, size, channels, kernel, stride, dilation, pads)?;
    let (input, kernel, stride, dilation, pads) = depth;
    Ok(Window3d { plane, depth: WindowAxis::new(input, kernel, stride, dilation, pads)? })
}

fn case(depthwise: &dyn QDepthwise, check: &mut Check, window: &Window3d, wide: bool) -> Result<(), Failure> {
    let failed = |check: &Check, error: KernelError| check.failure(&"setting up", error.to_string());
    let (channels, kernel) = (window.plane.channels, window.kernel());
    let len = window.input_len().map_err(|error| failed(check, error))?;
    let data = &mut check.data;
    let (lhs_pattern, rhs_pattern) = (data.pick(&Pattern::ALL), data.pick(&Pattern::ALL));
    let input = data.lhs(lhs_pattern, len);
    let weights = data.rhs(rhs_pattern, channels * window.taps());
    let zero_point = data.rhs_zero_points(channels);
    let mut bias = data.bias(channels);
    if wide {
        bias = Some((0..channels).map(|c| if c == 7 { i32::MIN } else { 5 }).collect());
    }
    let lhs_zero_point = data.pick(&[0, 3, 128, 255]);
    let rhs =
        DepthwiseRhs { data: &weights, channels, kernel, zero_point: &zero_point, bias: bias.as_deref() };
    let packed = depthwise.pack(&rhs).map_err(|error| failed(check, error))?;
    let channel = Channel { zero_points: &zero_point, bias: bias.as_deref() };
    let acc = reference::depthwise(window, &input, &weights, lhs_zero_point, channel);
    let name = format!("{window:?} {lhs_pattern:?} x {rhs_pattern:?}");
    let rows = acc.len() / channels;
    let row_stride = channels + check.data.below(3);
    let len = if rows == 0 { 0 } else { (rows - 1) * row_stride + channels };

    let multiplier = check.data.multipliers(channels, 20_000.0);
    let (zero_point, clamp) = (check.data.int(0, 255), check.data.clamp());
    let stage = OutputStage::Requantize { multiplier: Multipliers::Float(&multiplier), zero_point, clamp };
    let epilogue = Epilogue { lhs_zero_point, stage };
    let fill = vec![0xA5u8; len];
    let codes = reference::codes(&acc, channels, &epilogue);
    let expected = reference::spread(&codes, channels, row_stride, &fill);
    check.compare(&format_args!("{name}, requantize"), &fill, &expected, |out| {
        depthwise.run(window, &input, &packed, &epilogue, GemmOut::U8 { data: out, row_stride })
    })?;

    let multiplier = check.data.fixed_multipliers(channels, 20_000.0);
    let (zero_point, clamp) = (check.data.int(0, 255), check.data.clamp());
    let stage =
        OutputStage::Requantize { multiplier: Multipliers::FixedPoint(&multiplier), zero_point, clamp };
    let epilogue = Epilogue { lhs_zero_point, stage };
    let codes = reference::codes(&acc, channels, &epilogue);
    let expected = reference::spread(&codes, channels, row_stride, &fill);
    check.compare(&format_args!("{name}, requantize in fixed point"), &fill, &expected, |out| {
        depthwise.run(window, &input, &packed, &epilogue, GemmOut::U8 { data: out, row_stride })
    })?;

    let scale = check.data.multipliers(channels, 20_000.0);
    let (lhs_scale, bias) = check.data.reals(channels);
    let fill = reference::held(len);
    for (lhs_scale, addend) in
        [(1.0, Addend::None), (lhs_scale, Addend::Columns(&bias)), (lhs_scale, Addend::Output)]
    {
        let stage = OutputStage::Dequantize { scale: &scale, lhs_scale, addend };
        let epilogue = Epilogue { lhs_zero_point, stage };
        let reals = reference::reals(&acc, channels, &epilogue, &fill, row_stride);
        let expected = reference::spread(&reals, channels, row_stride, &fill);
        check.compare(&format_args!("{name}, dequantize, {addend:?}"), &fill, &expected, |out| {
            depthwise.run(window, &input, &packed, &epilogue, GemmOut::F32 { data: out, row_stride })
        })?;
    }

    let epilogue = Epilogue { lhs_zero_point, stage: OutputStage::Accumulators };
    let fill = vec![0x5A5A_5A5Ai32; len];
    let case = format!("{name}, accumulators");
    if wide {
        let mut out = fill;
        let out = GemmOut::I32 { data: &mut out, row_stride };
        let result = depthwise.run(window, &input, &packed, &epilogue, out);
        return check.expect_error(&case, result, |e| matches!(e, KernelError::WideChannel { channel: 7 }));
    }
    let narrow: Vec<i32> = acc.iter().map(|&acc| acc as i32).collect();
    let expected = reference::spread(&narrow, channels, row_stride, &fill);
    check.compare(&case, &fill, &expected, |out| {
        depthwise.run(window, &input, &packed, &epilogue, GemmOut::I32 { data: out, row_stride })
    })
}

fn bad_arguments(depthwise: &dyn QDepthwise, check: &mut Check) -> Result<(), Failure> {
    let failed = |check: &Check, error: KernelError| check.failure(&"setting up", error.to_string());
    let plane =
        Window2d::new(1, (4, 4), 2, (3, 3), (1, 1), (1, 1), [0; 4]).map_err(|error| failed(check, error))?;
    let window = Window3d::from(plane);
    let rhs = DepthwiseRhs { data: &[1; 18], channels: 2, kernel: [1, 3, 3], zero_point: &[0], bias: None };
    let packed = depthwise.pack(&rhs).map_err(|error| failed(check, error))?;
    let epilogue = Epilogue { lhs_zero_point: 0, stage: OutputStage::Accumulators };
    let input = [1u8; 32];
    let other = Window2d { channels: 1, ..plane }.into();
    let hostile = Window2d { out_h: usize::MAX, out_w: 2, ..plane }.into();
    let deep = |depth| Window3d { plane, depth };
    let unit = WindowAxis::UNIT;
    for (case, window, input, len) in [
        ("short input", window, &input[1..], 8),
        ("short output", window, &input[..], 7),
        ("other channels", other, &input[..16], 8),
        ("other kernel", Window2d { kernel: (9, 1), ..plane }.into(), &input[..], 8),
        ("another depth", deep(WindowAxis { input: 2, output: 2, ..unit }), &input[..], 16),
        ("another depth of the kernel", deep(WindowAxis { kernel: 2, ..unit }), &input[..], 8),
        ("no stride along the depth", deep(WindowAxis { stride: 0, ..unit }), &input[..], 8),
        ("huge depth", deep(WindowAxis { output: usize::MAX, ..unit }), &input[..], 8),
        ("huge output", hostile, &input[..], 8),
    ] {
        let mut out = vec![0i32; len];
        let out = GemmOut::I32 { data: &mut out, row_stride: 2 };
        let result = depthwise.run(&window, input, &packed, &epilogue, out);
        check.expect_error(&case, result, |_| true)?;
    }
    let short = depthwise.pack(&DepthwiseRhs { data: &[1; 17], ..rhs }).map(|_| ());
    check.expect_error(&"short weights", short, |_| true)
}
