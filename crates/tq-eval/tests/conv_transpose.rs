//! Transposed convolutions against the loops that define them.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use tq_eval::{OpError, Precision, eval_op};
use tq_graph::op::{ConvAttrs, ConvTransposeAttrs, Padding};
use tq_graph::{Op, Tensor};

/// One spatial axis.
#[derive(Debug, Clone, Copy)]
struct Axis {
    input: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    begin: usize,
    end: usize,
    more: usize,
}

impl Axis {
    fn output(&self) -> Option<usize> {
        let all = (self.input - 1) * self.stride + (self.kernel - 1) * self.dilation + 1 + self.more;
        all.checked_sub(self.begin + self.end)
    }
}

fn attrs(axes: &[Axis], groups: usize) -> ConvTransposeAttrs {
    let list = |f: fn(&Axis) -> usize| axes.iter().map(f).collect::<Vec<_>>();
    ConvTransposeAttrs {
        strides: list(|a| a.stride),
        dilations: list(|a| a.dilation),
        padding: Padding::Explicit { begin: list(|a| a.begin), end: list(|a| a.end) },
        output_padding: list(|a| a.more),
        output_shape: None,
        groups,
    }
}

/// All index tuples below `dims`, in row-major order.
fn indices(dims: &[usize]) -> Vec<Vec<usize>> {
    dims.iter().fold(vec![vec![]], |all, d| {
        all.iter().flat_map(|i| (0..*d).map(move |j| [i.as_slice(), &[j]].concat())).collect()
    })
}

/// Every input element times every kernel element, added where they meet.
fn twin(x: &[f64], w: &[f64], bias: &[f64], axes: &[Axis], sizes: [usize; 4], outputs: &[usize]) -> Vec<f64> {
    let [batch, groups, channels, filters] = sizes;
    let plane: usize = outputs.iter().product();
    let inputs: Vec<usize> = axes.iter().map(|a| a.input).collect();
    let kernels: Vec<usize> = axes.iter().map(|a| a.kernel).collect();
    let (inputs, kernels) = (indices(&inputs), indices(&kernels));
    let mut out: Vec<f64> = (0..batch * groups * filters * plane)
        .map(|i| if bias.is_empty() { 0.0 } else { bias[i / plane % (groups * filters)] })
        .collect();
    for (n, g, c, m) in (0..batch * groups * channels * filters).map(|i| {
        let (i, m) = (i / filters, i % filters);
        let (i, c) = (i / channels, i % channels);
        (i / groups, i % groups, c, m)
    }) {
        for (ki, k) in kernels.iter().enumerate() {
            for (xi, at) in inputs.iter().enumerate() {
                let places: Option<Vec<usize>> = (0..axes.len())
                    .map(|i| (at[i] * axes[i].stride + k[i] * axes[i].dilation).checked_sub(axes[i].begin))
                    .collect();
                let Some(places) = places else { continue };
                if places.iter().zip(outputs).any(|(p, o)| p >= o) {
                    continue;
                }
                let to = places.iter().zip(outputs).fold(0, |at, (p, o)| at * o + p);
                let channel = g * channels + c;
                let v = x[((n * groups * channels) + channel) * inputs.len() + xi]
                    * w[(channel * filters + m) * kernels.len() + ki];
                out[((n * groups + g) * filters + m) * plane + to] += v;
            }
        }
    }
    out
}

fn values(n: usize, seed: usize) -> Vec<f64> {
    (0..n).map(|i| ((i + seed) * 7919 % 17) as f64 - 8.0).collect()
}

