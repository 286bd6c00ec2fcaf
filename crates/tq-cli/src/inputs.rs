//! Which argument is for which input of a model.

use anyhow::{Result, bail};
use torsh_quantization::model::Graph;

/// Names of a model's inputs.
pub(crate) fn input_names(graph: &Graph) -> Vec<&str> {
    graph.inputs.iter().map(|id| graph.value(*id).name.as_str()).collect()
}

/// Sorts `[NAME=]REST` arguments to the inputs of a model. `NAME=` counts only when it is an input's name.
///
/// What has no name belongs to the only input, or to the only one that no other argument names.
pub(crate) fn assign<'a>(names: &[&str], specs: &'a [String]) -> Result<Vec<Vec<&'a str>>> {
    let assigned = assign_numbered(names, specs)?;
    Ok(assigned.into_iter().map(|specs| specs.into_iter().map(|(_, rest)| rest).collect()).collect())
}

/// As [`assign`], with the number of each argument.
pub(crate) fn assign_numbered<'a>(names: &[&str], specs: &'a [String]) -> Result<Vec<Vec<(usize, &'a str)>>> {
    let mut out = vec![Vec::new(); names.len()];
    let mut unnamed = Vec::new();
    for (number, spec) in specs.iter().enumerate() {
        let matching = |name: &str| spec.strip_prefix(name).and_then(|rest| rest.strip_prefix('='));
        // Names may hold a `=` themselves: the longest one that fits is meant.
        let best = (0..names.len()).filter(|i| matching(names[*i]).is_some()).max_by_key(|i| names[*i].len());
        match best.and_then(|i| Some((i, matching(names[i])?))) {
            Some((i, rest)) => out[i].push((number, rest)),
            None => unnamed.push((number, spec.as_str())),
        }
    }
    if let Some((_, first)) = unnamed.first() {
        let free: Vec<usize> = (0..names.len()).filter(|i| names.len() == 1 || out[*i].is_empty()).collect();
        let [only] = free[..] else {
            bail!(
                "{first}: say which input it is for, NAME=...; the model has inputs [{}]",
                names.join(", ")
            );
        };
        // Order on the command line is the order of batches.
        out[only].extend(unnamed);
        out[only].sort_by_key(|(number, _)| *number);
    }
    Ok(out)
}
