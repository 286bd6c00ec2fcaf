//! Types, shapes and symbolic values.
//!
//! One pass over the nodes in order gives every value its element type and its shape, by the rules of ONNX opset 21.
//! Dimensions may be symbolic; what only data can tell becomes a fresh symbol named after the value and the axis, as
//! in `?y.0`. Small integer tensors are followed element by element, so that the shape arithmetic of exporters
//! (Shape, Gather, Concat and so on, into Reshape, Slice or Pad) is understood and can be removed.

mod bind;
mod context;
mod conv;
mod conv_transpose;
mod create;
mod detection;
mod einsum;
mod elementwise;
mod index;
mod linear;
mod movement;
mod norm;
mod quant;
mod recurrent;
mod reduce;
mod repeat;
mod resize;
mod simplify;
mod slice;
mod values;

pub use bind::bind;
pub use create::{integer_range_len, range_len};
pub use simplify::simplify_shapes;

use crate::tensor::checked_numel;
use crate::{Graph, GraphError, Op, ValueId};
use context::{Context, Fact, MAX_RANK, show};
use tq_qtypes::DType;
use values::Content;

/// Elements of followed results that are kept; beyond it nothing more is followed.
const CONTENT_BUDGET: usize = 1 << 22;

/// Fills in type and shape of every value.
///
/// What is inferred replaces what the graph said before; only where the data alone would tell does a declared
/// shape, or a declared dimension, stay. Where not even the rank is known the shape stays `None`.
///
/// # Errors
/// As [`Graph::validate`]; [`GraphError::Node`] for the first node whose inputs and attributes contradict each other;
/// [`GraphError::Structure`] for inputs and constants of more than 64 axes.
pub fn infer(graph: &mut Graph) -> Result<(), GraphError> {
    propagate(graph).map(drop)
}

/// Infers everything; returns the followed contents of every value.
fn propagate(graph: &mut Graph) -> Result<Vec<Option<Content>>, GraphError> {
    graph.validate()?;
    let mut inference = Inference::new();
    inference.take_values(graph)?;
    for i in 0..graph.nodes.len() {
        inference.infer(graph, i)?;
    }
    Ok(inference.contents)
}

/// Inference node by node, for a graph that still grows.
///
/// Whoever builds a graph can ask for the type and shape of what it has so far, and choose the next node by them.
#[derive(Debug)]
pub struct Inference {
    /// What the values hold, as far as that is followed; one a value that has been looked at.
    contents: Vec<Option<Content>>,
    budget: usize,
}

impl Default for Inference {
    fn default() -> Self {
        Self::new()
    }
}

impl Inference {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self { contents: Vec::new(), budget: CONTENT_BUDGET }
    }

    /// Fills in type and shape of what the node at `index` gives, from what was inferred before. Inputs about which
    /// nothing is known are allowed.
    ///
    /// # Errors
    /// As [`infer`](infer()), for this node alone.
    ///
    /// # Panics
    /// When the graph has no node `index`, or the node refers to values that the graph does not have.
    pub fn node(&mut self, graph: &mut Graph, index: usize) -> Result<(), GraphError> {
        graph.nodes[index].check_arity()?;
        self.take_values(graph)?;
        self.infer(graph, index)
    }

    /// The elements of a value of integers, if all of them are known numbers.
    #[must_use]
    pub fn integers(&self, id: ValueId) -> Option<Vec<i64>> {
        self.contents.get(id.0)?.as_ref().and_then(|c| values::known(c))
    }

    /// Looks at the values that were added since the last time.
    fn take_values(&mut self, graph: &mut Graph) -> Result<(), GraphError> {
        for value in graph.values.iter_mut().skip(self.contents.len()) {
            self.contents.push(value.constant.as_ref().and_then(values::of_constant));
            if let Some(tensor) = &value.constant {
                value.dtype = Some(tensor.dtype());
                value.shape = Some(crate::dim::shape_of(tensor.dims()));
            }
            if let Some(rank) = value.shape.as_ref().map(Vec::len)
                && rank > MAX_RANK
            {
                return Err(GraphError::Structure(format!(
                    "value {} has rank {rank}, more than {MAX_RANK}",
                    value.name
                )));
            }
        }
        Ok(())
    }

    fn infer(&mut self, graph: &mut Graph, i: usize) -> Result<(), GraphError> {
        let ctx = Context { graph, node: &graph.nodes[i], contents: &self.contents };
        let mut facts = of_node(&ctx)?;
        let found = if self.budget > 0 { values::of_outputs(&ctx, &facts) } else { vec![None; facts.len()] };
        for (out, fact) in facts.iter_mut().enumerate() {
            complete(&ctx, out, fact)?;
        }
        let outputs = graph.nodes[i].outputs.clone();
        for ((slot, fact), content) in outputs.into_iter().zip(facts).zip(found) {
            let Some(id) = slot else { continue };
            let value = &mut graph.values[id.0];
            value.dtype = fact.dtype.or(value.dtype);
            value.shape = fact.shape.or(value.shape.take());
            self.contents[id.0] = content.filter(|c| spend(&mut self.budget, c));
        }
        Ok(())
    }
}

