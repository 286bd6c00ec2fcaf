//! Where the time of a run goes.

use crate::depths::ProductDepths;
use crate::explain::Execution;
use crate::tap::Tap;
use serde::Serialize;
use std::collections::HashMap;
use std::time::Duration;
use tq_graph::Tensor;
use tq_qtypes::DType;

/// What one node took, and how it ran.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeProfile {
    /// Name of the node.
    pub node: String,
    /// Its operator.
    pub op: &'static str,
    /// How it is run.
    pub execution: Execution,
    /// The kernel that runs it, where one is needed.
    pub kernel: Option<String>,
    /// Median over the runs, in seconds: the node, what is fused into it, and bringing its inputs into the layout that it
    /// asks for.
    pub seconds: f64,
    /// Multiplications.
    pub macs: u64,
    /// The largest code that it read from activations, where it reads codes: 0 to 255, signed ones counted from -128.
    pub largest_code: Option<u8>,
    /// How its products ran at least, on kernels that add some of them in 16 bits: what is proved for the largest code.
    /// Rows whose own codes are smaller may have run deeper.
    pub depths: Option<ProductDepths>,
}

/// Where the time of a run goes, node by node, in the order in which they are run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Profile {
    /// The shapes of the inputs.
    pub input_shapes: Vec<Vec<usize>>,
    /// Runs that were timed.
    pub runs: usize,
    /// Median of the time of a whole run, in seconds. The clock is read around every node, which small networks feel.
    pub seconds: f64,
    /// The nodes that run.
    pub nodes: Vec<NodeProfile>,
}

impl Profile {
    /// The nodes that took longest, first.
    #[must_use]
    pub fn slowest(&self) -> Vec<&NodeProfile> {
        let mut nodes: Vec<&NodeProfile> = self.nodes.iter().collect();
        nodes.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        nodes
    }
}

/// Times of the nodes of several runs.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// One list a run, by the index of the node.
    runs: Vec<Vec<Duration>>,
    totals: Vec<Duration>,
}

impl Times {
    /// Adds a run with the times of its steps: node and duration.
    pub(crate) fn add(&mut self, nodes: usize, steps: &[(usize, Duration)]) {
        let mut run = vec![Duration::ZERO; nodes];
        for &(node, time) in steps {
            if let Some(sum) = run.get_mut(node) {
                *sum += time;
            }
        }
        self.totals.push(run.iter().sum());
        self.runs.push(run);
    }

    /// Median of the time of a node.
    pub(crate) fn of(&self, node: usize) -> f64 {
        median(self.runs.iter().filter_map(|run| run.get(node).copied()).collect())
    }

    /// Median of the time of a run.
    pub(crate) fn total(&self) -> f64 {
        median(self.totals.clone())
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, Duration::as_secs_f64)
}

/// Largest codes by the names of nodes.
#[derive(Debug, Default)]
pub(crate) struct LargestCodes(HashMap<String, u8>);

impl LargestCodes {
    pub(crate) fn see(&mut self, tap: &Tap<'_>) {
        let largest = tap.inputs.iter().filter_map(largest).max();
        if let Some(largest) = largest {
            let name = tap.graph.node(tap.operator.node).name.clone();
            let entry = self.0.entry(name).or_default();
            *entry = (*entry).max(largest);
        }
    }

    pub(crate) fn of(&self, node: &str) -> Option<u8> {
        self.0.get(node).copied()
    }
}

/// The largest code as kernels see it: all of them work on unsigned ones.
fn largest(codes: &Tensor) -> Option<u8> {
    match codes.dtype() {
        DType::U8 => codes.as_slice::<u8>().ok()?.iter().copied().max(),
        DType::I8 => {
            codes.as_slice::<i8>().ok()?.iter().copied().max().map(|code| code as u8 ^ crate::codes::FLIP)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_a_node_are_added_and_runs_are_compared() {
        let ms = Duration::from_millis;
        let mut times = Times::default();
        times.add(2, &[(0, ms(1)), (1, ms(5)), (0, ms(2))]);
        times.add(2, &[(0, ms(9)), (1, ms(5))]);
        times.add(2, &[(0, ms(4)), (1, ms(7))]);
        assert_eq!((times.of(0), times.of(1), times.total()), (0.004, 0.005, 0.011));
        assert_eq!((times.of(7), Times::default().total()), (0.0, 0.0));
    }

    #[test]
    fn signed_codes_count_from_the_lowest() {
        assert_eq!(largest(&Tensor::vector(vec![-128i8, -1])), Some(127));
        assert_eq!(largest(&Tensor::vector(vec![3u8, 200])), Some(200));
        assert_eq!(largest(&Tensor::vector(vec![1.0f32])), None);
    }
}
