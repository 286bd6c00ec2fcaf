//! Which nodes are quantized, and how.

use anyhow::{Context as _, Result, bail};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser as _};
use clap::{Args as ClapArgs, ValueEnum};
use std::path::PathBuf;
use torsh_quantization::analysis::RecommendOptions;
use torsh_quantization::qconfig::{
    Backend, BackendConfig, Configuration, MseObserver, ObserverConfig, QConfig, QConfigDict, QScheme,
    QuantConfig, QuantSpec, Recipe, Requantization, Rule,
};

/// Which nodes are quantized, and how. Without any of these: 8-bit activations and weights, all that can be.
#[derive(Debug, ClapArgs)]
pub(crate) struct PlanArgs {
    /// Configuration file (.toml or .json): a backend, and rules by type, by regular expression and by name.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["recipe", "backend"])]
    pub(crate) config: Option<PathBuf>,
    /// Configuration by one word.
    #[arg(long, value_name = "NAME", value_parser = recipe())]
    pub(crate) recipe: Option<RecipeChoice>,
    /// Quantize activations at run time, without calibration: the recipe int8-dynamic; with --config, as the global rule,
    /// where that of the file is float or missing.
    #[arg(long, conflicts_with = "recipe")]
    pub(crate) dynamic: bool,
    /// Family of machines whose defaults are used: fbgemm has one weight scale a channel, qnnpack one a tensor, tensorrt
    /// signed codes without zero points.
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendName>,
    /// How activations are observed, instead of how the configuration says: min-max, moving-average-min-max,
    /// histogram, percentile, entropy, mse, or another observer of whole tensors by the name that files use.
    #[arg(long, value_name = "NAME", value_parser = observer)]
    pub(crate) observer: Option<String>,
    /// What weights of 8 bits keep to besides: with overflow-safe, the products of any two neighbours fit 16 bits, so that
    /// runtimes without VNNI do not saturate, at the price of somewhat coarser weights.
    #[arg(long, value_enum, value_name = "RULE")]
    pub(crate) weights: Option<WeightRule>,
    /// How the sums of products become codes: float is one f32 multiplier; fixed-point is what TensorFlow Lite's reference
    /// kernels do on devices. The model keeps it and computes the same everywhere.
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) requantize: Option<RequantizeName>,
    /// Nodes, or modules with all that is in them, that stay in float.
    #[arg(long, value_name = "NODE", num_args = 1..)]
    pub(crate) exclude: Vec<String>,
    /// Module types (Conv2d) or operators (Conv) that alone are quantized: as the rule for them says, else the global one.
    #[arg(long, value_name = "TYPE", num_args = 1..)]
    pub(crate) only: Vec<String>,
}

/// What weights keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WeightRule {
    /// Products of neighbours that fit 16 bits.
    OverflowSafe,
}

/// How the sums of products become codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RequantizeName {
    /// One f32 multiplier, one rounding.
    Float,
    /// A 31-bit fraction and a shift, two roundings.
    FixedPoint,
}

impl RequantizeName {
    fn requantization(self) -> Requantization {
        match self {
            RequantizeName::Float => Requantization::Float,
            RequantizeName::FixedPoint => Requantization::FixedPoint,
        }
    }
}

/// A recipe, or the search for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecipeChoice {
    /// Whichever keeps the model what it is at the least cost.
    Auto,
    /// This one.
    Recipe(Recipe),
}

impl PlanArgs {
    /// Where a recipe is to be searched for: what it has to keep to. Checks that nothing else contradicts that.
    pub(crate) fn search(&self) -> Result<Option<RecommendOptions>> {
        if self.recipe != Some(RecipeChoice::Auto) {
            return Ok(None);
        }
        if self.observer.is_some() || !self.only.is_empty() {
            bail!(
                "--recipe auto chooses observers and nodes itself: it does not go with --observer or --only"
            );
        }
        let backend = self.backend_config();
        Ok(Some(RecommendOptions { backend, exclude: self.exclude.clone(), ..RecommendOptions::default() }))
    }

