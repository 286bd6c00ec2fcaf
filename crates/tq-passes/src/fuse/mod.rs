//! Fusion in the float graph: fewer operators, the same function.

mod affine;
pub(crate) mod clamp;
mod edit;
mod einsum;
mod hard;
mod pad;
mod report;

pub use report::{FusionEntry, FusionOutcome, FusionReport};

use crate::PassError;
use affine::{ChannelAffine, fold_after, fold_before, make_plain};
use clamp::{bounds_of, epilogue_host, is_clamp};
use edit::{At, Editor};
use std::collections::HashMap;
use tq_graph::op::{BinaryOp, ConvAttrs, Padding, UnaryOp, VariadicOp};
use tq_graph::{Graph, NodeId, Op, Tensor, infer};

/// Fuses what can be fused without changing what the graph computes, up to float rounding.
///
/// * Identity, Dropout, paddings of nothing and clips without bounds go; the larger or smaller of a tensor and a number is a
///   clamp; clamps after clamps become one.
/// * Einsum of two operands that is a product of matrices, or of weights and data over any axes, becomes MatMul between
///   Transpose and Reshape; with one constant among three operands, two of them.
/// * `x * clip(x + 3, 0, 6) / 6` in its spellings becomes HardSwish, `clip(x + b, 0, c) / c` HardSigmoid,
///   `x * (1 + erf(x / sqrt(2))) / 2` Gelu.
/// * Padding with zeros goes into the convolutions and pools after it, where that is exact.
/// * BatchNormalization, and Add, Sub, Mul, Div by a number or by one number a channel, go into the Conv, Gemm or
///   MatMul before them (a MatMul with a bias becomes a Gemm), in f64; a BatchNormalization before a convolution
///   without padding, or before a Gemm, goes forward. What is left of them becomes a depthwise convolution of one
///   element, or a product and a sum, so that integers can do it.
/// * Relu and Clip after Conv, Gemm, MatMul, Add, Sub and Mul stay nodes and are reported as epilogues.
///
/// Names of graph inputs and outputs do not change, and every surviving value keeps its name.
///
/// # Errors
/// [`PassError::Graph`] when the graph is broken.
pub fn fuse(graph: &mut Graph) -> Result<FusionReport, PassError> {
    infer::infer(graph)?;
    let mut report = FusionReport::default();
    einsum_products(graph, &mut report)?;
    let mut pass = Pass { report, kept: HashMap::new(), ed: Editor::new(graph) };
    pass.remove_idle();
    pass.clamp_extremes();
    pass.merge_clamps();
    pass.hard_activations();
    pass.paddings();
    pass.affine_maps();
    pass.forward_batch_norms();
    pass.lone_batch_norms();
    pass.divisions();
    let Pass { mut report, kept, ed } = pass;
    ed.finish()?;
    infer::infer(graph)?;
    report_rest(graph, &kept, &mut report);
    Ok(report)
}

/// Einsum that stands for products of matrices. The shapes between are inferred for the rules that follow.
fn einsum_products(graph: &mut Graph, report: &mut FusionReport) -> Result<(), PassError> {
    let mut ed = Editor::new(graph);
    let mut found = false;
    for at in ed.live() {
        let (name, op) = (ed.node(at).name.clone(), ed.node(at).op.name());
        if einsum::to_products(&mut ed, at) {
            report.push(&name, op, FusionOutcome::Rewritten { into: "MatMul".to_owned() });
            found = true;
        }
    }
    if found {
        ed.finish()?;
        infer::infer(graph)?;
    }
    Ok(())
}

struct Pass<'g> {
    ed: Editor<'g>,
    report: FusionReport,
    /// Reasons found on the way for nodes that stay.
    kept: HashMap<String, String>,
}

