//! Where in the original model a node stands, told from its name.

use tq_graph::{Graph, Node};

/// The names by which rules find a node.
///
/// * The node's own name.
/// * Its scope, the part of a name with slashes before the last one: `/layer1/layer1.0/conv1` of
///   `/layer1/layer1.0/conv1/Conv`, and all that it lies in.
/// * The dotted path that such a scope stands for in PyTorch, `layer1.0.conv1`, and all that it lies in. A name without
///   slashes is such a path itself.
/// * The path that the name of its weights tells: `layer1.0.conv1` of `layer1.0.conv1.weight`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModulePath {
    node: String,
    /// Dotted paths: of the scope, and of the weights.
    paths: Vec<String>,
    /// Every scope that the node lies in, without slashes at its ends, with the dotted path it stands for.
    scopes: Vec<(String, String)>,
}

impl ModulePath {
    /// The names of `node`.
    pub(crate) fn of(graph: &Graph, node: &Node) -> Self {
        let mut paths = Vec::new();
        let mut scopes = Vec::new();
        if let Some((scope, _)) = node.name.rsplit_once('/') {
            let mut written = String::new();
            let mut path = String::new();
            let mut last = "";
            for part in scope.split('/').filter(|p| !p.is_empty()) {
                // A child of a Sequential repeats its parent: `layer1/layer1.0` is `layer1.0`.
                let own =
                    part.strip_prefix(last).filter(|_| !last.is_empty()).and_then(|p| p.strip_prefix('.'));
                for (text, separator, piece) in
                    [(&mut written, '/', part), (&mut path, '.', own.unwrap_or(part))]
                {
                    if !text.is_empty() {
                        text.push(separator);
                    }
                    text.push_str(piece);
                }
                scopes.push((written.clone(), path.clone()));
                last = part;
            }
            paths.push(path);
        }
        let weights =
            node.input(1).filter(|v| graph.constant(*v).is_some()).map(|v| graph.value(v).name.as_str());
        if let Some(module) = weights.and_then(|w| w.strip_suffix(".weight"))
            && !paths.iter().any(|p| p == module)
        {
            paths.push(module.to_owned());
        }
        if scopes.is_empty() && !paths.contains(&node.name) {
            paths.push(node.name.clone());
        }
        Self { node: node.name.clone(), paths, scopes }
    }

    /// The dotted path that messages show; empty for an operator of the outermost module.
    pub(crate) fn shown(&self) -> &str {
        self.paths.first().map_or("", String::as_str)
    }

    /// How deep the module lies that `name` names, if the node is in it: the number of parts of its path, and more
    /// than any for the node itself.
    pub(crate) fn depth_of(&self, name: &str) -> Option<usize> {
        if name == self.node {
            return Some(usize::MAX);
        }
        let scope = name.trim_matches('/');
        let by_scope = self.scopes.iter().find(|(s, _)| s == scope).map(|(_, path)| parts(path));
        let lies_in = |path: &String| {
            let rest = path.strip_prefix(name).filter(|_| !name.is_empty())?;
            (rest.is_empty() || rest.starts_with('.')).then(|| parts(name))
        };
        self.paths.iter().filter_map(lies_in).chain(by_scope).max()
    }

    /// True when `matches` accepts one of the node's whole names.
    pub(crate) fn any(&self, matches: impl Fn(&str) -> bool) -> bool {
        matches(&self.node) || self.paths.iter().any(|p| matches(p))
    }
}

fn parts(path: &str) -> usize {
    path.split('.').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tq_graph::op::UnaryOp;
    use tq_graph::{Op, Tensor};

    fn path(name: &str, weights: Option<&str>) -> ModulePath {
        let mut g = Graph::new("g");
        let x = g.add_input("x", tq_qtypes::DType::F32, vec![1usize.into(), 1usize.into()]);
        match weights {
            Some(w) => {
                let w = g.add_constant(w, Tensor::new(&[1, 1], vec![1.0f32]).unwrap());
                g.add_node(name, Op::MatMul, &[x, w], "y")
            }
            None => g.add_node(name, Op::Unary(UnaryOp::Relu), &[x], "y"),
        };
        ModulePath::of(&g, &g.nodes[0])
    }

    #[test]
    fn scopes_of_torch_onnx_become_paths() {
        for (name, expected) in [
            ("/layer1/layer1.0/conv1/Conv", "layer1.0.conv1"),
            ("/features/features.0/features.0.0/Conv", "features.0.0"),
            ("/features/features.1/conv/conv.0/conv.0.0/Conv", "features.1.conv.0.0"),
            ("/layers.0/self_attn/q_proj/MatMul", "layers.0.self_attn.q_proj"),
            ("/fc/Gemm", "fc"),
            ("/Relu", ""),
            ("features.0", "features.0"),
            ("conv1", "conv1"),
            ("model/dense/MatMul", "model.dense"),
        ] {
            assert_eq!(path(name, None).shown(), expected, "{name}");
        }
        assert_eq!(path("node_linear_3", Some("head.fc.weight")).shown(), "head.fc");
    }

    #[test]
    fn depth_counts_parts_and_the_node_itself_is_deepest() {
        let p = path("/layer1/layer1.0/conv1/Conv", None);
        let depth = |name| p.depth_of(name);
        assert_eq!(depth("/layer1/layer1.0/conv1/Conv"), Some(usize::MAX));
        for name in ["layer1.0.conv1", "/layer1/layer1.0/conv1", "layer1/layer1.0/conv1"] {
            assert_eq!(depth(name), Some(3), "{name}");
        }
        assert_eq!(
            (depth("layer1.0"), depth("/layer1/layer1.0"), depth("layer1")),
            (Some(2), Some(2), Some(1))
        );
        for name in ["layer", "layer1.", "layer1.0.conv", "conv1", "", "/", "layer1/layer1.0/conv1/Conv/"] {
            assert_eq!(depth(name), None, "{name}");
        }
        let p = path("node_linear_3", Some("head.fc.weight"));
        assert_eq!((p.depth_of("head"), p.depth_of("node_linear_3")), (Some(1), Some(usize::MAX)));
        assert_eq!(path("features.0", None).depth_of("features"), Some(1));
    }
}