    /// The named backend, with what is asked of its weights and its requantization.
    pub(crate) fn backend_config(&self) -> BackendConfig {
        let mut backend = self.backend.unwrap_or_default().backend().into();
        self.adapt_backend(&mut backend);
        backend
    }

    /// All of it in one configuration.
    pub(crate) fn configuration(&self) -> Result<Configuration> {
        let recipe = match self.recipe {
            Some(RecipeChoice::Auto) => bail!(
                "--recipe auto tries recipes on calibration data: `tq quantize` with data, and without --config or --dry-run, does that"
            ),
            Some(RecipeChoice::Recipe(recipe)) => Some(recipe),
            None => self.dynamic.then_some(Recipe::Int8Dynamic),
        };
        let mut out = match (&self.config, recipe) {
            (Some(file), Some(recipe)) => {
                let mut out = Configuration::from_file(file)?;
                out.dict = recipe.under(out.dict);
                out
            }
            (Some(file), None) => Configuration::from_file(file)?,
            (None, Some(recipe)) => {
                Configuration::from(recipe).on(self.backend.unwrap_or_default().backend())
            }
            (None, None) => self.backend.unwrap_or_default().config().into(),
        };
        self.adapt(&mut out)?;
        Ok(out)
    }

    /// All of it in one configuration; where that is no file and no recipe, one with codes of so many bits, and ranges of
    /// activations of the least squared error.
    pub(crate) fn configuration_of_bits(&self, weight: u32, activation: u32) -> Result<Configuration> {
        if self.weights.is_some() {
            bail!(
                "--weights goes with `tq quantize`: trained weights keep the scales that they were trained with"
            );
        }
        if self.config.is_some() || self.recipe.is_some() || self.dynamic {
            return self.configuration();
        }
        let base = self.backend.unwrap_or_default().config();
        let narrow = |spec: QuantSpec, bits: u32| {
            QuantSpec::bits(spec.scheme == QScheme::Symmetric, bits, spec.scheme, spec.granularity)
        };
        let (weights, activations) = (base.weight_observer(), base.activation_observer());
        let (Some(of_weights), Some(of_activations)) = (weights.spec(), activations.spec()) else {
            bail!("the backend has no codes of its own: --config gives them");
        };
        // Activations of few bits are kept in bytes, which is what kernels take; weights are packed.
        let dtype = of_activations.dtype;
        let of_activations = QuantSpec { dtype, ..narrow(*of_activations, activation)? };
        let of_weights = narrow(*of_weights, weight)?;
        let activations = ObserverConfig::from(MseObserver::default()).with_spec(of_activations);
        let mut out = base.activation(activations).weight(weights.with_spec(of_weights)).into();
        self.adapt(&mut out)?;
        Ok(out)
    }

    /// What --weights and --requantize change.
    fn adapt_backend(&self, backend: &mut BackendConfig) {
        if self.weights == Some(WeightRule::OverflowSafe) {
            backend.overflow_safe_weights = true;
        }
        if let Some(how) = self.requantize {
            backend.requantization = how.requantization();
        }
    }

    /// What --only, --weights, --requantize, --observer and --exclude change.
    fn adapt(&self, out: &mut Configuration) -> Result<()> {
        if !self.only.is_empty() {
            out.dict = only(&out.dict, &self.only)?;
        }
        self.adapt_backend(&mut out.backend);
        if let Some(name) = &self.observer {
            out.dict = observed_by(&out.dict, name)?;
        }
        out.dict = self.exclude.iter().fold(out.dict.clone(), |d, name| d.set_module_name(name, None));
        Ok(())
    }
}

