//! Training a [`QatModel`](crate::QatModel) on samples: batches, epochs, validation, checkpoints.
//!
//! [`Trainer`] is driven by who calls it: each [`Trainer::advance`] makes one step, or measures the model at the end of an
//! epoch, and tells of it; checkpoints may be written between any two. Everything random comes from
//! [`TrainOptions::seed`], so that training gives the same bytes every time, and also when it was interrupted and went on
//! from a checkpoint.
//!
//! ```
//! # use tq_graph::{Dim, Graph, Op, Tensor};
//! # use tq_passes::{QuantConfig, convert};
//! # use tq_qat::prepare_qat;
//! use tq_qat::train::{Event, Samples, TrainOptions, Trainer};
//! # let mut model = Graph::new("net");
//! # let x = model.add_input("x", tq_qtypes::DType::F32, vec![Dim::symbol("N"), 2usize.into()]);
//! # let w = model.add_constant("w", Tensor::new(&[2, 2], vec![0.1f32, 0.2, 0.3, -0.1])?);
//! # let y = model.add_node("linear", Op::MatMul, &[x, w], "y");
//! # model.outputs.push(y);
//! let points = Tensor::new(&[4, 2], vec![1.0f32, 0.2, 0.1, 0.9, 0.8, -0.1, 0.3, 1.1])?;
//! let samples = Samples::classes(vec![points], vec![0, 1, 0, 1])?;
//! let qat_model = prepare_qat(model, QuantConfig::default())?;
//! let options = TrainOptions { epochs: 20, batch: 2, lr: 0.05, ..TrainOptions::default() };
//! let mut trainer = Trainer::new(qat_model, samples.clone(), samples, options)?;
//! while let Some(event) = trainer.advance()? {
//!     if let Event::Epoch(report) = event {
//!         println!("epoch {}: {:?}", report.epoch, report.validation);
//!     }
//! }
//! assert_eq!(trainer.best().validation.top1, Some(100.0));
//! let quantized = convert(trainer.finish()?)?;
//! # assert!(quantized.report.integer_nodes().count() > 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batches;
mod checkpoint;
mod imitation;
mod lookups;
mod measure;
mod options;
mod order;
mod outputs;
mod report;
mod samples;
mod trainer;

pub use batches::check_batch_axis;
pub use imitation::{CodeDistances, Imitation, OutputComparison, same_decisions};
pub use options::{Criterion, Distillation, OptimizerConfig, TrainOptions};
pub use report::{Agreement, EpochReport, Event, OutputReport, Score, StepReport};
pub use samples::{SampleInput, Samples, Targets};
pub use trainer::Trainer;
