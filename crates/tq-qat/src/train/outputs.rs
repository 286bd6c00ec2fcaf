//! What becomes of the outputs of models of several.

use super::batches::Batches;
use super::report::{Agreement, OutputReport};
use super::samples::Samples;
use super::trainer::Trainer;
use crate::{QatError, QatModel, Tape};
use tq_eval::{Evaluator, Precision};
use tq_graph::Tensor;

/// The float model as it was before training, and how near the quantized one was to it then.
pub(super) struct Reference {
    float: Evaluator,
    before: Vec<Agreement>,
}

impl Reference {
    /// `None` for a model of one output, whose score says it all.
    pub(super) fn of(
        model: &QatModel,
        samples: &Samples,
        batches: Batches,
    ) -> Result<Option<Self>, QatError> {
        if model.prepared().graph().outputs.len() < 2 {
            return Ok(None);
        }
        let float = Evaluator::new(&model.float_graph()?, Precision::F32)?;
        let before = agreements(&float, model, samples, batches)?;
        Ok(Some(Self { float, before }))
    }
}

impl Trainer {
    /// How near each output is to that of the float model, before training and after the best epoch so far; empty for a
    /// model of one output.
    ///
    /// # Errors
    /// What a forward pass says.
    pub fn outputs(&self) -> Result<Vec<OutputReport>, QatError> {
        let Some(reference) = &self.reference else { return Ok(Vec::new()) };
        let now = self.model.state_dict();
        self.model.load_state_dict(&self.progress.best_state)?;
        self.model.train(false);
        let after = agreements(&reference.float, &self.model, &self.validation.samples, self.batches);
        self.model.train(true);
        self.model.load_state_dict(&now)?;
        let outputs = self.model.outputs_of(self.train.heads()).into_iter();
        let both = reference.before.iter().zip(after?);
        let report = |((name, is_trained), (before, after)): (_, (&Agreement, _))| OutputReport {
            name,
            is_trained,
            before: *before,
            after,
        };
        Ok(outputs.zip(both).map(report).collect())
    }
}

/// Sums over all samples of one output.
enum Sums {
    Floats { signal: f64, noise: f64 },
    Others { equal: usize, all: usize },
}

fn agreements(
    float: &Evaluator,
    model: &QatModel,
    samples: &Samples,
    batches: Batches,
) -> Result<Vec<Agreement>, QatError> {
    let mut sums: Vec<Sums> = Vec::new();
    let all: Vec<usize> = (0..samples.len()).collect();
    for rows in all.chunks(batches.pass) {
        let inputs = samples.inputs(&batches.filled(rows))?;
        let wanted = float.run(&inputs)?;
        let got = model.run(&Tape::without_gradients(), &inputs)?;
        for (i, (wanted, got)) in wanted.iter().zip(&got).enumerate() {
            if sums.len() == i {
                sums.push(match wanted.as_slice::<f32>() {
                    Ok(_) => Sums::Floats { signal: 0.0, noise: 0.0 },
                    Err(_) => Sums::Others { equal: 0, all: 0 },
                });
            }
            // Samples that only fill a batch are left out where they can be told apart.
            let filled = batches.filled(rows).len();
            let whole = wanted.dims().first() == Some(&filled);
            let part = |n: usize| if whole { n / filled * rows.len() } else { n };
            sums[i].add(wanted, got.value(), part(wanted.len()))?;
        }
    }
    Ok(sums.into_iter().map(Sums::agreement).collect())
}

impl Sums {
    fn add(&mut self, wanted: &Tensor, got: &Tensor, len: usize) -> Result<(), QatError> {
        match self {
            Self::Floats { signal, noise } => {
                let both = wanted.as_slice::<f32>()?.iter().zip(got.as_slice::<f32>()?).take(len);
                for (wanted, got) in both {
                    let (wanted, got) = (f64::from(*wanted), f64::from(*got));
                    *signal += wanted * wanted;
                    *noise += (wanted - got) * (wanted - got);
                }
            }
            Self::Others { equal, all } => {
                let (wanted, got) = (wanted.le_bytes(), got.le_bytes());
                let size = (wanted.len() / len.max(1)).max(1);
                let both = wanted.chunks_exact(size).zip(got.chunks_exact(size)).take(len);
                for (wanted, got) in both {
                    *all += 1;
                    *equal += usize::from(wanted == got);
                }
            }
        }
        Ok(())
    }

    fn agreement(self) -> Agreement {
        match self {
            Self::Floats { noise: 0.0, .. } => Agreement::SqnrDb(f64::INFINITY),
            Self::Floats { signal, noise } => Agreement::SqnrDb(10.0 * libm::log10(signal / noise)),
            Self::Others { equal, all } => Agreement::EqualPercent(100.0 * equal as f64 / all.max(1) as f64),
        }
    }
}
