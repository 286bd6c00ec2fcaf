//! The digits that the network learns from, and variants of them.

use super::arrays;
use super::random::Random;
use std::path::{Path, PathBuf};
use torsh_quantization::model::Tensor;
use torsh_quantization::qat::Samples;

const SIZE: usize = 28;

pub(crate) fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo")
}

/// Images as they are stored, with their labels.
pub(crate) struct Digits {
    pub(crate) pixels: Vec<u8>,
    pub(crate) labels: Vec<i64>,
}

impl Digits {
    /// Of `train` or of `eval`.
    pub(crate) fn read(part: &str) -> Self {
        let read = |name: &str| arrays::read(demo().join(name).to_str().unwrap());
        let pixels = read(&format!("{part}_x_u8.npz")).as_slice::<u8>().unwrap().to_vec();
        let labels = read(&format!("{part}_y_u8.npz")).to_i64_vec().unwrap();
        assert_eq!(pixels.len(), labels.len() * SIZE * SIZE);
        Self { pixels, labels }
    }

    /// The first `n`.
    pub(crate) fn first(mut self, n: usize) -> Self {
        self.labels.truncate(n);
        self.pixels.truncate(self.labels.len() * SIZE * SIZE);
        self
    }

    fn images(&self) -> impl Iterator<Item = &[u8]> {
        self.pixels.chunks_exact(SIZE * SIZE)
    }

    /// As the network takes them: bytes over 255.
    pub(crate) fn samples(&self) -> Samples {
        samples(self.pixels.iter().map(|p| f32::from(*p) / 255.0).collect(), self.labels.clone())
    }

    /// As many variants of each: moved by up to two pixels, turned, stretched and slanted a little.
    pub(crate) fn variants(&self, each: usize, random: &mut Random) -> Samples {
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for (image, label) in self.images().zip(&self.labels) {
            for _ in 0..each {
                let mut change = |most: f32| random.between(-most, most);
                // Where a pixel of the variant comes from: a linear map about the middle, and a shift.
                let turn = change(0.18);
                let map = [1.0 + change(0.12), change(0.12) - turn, change(0.05) + turn, 1.0 + change(0.12)];
                let shift = [change(2.0), change(2.0)];
                pixels.extend(moved(image, map, shift));
                labels.push(*label);
            }
        }
        samples(pixels, labels)
    }
}

fn samples(pixels: Vec<f32>, labels: Vec<i64>) -> Samples {
    let x = Tensor::new(&[labels.len(), 1, SIZE, SIZE], pixels).unwrap();
    Samples::classes(vec![x], labels).unwrap()
}

/// The image under a linear map, between pixels by bilinear interpolation; what is outside is black.
fn moved(image: &[u8], [xx, xy, yx, yy]: [f32; 4], [dx, dy]: [f32; 2]) -> Vec<f32> {
    let middle = (SIZE - 1) as f32 / 2.0;
    let at = |x: f32, y: f32| {
        let inside = x >= 0.0 && y >= 0.0 && x < SIZE as f32 && y < SIZE as f32;
        if inside { f32::from(image[y as usize * SIZE + x as usize]) / 255.0 } else { 0.0 }
    };
    let mut out = Vec::with_capacity(image.len());
    for y in 0..SIZE {
        for x in 0..SIZE {
            let (x, y) = (x as f32 - middle, y as f32 - middle);
            let (x, y) = (xx * x + xy * y + middle + dx, yx * x + yy * y + middle + dy);
            let (left, top) = (x.floor(), y.floor());
            let (right, down) = (x - left, y - top);
            let row = |y: f32| at(left, y) * (1.0 - right) + at(left + 1.0, y) * right;
            out.push(row(top) * (1.0 - down) + row(top + 1.0) * down);
        }
    }
    out
}
