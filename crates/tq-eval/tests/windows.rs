//! Convolutions and pools against the textbook loops, over random shapes and attributes.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use tq_eval::{OpError, Precision, eval_op};
use tq_graph::op::{ConvAttrs, Padding, PoolAttrs};
use tq_graph::{Op, Tensor};

/// One spatial axis of a random window.
#[derive(Debug, Clone, Copy)]
struct Axis {
    input: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    begin: usize,
    end: usize,
}

impl Axis {
    /// Outputs by the formula of the standard.
    fn output(&self) -> Option<usize> {
        let extent = (self.kernel - 1) * self.dilation + 1;
        (self.input + self.begin + self.end).checked_sub(extent).map(|room| room / self.stride + 1)
    }

    /// Input position of tap `k` of output `o`, if it is not padding.
    fn at(&self, o: usize, k: usize) -> Option<usize> {
        (o * self.stride + k * self.dilation).checked_sub(self.begin).filter(|p| *p < self.input)
    }
}

fn axis() -> impl Strategy<Value = Axis> {
    (1usize..9, 1usize..4, 1usize..4, 1usize..3, 0usize..3, 0usize..3).prop_map(
        |(input, kernel, stride, dilation, begin, end)| Axis { input, kernel, stride, dilation, begin, end },
    )
}

fn padding(axes: &[Axis]) -> Padding {
    Padding::Explicit {
        begin: axes.iter().map(|a| a.begin).collect(),
        end: axes.iter().map(|a| a.end).collect(),
    }
}

/// All index tuples below `dims`, in row-major order.
fn indices(dims: &[usize]) -> Vec<Vec<usize>> {
    dims.iter().fold(vec![vec![]], |all, d| {
        all.iter().flat_map(|i| (0..*d).map(move |j| [i.as_slice(), &[j]].concat())).collect()
    })
}

fn flat(index: &[usize], dims: &[usize]) -> usize {
    index.iter().zip(dims).fold(0, |at, (i, d)| at * d + i)
}

/// One output of a convolution: its channel, and the pairs of input and weight that it sums, as flat indices.
struct Sum {
    channel: usize,
    terms: Vec<(usize, usize)>,
}

/// A convolution case: shapes, attributes, and the loop that defines the answer.
#[derive(Debug, Clone)]
struct Conv {
    axes: Vec<Axis>,
    batch: usize,
    groups: usize,
    channels: usize,
    filters: usize,
}

impl Conv {
    fn x_dims(&self) -> Vec<usize> {
        [self.batch, self.groups * self.channels]
            .into_iter()
            .chain(self.axes.iter().map(|a| a.input))
            .collect()
    }

    fn w_dims(&self) -> Vec<usize> {
        [self.groups * self.filters, self.channels]
            .into_iter()
            .chain(self.axes.iter().map(|a| a.kernel))
            .collect()
    }

    fn attrs(&self) -> ConvAttrs {
        ConvAttrs {
            strides: self.axes.iter().map(|a| a.stride).collect(),
            dilations: self.axes.iter().map(|a| a.dilation).collect(),
            padding: padding(&self.axes),
            groups: self.groups,
        }
    }

    /// Shape of the output and its elements, unless the window does not fit.
    fn sums(&self) -> Option<(Vec<usize>, Vec<Sum>)> {
        let spatial: Vec<usize> = self.axes.iter().map(Axis::output).collect::<Option<_>>()?;
        let kernel: Vec<usize> = self.axes.iter().map(|a| a.kernel).collect();
        let dims: Vec<usize> = [self.batch, self.groups * self.filters].into_iter().chain(spatial).collect();
        let (x_dims, w_dims) = (self.x_dims(), self.w_dims());
        let sums = indices(&dims)
            .into_iter()
            .map(|o| {
                let group = o[1] / self.filters;
                let mut terms = Vec::new();
                for c in 0..self.channels {
                    for k in indices(&kernel) {
                        let places: Option<Vec<usize>> =
                            self.axes.iter().zip(&o[2..]).zip(&k).map(|((a, o), k)| a.at(*o, *k)).collect();
                        let Some(places) = places else { continue };
                        let x = [&[o[0], group * self.channels + c], places.as_slice()].concat();
                        let w = [&[o[1], c], k.as_slice()].concat();
                        terms.push((flat(&x, &x_dims), flat(&w, &w_dims)));
                    }
                }
                Sum { channel: o[1], terms }
            })
            .collect();
        Some((dims, sums))
    }
}

fn conv() -> impl Strategy<Value = Conv> {
    (prop::collection::vec(axis(), 1..4), 1usize..3, 1usize..4, 1usize..4, 1usize..6)
        .prop_map(|(axes, batch, groups, channels, filters)| Conv { axes, batch, groups, channels, filters })
}

