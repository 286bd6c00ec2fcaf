//! Quantization of neural networks.
#![forbid(unsafe_code)]

/// Models and the tensors they take.
pub mod model {
    pub use tq_graph::{Dim, Element, Graph, GraphError, Node, NodeId, Op, Shape, Tensor, Value, ValueId};
    pub use tq_qtypes::DType;
}

/// How a quantized model compares with the float one.
pub mod analysis {
    pub use tq_analysis::{
        AnalysisError, Batch, Dataset, Latency, LatencyOptions, OutputError, Preprocess, concat_rows, measure,
        measure_pair, take_rows,
    };
}
