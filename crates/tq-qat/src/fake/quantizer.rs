//! Fake quantizers with state.

use super::learnable::{Learnable, gradient_factor, rounded_zero_points};
use super::straight_through::{self, StraightThrough};
use super::{LearnableFakeQuantize, QuantizerConfig, StochasticQuantize, pact, stochastic};
use crate::random::seed_of;
use crate::{Parameter, QatError, Var};
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use tq_graph::Tensor;
use tq_observers::{Observer, ObserverConfig, ObserverError, ObserverState};
use tq_qtypes::affine::{DEFAULT_EPS, symmetric_zero_point};
use tq_qtypes::{AffineParams, Granularity, QParams, QScheme, QuantFormat, QuantSpec, Rounding};

/// A fake quantizer of one tensor: it observes, and rounds to codes; both can be switched off. Made by
/// [`QuantizerConfig::build`].
///
/// It is shared by reference; threads that use one at the same time take turns.
#[derive(Debug)]
pub struct Quantizer {
    name: String,
    method: Method,
    rounding: Rounding,
    /// Whether each tensor is observed by itself, as weights are, instead of with those before it.
    alone: bool,
    trained: OnceLock<Vec<Parameter>>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum Method {
    Observed,
    Learnable(LearnableFakeQuantize),
    Stochastic(StochasticQuantize),
    Pact { bits: u32, alpha: Option<f32>, alpha_lr: Option<f32> },
    Format(QuantFormat),
}

#[derive(Debug)]
struct State {
    observer: Box<dyn Observer>,
    /// As last observed.
    params: Option<AffineParams>,
    observing: bool,
    quantizing: bool,
    training: bool,
    /// Whether trained parameters have left their placeholders.
    begun: bool,
    /// Tensors rounded at random so far.
    draws: u64,
}

/// What changes in a [`Quantizer`] besides its parameters, as plain data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantizerState {
    observer: ObserverState,
    params: Option<AffineParams>,
    observing: bool,
    quantizing: bool,
    begun: bool,
    draws: u64,
}

/// The group of trained scales, to which an optimiser may give a learning rate of its own.
pub(crate) const SCALE: &str = "scale";
/// That of trained zero points.
pub(crate) const ZERO_POINT: &str = "zero_point";
/// That of trained bounds.
pub(crate) const ALPHA: &str = "alpha";

impl Quantizer {
    pub(crate) fn new(
        name: impl Into<String>,
        config: &QuantizerConfig,
        observer: &ObserverConfig,
    ) -> Result<Self, QatError> {
        let name = name.into();
        config.validate(&name)?;
        let failed = |source| QatError::Observer { tensor: name.clone(), source };
        let observer = observer.build().map_err(failed)?;
        let method = match config {
            QuantizerConfig::Observed(_) => Method::Observed,
            QuantizerConfig::Learnable(s) => Method::Learnable(s.clone()),
            QuantizerConfig::Stochastic(s) => Method::Stochastic(s.clone()),
            QuantizerConfig::Pact(s) => {
                Method::Pact { bits: s.bit_width, alpha: s.alpha, alpha_lr: s.alpha_lr }
            }
            QuantizerConfig::Format(QuantFormat::Affine(_)) => Method::Observed,
            QuantizerConfig::Format(format) => Method::Format(*format),
        };
        if let (Method::Learnable(_), Some(QuantSpec { power_of_two: true, .. })) = (&method, observer.spec())
        {
            let (what, value) = ("scale", "trained".to_owned());
            let allowed = "scales that must be powers of two are not trained";
            return Err(QatError::Setting { name, what, value, allowed });
        }
        let state = State {
            observer,
            params: None,
            observing: true,
            quantizing: true,
            training: true,
            begun: false,
            draws: 0,
        };
        let quantizer = Self {
            name,
            method,
            rounding: Rounding::Divide,
            alone: false,
            trained: OnceLock::new(),
            state: Mutex::new(state),
        };
        quantizer.placeholders()?;
        Ok(quantizer)
    }