fn check(axes: &[Axis], sizes: [usize; 4], bias: bool) -> Result<(), TestCaseError> {
    let [batch, groups, channels, filters] = sizes;
    let Some(outputs) = axes.iter().map(Axis::output).collect::<Option<Vec<usize>>>() else { return Ok(()) };
    let dims = |first: [usize; 2], f: fn(&Axis) -> usize| {
        first.into_iter().chain(axes.iter().map(f)).collect::<Vec<_>>()
    };
    let x_dims = dims([batch, groups * channels], |a| a.input);
    let w_dims = dims([groups * channels, filters], |a| a.kernel);
    let x = values(x_dims.iter().product(), 3);
    let w = values(w_dims.iter().product(), 5);
    let b = if bias { values(groups * filters, 7) } else { vec![] };
    let want = twin(&x, &w, &b, axes, sizes, &outputs);
    let single = |v: &[f64]| v.iter().map(|v| *v as f32).collect::<Vec<f32>>();
    let x = Tensor::new(&x_dims, single(&x)).unwrap();
    let w = Tensor::new(&w_dims, single(&w)).unwrap();
    let b = bias.then(|| Tensor::vector(single(&b)));
    let op = Op::ConvTranspose(attrs(axes, groups));
    for precision in [Precision::F32, Precision::F64] {
        let got = eval_op(&op, &[Some(&x), Some(&w), b.as_ref()], 1, precision).unwrap().remove(0);
        prop_assert_eq!(&got.dims()[2..], outputs.as_slice());
        // Small integers: every sum is exact.
        prop_assert_eq!(got.to_f64_vec().unwrap(), want.as_slice());
    }
    Ok(())
}

