//! Fusion: every rule on a graph of its own, the function kept, the report complete.
#![allow(clippy::unwrap_used)]

mod common;

use common::net::{Net, magnitude, run64, window};
use proptest::prelude::*;
use tq_graph::op::{BinaryOp, PadMode, Padding, UnaryOp};
use tq_graph::{Graph, Op, Tensor, ValueId};
use tq_passes::{FusionOutcome, FusionReport, fold_constants, fuse};

/// Fuses a copy of `graph` and checks that its outputs for `x` stay, names included.
fn fused(graph: &Graph, x: &Tensor) -> (Graph, FusionReport) {
    let mut after = graph.clone();
    fold_constants(&mut after).unwrap();
    let report = fuse(&mut after).unwrap();
    let names =
        |g: &Graph, list: &[ValueId]| list.iter().map(|v| g.value(*v).name.clone()).collect::<Vec<_>>();
    assert_eq!(names(graph, &graph.inputs), names(&after, &after.inputs));
    assert_eq!(names(graph, &graph.outputs), names(&after, &after.outputs));
    let x = std::slice::from_ref(x);
    // Folded weights are rounded to f32 once; what that does is relative to the largest value on the way.
    let largest = magnitude(graph, x);
    for (a, b) in run64(graph, x).iter().zip(run64(&after, x)) {
        let d = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest;
        assert!(a.len() == b.len() && d < 2e-6, "the function changed by {d:e}\n{report:#?}");
    }
    every_candidate_once(graph, &report);
    (after, report)
}

fn every_candidate_once(graph: &Graph, report: &FusionReport) {
    for node in &graph.nodes {
        let candidate = matches!(
            node.op,
            Op::BatchNormalization { .. } | Op::Unary(UnaryOp::Relu) | Op::Clip | Op::Pad { .. }
        );
        let times = report.entries.iter().filter(|e| e.node == node.name).count();
        assert!(times <= 1 && (times == 1 || !candidate), "{} is reported {times} times", node.name);
    }
}

fn ops(graph: &Graph) -> Vec<&'static str> {
    graph.nodes.iter().map(|n| n.op.name()).collect()
}

fn into(report: &FusionReport, node: &str) -> String {
    match &report.of(node).unwrap().outcome {
        FusionOutcome::Fused { into } | FusionOutcome::Rewritten { into } => into.clone(),
        other => panic!("{node}: {other:?}"),
    }
}

fn reason(report: &FusionReport, node: &str) -> String {
    match &report.of(node).unwrap().outcome {
        FusionOutcome::Kept { reason } => reason.clone(),
        other => panic!("{node}: {other:?}"),
    }
}

/// `x` of four channels and 6x6, one node chain given by `build`, one output.
fn chain(build: impl Fn(&mut Net, ValueId) -> ValueId) -> (Graph, Tensor) {
    let mut n = Net::new(7);
    let x = n.input("x", &[4, 6, 6]);
    let y = build(&mut n, x);
    n.output(y);
    let data = n.tensor(&[2, 4, 6, 6]);
    (n.graph, data)
}

#[test]
fn batch_norm_goes_into_plain_grouped_and_depthwise_convolutions() {
    for groups in [1, 2, 4] {
        let (g, x) = chain(|n, x| {
            let c = n.grouped("conv", x, [4, 8], groups, 3, 1);
            let b = n.batch_norm("bn", c, 8);
            n.relu("relu", b)
        });
        let (after, report) = fused(&g, &x);
        assert_eq!(ops(&after), ["Conv", "Relu"]);
        assert_eq!(into(&report, "bn"), "conv");
        assert_eq!(report.of("relu").unwrap().outcome, FusionOutcome::Epilogue { of: "conv".into() });
        // The conv's output now has the name of the normalized value.
        assert_eq!(after.value(after.nodes[0].output(0).unwrap()).name, "bn");
    }
}

