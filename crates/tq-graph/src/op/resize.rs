//! Resize.

/// How Resize picks or mixes input elements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ResizeMode {
    /// The nearest one.
    Nearest(NearestRounding),
    /// A straight line between the two beside it.
    Linear,
    /// A cubic through the four around it.
    Cubic {
        /// The coefficient that tells how much the curve overshoots.
        a: f32,
    },
}

/// Which element is the nearest one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NearestRounding {
    /// The nearest, of two the one before.
    PreferFloor,
    /// The nearest, of two the one after.
    PreferCeil,
    /// The one before.
    Floor,
    /// The one after.
    Ceil,
}

impl NearestRounding {
    /// The word of ONNX.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            NearestRounding::PreferFloor => "round_prefer_floor",
            NearestRounding::PreferCeil => "round_prefer_ceil",
            NearestRounding::Floor => "floor",
            NearestRounding::Ceil => "ceil",
        }
    }
}

/// Where in the input an output position lies. `scale` is output over input length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Coordinates {
    /// `(x + 0.5) / scale - 0.5`.
    HalfPixel,
    /// As [`Coordinates::HalfPixel`], but centred where the output was rounded to whole elements.
    HalfPixelSymmetric,
    /// As [`Coordinates::HalfPixel`], but 0 where the output has one element.
    PytorchHalfPixel,
    /// First on first and last on last element.
    AlignCorners,
    /// `x / scale`.
    Asymmetric,
    /// Within the region of interest, whose corners are on the corners of the output.
    TfCropAndResize {
        /// What stands where the region is outside the input.
        extrapolation_value: f32,
    },
}

impl Coordinates {
    /// The word of ONNX.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Coordinates::HalfPixel => "half_pixel",
            Coordinates::HalfPixelSymmetric => "half_pixel_symmetric",
            Coordinates::PytorchHalfPixel => "pytorch_half_pixel",
            Coordinates::AlignCorners => "align_corners",
            Coordinates::Asymmetric => "asymmetric",
            Coordinates::TfCropAndResize { .. } => "tf_crop_and_resize",
        }
    }
}

/// What is kept where sizes would change the ratio of the axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AspectPolicy {
    /// The sizes, not the ratio.
    Stretch,
    /// The ratio; the sizes are not exceeded.
    NotLarger,
    /// The ratio; the sizes are reached.
    NotSmaller,
}

impl AspectPolicy {
    /// The word of ONNX.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            AspectPolicy::Stretch => "stretch",
            AspectPolicy::NotLarger => "not_larger",
            AspectPolicy::NotSmaller => "not_smaller",
        }
    }
}

/// Attributes of Resize.
#[derive(Debug, Clone, PartialEq)]
pub struct ResizeAttrs {
    /// How elements are picked or mixed.
    pub mode: ResizeMode,
    /// Where output positions lie in the input.
    pub coordinates: Coordinates,
    /// Whether elements are averaged where the output is smaller.
    pub antialias: bool,
    /// Whether elements outside the input have no weight; else they are those on the edge.
    pub exclude_outside: bool,
    /// The axes that scales, sizes and the region of interest are about, which may be negative; absent for all.
    pub axes: Option<Vec<i64>>,
    /// What sizes mean for the ratio of the axes.
    pub policy: AspectPolicy,
}

impl ResizeAttrs {
    /// True where every element of the result is one of the input, unchanged.
    #[must_use]
    pub const fn only_picks(&self) -> bool {
        matches!(self.mode, ResizeMode::Nearest(_))
            && !matches!(self.coordinates, Coordinates::TfCropAndResize { .. })
    }
}

/// The length of an axis of `len` elements after scaling: the product in f32, rounded down, as ONNX and ONNX
/// Runtime compute it. `None` for scales that are not above 0 and finite, and for lengths that no tensor has.
#[must_use]
pub fn scaled_len(len: usize, scale: f32) -> Option<usize> {
    if !(scale > 0.0 && scale.is_finite()) {
        return None;
    }
    let product = (len as f32 * scale).floor();
    (product < (1u64 << 62) as f32).then_some(product as usize)
}

/// Lengths of axes of `dims` elements for the `sizes` that are asked for, with the ratio of the axes kept as `policy`
/// says, and what the lengths were before they were rounded to whole elements. `None` where lists differ in length.
#[must_use]
pub fn fitted_lens(dims: &[usize], sizes: &[usize], policy: AspectPolicy) -> Option<Vec<(usize, f64)>> {
    if dims.len() != sizes.len() {
        return None;
    }
    // An axis without elements has no ratio.
    let ratios = dims.iter().zip(sizes).filter(|(d, _)| **d > 0).map(|(d, s)| *s as f64 / *d as f64);
    let common = match policy {
        AspectPolicy::Stretch => return Some(sizes.iter().map(|s| (*s, *s as f64)).collect()),
        AspectPolicy::NotLarger => ratios.reduce(f64::min),
        AspectPolicy::NotSmaller => ratios.reduce(f64::max),
    };
    let fitted = |d: &usize| {
        let width = common.unwrap_or(1.0) * *d as f64;
        ((width + 0.5).floor() as usize, width)
    };
    Some(dims.iter().map(fitted).collect())
}
