//! Cross-layer equalization: channels of two layers in a row brought to the same reach, without a change of the function.

mod links;

use crate::{PassError, fuse};
use links::{Link, Weights, links};
use serde::Serialize;
use std::collections::HashSet;
use tq_graph::{Graph, ValueId};

/// Rounds over all pairs of layers, at most: in a chain each pair changes what its neighbours have.
const MOST_ROUNDS: usize = 32;

/// Two layers between which channels were scaled.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EqualizedLink {
    /// Name of the node that gives the channels.
    pub from: String,
    /// Names of the nodes that read them.
    pub to: Vec<String>,
    /// Names of the tensors between them, whose channels are now smaller or larger.
    pub between: Vec<String>,
    /// How many channels were scaled.
    pub channels: usize,
    /// The largest factor by which one was made smaller or larger.
    pub largest: f32,
}

/// What [`equalize`] did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct EqualizationReport {
    /// The layers whose channels were scaled, in the order of the model.
    pub links: Vec<EqualizedLink>,
}

/// Equalizes the channels between layers of a float model, after [`fuse()`]: cross-layer equalization, section 4.1 of Nagel et al.,
/// "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019 (arXiv:1906.04721).
///
/// Where a Conv, Gemm or MatMul gives a channel to others through nothing but what keeps proportions (Relu, LeakyRelu, pools,
/// Flatten), its weights and bias of that channel are divided by `s`, and the weights that read it multiplied. With `r1` the largest
/// magnitude of the former weights and `r2` of the latter, `s = sqrt(r1 / r2)`, here rounded to a power of two. So the model answers
/// what it did, bit for bit, as long as nothing leaves the range of f32; and no channel of an activation is large for the sole
/// reason that the weights that read it are small. Nothing is done across a Clip with an upper end (Relu6), a sum, or weights that
/// others read too.
///
/// # Errors
/// [`PassError::Graph`] when the graph is broken.
///
/// ```
/// use tq_graph::{Dim, Graph, Op, Tensor};
/// use tq_passes::equalize;
/// use tq_qtypes::DType;
///
/// let mut g = Graph::new("two layers");
/// let x = g.add_input("x", DType::F32, vec![Dim::symbol("N"), 1usize.into()]);
/// let w = g.add_constant("w", Tensor::new(&[1, 2], vec![64.0f32, 1.0])?);
/// let y = g.add_node("first", Op::MatMul, &[x, w], "y");
/// let w = g.add_constant("v", Tensor::new(&[2, 1], vec![1.0f32, 1.0])?);
/// let z = g.add_node("second", Op::MatMul, &[y, w], "z");
/// g.outputs.push(z);
/// let report = equalize(&mut g)?;
/// assert_eq!((report.links[0].channels, report.links[0].largest), (1, 8.0));
/// let first = g.constant(g.find_value("w").unwrap()).unwrap();
/// assert_eq!(first.as_slice::<f32>()?, [8.0, 1.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn equalize(graph: &mut Graph) -> Result<EqualizationReport, PassError> {
    fuse(graph)?;
    let links = links(graph);
    let mut factors: Vec<Vec<f32>> = links.iter().map(|l| vec![1.0; l.channels]).collect();
    // What was scaled in the round before and in this one: links between other weights are as even as they were left.
    let mut scaled: HashSet<ValueId> = links.iter().flat_map(Link::constants).collect();
    for _ in 0..MOST_ROUNDS {
        let mut now = HashSet::new();
        for (link, totals) in links.iter().zip(&mut factors) {
            if !link.constants().any(|w| scaled.contains(&w) || now.contains(&w)) {
                continue;
            }
            let by = scale(graph, link);
            if by.iter().any(|s| *s != 1.0) {
                now.extend(link.constants());
                totals.iter_mut().zip(by).for_each(|(total, s)| *total *= s);
            }
        }
        scaled = now;
        if scaled.is_empty() {
            break;
        }
    }
    let report = |(link, factors): (Link, Vec<f32>)| {
        let scaled: Vec<f32> = factors.into_iter().filter(|s| *s != 1.0).collect();
        let largest = scaled.iter().fold(1.0f32, |m, s| m.max(*s).max(1.0 / s));
        let name = |v: &ValueId| graph.value(*v).name.clone();
        (!scaled.is_empty()).then(|| EqualizedLink {
            from: graph.node(link.node).name.clone(),
            to: link.readers.iter().map(|(id, _)| graph.node(*id).name.clone()).collect(),
            between: link.between.iter().map(name).collect(),
            channels: scaled.len(),
            largest,
        })
    };
    let links = links.into_iter().zip(factors).filter_map(report).collect();
    Ok(EqualizationReport { links })
}