/// Reproducible values without a pattern that a wrong index would survive.
fn noise(n: usize, seed: u64) -> Vec<u64> {
    (0..n as u64)
        .map(|i| {
            let mut z = (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ seed;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 11
        })
        .collect()
}

fn reals(n: usize, seed: u64) -> Vec<f64> {
    noise(n, seed).into_iter().map(|v| v as f64 / (1u64 << 52) as f64 - 1.0).collect()
}

fn len(dims: &[usize]) -> usize {
    dims.iter().product()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn conv_is_the_sum_over_its_window(case in conv(), seed: u64) {
        let (x_dims, w_dims) = (case.x_dims(), case.w_dims());
        let (x, w) = (reals(len(&x_dims), seed), reals(len(&w_dims), seed ^ 1));
        let b = reals(w_dims[0], seed ^ 2);
        let tensors = [
            Tensor::new(&x_dims, x.clone()).unwrap(),
            Tensor::new(&w_dims, w.clone()).unwrap(),
            Tensor::vector(b.clone()),
        ];
        let inputs = tensors.each_ref().map(Some);
        let got = eval_op(&Op::Conv(case.attrs()), &inputs, 1, Precision::F64);
        let Some((dims, sums)) = case.sums() else {
            prop_assert!(matches!(got, Err(OpError::Shape(_))));
            return Ok(());
        };
        let got = got.unwrap();
        prop_assert_eq!(got[0].dims(), &dims[..]);
        let want: Vec<f64> =
            sums.iter().map(|s| b[s.channel] + s.terms.iter().map(|(i, j)| x[*i] * w[*j]).sum::<f64>()).collect();
        for (g, w) in got[0].as_slice::<f64>().unwrap().iter().zip(&want) {
            prop_assert!((g - w).abs() < 1e-12, "{} {}", g, w);
        }
        // In f32 the same, rounded.
        let narrow = tensors.map(|t| Tensor::new(t.dims(), t.to_f32_vec().unwrap()).unwrap());
        let got = eval_op(&Op::Conv(case.attrs()), &narrow.each_ref().map(Some), 1, Precision::F32).unwrap();
        for (g, w) in got[0].as_slice::<f32>().unwrap().iter().zip(&want) {
            prop_assert!((f64::from(*g) - w).abs() < 1e-4, "{} {}", g, w);
        }
    }

    #[test]
    fn integer_convs_are_exact_at_full_range(
        case in conv(), seed: u64, signed: bool, zx in 0i64..256, per_channel: bool, with_bias: bool
    ) {
        let (x_dims, w_dims) = (case.x_dims(), case.w_dims());
        let extreme = |v: u64| if v.is_multiple_of(3) { 255 * (v / 3 % 2) } else { v % 256 };
        let x: Vec<u8> = noise(len(&x_dims), seed).into_iter().map(|v| extreme(v) as u8).collect();
        let w: Vec<i64> = noise(len(&w_dims), !seed).into_iter().map(|v| extreme(v) as i64 - 128).collect();
        let filters = w_dims[0];
        let zw: Vec<i64> = noise(if per_channel { filters } else { 1 }, seed ^ 3)
            .into_iter()
            .map(|v| (v % 256) as i64 - 128)
            .collect();
        let b: Vec<i32> = noise(filters, seed ^ 4).into_iter().map(|v| v as i32).collect();
        let Some((dims, sums)) = case.sums() else { return Ok(()) };
        let exact: Vec<(usize, i64)> = sums
            .iter()
            .map(|Sum { channel, terms }| {
                let z = zw[channel % zw.len()];
                (*channel, terms.iter().map(|(i, j)| (i64::from(x[*i]) - zx) * (w[*j] - z)).sum())
            })
            .collect();
        // The same codes as u8, or shifted to i8 with their zero point.
        let x = if signed {
            Tensor::new(&x_dims, x.iter().map(|v| (i64::from(*v) - 128) as i8).collect()).unwrap()
        } else {
            Tensor::new(&x_dims, x).unwrap()
        };
        let zx = if signed { Tensor::scalar((zx - 128) as i8) } else { Tensor::scalar(zx as u8) };
        let w = Tensor::new(&w_dims, w.iter().map(|v| *v as i8).collect()).unwrap();
        let zw_codes: Vec<i8> = zw.iter().map(|v| *v as i8).collect();
        let zw = if per_channel { Tensor::vector(zw_codes) } else { Tensor::scalar(zw_codes[0]) };
        let got = eval_op(
            &Op::ConvInteger(case.attrs()), &[Some(&x), Some(&w), Some(&zx), Some(&zw)], 1, Precision::F32,
        ).unwrap();
        let want: Vec<i32> = exact.iter().map(|(_, s)| *s as i32).collect();
        prop_assert_eq!(&got[0], &Tensor::new(&dims, want).unwrap());

        let sw: Vec<f32> = (0..if per_channel { filters } else { 1 }).map(|i| 0.003 + 0.001 * i as f32).collect();
        let (sx, sy, zy) = (0.02f32, 0.7f32, 3u8);
        let want: Vec<u8> = exact
            .iter()
            .map(|(m, s)| {
                let total = s + if with_bias { i64::from(b[*m]) } else { 0 };
                let multiplier = (sx * sw[*m % sw.len()]) / sy;
                ((total as f32 * multiplier).clamp(-3.0, 252.0).round_ties_even() as i64 + 3) as u8
            })
            .collect();
        let (sx, sy, zy) = (Tensor::scalar(sx), Tensor::scalar(sy), Tensor::scalar(zy));
        let (sw, b) = (Tensor::vector(sw), Tensor::vector(b));
        for precision in [Precision::F32, Precision::F64] {
            let inputs = [
                Some(&x), Some(&sx), Some(&zx), Some(&w), Some(&sw), Some(&zw), Some(&sy), Some(&zy),
                with_bias.then_some(&b),
            ];
            let got = eval_op(&Op::QLinearConv(case.attrs()), &inputs, 1, precision).unwrap();
            prop_assert_eq!(&got[0], &Tensor::new(&dims, want.clone()).unwrap());
        }
    }

    #[test]
    fn pools_are_the_mean_and_the_maximum_of_their_window(
        axes in prop::collection::vec(axis(), 1..4), seed: u64, include_pad: bool, column_major: bool
    ) {
        let dims: Vec<usize> = [2, 2].into_iter().chain(axes.iter().map(|a| a.input)).collect();
        let x = reals(len(&dims), seed);
        let attrs = PoolAttrs {
            kernel: axes.iter().map(|a| a.kernel).collect(),
            strides: axes.iter().map(|a| a.stride).collect(),
            dilations: axes.iter().map(|a| a.dilation).collect(),
            padding: padding(&axes),
            ceil_mode: false,
        };
        let Some(spatial) = axes.iter().map(Axis::output).collect::<Option<Vec<_>>>() else { return Ok(()) };
        let out_dims: Vec<usize> = [2, 2].into_iter().chain(spatial).collect();
        let tensor = Tensor::new(&dims, x.clone()).unwrap();
        let average = Op::AveragePool { attrs: attrs.clone(), count_include_pad: include_pad };
        let average = eval_op(&average, &[Some(&tensor)], 1, Precision::F64).unwrap();
        let max = Op::MaxPool { attrs: attrs.clone(), column_major };
        let max = eval_op(&max, &[Some(&tensor)], 2, Precision::F64).unwrap();
        prop_assert_eq!(average[0].dims(), &out_dims[..]);
        let mut order: Vec<usize> = (2..dims.len()).collect();
        if column_major {
            order.reverse();
        }
        for (n, o) in indices(&out_dims).into_iter().enumerate() {
            let window: Vec<Vec<usize>> = indices(&attrs.kernel)
                .into_iter()
                .filter_map(|k| {
                    let places: Option<Vec<usize>> =
                        axes.iter().zip(&o[2..]).zip(&k).map(|((a, o), k)| a.at(*o, *k)).collect();
                    places.map(|p| [&o[..2], &p].concat())
                })
                .collect();
            let values: Vec<f64> = window.iter().map(|i| x[flat(i, &dims)]).collect();
            let divisor = if include_pad { len(&attrs.kernel) } else { values.len() };
            let mean = if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / divisor as f64 };
            prop_assert!((average[0].as_slice::<f64>().unwrap()[n] - mean).abs() < 1e-12);
            let best = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert_eq!(max[0].as_slice::<f64>().unwrap()[n], best);
            let index = values.iter().position(|v| *v == best).map_or(-1, |i| {
                let place = &window[i];
                let plane = order.iter().fold(0, |at, axis| at * dims[*axis] + place[*axis]);
                ((place[0] * 2 + place[1]) * len(&dims[2..]) + plane) as i64
            });
            prop_assert_eq!(max[1].as_slice::<i64>().unwrap()[n], index);
        }
    }
}