#[test]
fn batch_norm_goes_into_gemm_whatever_its_layout_and_factors() {
    for trans_b in [false, true] {
        for (alpha, beta) in [(1.0, 1.0), (0.5, -2.0)] {
            let mut n = Net::new(3);
            let x = n.input("x", &[5]);
            let y = n.gemm("fc", x, [5, 3], trans_b);
            n.graph.nodes[0].op = Op::Gemm { alpha, beta, trans_a: false, trans_b };
            let y = n.batch_norm("bn", y, 3);
            n.output(y);
            let data = n.tensor(&[4, 5]);
            let (after, report) = fused(&n.graph, &data);
            assert_eq!(ops(&after), ["Gemm"]);
            assert_eq!(into(&report, "bn"), "fc");
            assert!(matches!(after.nodes[0].op, Op::Gemm { alpha: 1.0, beta: 1.0, .. }));
        }
    }
}

#[test]
fn what_others_read_is_not_folded_and_the_report_says_who() {
    let (g, x) = chain(|n, x| {
        let c = n.conv("conv2", x, [4, 4], 1, 0);
        let b = n.batch_norm("bn3", c, 4);
        n.binary("add1", BinaryOp::Add, b, c)
    });
    let (after, report) = fused(&g, &x);
    assert!(ops(&after).contains(&"Add"));
    // It still becomes something that integers can do.
    assert!(into(&report, "bn3").contains("depthwise"));

    let (g, x) = chain(|n, x| {
        let c = n.conv("conv", x, [4, 4], 1, 0);
        n.output(c);
        n.relu("relu", c)
    });
    let (_, report) = fused(&g, &x);
    assert_eq!(reason(&report, "relu"), "conv is also an output of the model");

    let (g, x) = chain(|n, x| {
        let c = n.conv("conv", x, [4, 4], 1, 0);
        let r = n.relu("relu", c);
        n.binary("sum", BinaryOp::Add, r, c)
    });
    let (_, report) = fused(&g, &x);
    assert_eq!(reason(&report, "relu"), "conv is also read by sum");
}

#[test]
fn batch_norm_goes_forward_where_no_padding_is_in_the_way() {
    for groups in [1, 2] {
        let (g, x) = chain(|n, x| {
            let b = n.batch_norm("bn", x, 4);
            n.grouped("conv", b, [4, 6], groups, 3, 0)
        });
        let (after, report) = fused(&g, &x);
        assert_eq!(ops(&after), ["Conv"]);
        assert_eq!(into(&report, "bn"), "conv");
    }
    // Behind padding it would shift the zeros, so it becomes an operator of its own.
    let (g, x) = chain(|n, x| {
        let b = n.batch_norm("bn", x, 4);
        n.conv("conv", b, [4, 6], 3, 1)
    });
    let (after, report) = fused(&g, &x);
    assert_eq!(ops(&after), ["Conv", "Conv"]);
    assert!(into(&report, "bn").contains("depthwise"));

    let mut n = Net::new(3);
    let x = n.input("x", &[5]);
    let b = n.batch_norm("bn", x, 5);
    let y = n.gemm("fc", b, [5, 3], false);
    n.output(y);
    let data = n.tensor(&[4, 5]);
    assert_eq!(ops(&fused(&n.graph, &data).0), ["Gemm"]);
}

#[test]
fn a_lone_batch_norm_becomes_something_that_integers_can_do() {
    let (g, x) = chain(|n, x| {
        let p = n.max_pool("pool", x);
        let b = n.batch_norm("bn", p, 4);
        n.relu("relu", b)
    });
    let (after, report) = fused(&g, &x);
    assert_eq!(ops(&after), ["MaxPool", "Conv", "Relu"]);
    assert_eq!(report.of("relu").unwrap().outcome, FusionOutcome::Epilogue { of: "bn".into() });

    let mut n = Net::new(3);
    let x = n.input("x", &[5]);
    let y = n.batch_norm("bn", x, 5);
    n.output(y);
    let data = n.tensor(&[4, 5]);
    assert_eq!(ops(&fused(&n.graph, &data).0), ["Mul", "Add"]);
}