fn axis() -> impl Strategy<Value = Axis> {
    (1usize..7, 1usize..5, 1usize..4, 1usize..3, 0usize..4, 0usize..4, 0usize..4).prop_map(
        |(input, kernel, stride, dilation, begin, end, more)| Axis {
            input,
            kernel,
            stride,
            dilation,
            begin,
            end,
            more,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_window(
        axes in prop::collection::vec(axis(), 1..4),
        batch in 1usize..3, groups in 1usize..4, channels in 1usize..4, filters in 1usize..5, bias: bool
    ) {
        check(&axes, [batch, groups, channels, filters], bias)?;
    }
}

#[test]
fn rows_longer_than_a_tile_and_more_filters_than_one_task_takes() {
    let wide = |input, kernel, stride| Axis { input, kernel, stride, dilation: 1, begin: 2, end: 1, more: 1 };
    // One row in several parts, then many rows in several tiles, then many filters.
    check(&[wide(3, 2, 1), wide(1500, 9, 2)], [1, 1, 2, 30], true).unwrap();
    check(&[wide(90, 3, 2), wide(40, 4, 2)], [1, 1, 2, 20], false).unwrap();
    check(&[wide(5, 1, 1)], [2, 2, 3, 300], true).unwrap();
}

/// The output of a transposed convolution of `x` of shape `[1, 1, n]`, all ones, with a kernel of ones.
fn ones(n: usize, kernel: usize, change: impl FnOnce(&mut ConvTransposeAttrs)) -> Result<Vec<f32>, OpError> {
    let axis = Axis { input: n, kernel, stride: 2, dilation: 1, begin: 0, end: 0, more: 0 };
    let mut attrs = attrs(&[axis], 1);
    change(&mut attrs);
    let x = Tensor::new(&[1, 1, n], vec![1.0f32; n]).unwrap();
    let w = Tensor::new(&[1, 1, kernel], vec![1.0f32; kernel]).unwrap();
    let y = eval_op(&Op::ConvTranspose(attrs), &[Some(&x), Some(&w)], 1, Precision::F32)?;
    Ok(y[0].as_slice::<f32>().unwrap().to_vec())
}

#[test]
fn a_wanted_shape_tells_what_is_cut_off() {
    assert_eq!(ones(3, 3, |_| {}).unwrap(), [1.0, 1.0, 2.0, 1.0, 2.0, 1.0, 1.0]);
    // The odd element goes at the beginning, but for SAME_UPPER.
    let wanted = |n: usize| move |a: &mut ConvTransposeAttrs| a.output_shape = Some(vec![n]);
    assert_eq!(ones(3, 3, wanted(6)).unwrap(), [1.0, 2.0, 1.0, 2.0, 1.0, 1.0]);
    assert_eq!(ones(3, 3, |a| a.padding = Padding::SameLower).unwrap(), [1.0, 2.0, 1.0, 2.0, 1.0, 1.0]);
    assert_eq!(ones(3, 3, |a| a.padding = Padding::SameUpper).unwrap(), [1.0, 1.0, 2.0, 1.0, 2.0, 1.0]);
    assert_eq!(ones(3, 3, wanted(9)).unwrap(), [1.0, 1.0, 2.0, 1.0, 2.0, 1.0, 1.0, 0.0, 0.0]);
    // SAME keeps `in * stride` outputs, also those that no kernel element reaches.
    assert_eq!(ones(2, 1, |a| a.padding = Padding::SameUpper).unwrap(), [1.0, 0.0, 1.0, 0.0]);
}

#[test]
fn hostile_sizes_are_refused() {
    let refused = |change: &dyn Fn(&mut ConvTransposeAttrs)| ones(3, 3, |a| change(a)).unwrap_err();
    let shape = |e: OpError| matches!(e, OpError::Shape(_) | OpError::TooLarge { .. } | OpError::Graph(_));
    assert!(shape(refused(&|a| a.strides = vec![usize::MAX])));
    assert!(shape(refused(&|a| a.strides = vec![0])));
    assert!(shape(refused(&|a| a.dilations = vec![1 << 59])));
    assert!(shape(refused(&|a| a.output_padding = vec![usize::MAX])));
    assert!(shape(refused(&|a| a.output_padding = vec![])));
    assert!(shape(refused(&|a| a.output_shape = Some(vec![1 << 50]))));
    assert!(shape(refused(&|a| a.groups = 2)));
    assert!(shape(refused(&|a| a.groups = 0)));
    let all = |a: &mut ConvTransposeAttrs| a.padding = Padding::Explicit { begin: vec![5], end: vec![5] };
    assert!(shape(refused(&all)));
}

/// A plane nobody asks for and a kernel without weights may be of any length: neither is walked over.
#[test]
fn sizes_of_what_has_no_elements_cost_nothing() {
    const LONG: usize = 1 << 46;
    let run = |op: Op, x: &[usize], w: &[usize]| {
        let of = |dims: &[usize]| Tensor::new(dims, vec![1.0f32; dims.iter().product()]).unwrap();
        let b = Tensor::vector(vec![2.0f32; 3]);
        [Precision::F32, Precision::F64].map(|precision| {
            let y = eval_op(&op, &[Some(&of(x)), Some(&of(w)), Some(&b)], 1, precision).unwrap().remove(0);
            (y.dims().to_vec(), y.to_f64_vec().unwrap())
        })
    };
    let axis = |kernel, stride, crop| Axis {
        input: 16,
        kernel,
        stride,
        dilation: 1,
        begin: crop,
        end: crop,
        more: 0,
    };
    let transposed = |kernel, stride, crop| Op::ConvTranspose(attrs(&[axis(kernel, stride, crop)], 1));
    // No picture, but outputs that lie far apart.
    for (dims, values) in run(transposed(3, LONG, 0), &[0, 2, 16], &[2, 3, 3]) {
        assert_eq!((dims, values), (vec![0, 3, 15 * LONG + 3], vec![]));
    }
    // No channel, but a long kernel.
    for (dims, values) in run(transposed(LONG + 1, 1, LONG / 2), &[1, 0, 16], &[0, 3, LONG + 1]) {
        assert_eq!((dims, values), (vec![1, 3, 16], vec![2.0; 48]));
    }
    let conv = Op::Conv(ConvAttrs {
        strides: vec![1],
        dilations: vec![1],
        padding: Padding::Explicit { begin: vec![LONG / 2], end: vec![LONG / 2] },
        groups: 1,
    });
    for (dims, values) in run(conv, &[1, 0, 16], &[3, 0, LONG + 1]) {
        assert_eq!((dims, values), (vec![1, 3, 16], vec![2.0; 48]));
    }
}

/// A stride far beyond the kernel leaves most of the output to the bias.
#[test]
fn strides_far_beyond_the_kernel() {
    let far = |stride| Axis { input: 20, kernel: 2, stride, dilation: 1, begin: 0, end: 0, more: 0 };
    check(&[far(50), far(50)], [1, 1, 1, 3], true).unwrap();
}
