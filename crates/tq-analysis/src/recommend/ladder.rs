//! The configurations that are tried for every model.

use super::RecommendOptions;
use tq_graph::op::RecurrentKind;
use tq_graph::{Graph, Node, Op};
use tq_observers::{HistogramObserver, MinMaxObserver, MseObserver, ObserverConfig, PercentileObserver};
use tq_passes::module_type::{GRU, LSTM, Linear, RNN};
use tq_passes::{Configuration, QConfig, QConfigDict, Recipe, default_dynamic_qconfig, int8_qconfig};

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

/// Convolutions and all else that can be with calibrated ranges as `base` has them, linear and recurrent layers with those
/// of every run: for models that have both.
pub(super) fn hybrid_rung(graph: &Graph, base: &Configuration) -> Option<Rung> {
    let layers = |node: &Node| match node.op {
        Op::Gemm { .. } | Op::MatMul => graph.const_input(node, 1).is_some_and(|w| w.rank() == 2),
        Op::Recurrent { .. } => true,
        _ => false,
    };
    if !graph.nodes.iter().any(is_convolution) || !graph.nodes.iter().any(layers) {
        return None;
    }
    let has = |test: fn(&RecurrentKind) -> bool| {
        graph.nodes.iter().any(|n| matches!(&n.op, Op::Recurrent { kind, .. } if test(kind)))
    };
    // A rule for nothing would be told as one.
    let mut dict = base.dict.clone().set_module_type::<Linear>(default_dynamic_qconfig());
    if has(|k| matches!(k, RecurrentKind::Lstm { .. })) {
        dict = dict.set_module_type::<LSTM>(default_dynamic_qconfig());
    }
    if has(|k| matches!(k, RecurrentKind::Gru { .. })) {
        dict = dict.set_module_type::<GRU>(default_dynamic_qconfig());
    }
    if has(|k| matches!(k, RecurrentKind::Rnn)) {
        dict = dict.set_module_type::<RNN>(default_dynamic_qconfig());
    }
    Some(Rung {
        name: "int8+dynamic".into(),
        description:
            "8-bit activations and weights, activations of linear and recurrent layers quantized at run time"
                .into(),
        configuration: Configuration { dict, ..base.clone() },
    })
}

/// The recipes besides: from much in integers to nothing.
pub(super) fn other_rungs(graph: &Graph, options: &RecommendOptions) -> Vec<Rung> {
    let mut recipes = vec![Recipe::Int8Dynamic, Recipe::Int8DynamicAll, Recipe::W8, Recipe::Fp16];
    // Without convolutions the two are one.
    recipes.retain(|r| *r != Recipe::Int8DynamicAll || graph.nodes.iter().any(is_convolution));
    let rung = |recipe: Recipe| Rung {
        name: recipe.name().to_owned(),
        description: recipe.description().to_owned(),
        configuration: Configuration {
            backend: options.backend.clone(),
            dict: excluded(recipe.into(), options),
        },
    };
    recipes.into_iter().map(rung).collect()
}

fn is_convolution(node: &Node) -> bool {
    matches!(node.op, Op::Conv(_))
}

/// One rule for everything but what is excluded.
fn configured(options: &RecommendOptions, qconfig: QConfig) -> Configuration {
    Configuration { backend: options.backend.clone(), dict: excluded(qconfig.into(), options) }
}

fn excluded(dict: QConfigDict, options: &RecommendOptions) -> QConfigDict {
    options.exclude.iter().fold(dict, |d, name| d.set_module_name(name, None))
}