#[test]
fn constant_factors_and_terms_go_into_the_weights() {
    for (op, reversed) in [
        (BinaryOp::Add, false),
        (BinaryOp::Add, true),
        (BinaryOp::Mul, true),
        (BinaryOp::Sub, false),
        (BinaryOp::Sub, true),
        (BinaryOp::Div, false),
    ] {
        for dims in [vec![], vec![1], vec![4, 1, 1], vec![1, 4, 1, 1]] {
            let (g, x) = chain(|n, x| {
                let c = n.conv("conv", x, [4, 4], 3, 1);
                let k = n.random(&dims);
                let (a, b) = if reversed { (k, c) } else { (c, k) };
                n.binary("map", op, a, b)
            });
            let (after, report) = fused(&g, &x);
            assert_eq!(ops(&after), ["Conv"], "{op:?} {dims:?}");
            assert_eq!(into(&report, "map"), "conv");
        }
    }
    // Along the width, of more dimensions, or over the factor: not a map a channel.
    for dims in [vec![6], vec![1, 1, 4, 1, 1]] {
        let (g, x) = chain(|n, x| {
            let c = n.conv("conv", x, [4, 4], 3, 1);
            let k = n.random(&dims);
            n.binary("map", BinaryOp::Mul, c, k)
        });
        let mut g = g;
        if dims.len() == 5 {
            // Broadcasting adds a dimension: only the rank tells.
            let k = g.nodes[1].input(1).unwrap();
            let t = Tensor::new(&[1, 1, 4, 1, 1], vec![0.5f32; 4]).unwrap();
            g.values[k.0].constant = Some(t);
        }
        assert_eq!(ops(&fused(&g, &x).0), ["Conv", "Mul"]);
    }
    let (g, x) = chain(|n, x| {
        let c = n.conv("conv", x, [4, 4], 3, 1);
        let k = n.scalar(0.5);
        n.binary("map", BinaryOp::Div, k, c)
    });
    assert_eq!(ops(&fused(&g, &x).0), ["Conv", "Div"]);
}

#[test]
fn a_matrix_product_with_a_bias_becomes_a_gemm_when_its_rank_is_2() {
    let mut n = Net::new(5);
    let x = n.input("x", &[5]);
    let w = n.random(&[5, 3]);
    let y = n.node("mm", Op::MatMul, &[x, w]);
    let b = n.random(&[3]);
    let y = n.binary("bias", BinaryOp::Add, b, y);
    n.output(y);
    let data = n.tensor(&[2, 5]);
    let (after, report) = fused(&n.graph, &data);
    assert_eq!(ops(&after), ["Gemm"]);
    assert_eq!(into(&report, "bias"), "mm");

    let mut n = Net::new(5);
    let x = n.input("x", &[4, 5]);
    let w = n.random(&[5, 3]);
    let y = n.node("mm", Op::MatMul, &[x, w]);
    let k = n.random(&[3]);
    let y = n.binary("factor", BinaryOp::Mul, y, k);
    let b = n.random(&[3]);
    let y = n.binary("bias", BinaryOp::Add, y, b);
    n.output(y);
    let data = n.tensor(&[2, 4, 5]);
    let (after, _) = fused(&n.graph, &data);
    assert_eq!(ops(&after), ["MatMul", "Add"]);
}