/// Takes the contents out of the budget; the first that do not fit end it.
fn spend(budget: &mut usize, content: &Content) -> bool {
    let left = budget.checked_sub(content.len().max(1));
    *budget = left.unwrap_or(0);
    left.is_some()
}

/// Checks an inferred shape and takes declared dimensions where only data would tell.
fn complete(ctx: &Context<'_>, out: usize, fact: &mut Fact) -> Result<(), GraphError> {
    let Some(shape) = &mut fact.shape else { return Ok(()) };
    if shape.len() > MAX_RANK {
        return ctx.fail(format!("output rank {} is more than {MAX_RANK}", shape.len()));
    }
    if let (Some(dtype), Some(dims)) = (fact.dtype, crate::dim::known_shape(shape))
        && checked_numel(&dims, dtype).is_err()
    {
        return ctx.fail(format!("an output of shape {} is too large", show(shape)));
    }
    let declared = ctx.node.output(out).and_then(|v| ctx.graph.value(v).shape.as_ref());
    if let Some(declared) = declared.filter(|d| d.len() == shape.len()) {
        for (axis, (d, other)) in shape.iter_mut().zip(declared).enumerate() {
            if d.as_symbol().is_some_and(|s| s.starts_with('?')) && *d == ctx.unknown(out, axis) {
                *d = other.clone();
            }
        }
    }
    Ok(())
}

