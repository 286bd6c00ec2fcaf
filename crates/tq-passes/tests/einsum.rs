//! Einsum as products of matrices: the same numbers, by the evaluator.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

use tq_eval::{Evaluator, Precision};
use tq_graph::{Dim, Graph, Op, Tensor, infer};
use tq_passes::{FusionOutcome, QuantConfig, convert, fuse, prepare_static};
use tq_qtypes::DType;

/// Sizes of the letters, all different; `...` is an axis of 2 and one of 3.
fn size(letter: char) -> usize {
    match letter {
        'b' | 'n' => 2,
        'h' => 3,
        'q' | 'i' => 4,
        'k' | 'j' => 5,
        'd' => 6,
        _ => 7,
    }
}

fn dims(term: &str) -> Vec<usize> {
    let term = term.trim().replace("...", "bh");
    term.chars().map(size).collect()
}

fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// A model of one Einsum; operands at these positions are constant.
fn model(equation: &str, constant: &[usize], symbolic: bool) -> (Graph, Vec<Tensor>) {
    let mut g = Graph::new("net");
    let (mut inputs, mut data) = (Vec::new(), Vec::new());
    for (i, term) in equation.split("->").next().unwrap().split(',').enumerate() {
        let dims = dims(term);
        let tensor = Tensor::new(&dims, noise(dims.iter().product(), i as u32 + 1)).unwrap();
        if constant.contains(&i) {
            inputs.push(g.add_constant(format!("c{i}"), tensor));
            continue;
        }
        let shape = |(letter, n): (char, &usize)| match letter {
            'b' | 'n' | 'q' if symbolic => Dim::symbol(letter.to_string()),
            _ => Dim::from(*n),
        };
        let letters = term.trim().replace("...", "bh");
        let shape = letters.chars().zip(&dims).map(shape).collect();
        inputs.push(g.add_input(format!("x{i}"), DType::F32, shape));
        data.push(tensor);
    }
    let y = g.add_node("product", Op::Einsum(equation.parse().unwrap()), &inputs, "y");
    g.outputs.push(y);
    infer::infer(&mut g).unwrap();
    (g, data)
}

fn run(graph: &Graph, data: &[Tensor]) -> (Vec<usize>, Vec<f64>) {
    let y = Evaluator::new(graph, Precision::F64).unwrap().run(data).unwrap().remove(0);
    (y.dims().to_vec(), y.to_f64_vec().unwrap())
}

const PRODUCTS: &[(&str, &[usize], usize)] = &[
    ("bij,bjk->bik", &[], 1),
    ("bqhd,bkhd->bhqk", &[], 1),
    ("bhqk,bkhd->bqhd", &[], 1),
    ("bhqd,bhkd->bhqk", &[], 1),
    ("bhkd,bhqd->bhqk", &[], 1),
    ("bd,bd->b", &[], 1),
    ("bqd,bd->bq", &[], 1),
    ("bd,bqd->qb", &[], 1),
    ("bqi,oi->bqo", &[1], 1),
    ("oi,bqi->boq", &[0], 1),
    ("bqd,dhk->bqhk", &[1], 1),
    ("bqhk,hkd->bqd", &[1], 1),
    ("bqhk,dkh->dqb", &[1], 1),
    ("...d,dk->...k", &[1], 1),
    ("bqd,d->bq", &[1], 1),
    ("ni,oij,nj->no", &[1], 2),
    ("nqi,oij,nqj->nqo", &[1], 2),
];

#[test]
fn products_give_the_same_numbers() {
    for (equation, constant, products) in PRODUCTS {
        for symbolic in [false, true] {
            let (graph, data) = model(equation, constant, symbolic);
            let mut fused = graph.clone();
            let report = fuse(&mut fused).unwrap();
            let of = |name: &str| fused.nodes.iter().filter(|n| n.op.name() == name).count();
            assert_eq!((of("Einsum"), of("MatMul")), (0, *products), "{equation} {symbolic}");
            assert!(fused.nodes.iter().any(|n| n.name == "product" && n.op == Op::MatMul), "{equation}");
            let noted = report.entries.iter().any(|e| {
                e.node == "product" && e.outcome == FusionOutcome::Rewritten { into: "MatMul".into() }
            });
            assert!(noted, "{equation}: {report:?}");
            let ((dims, expected), (got_dims, got)) = (run(&graph, &data), run(&fused, &data));
            assert_eq!(dims, got_dims, "{equation} {symbolic}");
            for (i, (x, y)) in expected.iter().zip(&got).enumerate() {
                assert!((x - y).abs() <= 1e-12 * x.abs().max(1.0), "{equation}, element {i}: {x} and {y}");
            }
        }
    }
}

#[test]
fn what_is_no_product_of_matrices_stays() {
    for (equation, constant) in [
        ("ij->ji", &[][..]),
        ("i,j->ij", &[]),
        ("bij,bij->b", &[]),
        ("bij,kj->bk", &[]),
        ("ii,ij->j", &[]),
        ("bi,bj,bk->b", &[]),
        ("bqd,bkd->bqkd", &[]),
        ("i,ij->j", &[1]),
        ("...d,...d->...", &[]),
    ] {
        let (graph, data) = model(equation, constant, false);
        let mut fused = graph.clone();
        fuse(&mut fused).unwrap();
        assert!(fused.nodes.iter().any(|n| n.op.name() == "Einsum"), "{equation}");
        assert_eq!(run(&graph, &data), run(&fused, &data), "{equation}");
    }
    // An axis of 1 is repeated along the other one, here of the third operand.
    let mut g = Graph::new("net");
    let a = g.add_input("a", DType::F32, vec![2usize.into(), 3usize.into(), 4usize.into()]);
    let c = g.add_input("c", DType::F32, vec![2usize.into(), 1usize.into(), 5usize.into()]);
    let w = g.add_constant("w", Tensor::new(&[4, 7], noise(28, 3)).unwrap());
    let y = g.add_node("product", Op::Einsum("bij,jk,bkl->bil".parse().unwrap()), &[a, w, c], "y");
    g.outputs.push(y);
    infer::infer(&mut g).unwrap();
    let before = g.clone();
    fuse(&mut g).unwrap();
    let data =
        [Tensor::new(&[2, 3, 4], noise(24, 4)).unwrap(), Tensor::new(&[2, 1, 5], noise(10, 5)).unwrap()];
    assert_eq!(run(&before, &data), run(&g, &data));
    // And of the second of two.
    let mut g = Graph::new("net");
    let a = g.add_input("a", DType::F32, vec![1usize.into(), 4usize.into()]);
    let b = g.add_input("b", DType::F32, vec![3usize.into(), 4usize.into()]);
    let y = g.add_node("product", Op::Einsum("bi,bi->b".parse().unwrap()), &[a, b], "y");
    g.outputs.push(y);
    if infer::infer(&mut g).is_ok() {
        fuse(&mut g).unwrap();
        assert_eq!(g.nodes[0].op.name(), "Einsum");
    }
}

#[test]
fn products_run_in_integers() {
    for (equation, constant, products) in PRODUCTS {
        let (graph, data) = model(equation, constant, false);
        let prepared = prepare_static(graph, QuantConfig::default()).unwrap();
        prepared.forward(&data).unwrap();
        let report = convert(prepared).unwrap().report;
        let integer = report.integer_nodes().filter(|n| n.op == "MatMul" || n.op == "Gemm").count();
        assert_eq!(integer, *products, "{equation}: {:?}", report.nodes);
    }
}