    /// Parameters that an optimiser can already be told of, where their number is known before any data.
    fn placeholders(&self) -> Result<(), QatError> {
        let spec = self.spec();
        match &self.method {
            Method::Learnable(_) if spec.is_some_and(|s| s.granularity == Granularity::PerTensor) => {
                self.make_scales(spec.as_ref(), vec![1.0], vec![0.0])
            }
            Method::Pact { alpha, .. } => {
                let parameter = Parameter::new(
                    format!("{}.alpha", self.name),
                    Tensor::vector(vec![alpha.unwrap_or(1.0)]),
                )?;
                let _ = self.trained.set(vec![parameter.in_group(ALPHA)]);
                self.state().begun = alpha.is_some();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// `spec` is that of the observer; who calls holds the state.
    fn make_scales(
        &self,
        spec: Option<&QuantSpec>,
        scale: Vec<f32>,
        zero_point: Vec<f32>,
    ) -> Result<(), QatError> {
        let scale = Parameter::new(format!("{}.scale", self.name), Tensor::vector(scale))?;
        let zero = Parameter::new(format!("{}.zero_point", self.name), Tensor::vector(zero_point))?;
        zero.set_requires_grad(spec.is_some_and(|s| s.scheme == QScheme::Affine));
        let _ = self.trained.set(vec![scale.in_group(SCALE), zero.in_group(ZERO_POINT)]);
        Ok(())
    }

    /// The same with another convention of rounding.
    #[must_use]
    pub fn with_rounding(mut self, rounding: Rounding) -> Self {
        self.rounding = rounding;
        self
    }

    /// The same for weights: each tensor is observed by itself, instead of with those before it.
    #[must_use]
    pub fn for_weights(mut self) -> Self {
        self.alone = true;
        self
    }

    /// The same with an observer that has seen something.
    pub(crate) fn with_observer(self, observer: Box<dyn Observer>) -> Self {
        self.state().observer = observer;
        self
    }

    /// The name of its tensor.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is trained: scale and zero point, or alpha. Scales of channels are there once weights were seen.
    #[must_use]
    pub fn parameters(&self) -> &[Parameter] {
        self.trained.get().map_or(&[], Vec::as_slice)
    }

    /// Learning rates of the groups that have their own.
    pub(crate) fn rates(&self) -> Vec<(&'static str, f32)> {
        match &self.method {
            Method::Learnable(s) => {
                let rates = [(SCALE, s.scale_lr), (ZERO_POINT, s.zero_point_lr)];
                rates.into_iter().filter_map(|(group, lr)| Some((group, lr?))).collect()
            }
            Method::Pact { alpha_lr: Some(lr), .. } => vec![(ALPHA, *lr)],
            _ => Vec::new(),
        }
    }

    /// Lets it observe, or not. What it has observed stays.
    pub fn set_observing(&self, observing: bool) {
        self.state().observing = observing;
    }

    /// Lets it round, or hand values on as they are.
    pub fn set_quantizing(&self, quantizing: bool) {
        self.state().quantizing = quantizing;
    }

    /// While training, activations are observed and stochastic rounding is stochastic.
    pub fn set_training(&self, training: bool) {
        self.state().training = training;
    }

    /// Whether it rounds.
    #[must_use]
    pub fn is_quantizing(&self) -> bool {
        self.state().quantizing
    }

    /// Whether its observer has seen something.
    #[must_use]
    pub fn has_observed(&self) -> bool {
        self.state().observer.count() > 0
    }

    /// Whether its parameters are always those that the observer finds in what is shown to it.
    pub(crate) fn follows_observer(&self) -> bool {
        matches!(self.method, Method::Observed | Method::Stochastic(_)) && self.state().observing
    }

    /// The parameters of the codes of these weights, as a forward pass would take them.
    pub(crate) fn qparams_for(&self, weights: &Tensor) -> Result<AffineParams, QatError> {
        if self.follows_observer() {
            self.observe(weights)?;
        }
        self.qparams()
    }

    /// Observes a tensor without rounding it.
    ///
    /// # Errors
    /// [`QatError::Observer`] when it holds NaN or infinities, or has other channels than before.
    pub fn observe(&self, x: &Tensor) -> Result<(), QatError> {
        let mut state = self.state();
        self.observe_in(&mut state, x)
    }

    fn observe_in(&self, state: &mut State, x: &Tensor) -> Result<(), QatError> {
        let failed = |source| QatError::Observer { tensor: self.name.clone(), source };
        if self.alone {
            state.observer.reset();
        }
        state.observer.observe(x.as_slice::<f32>()?, x.dims()).map_err(failed)?;
        state.params = Some(state.observer.calculate_qparams().map_err(failed)?);
        Ok(())
    }

    /// `x` as it is after rounding to codes, with its gradient.
    ///
    /// # Errors
    /// [`QatError::Observer`] as for [`Quantizer::observe`], and when nothing was observed and nothing may be;
    /// [`QatError::Quantize`] when the parameters are not those of such a tensor.
    pub fn forward(&self, x: &Var) -> Result<Var, QatError> {
        let mut state = self.state();
        let state = &mut *state;
        if let Method::Format(format) = self.method {
            return if state.quantizing { self.of_format(format, x) } else { Ok(x.clone()) };
        }
        let learned = matches!(self.method, Method::Learnable(_) | Method::Pact { .. });
        // Trained parameters begin with what is observed, and go their own way from then on.
        let wanted = if learned { !state.begun || !state.quantizing } else { self.alone || state.training };
        if state.observing && wanted && !x.tape().is_recomputing() {
            self.observe_in(state, x.value())?;
        }
        if !state.quantizing {
            return Ok(x.clone());
        }
        match &self.method {
            Method::Observed | Method::Format(_) => {
                let params = self.observed(state)?;
                self.straight(x, params.into())
            }
            Method::Stochastic(s) => {
                let params = self.observed(state)?;
                if !state.training {
                    return self.straight(x, params.into());
                }
                // A segment that runs once more gets the numbers that it got before.
                state.draws += u64::from(!x.tape().is_recomputing());
                let seed = seed_of(seed_of(s.seed, hash_of(&self.name)), state.draws);
                let y = stochastic::forward(x.value(), &params, s.temperature, seed)?;
                let rule =
                    StraightThrough { x: x.value().clone(), params: params.into(), rounding: self.rounding };
                x.tape().custom(&self.name, y, &[x], rule)
            }
            Method::Learnable(s) => self.learned(state, s, x),
            Method::Pact { bits, .. } => {
                self.begin(state)?;
                let alpha = &self.parameters()[0];
                let value = alpha.value().as_slice::<f32>()?[0];
                let y = pact::forward(x.value(), value, *bits)?;
                let rule = pact::Pact { x: x.value().clone(), alpha: value };
                x.tape().custom(&self.name, y, &[x, &x.tape().parameter(alpha)], rule)
            }
        }
    }

    fn straight(&self, x: &Var, params: QParams) -> Result<Var, QatError> {
        let y = straight_through::forward(x.value(), &params, self.rounding)?;
        let rule = StraightThrough { x: x.value().clone(), params, rounding: self.rounding };
        x.tape().custom(&self.name, y, &[x], rule)
    }

    fn of_format(&self, format: QuantFormat, x: &Var) -> Result<Var, QatError> {
        let params = format.params_for(x.value().as_slice::<f32>()?, x.shape())?;
        self.straight(x, params)
    }

    fn learned(&self, state: &mut State, s: &LearnableFakeQuantize, x: &Var) -> Result<Var, QatError> {
        self.begin(state)?;
        let params = self.learned_params(state)?;
        let y = straight_through::forward(x.value(), &params.clone().into(), self.rounding)?;
        let elements = x.value().len() / params.scale.len().max(1);
        let factor = if s.gradient_scaling { gradient_factor(elements, params.quant_max) } else { 1.0 };
        let trained = self.parameters();
        let vars = [x.tape().parameter(&trained[0]), x.tape().parameter(&trained[1])];
        let rule = Learnable { x: x.value().clone(), params, rounding: self.rounding, factor };
        x.tape().custom(&self.name, y, &[x, &vars[0], &vars[1]], rule)
    }

    /// Gives trained parameters what was observed, once.
    fn begin(&self, state: &mut State) -> Result<(), QatError> {
        if state.begun {
            return Ok(());
        }
        let params = self.observed(state)?;
        if let Method::Pact { .. } = self.method {
            // All that was seen above zero; the range of something that is never positive is no bound.
            let largest = params.scale[0] * (params.quant_max - params.zero_point[0]) as f32;
            let alpha = if largest > 0.0 { largest } else { 1.0 };
            self.parameters()[0].set_value(Tensor::vector(vec![alpha]))?;
        } else {
            let zero_point = params.zero_point.iter().map(|z| *z as f32).collect();
            match self.parameters() {
                [scale, zero] => {
                    scale.set_value(Tensor::vector(params.scale))?;
                    zero.set_value(Tensor::vector(zero_point))?;
                }
                _ => self.make_scales(state.observer.spec(), params.scale, zero_point)?,
            }
        }
        state.begun = true;
        Ok(())
    }

    /// What the observer has found.
    fn observed(&self, state: &mut State) -> Result<AffineParams, QatError> {
        if let Some(params) = &state.params {
            return Ok(params.clone());
        }
        let failed = |source| QatError::Observer { tensor: self.name.clone(), source };
        let params = state.observer.calculate_qparams().map_err(failed)?;
        state.params = Some(params.clone());
        Ok(params)
    }

    /// The parameters that trained ones stand for: scales at least the smallest one, zero points rounded.
    fn learned_params(&self, state: &State) -> Result<AffineParams, QatError> {
        let (Some(spec), [scale, zero]) = (state.observer.spec().copied(), self.parameters()) else {
            return Err(QatError::Observer { tensor: self.name.clone(), source: ObserverError::NoData });
        };
        if scale.value().as_slice::<f32>()?.iter().any(|s| *s < DEFAULT_EPS) {
            scale.update::<QatError>(|values, _| {
                // A NaN stays, and is an error below.
                values.iter_mut().filter(|s| **s < DEFAULT_EPS).for_each(|s| *s = DEFAULT_EPS);
                Ok(())
            })?;
        }
        let QuantSpec { dtype, quant_min, quant_max, granularity, .. } = spec;
        let scale = scale.value().as_slice::<f32>()?.to_vec();
        let zero_point = match spec.scheme {
            QScheme::Symmetric => vec![symmetric_zero_point(&spec); scale.len()],
            QScheme::Affine => rounded_zero_points(zero.value().as_slice::<f32>()?, quant_min, quant_max),
        };
        let params = AffineParams { dtype, quant_min, quant_max, granularity, scale, zero_point };
        params.validate()?;
        Ok(params)
    }

    /// The parameters of the codes, as they are now.
    ///
    /// # Errors
    /// [`QatError::Observer`] when nothing was observed, [`QatError::Format`] for formats that take their parameters from
    /// each tensor, [`QatError::Quantize`] when training has left no usable scale.
    pub fn qparams(&self) -> Result<AffineParams, QatError> {
        let mut state = self.state();
        match &self.method {
            Method::Format(format) => {
                Err(QatError::Format { name: self.name.clone(), format: format!("{format:?}") })
            }
            Method::Observed | Method::Stochastic(_) => self.observed(&mut state),
            Method::Learnable(_) => {
                self.begin(&mut state)?;
                self.learned_params(&state)
            }
            Method::Pact { bits, .. } => {
                self.begin(&mut state)?;
                pact::params(self.parameters()[0].value().as_slice::<f32>()?[0], *bits)
            }
        }
    }

    /// What is asked of the codes; `None` for what stays in float.
    #[must_use]
    pub fn spec(&self) -> Option<QuantSpec> {
        self.state().observer.spec().copied()
    }

    /// A copy of the observer, with what it has seen.
    #[must_use]
    pub fn observer(&self) -> Box<dyn Observer> {
        self.state().observer.clone()
    }

    /// What has changed since it was built, but for [`Quantizer::parameters`].
    #[must_use]
    pub fn state_dict(&self) -> QuantizerState {
        let state = self.state();
        QuantizerState {
            observer: state.observer.state(),
            params: state.params.clone(),
            observing: state.observing,
            quantizing: state.quantizing,
            begun: state.begun,
            draws: state.draws,
        }
    }

    /// Becomes what a quantizer of the same configuration was.
    ///
    /// # Errors
    /// [`QatError::Observer`] when the state is that of another observer. Nothing is changed then.
    pub fn load_state_dict(&self, saved: &QuantizerState) -> Result<(), QatError> {
        let failed = |source| QatError::Observer { tensor: self.name.clone(), source };
        let mut state = self.state();
        let mut observer = state.observer.config().build().map_err(failed)?;
        observer.merge_state(&saved.observer).map_err(failed)?;
        let QuantizerState { params, observing, quantizing, begun, draws, .. } = saved.clone();
        if let (Method::Learnable(_), true, Some(params), []) =
            (&self.method, begun, &params, self.parameters())
        {
            // As many as there were; their values come with the parameters.
            let zero_point = params.zero_point.iter().map(|z| *z as f32).collect();
            self.make_scales(observer.spec(), params.scale.clone(), zero_point)?;
        }
        let training = state.training;
        *state = State { observer, params, observing, quantizing, training, begun, draws };
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The trained scales and bounds of a quantizer that were given no learning rate of their own.
pub(crate) fn learned_scales(quantizer: &Quantizer) -> Vec<Parameter> {
    let rates = quantizer.rates();
    let is_scale = |p: &&Parameter| {
        let group = p.group();
        (group == SCALE || group == ALPHA) && !rates.iter().any(|(own, _)| *own == group)
    };
    quantizer.parameters().iter().filter(is_scale).cloned().collect()
}

/// FNV-1a, so that tensors draw different numbers.
fn hash_of(name: &str) -> u64 {
    let step = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3);
    name.bytes().fold(0xCBF2_9CE4_8422_2325, step)
}
