//! The configurations that are tried for every model.

use super::RecommendOptions;
use tq_observers::{HistogramObserver, MinMaxObserver, MseObserver, ObserverConfig, PercentileObserver};
use tq_passes::{Configuration, QConfig, QConfigDict, Recipe, int8_qconfig};

/// One configuration to try.
#[derive(Debug, Clone)]
pub(super) struct Rung {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) configuration: Configuration,
}

/// 8-bit activations and weights under the observers that set ranges differently.
pub(super) fn static_rungs(options: &RecommendOptions) -> Vec<Rung> {
    let observers: [(&str, &str, ObserverConfig); 4] = [
        ("min-max", "from the smallest to the largest value", MinMaxObserver::asymmetric().into()),
        ("histogram", "ranges of least squared error over a histogram", HistogramObserver::default().into()),
        ("mse", "ranges of least squared error", MseObserver::default().into()),
        ("percentile", "ranges without the outermost values", PercentileObserver::default().into()),
    ];
    let rung = |(name, what, observer): (&str, &str, ObserverConfig)| Rung {
        name: format!("int8/{name}"),
        description: format!("8-bit activations and weights, {what}"),
        configuration: configured(options, int8_qconfig().activation(observer)),
    };
    observers.into_iter().map(rung).collect()
}

/// The recipes besides: from much in integers to nothing.
pub(super) fn other_rungs(options: &RecommendOptions) -> Vec<Rung> {
    let recipes = [Recipe::Int8Dynamic, Recipe::W8, Recipe::Fp16].into_iter();
    recipes
        .map(|recipe| Rung {
            name: recipe.name().to_owned(),
            description: recipe.description().to_owned(),
            configuration: Configuration {
                backend: options.backend.clone(),
                dict: excluded(Configuration::from(recipe).dict, options),
            },
        })
        .collect()
}

/// One rule for everything but what is excluded.
fn configured(options: &RecommendOptions, qconfig: QConfig) -> Configuration {
    Configuration { backend: options.backend.clone(), dict: excluded(qconfig.into(), options) }
}

fn excluded(dict: QConfigDict, options: &RecommendOptions) -> QConfigDict {
    options.exclude.iter().fold(dict, |d, name| d.set_module_name(name, None))
}