#[test]
fn hard_swish_in_every_spelling() {
    type Spelling = fn(&mut Net, ValueId, ValueId) -> ValueId;
    let spellings: [Spelling; 6] = [
        |n, x, clip| {
            let (p, six) = (n.binary("p", BinaryOp::Mul, x, clip), n.scalar(6.0));
            n.binary("y", BinaryOp::Div, p, six)
        },
        |n, x, clip| {
            let (p, k) = (n.binary("p", BinaryOp::Mul, clip, x), n.scalar(1.0 / 6.0));
            n.binary("y", BinaryOp::Mul, k, p)
        },
        |n, x, clip| {
            let six = n.scalar(6.0);
            let h = n.binary("h", BinaryOp::Div, clip, six);
            n.binary("y", BinaryOp::Mul, x, h)
        },
        |n, x, clip| {
            let k = n.constant(Tensor::vector(vec![1.0f32 / 6.0]));
            let h = n.binary("h", BinaryOp::Mul, x, k);
            n.binary("y", BinaryOp::Mul, h, clip)
        },
        |n, x, _| {
            let h = n.node("h", Op::Unary(UnaryOp::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }), &[x]);
            n.binary("y", BinaryOp::Mul, h, x)
        },
        |n, x, _| {
            let three = n.scalar(3.0);
            let s = n.binary("s2", BinaryOp::Add, x, three);
            let r = n.relu("r2", s);
            let six = n.scalar(6.0);
            let c = n.graph.add_node("clip2", Op::Clip, &[r], "clip2");
            n.graph.nodes.last_mut().unwrap().inputs = vec![Some(r), None, Some(six)];
            let p = n.binary("p", BinaryOp::Mul, x, c);
            n.binary("y", BinaryOp::Div, p, six)
        },
    ];
    for (i, spell) in spellings.iter().enumerate() {
        let (g, x) = chain(|n, x| {
            let x = n.conv("conv", x, [4, 4], 3, 1);
            let three = n.scalar(3.0);
            let sum = n.binary("sum", BinaryOp::Add, three, x);
            let clip = n.clip("clip", sum, 0.0, 6.0);
            spell(n, x, clip)
        });
        let mut g = g;
        g.compact();
        let (after, _) = fused(&g, &x);
        assert_eq!(ops(&after), ["Conv", "HardSwish"], "spelling {i}");
        assert_eq!(after.value(after.outputs[0]).name, "y");
    }
}

#[test]
fn hard_sigmoid_and_near_misses() {
    let build = |c: f32, k: f32, b: f32| {
        chain(move |n, x| {
            let b = n.scalar(b);
            let sum = n.binary("sum", BinaryOp::Add, x, b);
            let clip = n.clip("clip", sum, 0.0, c);
            let k = n.scalar(k);
            n.binary("y", BinaryOp::Div, clip, k)
        })
    };
    let (g, x) = build(6.0, 6.0, 3.0);
    let (after, report) = fused(&g, &x);
    assert_eq!(ops(&after), ["HardSigmoid"]);
    assert_eq!(into(&report, "clip"), "y");
    assert_eq!(ops(&fused(&build(4.0, 4.0, 1.0).0, &x).0), ["HardSigmoid"]);
    assert_eq!(ops(&fused(&build(6.0, 5.0, 3.0).0, &x).0), ["Add", "Clip", "Mul"]);
}