impl Pass<'_> {
    fn note(&mut self, at: At, outcome: FusionOutcome) {
        let node = self.ed.node(at);
        let (name, op) = (node.name.clone(), node.op.name());
        self.report.push(&name, op, outcome);
    }

    /// Notes the clamps, paddings and normalizations among nodes that went into `into`.
    fn note_gone(&mut self, gone: &[At], into: &str) {
        for at in gone {
            let op = &self.ed.node(*at).op;
            if is_clamp(op) || matches!(op, Op::Pad { .. } | Op::BatchNormalization { .. }) {
                self.note(*at, FusionOutcome::Fused { into: into.to_owned() });
            }
        }
    }

    /// Nodes that hand their input on unchanged.
    fn remove_idle(&mut self) {
        for at in self.ed.live() {
            let node = self.ed.node(at);
            let idle = match &node.op {
                Op::Identity => true,
                Op::Dropout => {
                    node.output(1).is_none_or(|v| self.ed.readers(v).is_empty() && !self.ed.is_output(v))
                }
                Op::Pad { .. } => pad::is_noop(&self.ed, at),
                Op::Clip => node.input(1).is_none() && node.input(2).is_none(),
                _ => false,
            };
            if idle && self.bypass(at) {
                self.note(at, FusionOutcome::Removed);
            }
        }
    }

    /// Removes `at`, whose first output equals its first input; false when graph inputs and outputs hold it in place.
    fn bypass(&mut self, at: At) -> bool {
        let ed = &mut self.ed;
        let (Some(x), Some(out)) = (ed.node(at).input(0), ed.node(at).output(0)) else { return false };
        if !ed.is_output(out) {
            for reader in ed.readers(out).to_vec() {
                replace_input(ed, reader, out, x);
            }
            ed.kill(at);
            return true;
        }
        // The output's name must stay, so the producer of `x` gives it from now on.
        let Some(producer) = ed.producer(x) else { return false };
        if ed.is_output(x) {
            return false;
        }
        ed.kill(at);
        for reader in ed.readers(x).to_vec() {
            replace_input(ed, reader, x, out);
        }
        ed.rename_output(producer, x, out);
        true
    }

    /// Max and Min of a tensor and a number: clamps.
    fn clamp_extremes(&mut self) {
        for at in self.ed.live() {
            let ed = &self.ed;
            let node = ed.node(at);
            let (Op::Variadic(op @ (VariadicOp::Max | VariadicOp::Min)), [Some(a), Some(b)]) =
                (&node.op, &node.inputs[..])
            else {
                continue;
            };
            let is_max = *op == VariadicOp::Max;
            let (x, bound) = match (ed.scalar(*a, *b), ed.scalar(*b, *a)) {
                (None, Some(c)) => (*a, c),
                (Some(c), None) => (*b, c),
                _ => continue,
            };
            if bound.is_nan() || !ed.is_f32(x) || ed.graph.constant(x).is_some() {
                continue;
            }
            let name = node.name.clone();
            if is_max && bound == 0.0 {
                self.ed.rewrite(at, Op::Unary(UnaryOp::Relu), &[x]);
                continue;
            }
            let (lo, hi) = if is_max { (bound, f32::INFINITY) } else { (f32::NEG_INFINITY, bound) };
            let lo = self.ed.add_constant(&format!("{name}_min"), Tensor::scalar(lo));
            let hi = self.ed.add_constant(&format!("{name}_max"), Tensor::scalar(hi));
            self.ed.rewrite(at, Op::Clip, &[x, lo, hi]);
        }
    }

    /// A clamp whose only reader is a clamp: one clamp.
    fn merge_clamps(&mut self) {
        for at in self.ed.live() {
            if self.ed.is_dead(at) || !is_clamp(&self.ed.node(at).op) {
                continue;
            }
            let node = self.ed.node(at);
            let (Some(x), Some(out), Ok((lo, hi))) =
                (node.input(0), node.output(0), bounds_of(self.ed.graph, node))
            else {
                continue;
            };
            let [next] = *self.ed.readers(out) else { continue };
            let next_node = self.ed.node(next);
            let Ok((next_lo, next_hi)) = bounds_of(self.ed.graph, next_node) else { continue };
            if next_node.input(0) != Some(out) || self.ed.is_output(out) || !self.ed.is_f32(out) {
                continue;
            }
            let (lo, hi) = (lo.clamp(next_lo, next_hi), hi.clamp(next_lo, next_hi));
            let into = next_node.name.clone();
            self.note(at, FusionOutcome::Fused { into: into.clone() });
            if (lo, hi) == (0.0, f32::INFINITY) {
                self.ed.rewrite(next, Op::Unary(UnaryOp::Relu), &[x]);
            } else {
                let lo = self.ed.add_constant(&format!("{into}_min"), Tensor::scalar(lo));
                let hi = self.ed.add_constant(&format!("{into}_max"), Tensor::scalar(hi));
                self.ed.rewrite(next, Op::Clip, &[x, lo, hi]);
            }
            self.ed.prune(at);
        }
    }

    fn hard_activations(&mut self) {
        // A hard sigmoid found first is a factor of a hard-swish found later; the other way round nothing is lost.
        for _ in 0..2 {
            for at in self.ed.live().into_iter().rev() {
                if self.ed.is_dead(at) {
                    continue;
                }
                let Some((unary, x)) = hard::matches(&self.ed, at) else { continue };
                let name = self.ed.node(at).name.clone();
                let before: Vec<At> =
                    (self.ed.node(at).inputs.iter().flatten()).filter_map(|v| self.ed.producer(*v)).collect();
                self.note(at, FusionOutcome::Rewritten { into: Op::Unary(unary).name().to_owned() });
                self.ed.rewrite(at, Op::Unary(unary), &[x]);
                for p in before {
                    let gone = self.ed.prune(p);
                    self.note_gone(&gone, &name);
                }
            }
        }
    }

    fn paddings(&mut self) {
        for at in self.ed.live() {
            if !matches!(self.ed.node(at).op, Op::Pad { .. }) {
                continue;
            }
            match pad::fold(&mut self.ed, at) {
                Ok(into) => self.note(at, FusionOutcome::Fused { into: into.join(", ") }),
                Err(reason) => self.keep(at, reason),
            }
        }
    }

    fn keep(&mut self, at: At, reason: String) {
        self.kept.insert(self.ed.node(at).name.clone(), reason);
    }

    /// Per-channel maps into the Conv, ConvTranspose, Gemm or MatMul before them.
    fn affine_maps(&mut self) {
        for at in self.ed.live() {
            if matches!(self.ed.node(at).op, Op::Gemm { .. }) && make_plain(&mut self.ed, at) {
                continue;
            }
            let is_norm = matches!(self.ed.node(at).op, Op::BatchNormalization { .. });
            if !is_norm && !matches!(self.ed.node(at).op, Op::Binary(_)) {
                continue;
            }
            match self.fold_map(at, is_norm) {
                Ok(into) => self.note(at, FusionOutcome::Fused { into }),
                Err(reason) if is_norm => self.keep(at, reason),
                Err(_) => {}
            }
        }
    }

    /// Folds the map of node `at` into the node before it, whose name it gives.
    fn fold_map(&mut self, at: At, is_norm: bool) -> Result<String, String> {
        let ed = &mut self.ed;
        let node = ed.node(at);
        let x = (0..if is_norm { 1 } else { 2 })
            .filter_map(|i| node.input(i))
            .find(|v| ed.graph.constant(*v).is_none())
            .ok_or("it has no input")?;
        let host = ed.producer(x).ok_or_else(|| format!("{} is not computed by any node", ed.name_of(x)))?;
        let name = ed.node(host).name.clone();
        let linear = affine::Linear::of(ed, host)?;
        let map = if is_norm {
            if matches!(ed.node(host).op, Op::MatMul) && ed.rank(x) != Some(2) {
                return Err(format!("{name} is a MatMul whose channels are not on axis 1"));
            }
            ChannelAffine::of_batch_norm(ed, at)?
        } else {
            let rank = ed.rank(x).ok_or("unknown rank")?;
            let convolves = matches!(ed.node(host).op, Op::Conv(_) | Op::ConvTranspose(_));
            let axis = if convolves { 1 } else { rank.saturating_sub(1) };
            let (read, map) =
                ChannelAffine::of_binary(ed, at, linear.channels(), rank, axis).ok_or("no map a channel")?;
            if read != x {
                return Err("no map a channel".into());
            }
            map
        };
        fold_after(ed, host, at, &map)?;
        Ok(name)
    }

    /// Normalizations into the only node that reads them.
    fn forward_batch_norms(&mut self) {
        for at in self.ed.live() {
            if !matches!(self.ed.node(at).op, Op::BatchNormalization { .. }) {
                continue;
            }
            let Some(out) = self.ed.node(at).output(0) else { continue };
            let [host] = *self.ed.readers(out) else { continue };
            let Ok(map) = ChannelAffine::of_batch_norm(&self.ed, at) else { continue };
            let into = self.ed.node(host).name.clone();
            match fold_before(&mut self.ed, at, host, &map) {
                Ok(()) => self.note(at, FusionOutcome::Fused { into }),
                Err(reason) => {
                    let before = self.kept.remove(&self.ed.node(at).name).unwrap_or_default();
                    self.keep(at, format!("{before}; {reason}"));
                }
            }
        }
    }

    /// Normalizations that nothing takes: operators that integers can do instead.
    fn lone_batch_norms(&mut self) {
        for at in self.ed.live() {
            if !matches!(self.ed.node(at).op, Op::BatchNormalization { .. }) {
                continue;
            }
            let Some(x) = self.ed.node(at).input(0).filter(|x| self.ed.is_f32(*x)) else { continue };
            let Ok(map) = ChannelAffine::of_batch_norm(&self.ed, at) else { continue };
            let narrow = |v: &[f64]| v.iter().map(|v| *v as f32).collect::<Vec<f32>>();
            let (mul, add) = (narrow(&map.mul), narrow(&map.add));
            if !mul.iter().chain(&add).all(|v| v.is_finite()) {
                continue;
            }
            let name = self.ed.node(at).name.clone();
            let into = match self.ed.rank(x) {
                Some(rank @ 3..=5) => {
                    let spatial = rank - 2;
                    let mut dims = vec![1; rank];
                    dims[0] = mul.len();
                    let groups = mul.len();
                    let Ok(weights) = Tensor::new(&dims, mul) else { continue };
                    let w = self.ed.add_constant(&format!("{name}_weight"), weights);
                    let b = self.ed.add_constant(&format!("{name}_bias"), Tensor::vector(add));
                    let attrs = ConvAttrs {
                        strides: vec![1; spatial],
                        dilations: vec![1; spatial],
                        padding: Padding::Explicit { begin: vec![0; spatial], end: vec![0; spatial] },
                        groups,
                    };
                    self.ed.rewrite(at, Op::Conv(attrs), &[x, w, b]);
                    "a depthwise convolution of one element"
                }
                Some(2) => {
                    let w = self.ed.add_constant(&format!("{name}_weight"), Tensor::vector(mul));
                    let b = self.ed.add_constant(&format!("{name}_bias"), Tensor::vector(add));
                    let product = self.ed.add_node_before(
                        at,
                        &format!("{name}_mul"),
                        Op::Binary(BinaryOp::Mul),
                        &[x, w],
                    );
                    self.ed.rewrite(at, Op::Binary(BinaryOp::Add), &[product, b]);
                    "a product and a sum"
                }
                _ => continue,
            };
            self.kept.remove(&name);
            self.report.push(&name, "BatchNormalization", FusionOutcome::Rewritten { into: into.to_owned() });
        }
    }

    /// Division by a constant becomes a product, which integers can do.
    fn divisions(&mut self) {
        for at in self.ed.live() {
            let node = self.ed.node(at);
            let (Op::Binary(BinaryOp::Div), Some(x), Some(c)) = (&node.op, node.input(0), node.input(1))
            else {
                continue;
            };
            let Some((data, dims)) = self.ed.constant_f32(c) else { continue };
            let reciprocal: Vec<f32> = data.iter().map(|v| 1.0 / v).collect();
            let usable = reciprocal.iter().all(|v| v.is_normal());
            if !usable || self.ed.graph.constant(x).is_some() {
                continue;
            }
            let Ok(tensor) = Tensor::new(dims, reciprocal) else { continue };
            let base = format!("{}_reciprocal", self.ed.name_of(c));
            let r = self.ed.add_constant(&base, tensor);
            self.note(at, FusionOutcome::Rewritten { into: "Mul".to_owned() });
            self.ed.rewrite(at, Op::Binary(BinaryOp::Mul), &[x, r]);
        }
    }
}

/// Makes every place where `reader` reads `old` read `new`.
fn replace_input(ed: &mut Editor, reader: At, old: tq_graph::ValueId, new: tq_graph::ValueId) {
    for i in 0..ed.node(reader).inputs.len() {
        if ed.node(reader).input(i) == Some(old) {
            ed.set_input(reader, i, Some(new));
        }
    }
}

/// Clamps as epilogues, and the reasons of everything that stays.
fn report_rest(graph: &Graph, kept: &HashMap<String, String>, report: &mut FusionReport) {
    let (producers, consumers) = (graph.producers(), graph.consumers());
    for (i, node) in graph.nodes.iter().enumerate() {
        let known = || kept.get(&node.name).cloned().unwrap_or_else(|| "no rule takes it".into());
        let outcome = match &node.op {
            op if is_clamp(op) => match epilogue_host(graph, &producers, &consumers, NodeId(i)) {
                Ok(host) => FusionOutcome::Epilogue { of: graph.node(host).name.clone() },
                Err(reason) => FusionOutcome::Kept { reason },
            },
            Op::Pad { .. } | Op::BatchNormalization { .. } => FusionOutcome::Kept { reason: known() },
            _ => continue,
        };
        report.push(&node.name, node.op.name(), outcome);
    }
}
