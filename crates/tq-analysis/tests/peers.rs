//! What other kernels answer, against definitions written out here.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

mod common;

use common::{data, model, noise};
use tq_analysis::{Dataset, Peer, forecast_peers, overflow_certificates};
use tq_graph::op::{ConvAttrs, Op, Padding};
use tq_graph::{Graph, Tensor, infer};
use tq_passes::{QConfig, convert, int8_qconfig, prepare_static};
use tq_qtypes::DType;
use tq_runtime::{Session, SessionOptions};

fn quantized(graph: &Graph, config: QConfig) -> Graph {
    let prepared = prepare_static(graph.clone(), config).unwrap();
    for batch in data(graph).batches(Some(8)) {
        prepared.forward(&batch.unwrap()).unwrap();
    }
    convert(prepared).unwrap().graph
}

/// A convolution of 3x3 on codes, and nothing else: u8 in, u8 out.
fn convolution(weights: &[i8], channels: usize, inputs: usize) -> Graph {
    let mut g = Graph::new("conv");
    let x = g.add_input("x", DType::U8, [1usize, inputs, 5, 4].map(Into::into).to_vec());
    let scale = |g: &mut Graph, name: &str, s: f32| g.add_constant(name, Tensor::scalar(s));
    let (sx, sw, sy) = (scale(&mut g, "sx", 0.02), scale(&mut g, "sw", 0.01), scale(&mut g, "sy", 0.9));
    let (zx, zy) = (g.add_constant("zx", Tensor::scalar(7u8)), g.add_constant("zy", Tensor::scalar(131u8)));
    let zw = g.add_constant("zw", Tensor::scalar(0i8));
    let w = g.add_constant("w", Tensor::new(&[channels, inputs, 3, 3], weights.to_vec()).unwrap());
    let dq = |axis| Op::DequantizeLinear { axis, block_size: 0 };
    let xr = g.add_node("dx", dq(1), &[x, sx, zx], "xr");
    let wr = g.add_node("dw", dq(0), &[w, sw, zw], "wr");
    let attrs = ConvAttrs {
        strides: vec![2, 1],
        dilations: vec![1, 1],
        padding: Padding::Explicit { begin: vec![1, 1], end: vec![1, 1] },
        groups: 1,
    };
    let y = g.add_node("conv", Op::Conv(attrs), &[xr, wr], "yr");
    let q = Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype: None, saturate: true };
    let y = g.add_node("qy", q, &[y, sy, zy], "y");
    let y = g.add_node("dy", dq(1), &[y, sy, zy], "out");
    g.outputs.push(y);
    infer::infer(&mut g).unwrap();
    g
}

/// What a kernel on `vpmaddubsw` gives, from the definitions: kernel elements first, the channels of each together.
fn saturating_convolution(x: &[u8], w: &[i8], channels: usize, inputs: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for n in 0..channels {
        for oy in 0..3usize {
            for ox in 0..4usize {
                let mut products = Vec::new();
                let mut correction = 0i64;
                for ky in 0..3usize {
                    for kx in 0..3usize {
                        for c in 0..inputs {
                            let (iy, ix) = ((oy * 2 + ky).wrapping_sub(1), (ox + kx).wrapping_sub(1));
                            let a = if iy < 5 && ix < 4 { x[(c * 5 + iy) * 4 + ix] } else { 7 };
                            let w = i32::from(w[((n * inputs + c) * 3 + ky) * 3 + kx]);
                            products.push(i32::from(a) * w);
                            correction += 7 * i64::from(w);
                        }
                    }
                }
                let sum: i64 =
                    products.chunks(2).map(|p| i64::from(p.iter().sum::<i32>().clamp(-32_768, 32_767))).sum();
                let acc = (sum - correction) as f32;
                let m = (0.02f32 * 0.01) / 0.9;
                out.push(((acc * m).clamp(-131.0, 124.0).round_ties_even() + 131.0) as u8);
            }
        }
    }
    out
}

