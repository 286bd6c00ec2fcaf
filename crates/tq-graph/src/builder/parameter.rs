//! Parameters on their way to becoming constants.

use super::{Builder, Init, init};
use crate::{GraphError, Tensor, ValueId};
use tq_qtypes::DType;

/// A parameter and, once it is known, its value.
pub(super) struct Slot {
    pub(super) value: ValueId,
    pub(super) dims: Vec<usize>,
    pub(super) init: Init,
    pub(super) tensor: Option<Tensor>,
}

type Compute = dyn Fn(&[Tensor]) -> Result<Tensor, GraphError>;

/// A constant that is computed from parameters.
pub(super) struct Derived {
    pub(super) value: ValueId,
    pub(super) parameters: Vec<String>,
    pub(super) f: Box<Compute>,
}

impl Builder {
    /// Name and shape of every parameter, in order of their names.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.slots.iter().map(|(name, slot)| (name.as_str(), slot.dims.as_slice()))
    }

    /// Sets one parameter. Floats of other widths become f32.
    ///
    /// # Errors
    /// [`GraphError::UnexpectedWeights`] when no layer has this parameter; [`GraphError::WeightShape`] for another
    /// shape; [`GraphError::WeightType`] when the elements are not floats.
    pub fn set_weight(&mut self, name: &str, tensor: Tensor) -> Result<(), GraphError> {
        self.check_weight(name, &tensor)?;
        let (Some(slot), Some(values)) = (self.slots.get_mut(name), tensor.to_f32_vec()) else {
            return Err(GraphError::UnexpectedWeights(vec![name.to_owned()]));
        };
        slot.tensor = Some(Tensor::new(&slot.dims, values)?);
        Ok(())
    }

    /// Fails when a tensor does not fit the parameter of this name.
    pub(super) fn check_weight(&self, name: &str, tensor: &Tensor) -> Result<(), GraphError> {
        let Some(slot) = self.slots.get(name) else {
            return Err(GraphError::UnexpectedWeights(vec![name.to_owned()]));
        };
        let name = name.to_owned();
        if !matches!(tensor.dtype(), DType::F16 | DType::BF16 | DType::F32 | DType::F64) {
            return Err(GraphError::WeightType { name, got: tensor.dtype() });
        }
        if tensor.dims() != slot.dims {
            let (expected, got) = (slot.dims.clone(), tensor.dims().to_vec());
            return Err(GraphError::WeightShape { name, expected, got });
        }
        Ok(())
    }

    /// Gives every parameter that has no value yet the one that PyTorch's layers start with: random numbers of the
    /// same distributions, the same ones for the same seed and parameter name, on every machine.
    ///
    /// # Errors
    /// None that a caller can cause: parameters of impossible shapes were refused by their layers.
    pub fn initialize(&mut self, seed: u64) -> Result<(), GraphError> {
        for (name, slot) in &mut self.slots {
            if slot.tensor.is_none() {
                let values = init::values(&slot.init, &slot.dims, seed, name);
                slot.tensor = Some(Tensor::new(&slot.dims, values)?);
            }
        }
        Ok(())
    }

    /// Names of the parameters without a value.
    pub(super) fn missing(&self) -> Vec<String> {
        self.slots.iter().filter(|(_, s)| s.tensor.is_none()).map(|(n, _)| n.clone()).collect()
    }

    /// Turns parameters, all of which have values, and what derives from them, into constants.
    pub(super) fn fill_constants(&mut self) -> Result<(), GraphError> {
        for derived in &self.derived {
            let tensors: Vec<Tensor> = derived
                .parameters
                .iter()
                .filter_map(|name| self.slots.get(name).and_then(|slot| slot.tensor.clone()))
                .collect();
            self.graph.values[derived.value.0].constant = Some((derived.f)(&tensors)?);
        }
        for slot in self.slots.values_mut() {
            self.graph.values[slot.value.0].constant = slot.tensor.take();
        }
        Ok(())
    }
}
