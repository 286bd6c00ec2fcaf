//! Which rule wins, over random sets of rules, against the table of `docs/CONFIGURATION.md` written down a second time.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use tq_graph::op::UnaryOp;
use tq_graph::{Graph, Op, Tensor};
use tq_passes::{BackendConfig, QConfig, QConfigDict, Rule, explain, int4_qconfig, int8_qconfig};
use tq_qtypes::DType;

/// Module paths, each with the operator in it.
const NODES: &[(&[&str], &str)] = &[
    (&["stem", "fc"], "MatMul"),
    (&["stem", "act"], "Sigmoid"),
    (&["layer1", "0", "fc"], "MatMul"),
    (&["layer1", "0", "act"], "Tanh"),
    (&["layer1", "1", "fc"], "MatMul"),
    (&["layer10", "0", "fc"], "MatMul"),
    (&["layer10", "0", "act"], "Sigmoid"),
    (&["head"], "MatMul"),
];

fn node_name((path, op): (&[&str], &str)) -> String {
    format!("/{}/{op}", path.join("/"))
}

fn model() -> Graph {
    let mut g = Graph::new("g");
    let mut x = g.add_input("x", DType::F32, vec![1usize.into(), 2usize.into()]);
    for (i, node) in NODES.iter().enumerate() {
        let name = node_name(*node);
        let y = format!("y{i}");
        x = match node.1 {
            "MatMul" => {
                let w = Tensor::new(&[2, 2], vec![0.5f32, -1.0, 0.25, 1.0]).unwrap();
                let w = g.add_constant(format!("w{i}"), w);
                g.add_node(name, Op::MatMul, &[x, w], y)
            }
            "Tanh" => g.add_node(name, Op::Unary(UnaryOp::Tanh), &[x], y),
            _ => g.add_node(name, Op::Unary(UnaryOp::Sigmoid), &[x], y),
        };
    }
    g.outputs.push(x);
    g
}

/// Every name a rule may give: modules at all depths, nodes, and what names nothing.
fn names() -> Vec<String> {
    let mut out = vec!["layer".to_owned(), "nowhere".to_owned()];
    for node in NODES {
        out.extend((1..=node.0.len()).map(|n| node.0[..n].join(".")));
        out.push(node_name(*node));
    }
    out.sort();
    out.dedup();
    out
}

/// Patterns with what they match of a text from its beginning, told without an engine.
type Pattern = (&'static str, fn(&str) -> bool);
const PATTERNS: &[Pattern] = &[
    ("layer1", |t| t.starts_with("layer1")),
    (r"layer1\.", |t| t.starts_with("layer1.")),
    (r".*\.fc", |t| t.contains(".fc")),
    (".*/MatMul$", |t| t.ends_with("/MatMul")),
    (r"layer\d+\.0\..*", |t| t.starts_with("layer1.0.") || t.starts_with("layer10.0.")),
    ("fc", |t| t.starts_with("fc")),
    ("head$", |t| t == "head"),
];
const TYPES: &[&str] = &["Linear", "MatMul", "Sigmoid", "Tanh", "Conv2d"];

/// What a rule says; `None` is float.
type Says = Option<QConfig>;

/// The rules for a node, the strongest first, by the table: names (the longest path first, the node's own before all),
/// regular expressions in the order set, the module type, the operator, the global rule.
fn expected(
    node: (&[&str], &str),
    names: &[(String, Says)],
    regexes: &[(usize, Says)],
    types: &[(usize, Says)],
    global: &Says,
) -> Vec<(Rule, Says)> {
    let (path, own) = (node.0.join("."), node_name(node));
    let mut out = Vec::new();
    for depth in (0..=node.0.len()).rev() {
        // Above all modules stands the node itself.
        let wanted = if depth == node.0.len() {
            vec![own.clone(), path.clone()]
        } else {
            vec![node.0[..depth].join(".")]
        };
        for name in wanted {
            out.extend(
                names
                    .iter()
                    .filter(|(n, _)| *n == name)
                    .map(|(n, q)| (Rule::Name { name: n.clone() }, q.clone())),
            );
        }
    }
    for (i, says) in regexes {
        let (pattern, matches) = PATTERNS[*i];
        if matches(&path) || matches(&own) {
            out.push((Rule::Regex { pattern: pattern.into() }, says.clone()));
        }
    }
    let module = if node.1 == "MatMul" { "Linear" } else { node.1 };
    for name in if module == node.1 { vec![module] } else { vec![module, node.1] } {
        out.extend(
            types
                .iter()
                .filter(|(i, _)| TYPES[*i] == name)
                .map(|(_, q)| (Rule::ModuleType { name: name.into() }, q.clone())),
        );
    }
    out.push((Rule::Global, global.clone()));
    out
}

/// Some of `0..len`, in any order, each with what its rule says.
fn rules(len: usize) -> impl Strategy<Value = Vec<(usize, Says)>> {
    let some = proptest::sample::subsequence((0..len).collect::<Vec<_>>(), 0..=len).prop_shuffle();
    (some, proptest::collection::vec(says(), len)).prop_map(|(at, says)| at.into_iter().zip(says).collect())
}

fn says() -> impl Strategy<Value = Says> {
    prop_oneof![Just(None), Just(Some(int8_qconfig())), Just(Some(int4_qconfig()))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_rule_that_the_table_names_wins(
        global in says(),
        by_type in rules(TYPES.len()),
        by_regex in rules(PATTERNS.len()),
        by_name in rules(names().len()),
    ) {
        let all = names();
        let by_name: Vec<(String, Says)> = by_name.into_iter().map(|(i, q)| (all[i].clone(), q)).collect();
        let mut dict = QConfigDict::new().set_global(global.clone());
        for (i, q) in &by_type {
            dict = dict.set_module_type_name(TYPES[*i], q.clone());
        }
        for (i, q) in &by_regex {
            dict = dict.set_module_name_regex(PATTERNS[*i].0, q.clone());
        }
        for (name, q) in &by_name {
            dict = dict.set_module_name(name.clone(), q.clone());
        }
        let plans = explain(&model(), &dict, &BackendConfig::default()).unwrap();
        prop_assert_eq!(plans.len(), NODES.len());
        for node in NODES {
            let plan = plans.iter().find(|p| p.node == node_name(*node)).unwrap();
            let want = expected(*node, &by_name, &by_regex, &by_type, &global);
            let got: Vec<&Rule> = std::iter::once(&plan.rule).chain(&plan.losers).collect();
            prop_assert_eq!(got, want.iter().map(|(rule, _)| rule).collect::<Vec<_>>(), "{}", plan.node);
            prop_assert_eq!(plan.scheme == "float", want[0].1.is_none(), "{}: {}", plan.node, plan.scheme);
        }
    }
}