#[test]
fn saturation_is_that_of_the_definition() {
    let (channels, inputs) = (3, 5);
    let wide = |v: &f32| (v * 127.9) as i8;
    let w: Vec<i8> = noise(channels * inputs * 9, 3).iter().map(wide).collect();
    let x: Vec<u8> = noise(inputs * 20, 5).iter().map(|v| (v * 127.0 + 128.0) as u8).collect();
    let g = convolution(&w, channels, inputs);
    let expected = saturating_convolution(&x, &w, channels, inputs);
    let input = Tensor::new(&[1, inputs, 5, 4], x).unwrap();
    let exact =
        Session::new(&g, SessionOptions::default()).unwrap().run(std::slice::from_ref(&input)).unwrap();
    let ours: Vec<u8> =
        exact[0].as_slice::<f32>().unwrap().iter().map(|v| (v / 0.9 + 131.0).round() as u8).collect();
    let changed = ours.iter().zip(&expected).filter(|(a, b)| a != b).count();
    let most = ours.iter().zip(&expected).map(|(a, b)| u32::from(a.abs_diff(*b))).max().unwrap();
    assert!(changed > 2, "{ours:?} {expected:?}");
    let data = Dataset::new(&g, vec![input]).unwrap();
    let forecasts = forecast_peers(&g, &data, None, None, 1, |_| ()).unwrap();
    let f = forecasts.iter().find(|f| f.peer == Peer::SaturatingPairs).unwrap();
    assert_eq!((f.layers.len(), f.layers[0].most), (1, most), "{f:?}");
    let percent = 100.0 * changed as f64 / ours.len() as f64;
    assert!((f.layers[0].changed - percent).abs() < 1e-9, "{f:?}, {changed} of {}", ours.len());
    assert!((f.max_error - f64::from(most) * f64::from(0.9f32)).abs() < 1e-4, "{f:?}");
    // The certificate knows of it.
    let c = &overflow_certificates(&g)[0];
    let pairs = c.pairs.unwrap();
    // 45 products a sum: 23 pairs, the last of one weight.
    assert_eq!((c.depth, c.channels, pairs.all, pairs.overflowing_127), (45, 3, 69, 0), "{c:?}");
    assert!(pairs.overflowing_255 > 10, "{c:?}");
}

#[test]
fn weights_of_half_the_range_never_saturate() {
    let (channels, inputs) = (3, 5);
    let w: Vec<i8> = noise(channels * inputs * 9, 3).iter().map(|v| (v * 64.0) as i8).collect();
    let x: Vec<u8> = noise(inputs * 20, 5).iter().map(|v| if *v > 0.0 { 255 } else { 0 }).collect();
    let g = convolution(&w, channels, inputs);
    assert_eq!(overflow_certificates(&g)[0].pairs.unwrap().overflowing_255, 0);
    let data = Dataset::new(&g, vec![Tensor::new(&[1, inputs, 5, 4], x).unwrap()]).unwrap();
    let f = &forecast_peers(&g, &data, None, None, 1, |_| ()).unwrap()[0];
    assert_eq!((f.layers[0].changed, f.max_error), (0.0, 0.0), "{f:?}");
}

#[test]
fn without_a_peer_it_is_the_session() {
    let g = model();
    let q = quantized(&g, int8_qconfig());
    let data = data(&g);
    let forecasts = forecast_peers(&q, &data, None, None, 24, |_| ()).unwrap();
    let session = Session::new(&q, SessionOptions::default()).unwrap();
    // The largest error of a peer is counted from our answers: it is that from the session's.
    let batch = data.batches(None).next().unwrap().unwrap();
    assert_eq!(session.run(&batch.inputs).unwrap()[0].dims(), [24, 5]);
    for f in &forecasts {
        assert_eq!((f.rows, f.layers.len()), (24, 5), "{f:?}");
        assert_eq!(f.decisions_changed.map(|p| p < 30.0), Some(true), "{f:?}");
        assert!(f.layers.iter().all(|l| (0.0..=100.0).contains(&l.changed)), "{f:?}");
    }
    // Two roundings instead of one: a code at most, and few.
    let fixed = forecasts.iter().find(|f| f.peer == Peer::FixedPoint).unwrap();
    assert!(fixed.layers.iter().all(|l| l.most <= 1 && l.changed < 5.0), "{fixed:?}");
    assert!(fixed.sqnr_db > 30.0, "{fixed:?}");
}

#[test]
fn rows_labels_and_outputs_are_checked() {
    let g = model();
    let q = quantized(&g, int8_qconfig());
    let data = data(&g);
    let labels: Vec<i64> = (0..24).map(|i| i % 5).collect();
    let forecasts = forecast_peers(&q, &data, Some(&labels), None, 5, |_| ()).unwrap();
    // Whole batches: eight rows are the least that hold five.
    assert!(forecasts.iter().all(|f| f.rows == 8 && f.top1.is_some()), "{forecasts:?}");
    assert!(forecast_peers(&q, &data, None, Some("nothing"), 5, |_| ()).is_err());
    assert!(forecast_peers(&q, &data, Some(&[9; 24]), None, 5, |_| ()).is_err());
}
