//! From ranges by name to the observers of a prepared model.

use super::{CalibrationRanges, Entry, RangesFormat};
use crate::prepare::name_of_group;
use crate::{PassError, Prepared};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use tq_observers::{FixedQParamsObserver, MinMaxObserver, Observer, ObserverConfig};
use tq_qtypes::{Granularity, QuantSpec};

/// A tensor of the file whose range was not used, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IgnoredRange {
    /// Name of the tensor.
    pub tensor: String,
    /// Why.
    pub reason: String,
}

/// What became of the ranges of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangesReport {
    /// Whose file it was.
    pub format: RangesFormat,
    /// Tensors that got their range from the file, by name.
    pub taken: Vec<String>,
    /// Tensors of the file that were not used, by name.
    pub ignored: Vec<IgnoredRange>,
    /// Tensors that the configuration quantizes and the file does not have, by name: they need calibration data.
    pub missing: Vec<String>,
}

impl Prepared {
    /// Gives tensors the ranges of a file instead of calibrating them.
    ///
    /// Scale and zero point follow from the range as they do from what a min-max observer sees, and stay: data given to
    /// [`Prepared::forward`] before or after does not change them. Tensors that share a scale get the range that covers
    /// all of theirs. The report names what the file has and the model does not, and the other way round; what is
    /// missing has to be calibrated, or [`convert`](crate::convert()) fails.
    ///
    /// # Errors
    /// [`PassError::Observer`] naming a tensor whose range gives no scale.
    pub fn load_ranges(&self, ranges: &CalibrationRanges) -> Result<RangesReport, PassError> {
        let mut calibration = self.calibration();
        let mut next = calibration.clone();
        let mut report = RangesReport {
            format: ranges.format,
            taken: Vec::new(),
            ignored: Vec::new(),
            missing: Vec::new(),
        };
        let graph = &self.graph;
        let known: HashMap<&str, usize> =
            graph.values.iter().enumerate().map(|(i, value)| (value.name.as_str(), i)).collect();
        let mut of_group: Vec<Option<(f32, f32)>> = vec![None; self.plan.groups.len()];
        let mut members: Vec<Vec<String>> = vec![Vec::new(); self.plan.groups.len()];
        for (name, entry) in &ranges.tensors {
            let mut ignore = |reason: &str| {
                report.ignored.push(IgnoredRange { tensor: name.clone(), reason: reason.to_owned() });
            };
            let (min, max) = match entry {
                Entry::Range(min, max) => (*min, *max),
                Entry::Ignored(reason) => {
                    ignore(reason);
                    continue;
                }
            };
            let Some(value) = known.get(name.as_str()) else {
                ignore("the model has no tensor of this name, or it was fused away");
                continue;
            };
            let Some(group) = self.plan.group_of[*value] else {
                ignore("this configuration does not quantize it, or quantizes it by its values");
                continue;
            };
            match next.observers[group].config() {
                ObserverConfig::FixedQParams { .. } => {
                    ignore("its scale is fixed by the operator or by a rule");
                    continue;
                }
                config if per_tensor(&config).is_none() => {
                    ignore("this configuration asks for more than one range");
                    continue;
                }
                _ => {}
            }
            of_group[group] = Some(of_group[group].map_or((min, max), |(a, b)| (a.min(min), b.max(max))));
            members[group].push(name.clone());
        }
        let groups = self.plan.groups.iter().zip(&mut next.observers).zip(of_group).zip(members);
        for (((group, observer), range), names) in groups {
            let fail = |source| PassError::Observer { tensor: name_of_group(graph, group), source };
            match (range, per_tensor(&observer.config())) {
                (Some((min, max)), Some(spec)) => {
                    *observer = fixed(spec, min, max).map_err(fail)?;
                    report.taken.extend(names);
                }
                _ if observer.calculate_qparams().is_err() => {
                    report.missing.push(name_of_group(graph, group));
                }
                _ => {}
            }
        }
        report.taken.sort();
        report.missing.sort();
        *calibration = next;
        Ok(report)
    }
}

/// What is asked of a quantizer of whole tensors.
fn per_tensor(config: &ObserverConfig) -> Option<QuantSpec> {
    config.spec().filter(|spec| spec.granularity == Granularity::PerTensor).copied()
}

/// An observer that has the parameters of this range, whatever it sees.
fn fixed(spec: QuantSpec, min: f32, max: f32) -> Result<Box<dyn Observer>, tq_observers::ObserverError> {
    let mut seen = MinMaxObserver::new(spec, tq_qtypes::affine::DEFAULT_EPS)?;
    seen.observe(&[min, max], &[2])?;
    let params = seen.calculate_qparams()?;
    let (scale, zero_point) = params.uniform().unwrap_or((1.0, 0));
    Ok(Box::new(FixedQParamsObserver::new(spec, scale, zero_point)?))
}
