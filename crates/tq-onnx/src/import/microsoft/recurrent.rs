//! `DynamicQuantizeLSTM`: constant weights of 8 bits, data and states quantized at run time.

use crate::attributes::Attributes;
use crate::import::around::Surroundings;
use crate::import::operator::{Result, malformed, unsupported};
use crate::import::plan::{Plan, Source};
use crate::proto::NodeProto;
use tq_graph::{Op, Tensor};
use tq_qtypes::{DType, DynamicFormula};

/// `X, W, R[, B[, sequence_lens[, initial_h[, initial_c[, P]]]]], W_scale, W_zp, R_scale, R_zp`: an LSTM whose weights
/// are transposed, `[directions, inputs, 4 * hidden]`, with parameters for each direction or each column of one.
pub(super) fn lstm(attributes: &Attributes, node: &NodeProto, around: &Surroundings) -> Result<Plan> {
    let mut op = crate::import::recurrent::recurrent(attributes, "LSTM", around)?;
    if let Op::Recurrent { attrs, .. } = &mut op {
        attrs.dynamic = Some(DynamicFormula::Onnx);
    }
    if node.input.len() != 12 {
        return malformed(format!("{} inputs, expected 12", node.input.len()));
    }
    let mut plan = Plan::new();
    let w = weights(&mut plan, around, ["w", "w_codes", "w_scale", "w_zero_point"], 1, 8)?;
    let r = weights(&mut plan, around, ["r", "r_codes", "r_scale", "r_zero_point"], 2, 10)?;
    let mut inputs = vec![Source::Input(0), w, r];
    inputs.extend((3..8).map(Source::Input));
    plan.all(op, inputs);
    Ok(plan)
}

/// The weights at input `at` as ONNX has them, `[directions, 4 * hidden, inputs]`, with the parameters at input
/// `params`.
///
/// The codes stand as `[directions * 4 * hidden, inputs]`, so that every row has its parameters along one axis.
fn weights(
    plan: &mut Plan,
    around: &Surroundings,
    names: [&'static str; 4],
    at: usize,
    params: usize,
) -> Result<Source> {
    let (Some(codes), Some(scale), Some(zero)) =
        (around.constant(at), around.constant(params), around.constant(params + 1))
    else {
        return unsupported("weights that are not constant");
    };
    let [directions, depth, rows] = *codes.dims() else {
        return malformed(format!("weights of shape {:?}, expected 3 axes", codes.dims()));
    };
    let all = directions.saturating_mul(rows);
    if codes.is_empty() || zero.dtype() != codes.dtype() {
        return malformed(format!(
            "weights of shape {:?} and type {} beside a zero point of type {}",
            codes.dims(),
            codes.dtype(),
            zero.dtype()
        ));
    }
    // One a direction, or one a row.
    let each = |n: usize| match n {
        n if n == all => Some(1),
        n if n == directions => Some(rows),
        _ => None,
    };
    let (Some(scale_run), Some(zero_run)) = (each(scale.len()), each(zero.len())) else {
        return malformed(format!(
            "{} scales and {} zero points for {directions} directions of {rows} rows",
            scale.len(),
            zero.len()
        ));
    };
    let scales = repeat(scale.as_slice::<f32>()?, scale_run);
    let (codes, zeros) = match codes.dtype() {
        DType::I8 => (
            Tensor::new(&[all, depth], transpose(codes.as_slice::<i8>()?, depth, rows))?,
            Tensor::vector(repeat(zero.as_slice::<i8>()?, zero_run)),
        ),
        DType::U8 => (
            Tensor::new(&[all, depth], transpose(codes.as_slice::<u8>()?, depth, rows))?,
            Tensor::vector(repeat(zero.as_slice::<u8>()?, zero_run)),
        ),
        other => return malformed(format!("weights of type {other}")),
    };
    let [role, codes_name, scale_name, zero_name] = names;
    let operands = vec![
        Source::Constant(codes_name, codes),
        Source::Constant(scale_name, Tensor::vector(scales)),
        Source::Constant(zero_name, zeros),
    ];
    let real = plan.step(role, Op::DequantizeLinear { axis: 0, block_size: 0 }, operands);
    let dims: Option<Vec<i64>> = [directions, rows, depth].iter().map(|n| i64::try_from(*n).ok()).collect();
    let Some(dims) = dims else { return malformed(format!("weights of {directions} times {rows} rows")) };
    let shape = Source::Constant("shape", Tensor::vector(dims));
    Ok(plan.step("rows", Op::Reshape { allow_zero: false }, vec![real, shape]))
}

/// Every element `run` times.
fn repeat<T: Copy>(values: &[T], run: usize) -> Vec<T> {
    values.iter().flat_map(|v| std::iter::repeat_n(*v, run)).collect()
}

/// Matrices of `depth` rows and `columns` columns, one after the other, each transposed.
fn transpose<T: Copy>(codes: &[T], depth: usize, columns: usize) -> Vec<T> {
    let matrices = codes.chunks_exact(depth * columns);
    matrices
        .flat_map(|m| (0..columns).flat_map(move |c| (0..depth).map(move |d| m[d * columns + c])))
        .collect()
}
