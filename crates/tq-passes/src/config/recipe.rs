//! Recipes: whole configurations by one word.

use super::presets;
use crate::names::did_you_mean;
use crate::{Configuration, PassError, QConfig, QConfigDict};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The operator of convolutions over any number of axes.
const CONV: &str = "Conv";

/// The module type of products with constant weights.
const LINEAR: &str = "Linear";

/// A configuration by one word: one rule for the whole model, or one with another for a type of layer.
///
/// ```
/// use tq_passes::{Configuration, Recipe};
/// let recipe: Recipe = "int8".parse()?;
/// let configuration = Configuration::from(recipe);
/// assert_eq!(configuration.dict.global(), Some(&recipe.qconfig()));
/// # Ok::<(), tq_passes::PassError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Recipe {
    /// 8-bit activations and weights, calibrated.
    Int8,
    /// 8-bit weights, activations quantized at run time, in linear and recurrent layers.
    Int8Dynamic,
    /// [`Recipe::Int8Dynamic`], and convolutions in the same way.
    Int8DynamicAll,
    /// 8-bit activations, and in linear layers 4-bit weights in groups, calibrated; other layers as [`Recipe::Int8`] has them.
    W4a8,
    /// 16-bit activations and 8-bit weights, calibrated.
    W8a16,
    /// 8-bit weights alone.
    W8,
    /// 4-bit weights alone, in groups.
    W4,
    /// Weights in half precision.
    Fp16,
}

impl Recipe {
    /// Every recipe.
    pub const ALL: &'static [Recipe] = &[
        Recipe::Int8,
        Recipe::Int8Dynamic,
        Recipe::Int8DynamicAll,
        Recipe::W4a8,
        Recipe::W8a16,
        Recipe::W8,
        Recipe::W4,
        Recipe::Fp16,
    ];

    /// The word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Recipe::Int8 => "int8",
            Recipe::Int8Dynamic => "int8-dynamic",
            Recipe::Int8DynamicAll => "int8-dynamic-all",
            Recipe::W4a8 => "w4a8",
            Recipe::W8a16 => "w8a16",
            Recipe::W8 => "w8",
            Recipe::W4 => "w4",
            Recipe::Fp16 => "fp16",
        }
    }

    /// True where a model needs calibration data for it.
    #[must_use]
    pub const fn needs_calibration(self) -> bool {
        matches!(self, Recipe::Int8 | Recipe::W4a8 | Recipe::W8a16)
    }

    /// What it does, in a sentence.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Recipe::Int8 => "8-bit activations and weights, one weight scale a channel; runs in integers",
            Recipe::Int8Dynamic => {
                "8-bit weights, activations quantized at run time, in linear and recurrent layers; no calibration"
            }
            Recipe::Int8DynamicAll => {
                "8-bit weights, activations quantized at run time, in convolutions too; no calibration"
            }
            Recipe::W4a8 => {
                "8-bit activations, 4-bit weights of linear layers with one scale for every 32 input features, 8-bit weights \
                 elsewhere; runs in integers"
            }
            Recipe::W8a16 => {
                "16-bit activations, 8-bit weights; computes in float between explicit quantization steps"
            }
            Recipe::W8 => "8-bit weights, one scale a channel; computes in float",
            Recipe::W4 => "4-bit weights, one scale for every 32 input features; computes in float",
            Recipe::Fp16 => "f16 weights; computes in f32",
        }
    }

    /// `dict` with this recipe for all that it has no rule for. A rule of `dict` for the type of layer that
    /// the recipe has one for stands.
    #[must_use]
    pub fn under(self, mut dict: QConfigDict) -> QConfigDict {
        if dict.global.is_none() {
            dict = dict.set_global(self.qconfig());
        }
        // A global rule alone leaves convolutions out of what is quantized at run time.
        if self == Recipe::Int8DynamicAll && !dict.module_type.iter().any(|r| r.type_name == CONV) {
            dict = dict.set_module_type_name(CONV, self.qconfig());
        }
        if self == Recipe::W4a8 && !dict.module_type.iter().any(|r| r.type_name == LINEAR) {
            dict = dict.set_module_type_name(LINEAR, presets::w4a8_qconfig());
        }
        dict
    }

    /// What its global rule says.
    #[must_use]
    pub fn qconfig(self) -> QConfig {
        match self {
            Recipe::Int8 | Recipe::W4a8 => presets::int8_qconfig(),
            Recipe::Int8Dynamic | Recipe::Int8DynamicAll => presets::default_dynamic_qconfig(),
            Recipe::W8a16 => presets::w8a16_qconfig(),
            Recipe::W8 => presets::w8_qconfig(),
            Recipe::W4 => presets::w4_qconfig(),
            Recipe::Fp16 => presets::fp16_qconfig(),
        }
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Recipe {
    type Err = PassError;

    fn from_str(name: &str) -> Result<Self, PassError> {
        Recipe::ALL.iter().copied().find(|r| r.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Recipe::ALL.iter().map(|r| r.name()).collect();
            let hint = did_you_mean(&crate::names::most_like(name, names.iter().copied()));
            PassError::UnknownRecipe { name: name.to_owned(), hint, known: names.join(", ") }
        })
    }
}

impl From<Recipe> for QConfigDict {
    fn from(recipe: Recipe) -> Self {
        recipe.under(QConfigDict::new())
    }
}

impl From<Recipe> for Configuration {
    fn from(recipe: Recipe) -> Self {
        QConfigDict::from(recipe).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_has_a_word_that_leads_back_to_it() {
        for recipe in Recipe::ALL {
            assert_eq!(recipe.to_string().parse::<Recipe>().unwrap(), *recipe);
            assert_eq!(serde_json::to_string(recipe).unwrap(), format!("\"{recipe}\""));
            // What is more than one rule is no preset; one of its rules may have the name.
            let preset = match recipe {
                Recipe::Int8DynamicAll => None,
                Recipe::W4a8 => Some(Some(presets::w4a8_qconfig())),
                one => Some(Some(one.qconfig())),
            };
            assert_eq!(presets::by_name(recipe.name()), preset);
            assert_eq!(QConfigDict::from(*recipe).global(), Some(&recipe.qconfig()));
        }
        let error = "int-8".parse::<Recipe>().unwrap_err().to_string();
        assert!(error.contains("(did you mean int8?)"), "{error}");
    }
}
