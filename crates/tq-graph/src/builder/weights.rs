//! Parameters from and to safetensors files.

use super::{Builder, read_safetensors, write_safetensors};
use crate::{GraphError, Tensor};
use std::collections::BTreeMap;

/// What [`Builder::load_weights_with`] lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadOptions {
    /// Whether parameters may be left without a value.
    pub allow_missing: bool,
    /// Whether the file may hold tensors that no layer has.
    pub allow_unexpected: bool,
}

/// What a weights file did not have, and what it had too much.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadReport {
    /// Parameters that still have no value.
    pub missing: Vec<String>,
    /// Tensors of the file that no layer has.
    pub unexpected: Vec<String>,
}

impl Builder {
    /// Sets all parameters from the bytes of a safetensors file by PyTorch's names, as its `state_dict` has them.
    /// Floats of other widths become f32.
    ///
    /// # Errors
    /// [`GraphError::MissingWeights`] and [`GraphError::UnexpectedWeights`] with all names;
    /// [`GraphError::WeightShape`] and [`GraphError::WeightType`] for a tensor that does not fit its parameter;
    /// [`GraphError::WeightsFile`] as [`read_safetensors`]. After an error no parameter has changed.
    ///
    /// ```
    /// use tq_graph::builder::{Linear, write_safetensors};
    /// use tq_graph::{Graph, Tensor};
    /// # use std::collections::BTreeMap;
    ///
    /// let file = write_safetensors(&BTreeMap::from([
    ///     ("fc.weight".to_owned(), Tensor::new(&[2, 3], vec![1.0f32; 6])?),
    ///     ("fc.bias".to_owned(), Tensor::new(&[2], vec![0.5f32, -0.5])?),
    /// ]))?;
    /// let mut b = Graph::builder();
    /// let x = b.input("x", tq_qtypes::DType::F32, [1usize.into(), 3usize.into()])?;
    /// let y = b.layer("fc", x, Linear::new(3, 2))?;
    /// b.output("y", y)?;
    /// b.load_weights(&file)?;
    /// assert!(b.build().is_ok());
    /// # Ok::<(), tq_graph::GraphError>(())
    /// ```
    pub fn load_weights(&mut self, safetensors: &[u8]) -> Result<(), GraphError> {
        self.load_weights_with(safetensors, LoadOptions::default()).map(drop)
    }

    /// As [`Builder::load_weights`], and lets names pass that are missing or too many as the options say.
    ///
    /// # Errors
    /// As [`Builder::load_weights`], where the options do not allow it.
    pub fn load_weights_with(
        &mut self,
        safetensors: &[u8],
        options: LoadOptions,
    ) -> Result<LoadReport, GraphError> {
        let tensors = read_safetensors(safetensors)?;
        let unexpected: Vec<String> = tensors
            .keys()
            .filter(|n| !self.slots.contains_key(*n) && !self.ignored.contains(*n))
            .cloned()
            .collect();
        let missing: Vec<String> =
            self.missing().into_iter().filter(|name| !tensors.contains_key(name)).collect();
        if !unexpected.is_empty() && !options.allow_unexpected {
            return Err(GraphError::UnexpectedWeights(unexpected));
        }
        if !missing.is_empty() && !options.allow_missing {
            return Err(GraphError::MissingWeights(missing));
        }
        let wanted = tensors.into_iter().filter(|(name, _)| self.slots.contains_key(name));
        let wanted: Vec<(String, Tensor)> = wanted.collect();
        for (name, tensor) in &wanted {
            self.check_weight(name, tensor)?;
        }
        for (name, tensor) in wanted {
            self.set_weight(&name, tensor)?;
        }
        Ok(LoadReport { missing, unexpected })
    }

    /// All parameters as the bytes of a safetensors file, by PyTorch's names.
    ///
    /// # Errors
    /// [`GraphError::MissingWeights`] naming every parameter that has no value.
    pub fn save_weights(&self) -> Result<Vec<u8>, GraphError> {
        let missing = self.missing();
        if !missing.is_empty() {
            return Err(GraphError::MissingWeights(missing));
        }
        let tensors: BTreeMap<String, Tensor> =
            self.slots.iter().filter_map(|(n, s)| s.tensor.clone().map(|t| (n.clone(), t))).collect();
        write_safetensors(&tensors)
    }
}
