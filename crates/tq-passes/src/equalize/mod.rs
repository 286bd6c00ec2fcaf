//! Cross-layer equalization: channels of two layers in a row brought to the same reach, without a change of the function.

mod links;

use crate::{PassError, fuse};
use links::{Layout, Link, Weights, links};
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
    for _ in 0..MOST_ROUNDS {
        let mut changed = false;
        for (link, factors) in links.iter().zip(&mut factors) {
            for (channel, total) in factors.iter_mut().enumerate() {
                let s = factor(graph, link, channel);
                if s != 1.0 && scale(graph, link, channel, s) {
                    *total *= s;
                    changed = true;
                }
            }
        }
        if !changed {
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

/// What a channel is divided by: 1 where it is even already, or where one side is all zeros.
fn factor(graph: &Graph, link: &Link, channel: usize) -> f32 {
    let reach = |w: &Weights| {
        let values = graph.constant(w.value).and_then(|t| t.as_slice::<f32>().ok()).unwrap_or_default();
        let own = values.iter().enumerate().filter(|(i, _)| w.layout.channel(*i) == channel);
        own.fold(0.0f32, |m, (_, v)| m.max(v.abs()))
    };
    let given = reach(&link.weights);
    let read = link.readers.iter().map(|(_, w)| reach(w)).fold(0.0, f32::max);
    if !(given > 0.0 && read > 0.0 && given.is_finite() && read.is_finite()) {
        return 1.0;
    }
    // The power of two `h` for which the ratio lies within `2^(2h - 1)` and `2^(2h + 1)`: what is left of it is at most 2 either way.
    let h = (libm::ilogb(f64::from(given) / f64::from(read)) + 1).div_euclid(2);
    libm::ldexp(1.0, h) as f32
}

/// Divides what is given by `s` and multiplies what reads it; false, with nothing done, where a value would lose digits.
fn scale(graph: &mut Graph, link: &Link, channel: usize, s: f32) -> bool {
    let bias =
        link.bias.map(|value| Weights { value, layout: Layout::Axis { inner: 1, count: link.channels } });
    let divided = [link.weights].into_iter().chain(bias).map(|w| (w, 1.0 / s));
    let sides: Vec<(Weights, f32)> = divided.chain(link.readers.iter().map(|(_, w)| (*w, s))).collect();
    let exact = |(w, by): &(Weights, f32)| {
        let values = graph.constant(w.value).and_then(|t| t.as_slice::<f32>().ok()).unwrap_or_default();
        let mut own = values.iter().enumerate().filter(|(i, _)| w.layout.channel(*i) == channel);
        own.all(|(_, v)| (v * by).is_finite() && (v * by) / by == *v)
    };
    if !sides.iter().all(exact) {
        return false;
    }
    for (w, by) in sides {
        let tensor = graph.values[w.value.0].constant.as_mut();
        let Some(Ok(values)) = tensor.map(|t| t.as_mut_slice::<f32>()) else { continue };
        for (_, v) in values.iter_mut().enumerate().filter(|(i, _)| w.layout.channel(*i) == channel) {
            *v *= by;
        }
    }
    true
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