/// The same rules for these types alone.
fn only(dict: &QConfigDict, types: &[String]) -> Result<QConfigDict> {
    let mut out = QConfigDict::new();
    let mut own = Vec::new();
    for (rule, qconfig) in dict.rules() {
        match (rule, qconfig) {
            (Rule::Global, _) => {}
            (Rule::ModuleType { name }, qconfig) if types.contains(&name) => own.push((name, qconfig)),
            (Rule::ModuleType { name }, _) => out = out.set_module_type_name(name, None),
            (Rule::Regex { pattern }, None) => out = out.set_module_name_regex(pattern, None),
            (Rule::Name { name }, None) => out = out.set_module_name(name, None),
            // Rules by name are stronger than those by type: they would quantize what is not asked for.
            (rule, Some(_)) => bail!("--only: the configuration quantizes nodes of any type by its {rule}"),
            (rule, None) => bail!("--only: the {rule} is not known here"),
        }
    }
    for name in types {
        let qconfig = match own.iter().find(|(n, _)| n == name) {
            Some((_, qconfig)) => *qconfig,
            None => dict.global(),
        };
        let Some(qconfig) = qconfig else {
            bail!("--only {name}: the configuration has no rule that says how these are quantized");
        };
        out = out.set_module_type_name(name, qconfig.clone());
    }
    Ok(out)
}

/// The same rules with another observer for every activation that becomes codes; its codes stay as they are.
fn observed_by(dict: &QConfigDict, name: &str) -> Result<QConfigDict> {
    let changed = |q: &QConfig| -> Result<QConfig> {
        match q.activation.spec() {
            None => Ok(q.clone()),
            Some(spec) => {
                let text = serde_json::json!({ "observer": name, "spec": spec });
                let activation: ObserverConfig =
                    serde_json::from_value(text).with_context(|| format!("--observer {name}"))?;
                Ok(QConfig { activation, ..q.clone() })
            }
        }
    };
    let mut out = QConfigDict::new();
    for (rule, qconfig) in dict.rules() {
        let qconfig = qconfig.map(changed).transpose()?;
        out = match rule {
            Rule::Global => out.set_global(qconfig),
            Rule::ModuleType { name } => out.set_module_type_name(name, qconfig),
            Rule::Regex { pattern } => out.set_module_name_regex(pattern, qconfig),
            Rule::Name { name } => out.set_module_name(name, qconfig),
            other => bail!("--observer: the {other} is not known here"),
        };
    }
    Ok(out)
}

/// The word for the search of a recipe.
const AUTO: &str = "auto";

/// Words for the recipes, each with what it does.
fn recipe() -> impl clap::builder::TypedValueParser<Value = RecipeChoice> {
    let auto = PossibleValue::new(AUTO).help("the cheapest of these that stays faithful on calibration data");
    let words = Recipe::ALL.iter().map(|r| PossibleValue::new(r.name()).help(r.description()));
    PossibleValuesParser::new(words.chain([auto])).try_map(|word| match word.as_str() {
        AUTO => Ok(RecipeChoice::Auto),
        _ => word.parse::<Recipe>().map(RecipeChoice::Recipe),
    })
}

/// The name as configuration files have it.
fn observer(text: &str) -> Result<String, String> {
    let name = match text {
        "minmax" => "min_max".to_owned(),
        _ => text.replace('-', "_"),
    };
    let known = serde_json::from_value::<ObserverConfig>(serde_json::json!({ "observer": name }));
    known.map(|_| name).map_err(|e| e.to_string())
}

/// Families of machines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendName {
    /// Servers: one weight scale a channel.
    #[default]
    Fbgemm,
    /// Mobile: one weight scale a tensor.
    Qnnpack,
    /// TensorRT: symmetric signed codes without zero points.
    Tensorrt,
}

impl BackendName {
    pub(super) fn backend(self) -> Backend {
        match self {
            BackendName::Fbgemm => Backend::Fbgemm,
            BackendName::Qnnpack => Backend::Qnnpack,
            BackendName::Tensorrt => Backend::TensorRt,
        }
    }

    /// What is asked for when nothing else is.
    pub(crate) fn config(self) -> QuantConfig {
        QuantConfig::default().backend(self.backend())
    }
}