#[test]
fn paddings_of_zeros_go_into_windows_where_that_is_exact() {
    let spatial = [0, 0, 1, 2, 0, 0, 0, 1];
    let (g, x) = chain(|n, x| {
        let p = n.pad("pad", x, &spatial);
        let a = n.conv("a", p, [4, 4], 3, 1);
        let b = n.conv("b", p, [4, 4], 3, 1);
        n.binary("sum", BinaryOp::Add, a, b)
    });
    let (after, report) = fused(&g, &x);
    assert_eq!(ops(&after), ["Conv", "Conv", "Add"]);
    assert_eq!(into(&report, "pad"), "a, b");
    let Op::Conv(attrs) = &after.nodes[0].op else { panic!() };
    assert_eq!(attrs.padding, Padding::Explicit { begin: vec![2, 3], end: vec![1, 2] });

    // Average pools: exact when the padding counts, or when the pool has none of its own.
    for (pad, counts, goes) in [(0, false, true), (1, true, true), (1, false, false)] {
        let (g, x) = chain(|n, x| {
            let p = n.pad("pad", x, &[0, 0, 1, 1, 0, 0, 1, 1]);
            n.average_pool("pool", p, pad, counts)
        });
        let (after, _) = fused(&g, &x);
        assert_eq!(ops(&after) == ["AveragePool"], goes, "{pad} {counts}");
    }
    // Max pools: only where no value is below zero.
    for clamped in [true, false] {
        let (g, x) = chain(|n, x| {
            let r = if clamped { n.relu("relu", x) } else { x };
            let p = n.pad("pad", r, &[0, 0, 1, 1, 0, 0, 1, 1]);
            n.max_pool("pool", p)
        });
        let (after, report) = fused(&g, &x);
        assert_eq!(ops(&after).contains(&"Pad"), !clamped);
        assert!(clamped || reason(&report, "pad").contains("negative"));
    }
}

#[test]
fn other_paddings_stay_with_their_reason() {
    let kept = |build: fn(&mut Net, ValueId) -> ValueId| {
        let (g, x) = chain(build);
        reason(&fused(&g, &x).1, "pad")
    };
    assert!(
        kept(|n, x| {
            let p = n.pad("pad", x, &[0, 1, 0, 0, 0, 1, 0, 0]);
            n.conv("conv", p, [6, 4], 1, 0)
        })
        .contains("other axes")
    );
    assert!(
        kept(|n, x| {
            let p = n.pad("pad", x, &[0, 0, 1, 1, 0, 0, 1, 1]);
            let one = n.scalar(1.0);
            n.graph.nodes[0].inputs.push(Some(one));
            n.conv("conv", p, [4, 4], 1, 0)
        })
        .contains("zero")
    );
    assert!(
        kept(|n, x| {
            let p = n.pad("pad", x, &[0, 0, 1, 1, 0, 0, 1, 1]);
            n.graph.nodes[0].op = Op::Pad { mode: PadMode::Reflect };
            n.conv("conv", p, [4, 4], 1, 0)
        })
        .contains("Reflect")
    );
    assert!(
        kept(|n, x| {
            let p = n.pad("pad", x, &[0, 0, -1, 1, 0, 0, 1, 1]);
            n.conv("conv", p, [4, 4], 1, 0)
        })
        .contains("crops")
    );
    assert!(kept(|n, x| n.pad("pad", x, &[0, 0, 1, 1, 0, 0, 1, 1])).contains("output of the model"));
}

#[test]
fn what_does_nothing_goes_and_outputs_keep_their_names() {
    let (g, x) = chain(|n, x| {
        let c = n.conv("conv", x, [4, 4], 1, 0);
        let i = n.node("id1", Op::Identity, &[c]);
        let d = n.node("drop", Op::Dropout, &[i]);
        let p = n.pad("pad", d, &[0; 8]);
        let c = n.node("clip", Op::Clip, &[p]);
        n.node("y", Op::Identity, &[c])
    });
    let (after, report) = fused(&g, &x);
    assert_eq!(ops(&after), ["Conv"]);
    assert_eq!(report.of("pad").unwrap().outcome, FusionOutcome::Removed);
    // An input that is an output, and one value under two names, need their Identity.
    let (g, x) = chain(|n, x| n.node("y", Op::Identity, &[x]));
    assert_eq!(ops(&fused(&g, &x).0), ["Identity"]);
    let (g, x) = chain(|n, x| {
        let c = n.conv("conv", x, [4, 4], 1, 0);
        n.output(c);
        n.node("y", Op::Identity, &[c])
    });
    assert_eq!(ops(&fused(&g, &x).0), ["Conv", "Identity"]);
}