#[test]
fn a_convolution_in_many_tiles_is_the_same_as_in_one() {
    // 300 output rows of 40: several tiles, the last one shorter.
    let axis = |input, begin| Axis { input, kernel: 3, stride: 1, dilation: 1, begin, end: 1 };
    let case = Conv { axes: vec![axis(300, 1), axis(40, 0)], batch: 1, groups: 1, channels: 24, filters: 5 };
    let x: Vec<f64> = noise(len(&case.x_dims()), 7).into_iter().map(|v| (v % 16) as f64).collect();
    let w: Vec<f64> = noise(len(&case.w_dims()), 8).into_iter().map(|v| (v % 16) as f64).collect();
    let (dims, sums) = case.sums().unwrap();
    // Small integers: sums are exact in any order, in f32 too.
    let want: Vec<f64> = sums.iter().map(|s| s.terms.iter().map(|(i, j)| x[*i] * w[*j]).sum()).collect();
    let (x, w) = (Tensor::new(&case.x_dims(), x).unwrap(), Tensor::new(&case.w_dims(), w).unwrap());
    let got = eval_op(&Op::Conv(case.attrs()), &[Some(&x), Some(&w)], 1, Precision::F64).unwrap();
    assert_eq!(got[0], Tensor::new(&dims, want).unwrap());
}