/// What a channel of these largest magnitudes is divided by: 1 where it is even already, or where one side is all zeros.
fn factor(given: f32, read: f32) -> f32 {
    if !(given > 0.0 && read > 0.0 && given.is_finite() && read.is_finite()) {
        return 1.0;
    }
    // The power of two `h` for which the ratio lies within `2^(2h - 1)` and `2^(2h + 1)`: what is left of it is at most 2 either way.
    let h = (libm::ilogb(f64::from(given) / f64::from(read)) + 1).div_euclid(2);
    libm::ldexp(1.0, h) as f32
}

/// The largest magnitude of every channel.
fn reach(graph: &Graph, w: &Weights, channels: usize) -> Vec<f32> {
    let mut reach = vec![0.0f32; channels];
    for (i, v) in values(graph, w).iter().enumerate() {
        let most = &mut reach[w.layout.channel(i)];
        *most = most.max(v.abs());
    }
    reach
}

fn values<'g>(graph: &'g Graph, w: &Weights) -> &'g [f32] {
    graph.constant(w.value).and_then(|t| t.as_slice::<f32>().ok()).unwrap_or_default()
}

/// Divides what is given by a factor for each channel and multiplies what reads it; channels in which a value would lose digits
/// stay as they are. Gives the factors.
fn scale(graph: &mut Graph, link: &Link) -> Vec<f32> {
    let given = reach(graph, &link.weights, link.channels);
    let mut read = vec![0.0f32; link.channels];
    for (_, w) in &link.readers {
        for (most, v) in read.iter_mut().zip(reach(graph, w, link.channels)) {
            *most = most.max(v);
        }
    }
    let mut by: Vec<f32> = given.iter().zip(&read).map(|(given, read)| factor(*given, *read)).collect();
    if by.iter().all(|s| *s == 1.0) {
        return by;
    }
    let sides: Vec<(Weights, bool)> = link.sides().collect();
    let of = |by: &[f32], channel: usize, reads: bool| if reads { by[channel] } else { 1.0 / by[channel] };
    for (w, reads) in &sides {
        for (i, v) in values(graph, w).iter().enumerate() {
            let channel = w.layout.channel(i);
            let s = of(&by, channel, *reads);
            if !((v * s).is_finite() && (v * s) / s == *v) {
                by[channel] = 1.0;
            }
        }
    }
    for (w, reads) in sides {
        let tensor = graph.values[w.value.0].constant.as_mut();
        let Some(Ok(values)) = tensor.map(|t| t.as_mut_slice::<f32>()) else { continue };
        for (i, v) in values.iter_mut().enumerate() {
            *v *= of(&by, w.layout.channel(i), reads);
        }
    }
    by
}

/// Values that more than one place reads: what is changed for one would change for all.
fn shared(graph: &Graph) -> HashSet<ValueId> {
    let (mut once, mut twice) = (HashSet::new(), HashSet::new());
    let reads = graph.nodes.iter().flat_map(|n| n.inputs.iter().flatten());
    for v in reads.chain(&graph.outputs) {
        if !once.insert(*v) {
            twice.insert(*v);
        }
    }
    twice.extend(&graph.outputs);
    twice
}