#[test]
fn clamps_after_clamps_become_one() {
    for (first, second) in [((-1.0, 0.5), (0.0, 0.25)), ((0.3, 0.4), (-1.0, 1.0)), ((-1.0, -0.5), (0.0, 1.0))]
    {
        let (g, x) = chain(|n, x| {
            let a = n.clip("a", x, first.0, first.1);
            n.clip("b", a, second.0, second.1)
        });
        let (after, report) = fused(&g, &x);
        assert_eq!(ops(&after), ["Clip"]);
        assert_eq!(into(&report, "a"), "b");
    }
    let (g, x) = chain(|n, x| {
        let a = n.relu("a", x);
        n.relu("b", a)
    });
    assert_eq!(ops(&fused(&g, &x).0), ["Relu"]);
}

#[test]
fn windows_that_would_see_only_padding_do_not_take_it() {
    let (g, x) = chain(|n, x| {
        let p = n.pad("pad", x, &[0, 0, 3, 3, 0, 0, 3, 3]);
        n.node("pool", Op::AveragePool { attrs: window(3, 0), count_include_pad: false }, &[p])
    });
    assert_eq!(ops(&fused(&g, &x).0), ["Pad", "AveragePool"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Chains of everything that fusion looks at, with branches and extra outputs thrown in.
    #[test]
    fn random_networks_keep_their_function(seed in 0u64..1_000_000, steps in proptest::collection::vec(0u8..16, 1..10)) {
        let mut n = Net::new(seed);
        let mut x = n.input("x", &[4, 6, 6]);
        let mut previous = x;
        for (i, step) in steps.iter().enumerate() {
            let name = format!("n{i}");
            let before = x;
            x = match step {
                0 => n.grouped(&name, x, [4, 4], 1, 3, 1),
                1 => n.grouped(&name, x, [4, 4], 2, 3, 1),
                2 => n.grouped(&name, x, [4, 4], 4, 1, 0),
                3 | 4 => n.batch_norm(&name, x, 4),
                5 => n.relu(&name, x),
                6 => n.clip(&name, x, -0.25, 0.5),
                7 => {
                    let k = n.random(&[1, 4, 1, 1]);
                    n.binary(&name, BinaryOp::Add, x, k)
                }
                8 => {
                    let k = n.random(&[4, 1, 1]);
                    n.binary(&name, BinaryOp::Mul, k, x)
                }
                9 => {
                    let k = n.scalar(1.5);
                    n.binary(&name, BinaryOp::Div, x, k)
                }
                10 => {
                    let k = n.random(&[]);
                    n.binary(&name, BinaryOp::Sub, k, x)
                }
                11 => n.node(&name, Op::Identity, &[x]),
                12 => n.binary(&name, BinaryOp::Add, x, previous),
                13 => n.node(&name, Op::Unary(UnaryOp::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }), &[x]),
                14 => n.binary(&name, BinaryOp::Mul, x, previous),
                _ => {
                    // Padded, then cut back to 6x6.
                    let p = n.pad(&format!("{name}_pad"), x, &[0, 0, 1, 1, 0, 0, 1, 1]);
                    n.conv(&name, p, [4, 4], 3, 0)
                }
            };
            if step % 7 == 6 && seed % 3 == 0 && before != n.graph.inputs[0] && !n.graph.outputs.contains(&before) {
                n.output(before);
            }
            previous = before;
        }
        n.output(x);
        let data = n.tensor(&[1, 4, 6, 6]);
        fused(&n.graph, &data);
    }
}

/// Channels of a transposed convolution are counted by group, whichever side the map is on.
#[test]
fn maps_fold_into_transposed_convolutions() {
    for groups in [1, 2] {
        let attrs = tq_graph::op::ConvTransposeAttrs {
            strides: vec![2; 2],
            dilations: vec![1; 2],
            padding: Padding::Explicit { begin: vec![1; 2], end: vec![0; 2] },
            output_padding: vec![0; 2],
            output_shape: None,
            groups,
        };
        for with_bias in [false, true] {
            let mut n = Net::new(31);
            let x = n.input("x", &[4, 5, 4]);
            let (w, b) = (n.random(&[4, 3, 3, 3]), n.random(&[3 * groups]));
            let inputs: &[ValueId] = if with_bias { &[x, w, b] } else { &[x, w] };
            let y = n.node("up", Op::ConvTranspose(attrs.clone()), inputs);
            let y = n.batch_norm("norm", y, 3 * groups);
            let y = n.relu("relu", y);
            n.output(y);
            let data = n.tensor(&[2, 4, 5, 4]);
            let (after, report) = fused(&n.graph, &data);
            let outcome = |name: &str| &report.entries.iter().find(|e| e.node == name).unwrap().outcome;
            assert_eq!(outcome("norm"), &FusionOutcome::Fused { into: "up".into() });
            assert_eq!(outcome("relu"), &FusionOutcome::Epilogue { of: "up".into() });
            assert_eq!(after.nodes.len(), 2);
        }
        // Before it: a factor can go in, a shift cannot.
        let mut n = Net::new(32);
        let x = n.input("x", &[4, 5, 4]);
        let y = n.batch_norm("norm", x, 4);
        let w = n.random(&[4, 3, 3, 3]);
        let y = n.node("up", Op::ConvTranspose(attrs), &[y, w]);
        n.output(y);
        let data = n.tensor(&[2, 4, 5, 4]);
        let (after, _) = fused(&n.graph, &data);
        assert_eq!(after.nodes.len(), 2);
    }
}

/// `x * (1 + erf(x / sqrt(2))) * 0.5`, in the orders that exporters write.
#[test]
fn gelu_is_recognised() {
    for form in 0..4 {
        let mut n = Net::new(33);
        let x = n.input("x", &[3, 8]);
        let x = n.relu("before", x);
        let scaled = if form % 2 == 0 {
            let root = n.scalar(std::f32::consts::SQRT_2);
            n.binary("scaled", BinaryOp::Div, x, root)
        } else {
            let root = n.scalar(std::f32::consts::FRAC_1_SQRT_2);
            n.binary("scaled", BinaryOp::Mul, root, x)
        };
        let erf = n.node("erf", Op::Unary(UnaryOp::Erf), &[scaled]);
        let (one, half) = (n.scalar(1.0), n.scalar(0.5));
        let sum = n.binary("sum", BinaryOp::Add, erf, one);
        let y = if form < 2 {
            let product = n.binary("product", BinaryOp::Mul, x, sum);
            n.binary("gelu", BinaryOp::Mul, product, half)
        } else {
            let halved = n.binary("halved", BinaryOp::Mul, half, x);
            n.binary("gelu", BinaryOp::Mul, halved, sum)
        };
        n.output(y);
        let data = n.tensor(&[2, 3, 8]);
        let (after, _) = fused(&n.graph, &data);
        assert_eq!(after.nodes.len(), 2, "form {form}");
        assert_eq!(after.nodes[1].op, Op::Unary(UnaryOp::Gelu { tanh: false }));
    }
    // Another factor is another function.
    let mut n = Net::new(34);
    let x = n.input("x", &[8]);
    let erf = n.node("erf", Op::Unary(UnaryOp::Erf), &[x]);
    let (one, half) = (n.scalar(1.0), n.scalar(0.5));
    let sum = n.binary("sum", BinaryOp::Add, erf, one);
    let product = n.binary("product", BinaryOp::Mul, x, sum);
    let y = n.binary("y", BinaryOp::Mul, product, half);
    n.output(y);
    let data = n.tensor(&[2, 8]);
    let (after, _) = fused(&n.graph, &data);
    assert!(after.nodes.iter().all(|n| !matches!(n.op, Op::Unary(UnaryOp::Gelu { .. }))));
}