#[test]
fn pools_of_codes_and_special_values() {
    let attrs = PoolAttrs {
        kernel: vec![2],
        strides: vec![1],
        dilations: vec![1],
        padding: Padding::Explicit { begin: vec![1], end: vec![0] },
        ceil_mode: false,
    };
    let op = Op::MaxPool { attrs, column_major: false };
    let pool = |x: &Tensor| eval_op(&op, &[Some(x)], 1, Precision::F32).unwrap().remove(0);
    // Padding never wins, not even against the smallest code.
    let x = Tensor::new(&[1, 1, 3], vec![-128i8, -128, 5]).unwrap();
    assert_eq!(pool(&x).as_slice::<i8>().unwrap(), [-128, -128, 5]);
    let x = Tensor::new(&[1, 1, 3], vec![f32::NEG_INFINITY, f32::NAN, 2.0]).unwrap();
    let y = pool(&x);
    let y = y.as_slice::<f32>().unwrap();
    assert!(y[0] == f32::NEG_INFINITY && y[1].is_nan() && y[2].is_nan());
    let x = Tensor::new(&[1, 0, 3], Vec::<u8>::new()).unwrap();
    assert_eq!(pool(&x).dims(), [1, 0, 3]);
}

#[test]
fn same_padding_puts_the_odd_element_where_it_is_told() {
    let x = Tensor::new(&[1, 1, 4], vec![1.0f32, 2.0, 3.0, 4.0]).unwrap();
    let w = Tensor::new(&[1, 1, 2], vec![1.0f32, 10.0]).unwrap();
    let conv = |padding| {
        let attrs = ConvAttrs { strides: vec![1], dilations: vec![1], padding, groups: 1 };
        eval_op(&Op::Conv(attrs), &[Some(&x), Some(&w)], 1, Precision::F32).unwrap()[0].to_f32_vec().unwrap()
    };
    assert_eq!(conv(Padding::SameUpper), [21.0, 32.0, 43.0, 4.0]);
    assert_eq!(conv(Padding::SameLower), [10.0, 21.0, 32.0, 43.0]);
}

#[test]
fn convolutions_that_do_not_fit_are_errors() {
    let conv = |x: &[usize], w: &[usize], b: Option<usize>, groups| {
        let tensor = |dims: &[usize]| Tensor::new(dims, vec![1.0f32; len(dims)]).unwrap();
        let attrs = ConvAttrs { strides: vec![], dilations: vec![], padding: Padding::SameUpper, groups };
        let (x, w, b) = (tensor(x), tensor(w), b.map(|n| tensor(&[n])));
        eval_op(&Op::Conv(attrs), &[Some(&x), Some(&w), b.as_ref()], 1, Precision::F32)
    };
    assert!(conv(&[1, 2, 5], &[4, 2, 3], None, 1).is_ok());
    assert!(conv(&[1, 3, 5], &[4, 2, 3], None, 1).is_err());
    assert!(conv(&[1, 2, 5], &[4, 2, 3], Some(3), 1).is_err());
    assert!(conv(&[1, 2, 5], &[4, 2, 3], None, 0).is_err());
    assert!(conv(&[1, 2, 5], &[3, 1, 3], None, 2).is_err());
    assert!(conv(&[1, 2], &[4, 2], None, 1).is_err());
    assert!(conv(&[1, 2, 1, 1, 1, 1], &[4, 2, 1, 1, 1, 1], None, 1).is_err());
    assert!(conv(&[1, 2, 5], &[4, 2, 0], None, 1).is_err());
    assert!(conv(&[5], &[], None, 1).is_err());
    for (x, w) in [([0, 2, 5], [4, 2, 3]), ([1, 2, 0], [4, 2, 3]), ([1, 2, 5], [0, 2, 3])] {
        assert!(conv(&x, &w, None, 1).unwrap()[0].is_empty());
    }
    // No input channel: the bias alone.
    let y = conv(&[1, 0, 5], &[4, 0, 3], Some(4), 1).unwrap();
    assert_eq!(y[0].as_slice::<f32>().unwrap(), [1.0; 20]);
}