/// Types and shapes of the outputs of one node.
fn of_node(ctx: &Context<'_>) -> Result<Vec<Fact>, GraphError> {
    let fact = match &ctx.node.op {
        Op::Conv(attrs) => conv::conv(ctx, attrs)?,
        Op::ConvTranspose(attrs) => conv_transpose::conv_transpose(ctx, attrs)?,
        Op::ConvInteger(attrs) => conv::conv_integer(ctx, attrs)?,
        Op::QLinearConv(attrs) => conv::qlinear_conv(ctx, attrs)?,
        Op::MaxPool { attrs, .. } => return conv::max_pool(ctx, attrs),
        Op::AveragePool { attrs, .. } => conv::average_pool(ctx, attrs)?,
        Op::LpPool { attrs, p } => conv::lp_pool(ctx, attrs, *p)?,
        Op::GlobalAveragePool | Op::GlobalMaxPool => conv::global_pool(ctx)?,
        Op::GlobalLpPool { p } => conv::global_lp_pool(ctx, *p)?,
        Op::MeanVarianceNormalization { axes } => norm::mean_variance(ctx, axes)?,
        Op::Lrn { size, .. } => norm::lrn(ctx, *size)?,
        Op::Gemm { trans_a, trans_b, .. } => linear::gemm(ctx, *trans_a, *trans_b)?,
        Op::MatMul => linear::matmul(ctx)?,
        Op::MatMulInteger => linear::matmul_integer(ctx)?,
        Op::QLinearMatMul => linear::qlinear_matmul(ctx)?,
        Op::Unary(op) => elementwise::unary(ctx, *op)?,
        Op::Binary(op) => elementwise::binary(ctx, *op)?,
        Op::Compare(op) => elementwise::compare(ctx, *op)?,
        Op::Logic(_) => elementwise::logic(ctx)?,
        Op::Not => elementwise::not(ctx)?,
        Op::Bitwise(op) => elementwise::bitwise(ctx, *op)?,
        Op::BitwiseNot => elementwise::bitwise_not(ctx)?,
        Op::IsNaN | Op::IsInf { .. } => elementwise::test(ctx)?,
        Op::Where => elementwise::choose(ctx)?,
        Op::Variadic(op) => elementwise::variadic(ctx, *op)?,
        Op::Clip => elementwise::clip(ctx)?,
        Op::BatchNormalization { .. } => elementwise::batch_normalization(ctx)?,
        Op::LayerNormalization { axis, stash, .. } => return norm::layer(ctx, *axis, *stash),
        Op::InstanceNormalization { .. } => norm::instance(ctx)?,
        Op::GroupNormalization { groups, .. } => norm::group(ctx, *groups)?,
        Op::Softmax { axis } | Op::LogSoftmax { axis } | Op::Hardmax { axis } => {
            elementwise::softmax(ctx, *axis)?
        }
        Op::Einsum(equation) => einsum::einsum(ctx, equation)?,
        Op::NonMaxSuppression { .. } => detection::non_max_suppression(ctx)?,
        Op::Resize(attrs) => resize::resize(ctx, attrs)?,
        Op::Recurrent { kind, attrs } => return recurrent::recurrent(ctx, *kind, attrs),
        Op::Identity => elementwise::identity(ctx),
        Op::Dropout => return elementwise::dropout(ctx),
        Op::GatherElements { axis } => index::gather_elements(ctx, *axis)?,
        Op::GatherND { batch_dims } => index::gather_nd(ctx, *batch_dims)?,
        Op::ScatterElements { axis, reduction } => index::scatter_elements(ctx, *axis, *reduction)?,
        Op::ScatterND { reduction } => index::scatter_nd(ctx, *reduction)?,
        Op::Expand => repeat::expand(ctx)?,
        Op::Tile => repeat::tile(ctx)?,
        Op::Trilu { .. } => repeat::trilu(ctx)?,
        Op::DepthToSpace { block, .. } => repeat::depth_to_space(ctx, *block)?,
        Op::SpaceToDepth { block } => repeat::space_to_depth(ctx, *block)?,
        Op::Size => Fact::new(Some(DType::I64), Some(Vec::new())),
        Op::NonZero => create::non_zero(ctx)?,
        Op::Range => create::range(ctx)?,
        Op::OneHot { axis } => create::one_hot(ctx, *axis)?,
        Op::EyeLike { dtype, .. } => create::eye_like(ctx, *dtype)?,
        Op::Cast { to, .. } => elementwise::cast(ctx, Some(*to)),
        Op::CastLike { .. } => elementwise::cast(ctx, ctx.dtype(1)),
        Op::Reduce { kind, keep_dims, noop_with_empty_axes } => {
            reduce::reduce(ctx, *kind, *keep_dims, *noop_with_empty_axes)?
        }
        Op::ArgMax(attrs) | Op::ArgMin(attrs) => reduce::arg(ctx, *attrs)?,
        Op::TopK { axis, .. } => return reduce::top_k(ctx, *axis),
        Op::CumSum { .. } => reduce::cumulative_sum(ctx)?,
        Op::Flatten { axis } => movement::flatten(ctx, *axis)?,
        Op::Reshape { allow_zero } => movement::reshape(ctx, *allow_zero)?,
        Op::Transpose { perm } => movement::transpose(ctx, perm.as_deref())?,
        Op::Squeeze => movement::squeeze(ctx)?,
        Op::Unsqueeze => movement::unsqueeze(ctx)?,
        Op::Concat { axis } => movement::concat(ctx, *axis)?,
        Op::Slice => slice::slice(ctx)?,
        Op::Split { axis } => return movement::split(ctx, *axis),
        Op::Pad { mode } => movement::pad(ctx, *mode)?,
        Op::Shape { start, end } => movement::shape(ctx, *start, *end),
        Op::Gather { axis } => movement::gather(ctx, *axis)?,
        Op::ConstantOfShape { value } => movement::constant_of_shape(ctx, value)?,
        Op::QuantizeLinear { axis, block_size, output_dtype, .. } => {
            quant::quantize(ctx, *axis, *block_size, *output_dtype)?
        }
        Op::DequantizeLinear { axis, block_size } => quant::dequantize(ctx, *axis, *block_size)?,
        Op::DynamicQuantizeLinear { .. } => return quant::dynamic_quantize(ctx),
    };
    Ok(vec![fact])
}
