//! Runs a native file: all that a device needs.
//!
//!     cargo run --profile mobile -p torsh-quantization --no-default-features --features runtime --example run_native -- MODEL.tq
//!
//! Inputs are ones, free dimensions are 1. Prints each output's shape and the sum of its elements.

use std::error::Error;
use torsh_quantization::export::load;
use torsh_quantization::model::{DType, Graph, Tensor};
use torsh_quantization::runtime::{Session, SessionOptions};

fn ones(graph: &Graph) -> Result<Vec<Tensor>, Box<dyn Error>> {
    let of = |v: &_| {
        let value = graph.value(*v);
        let shape = value.shape.as_deref().unwrap_or_default();
        let dims: Vec<usize> = shape.iter().map(|d| d.known_usize().unwrap_or(1)).collect();
        let n = dims.iter().product();
        match value.dtype {
            Some(DType::I64) => Ok(Tensor::new(&dims, vec![1i64; n])?),
            Some(DType::U8) => Ok(Tensor::new(&dims, vec![1u8; n])?),
            Some(DType::I8) => Ok(Tensor::new(&dims, vec![1i8; n])?),
            Some(DType::F32) => Ok(Tensor::new(&dims, vec![1f32; n])?),
            _ => Err(format!("input {} is of a type that this example does not make", value.name).into()),
        }
    };
    graph.inputs.iter().map(of).collect()
}

fn run(path: &std::path::Path) -> Result<String, Box<dyn Error>> {
    let graph = load(path)?;
    let outputs = Session::new(&graph, SessionOptions::default())?.run(&ones(&graph)?)?;
    let line = |(v, t): (&_, &Tensor)| {
        let sum = match t.to_f64_vec() {
            Some(v) => v.iter().sum::<f64>(),
            None => t.to_i64_vec().unwrap_or_default().iter().sum::<i64>() as f64,
        };
        format!("{}: {:?}, sum {sum}\n", graph.value(*v).name, t.dims())
    };
    Ok(graph.outputs.iter().zip(&outputs).map(line).collect())
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: run_native MODEL.tq")?;
    print!("{}", run(path.as_ref())?);
    Ok(())
}

#[test]
fn runs() -> Result<(), Box<dyn Error>> {
    use torsh_quantization::export::{save, strip};
    use torsh_quantization::model::{Dim, Op};
    let mut graph = Graph::new("net");
    let x = graph.add_input("x", DType::F32, vec![Dim::symbol("N"), 2usize.into()]);
    let w = graph.add_constant("w", Tensor::new(&[2, 3], vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0])?);
    let y = graph.add_node("linear", Op::MatMul, &[x, w], "y");
    graph.outputs.push(y);
    let path = std::env::temp_dir().join(format!("run-native-{}.tq", std::process::id()));
    save(&strip(&graph), &path)?;
    let text = run(&path);
    std::fs::remove_file(&path)?;
    assert_eq!(text?, "y: [1, 3], sum 21\n");
    Ok(())
}
