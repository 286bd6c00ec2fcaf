//! Dropout.

use super::{CustomRule, Tape, Var};
use crate::QatError;
use crate::parallel::{self, CHUNK};
use crate::random::bits_at;
use tq_eval::OpError;
use tq_graph::Tensor;

impl Tape {
    /// Sets elements to zero with this probability, and multiplies the others by `1 / (1 - ratio)`, so that sums stay
    /// as large on average. Which ones are lost follows from `seed` and the place of the element alone.
    ///
    /// # Errors
    /// [`QatError::Forward`] for a ratio outside `0..1`; otherwise as [`Tape::apply`].
    pub fn dropout(&self, node: &str, x: &Var, ratio: f32, seed: u64) -> Result<Var, QatError> {
        if !(0.0..1.0).contains(&ratio) {
            let source = OpError::Attribute(format!("a dropout ratio of {ratio}, expected 0 to below 1"));
            return Err(QatError::Forward { node: node.into(), op: "Dropout", source });
        }
        let rule = Dropout { ratio, seed };
        let y = rule.applied(x.value().clone())?;
        self.custom(node, y, &[x], rule)
    }
}

/// No mask is kept: it is made again.
struct Dropout {
    ratio: f32,
    seed: u64,
}

impl Dropout {
    fn applied(&self, mut x: Tensor) -> Result<Tensor, QatError> {
        let factor = 1.0 / (1.0 - self.ratio);
        // Of 2^32 numbers so many are lost.
        let lost = (f64::from(self.ratio) * 2f64.powi(32)) as u64;
        parallel::chunks(x.as_mut_slice::<f32>()?, CHUNK, &|i, out| {
            for (j, v) in out.iter_mut().enumerate() {
                let kept = bits_at(self.seed, (i * CHUNK + j) as u64) >> 32 >= lost;
                *v = if kept { *v * factor } else { 0.0 };
            }
        });
        Ok(x)
    }
}

impl CustomRule for Dropout {
    fn name(&self) -> &'static str {
        "Dropout"
    }

    fn backward(&self, gradient: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>, QatError> {
        Ok(vec![Some(self.applied(gradient)?)])
    }
}
