//! Attributes of window operators: convolutions and pools.

use crate::attributes::Attributes;
use crate::tensor::Problem;
use tq_graph::op::{ConvAttrs, ConvTransposeAttrs, Padding, PoolAttrs};

type Result<T> = std::result::Result<T, Problem>;

fn malformed<T>(message: String) -> Result<T> {
    Err(Problem::Malformed(message))
}

/// A list of numbers of which none is negative (none is below `least`).
fn sizes(attributes: &Attributes, name: &str, least: usize) -> Result<Option<Vec<usize>>> {
    let Some(ints) = attributes.ints(name)? else { return Ok(None) };
    let size = |n: &i64| usize::try_from(*n).ok().filter(|n| *n >= least);
    match ints.iter().map(size).collect() {
        Some(sizes) => Ok(Some(sizes)),
        None => malformed(format!("{name} {ints:?} has a number below {least}")),
    }
}

/// A list for `axes` spatial axes; all 1 where it is absent.
fn per_axis(found: Option<Vec<usize>>, name: &str, axes: usize) -> Result<Vec<usize>> {
    match found {
        None => Ok(vec![1; axes]),
        Some(v) if v.len() == axes => Ok(v),
        Some(v) => malformed(format!("{name} {v:?} for {axes} spatial axes")),
    }
}

fn padding(attributes: &Attributes, axes: usize) -> Result<Padding> {
    let pads = attributes.ints("pads")?;
    match attributes.text("auto_pad")?.unwrap_or("NOTSET") {
        // Given beside a rule, explicit pads do not count.
        "SAME_UPPER" => return Ok(Padding::SameUpper),
        "SAME_LOWER" => return Ok(Padding::SameLower),
        "VALID" => return Ok(Padding::Explicit { begin: vec![0; axes], end: vec![0; axes] }),
        "NOTSET" => {}
        other => return malformed(format!("auto_pad is {other:?}")),
    }
    let Some(pads) = pads else {
        return Ok(Padding::Explicit { begin: vec![0; axes], end: vec![0; axes] });
    };
    if Some(pads.len()) != axes.checked_mul(2) {
        return malformed(format!("pads {pads:?} for {axes} spatial axes"));
    }
    match pads.iter().map(|p| usize::try_from(*p).ok()).collect::<Option<Vec<usize>>>() {
        Some(mut begin) => {
            let end = begin.split_off(axes);
            Ok(Padding::Explicit { begin, end })
        }
        None => Err(Problem::Unsupported(format!("negative pads {pads:?}"))),
    }
}

/// Attributes of a convolution. `weight` is the shape of the weights where they are constant,
/// `rank` the number of axes of data or weights where it is known.
pub(super) fn conv(
    attributes: &Attributes,
    weight: Option<&[usize]>,
    rank: Option<usize>,
) -> Result<ConvAttrs> {
    let kernel = sizes(attributes, "kernel_shape", 1)?;
    let strides = sizes(attributes, "strides", 1)?;
    let dilations = sizes(attributes, "dilations", 1)?;
    let pads = attributes.ints("pads")?;
    let of_list = |v: &Option<Vec<usize>>| v.as_ref().map(Vec::len);
    let axes = of_list(&kernel)
        .or(weight.map(|d| d.len().saturating_sub(2)))
        .or(rank.map(|r| r.saturating_sub(2)))
        .or(of_list(&strides))
        .or(of_list(&dilations))
        .or(pads.map(|p| p.len() / 2));
    let Some(axes) = axes else {
        return Err(Problem::Unsupported("nothing tells the number of spatial axes".into()));
    };
    if !(1..=3).contains(&axes) {
        return Err(Problem::Unsupported(format!("{axes} spatial axes")));
    }
    if let (Some(kernel), Some(dims)) = (&kernel, weight)
        && dims.get(2..) != Some(kernel.as_slice())
    {
        return malformed(format!("kernel_shape {kernel:?}, weights of shape {dims:?}"));
    }
    let groups = attributes.int("group", 1)?;
    let Some(groups) = usize::try_from(groups).ok().filter(|g| *g > 0) else {
        return malformed(format!("group is {groups}"));
    };
    Ok(ConvAttrs {
        strides: per_axis(strides, "strides", axes)?,
        dilations: per_axis(dilations, "dilations", axes)?,
        padding: padding(attributes, axes)?,
        groups,
    })
}

/// Attributes of a transposed convolution, beside those that it shares with a convolution.
pub(super) fn transpose(attributes: &Attributes, conv: ConvAttrs) -> Result<ConvTransposeAttrs> {
    let axes = conv.strides.len();
    let output_shape = sizes(attributes, "output_shape", 0)?;
    if let Some(shape) = output_shape.as_ref().filter(|s| s.len() != axes) {
        return malformed(format!("output_shape {shape:?} for {axes} spatial axes"));
    }
    let output_padding = match sizes(attributes, "output_padding", 0)? {
        None => vec![0; axes],
        given => per_axis(given, "output_padding", axes)?,
    };
    let ConvAttrs { strides, dilations, padding, groups } = conv;
    Ok(ConvTransposeAttrs { strides, dilations, padding, output_padding, output_shape, groups })
}

/// Attributes of a pool, which has dilations only where `dilated`, and can round its size up only where `ceils`.
pub(super) fn pool(attributes: &Attributes, dilated: bool, ceils: bool) -> Result<PoolAttrs> {
    let Some(kernel) = sizes(attributes, "kernel_shape", 1)? else {
        return malformed("kernel_shape is missing".into());
    };
    let ceil_mode = ceils && attributes.flag("ceil_mode", false)?;
    pool_of(attributes, kernel, dilated, ceil_mode)
}

/// Attributes of LpPool, which has neither dilations nor ceil_mode before opset 18.
pub(super) fn lp_pool(attributes: &Attributes, opset: i64) -> Result<PoolAttrs> {
    let later = opset >= 18;
    let Some(kernel) = sizes(attributes, "kernel_shape", 1)? else {
        return malformed("kernel_shape is missing".into());
    };
    let ceil_mode = later && attributes.flag("ceil_mode", false)?;
    pool_of(attributes, kernel, later, ceil_mode)
}

fn pool_of(attributes: &Attributes, kernel: Vec<usize>, dilated: bool, ceil_mode: bool) -> Result<PoolAttrs> {
    let axes = kernel.len();
    if !(1..=3).contains(&axes) {
        return Err(Problem::Unsupported(format!("{axes} spatial axes")));
    }
    let dilations = if dilated { sizes(attributes, "dilations", 1)? } else { None };
    Ok(PoolAttrs {
        strides: per_axis(sizes(attributes, "strides", 1)?, "strides", axes)?,
        dilations: per_axis(dilations, "dilations", axes)?,
        padding: padding(attributes, axes)?,
        ceil_mode,
        kernel,
    })
}
