//! One axis of Resize: where output elements lie in the input, and what they are made of.

use tq_graph::op::{Coordinates, NearestRounding, ResizeAttrs, ResizeMode};

/// An axis that changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    /// Which axis of the tensor.
    pub(super) place: usize,
    /// Elements of the input.
    pub(super) input: usize,
    /// Elements of the output.
    pub(super) output: usize,
    /// Output over input length, before the output was rounded to whole elements.
    pub(super) scale: f32,
    /// What the length of the output was before it was rounded.
    pub(super) width: f64,
    /// Region of interest, as parts of the input.
    pub(super) roi: Option<(f32, f32)>,
}

/// Farther than this from the input nothing differs any more, and positions still fit integers.
const FAR: f64 = (1u64 << 50) as f64;

impl Axis {
    pub(super) fn is_identity(&self) -> bool {
        self.output == self.input && self.scale == 1.0 && self.roi.is_none()
    }

    /// Where in the input an output element lies, in f32 and by the formulas of ONNX Runtime: where mathematics
    /// puts a position between two elements, or on an edge, rounding decides, and then it should decide as there.
    fn position(&self, o: usize, coordinates: Coordinates) -> f64 {
        let (x, input, output) = (o as f32, self.input as f32, self.output as f32);
        let (scale, width) = (self.scale, self.width as f32);
        let half_pixel = (x + 0.5) / scale - 0.5;
        let last = input - 1.0;
        let position = match coordinates {
            Coordinates::HalfPixel => half_pixel,
            Coordinates::PytorchHalfPixel if self.output == 1 => 0.0,
            Coordinates::PytorchHalfPixel => half_pixel,
            Coordinates::HalfPixelSymmetric => input / 2.0 * (1.0 - output / width) + half_pixel,
            Coordinates::AlignCorners if width == 1.0 => 0.0,
            Coordinates::AlignCorners => x * last / (width - 1.0),
            Coordinates::Asymmetric => x / scale,
            Coordinates::TfCropAndResize { .. } => {
                let (start, end) = self.roi.unwrap_or((0.0, 1.0));
                if width == 1.0 {
                    0.5 * (start + end) * last
                } else {
                    start * last + x * (end - start) * last / (width - 1.0)
                }
            }
        };
        f64::from(position)
    }

    /// Whether an output element lies before the first or after the last element of the input.
    pub(super) fn is_outside(&self, o: usize, coordinates: Coordinates) -> bool {
        let at = self.position(o, coordinates);
        !(at >= 0.0 && at <= self.input as f64 - 1.0)
    }

    /// The element before an output element, which may be outside the input, and how far behind that it lies: more
    /// than 0, at most 1.
    fn split(&self, o: usize, coordinates: Coordinates) -> (i64, f64) {
        let at = self.position(o, coordinates).clamp(-FAR, FAR);
        let before = at.ceil() - 1.0;
        (before as i64, at - before)
    }

    fn clamped(&self, place: i64) -> usize {
        usize::try_from(place).unwrap_or(0).min(self.input - 1)
    }

    /// For every output element which one is picked.
    pub(super) fn nearest(&self, coordinates: Coordinates, rounding: NearestRounding) -> Vec<usize> {
        let one = |o: usize| {
            let (before, behind) = self.split(o, coordinates);
            let next = match rounding {
                // On an element rather than between two: that one.
                _ if behind == 1.0 => true,
                NearestRounding::PreferFloor => behind > 0.5,
                NearestRounding::PreferCeil => behind >= 0.5,
                NearestRounding::Floor => false,
                NearestRounding::Ceil => true,
            };
            self.clamped(before + i64::from(next))
        };
        (0..self.output).map(one).collect()
    }

    /// What every output element is the sum of.
    pub(super) fn taps(&self, attrs: &ResizeAttrs) -> Taps {
        // Without antialias, or where nothing shrinks, the kernel spans what it spans in the input.
        let scale = if attrs.antialias { f64::from(self.scale).min(1.0) } else { 1.0 };
        let (reach, kernel): (f64, Box<dyn Fn(f64) -> f64>) = match attrs.mode {
            ResizeMode::Cubic { a } => (2.0, Box::new(move |x| cubic(x, f64::from(a)))),
            _ => (1.0, Box::new(|x: f64| (1.0 - x.abs()).max(0.0))),
        };
        let first = (-reach / scale).floor() as i64 + 1;
        let mut taps = Taps { ends: Vec::with_capacity(self.output), parts: Vec::new() };
        for o in 0..self.output {
            let (before, behind) = self.split(o, attrs.coordinates);
            let begin = taps.parts.len();
            for offset in first..=1 - first {
                let place = before + offset;
                let inside = usize::try_from(place).is_ok_and(|p| p < self.input);
                if inside || !attrs.exclude_outside {
                    taps.parts.push((self.clamped(place), kernel((offset as f64 - behind) * scale)));
                }
            }
            if taps.parts.len() == begin {
                taps.parts.push((self.clamped(before), 1.0));
            }
            if attrs.antialias || attrs.exclude_outside {
                let parts = &mut taps.parts[begin..];
                let sum: f64 = parts.iter().map(|(_, w)| w).sum();
                parts.iter_mut().for_each(|(_, w)| *w /= sum);
            }
            taps.ends.push(taps.parts.len());
        }
        taps
    }
}

/// The cubic convolution kernel of Keys with coefficient `a`.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

/// Places and weights of the input elements that make the elements of an output axis.
#[derive(Debug)]
pub(super) struct Taps {
    /// For every output element the end of its parts.
    ends: Vec<usize>,
    parts: Vec<(usize, f64)>,
}

impl Taps {
    /// The parts of output element `i`.
    pub(super) fn of(&self, i: usize) -> &[(usize, f64)] {
        let begin = i.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.parts[begin..self.ends[i]]
    }
}
