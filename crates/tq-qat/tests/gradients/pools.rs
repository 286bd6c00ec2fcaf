use crate::case::{Case, list, values};
use tq_graph::op::{AspectPolicy, Coordinates, NearestRounding, Padding, PoolAttrs, ResizeAttrs, ResizeMode};
use tq_graph::{Op, Tensor};

fn attrs(
    kernel: &[usize],
    strides: &[usize],
    dilations: &[usize],
    padding: Padding,
    ceil_mode: bool,
) -> PoolAttrs {
    PoolAttrs {
        kernel: kernel.to_vec(),
        strides: strides.to_vec(),
        dilations: dilations.to_vec(),
        padding,
        ceil_mode,
    }
}

/// All pools with a window.
fn pools(name: &str, dims: &[usize], attrs: &PoolAttrs) -> Vec<Case> {
    let case = |op| Case::new(name, op, vec![values(3, dims)]);
    vec![
        case(Op::MaxPool { attrs: attrs.clone(), column_major: false }),
        case(Op::MaxPool { attrs: attrs.clone(), column_major: true }).outputs(2),
        case(Op::AveragePool { attrs: attrs.clone(), count_include_pad: false }),
        case(Op::AveragePool { attrs: attrs.clone(), count_include_pad: true }),
        case(Op::LpPool { attrs: attrs.clone(), p: 1 }),
        case(Op::LpPool { attrs: attrs.clone(), p: 2 }),
        case(Op::LpPool { attrs: attrs.clone(), p: 3 }),
    ]
}

fn resize(name: &str, mode: ResizeMode, coordinates: Coordinates, dims: &[usize], to: &[i64]) -> ResizeCase {
    let attrs = ResizeAttrs {
        mode,
        coordinates,
        antialias: false,
        exclude_outside: false,
        axes: None,
        policy: AspectPolicy::Stretch,
    };
    ResizeCase { name: name.into(), attrs, dims: dims.to_vec(), to: to.to_vec(), roi: None }
}

struct ResizeCase {
    name: String,
    attrs: ResizeAttrs,
    dims: Vec<usize>,
    to: Vec<i64>,
    roi: Option<Vec<f32>>,
}

impl ResizeCase {
    fn case(self) -> Case {
        let roi = self.roi.map(Tensor::vector);
        let inputs = vec![Some(values(1, &self.dims)), roi, None, Some(list(&self.to))];
        Case::some(&self.name, Op::Resize(self.attrs), inputs).fixed(&[1])
    }
}

fn resizes() -> Vec<Case> {
    let modes = [
        ("nearest", ResizeMode::Nearest(NearestRounding::PreferFloor)),
        ("nearest up", ResizeMode::Nearest(NearestRounding::Ceil)),
        ("linear", ResizeMode::Linear),
        ("cubic", ResizeMode::Cubic { a: -0.75 }),
    ];
    let places = [
        Coordinates::HalfPixel,
        Coordinates::HalfPixelSymmetric,
        Coordinates::PytorchHalfPixel,
        Coordinates::AlignCorners,
        Coordinates::Asymmetric,
    ];
    let mut cases = Vec::new();
    for (name, mode) in modes {
        for at in places {
            let name = format!("{name} {}", at.name());
            cases.push(resize(&name, mode, at, &[1, 2, 3, 4], &[1, 2, 7, 5]).case());
            cases.push(resize(&name, mode, at, &[1, 2, 5, 6], &[1, 2, 3, 1]).case());
        }
    }
    for mode in [ResizeMode::Linear, ResizeMode::Cubic { a: -0.5 }] {
        let mut smooth = resize("antialias", mode, Coordinates::HalfPixel, &[1, 1, 7, 8], &[1, 1, 3, 3]);
        smooth.attrs.antialias = true;
        cases.push(smooth.case());
        let mut outside = resize("outside", mode, Coordinates::HalfPixel, &[1, 1, 4, 5], &[1, 1, 7, 9]);
        outside.attrs.exclude_outside = true;
        cases.push(outside.case());
        let at = Coordinates::TfCropAndResize { extrapolation_value: 3.0 };
        let mut crop = resize("crop", mode, at, &[1, 1, 5, 6], &[1, 1, 4, 7]);
        crop.roi = Some(vec![0.0, 0.0, -0.3, 0.2, 1.0, 1.0, 0.9, 1.4]);
        cases.push(crop.case());
    }
    cases
}

pub(crate) fn cases() -> Vec<Case> {
    let explicit =
        |begin: &[usize], end: &[usize]| Padding::Explicit { begin: begin.to_vec(), end: end.to_vec() };
    let no = || explicit(&[0, 0], &[0, 0]);
    let mut cases = Vec::new();
    cases.extend(pools("1d", &[2, 3, 9], &attrs(&[3], &[2], &[1], explicit(&[1], &[0]), false)));
    cases.extend(pools("2d", &[2, 2, 6, 6], &attrs(&[2, 2], &[2, 2], &[1, 1], no(), false)));
    let overlap = explicit(&[1, 1], &[1, 1]);
    cases.extend(pools("overlap", &[1, 2, 6, 5], &attrs(&[3, 3], &[1, 2], &[1, 1], overlap.clone(), false)));
    cases.extend(pools("ceil", &[1, 2, 6, 7], &attrs(&[3, 2], &[2, 3], &[1, 1], overlap, true)));
    cases.extend(pools("dilation", &[1, 2, 7, 7], &attrs(&[2, 3], &[1, 1], &[3, 2], no(), false)));
    let same = attrs(&[3, 2], &[2, 2], &[1, 1], Padding::SameUpper, false);
    cases.extend(pools("same", &[1, 2, 5, 6], &same));
    let deep = attrs(&[2, 1, 2], &[1, 1, 2], &[1, 1, 1], explicit(&[0, 0, 1], &[1, 0, 0]), false);
    cases.extend(pools("3d", &[1, 2, 3, 2, 4], &deep));
    for dims in [&[2, 3, 4, 3][..], &[1, 2, 7], &[2, 2, 2, 3, 2]] {
        for op in
            [Op::GlobalAveragePool, Op::GlobalMaxPool, Op::GlobalLpPool { p: 2 }, Op::GlobalLpPool { p: 3 }]
        {
            cases.push(Case::new(&format!("{dims:?}"), op, vec![values(5, dims)]));
        }
    }
    cases.extend(resizes());
    cases
}
