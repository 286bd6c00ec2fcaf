//! Losses and optimisers against PyTorch's (`tests/data/make_training.py`), and their errors.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use tq_graph::Tensor;
use tq_qat::optim::{Adam, Optimizer, Schedule, Sgd, clip_grad_norm, clip_grad_value};
use tq_qat::{Parameter, QatError, Tape, Var, loss};

fn vectors(list: &str) -> Vec<Value> {
    let json: Value = serde_json::from_str(include_str!("data/training.json")).unwrap();
    let cases = json[list].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

fn floats(v: &Value) -> Vec<f32> {
    v.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

fn number(v: &Value) -> f32 {
    v.as_f64().unwrap() as f32
}

/// Within a few units of the last place of f32, relative to `size`.
fn assert_close(what: &str, got: &[f32], want: &[f32], size: f32) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= 2e-6 * size.max(want.abs()), "{what}, element {i}: {got} {want}");
    }
}

fn loss_of(case: &Value, x: &Var) -> Result<Var, QatError> {
    let target = floats(&case["target"]);
    let tensor = || Tensor::new(x.shape(), target.clone()).unwrap();
    match case["loss"].as_str().unwrap() {
        "cross_entropy" => {
            let labels: Vec<i64> = target.iter().map(|v| *v as i64).collect();
            loss::cross_entropy_smoothed(x, &labels, number(&case["smoothing"]))
        }
        "distillation" => loss::distillation(x, &tensor(), number(&case["temperature"])),
        "mse" => loss::mse(x, &tensor()),
        "bce" => loss::bce(x, &tensor()),
        "bce_with_logits" => loss::bce_with_logits(x, &tensor()),
        other => panic!("unknown loss {other}"),
    }
}

fn parameter(name: &str, dims: &[usize], values: Vec<f32>) -> Parameter {
    Parameter::new(name, Tensor::new(dims, values).unwrap()).unwrap()
}

#[test]
fn losses_and_their_gradients_are_those_of_pytorch() {
    for (i, case) in vectors("losses").iter().enumerate() {
        let dims: Vec<usize> =
            case["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect();
        let x = parameter("x", &dims, floats(&case["x"]));
        let value = loss_of(case, &Tape::new().parameter(&x)).unwrap();
        let what = format!("case {i}, {}", case["loss"]);
        assert_close(&what, &[value.item().unwrap()], &[number(&case["value"])], 1.0);
        value.backward().unwrap();
        let gradient = x.gradient().unwrap();
        let want = floats(&case["gradient"]);
        let size = want.iter().fold(0.1f32, |m, g| m.max(g.abs()));
        assert_close(&what, gradient.as_slice().unwrap(), &want, size);
    }
}

/// By differences too, and through a factor behind the loss: the vectors could share a mistake of the chain rule.
#[test]
fn gradients_are_differences_of_the_loss() {
    for case in vectors("losses").iter().filter(|c| c["loss"] != "bce") {
        let data = floats(&case["x"]);
        let rows = case["shape"][0].as_u64().unwrap() as usize;
        let dims = [rows, data.len() / rows];
        let x = parameter("x", &dims, data.clone());
        let tape = Tape::new();
        let tripled =
            loss_of(case, &tape.parameter(&x)).unwrap().mul(&tape.constant(Tensor::scalar(3.0f32))).unwrap();
        tripled.backward().unwrap();
        let gradient = x.gradient().unwrap();
        let at = |values: Vec<f32>| {
            let x = Tape::new().constant(Tensor::new(&dims, values).unwrap());
            f64::from(loss_of(case, &x).unwrap().item().unwrap())
        };
        for i in 0..data.len() {
            let (mut up, mut down) = (data.clone(), data.clone());
            let h = 1e-2f32;
            up[i] += h;
            down[i] -= h;
            let width = f64::from(up[i]) - f64::from(down[i]);
            let (high, low) = (at(up), at(down));
            let got = f64::from(gradient.as_slice::<f32>().unwrap()[i]);
            // Both losses are rounded to f32, and the third derivative is at most 1.
            let error = 2e-7 * (high.abs() + low.abs() + 1.0) / width + 1e-4;
            assert!((got - 3.0 * (high - low) / width).abs() <= 3.0 * error, "{} {i}: {got}", case["loss"]);
        }
    }
}

fn optimizer(case: &Value, parameters: [Parameter; 2]) -> Box<dyn Optimizer> {
    let decay = number(&case["weight_decay"]);
    let mut optimizer: Box<dyn Optimizer> = match case["optimiser"].as_str().unwrap() {
        "sgd" => {
            let sgd = Sgd::new(parameters, 0.05).unwrap().momentum(number(&case["momentum"])).unwrap();
            let sgd = sgd.weight_decay(decay).unwrap();
            Box::new(if case["nesterov"] == true { sgd.nesterov() } else { sgd })
        }
        "adam" => Box::new(Adam::new(parameters, 0.05).unwrap().weight_decay(decay).unwrap()),
        "adamw" => Box::new(Adam::decoupled(parameters, 0.05, decay).unwrap()),
        other => panic!("unknown optimiser {other}"),
    };
    optimizer.set_group_lr("scale", 0.002).unwrap();
    optimizer
}

fn schedule(case: &Value) -> Schedule {
    if let Some(step) = case.get("step_lr") {
        return Schedule::Step { every: step[0].as_u64().unwrap(), gamma: number(&step[1]) };
    }
    match case.get("cosine") {
        Some(cosine) => Schedule::Cosine { steps: cosine[0].as_u64().unwrap(), least: number(&cosine[1]) },
        None => Schedule::Constant,
    }
}

#[test]
fn optimisers_go_the_way_of_pytorch_and_resume_to_the_bit() {
    for (i, case) in vectors("optimisers").iter().enumerate() {
        let start = |k: usize| floats(&case["start"][k]);
        let make = || [parameter("w", &[4], start(0)), parameter("s", &[2], start(1)).in_group("scale")];
        let both = make();
        let mut running = optimizer(case, both.clone());
        for (step, gradients) in case["gradients"].as_array().unwrap().iter().enumerate() {
            if step == 4 {
                // Goes on in an optimiser that has done nothing yet.
                let state = running.state_dict();
                running = optimizer(case, both.clone());
                running.load_state_dict(&state).unwrap();
                assert_eq!(running.state_dict(), state);
            }
            running.zero_grad();
            for (k, p) in both.iter().enumerate() {
                p.set_gradient(Some(Tensor::new(p.dims(), floats(&gradients[k])).unwrap())).unwrap();
            }
            if let Some(norm) = case.get("clip_norm") {
                clip_grad_norm(&both, number(norm)).unwrap();
            }
            if let Some(value) = case.get("clip_value") {
                clip_grad_value(&both, number(value)).unwrap();
            }
            running.schedule(&schedule(case), step as u64);
            running.step().unwrap();
            for (k, p) in both.iter().enumerate() {
                let what = format!("case {i}, step {step}, {}", p.name());
                let want = floats(&case["values"][step][k]);
                assert_close(&what, p.value().as_slice().unwrap(), &want, 1.0);
            }
        }
    }
}

#[test]
fn exploded_gradients_are_named_and_change_nothing() {
    let [a, b] = [parameter("a", &[1], vec![1.0]), parameter("b", &[3], vec![1.0; 3])];
    let mut optimizer = Sgd::new([a.clone(), b.clone()], 0.1).unwrap();
    a.set_gradient(Some(Tensor::vector(vec![1.0f32]))).unwrap();
    b.set_gradient(Some(Tensor::vector(vec![0.0f32, f32::NAN, f32::INFINITY]))).unwrap();
    let error = optimizer.step().unwrap_err();
    assert_eq!(error.to_string(), "the gradient of parameter b is not finite in 2 of 3 elements");
    assert!(matches!(clip_grad_norm(&[a.clone(), b], 1.0), Err(QatError::GradientNotFinite { .. })));
    assert_eq!(a.value().as_slice::<f32>().unwrap(), [1.0]);
}

#[test]
fn what_is_wrong_with_labels_and_losses_is_said() {
    let tape = Tape::new();
    let x = |values: Vec<f32>| tape.constant(Tensor::new(&[2, 2], values).unwrap());
    let says =
        |result: Result<Var, QatError>, message: &str| assert_eq!(result.unwrap_err().to_string(), message);
    let good = x(vec![0.0; 4]);
    says(loss::cross_entropy(&good, &[0, 2]), "label 2 of sample 1 is outside 0..2");
    says(loss::cross_entropy(&good, &[-1, 0]), "label -1 of sample 0 is outside 0..2");
    says(loss::cross_entropy(&good, &[0, 1, 1]), "3 labels for 2 samples");
    says(loss::cross_entropy(&x(vec![0.0, f32::NAN, 0.0, 0.0]), &[0, 1]), "the loss cross_entropy is NaN");
    says(
        loss::cross_entropy(&x(vec![f32::INFINITY, 0.0, 0.0, 0.0]), &[0, 1]),
        "the loss cross_entropy is NaN",
    );
    let three = Tensor::vector(vec![0.0f32; 3]);
    assert!(matches!(loss::mse(&good, &three), Err(QatError::LossShape { .. })));
    assert!(matches!(loss::distillation(&good, &three, 1.0), Err(QatError::LossShape { .. })));
    let target = Tensor::new(&[2, 2], vec![0.0f32; 4]).unwrap();
    says(loss::mse(&x(vec![1e30; 4]), &target), "the loss mse is inf");
    says(loss::bce(&x(vec![1.5; 4]), &target), "probability 1.5 is not between 0 and 1");
    says(loss::bce_with_logits(&x(vec![f32::NAN; 4]), &target), "the loss bce_with_logits is NaN");
    says(loss::distillation(&good, &target, 0.0), "temperature 0: it is finite and positive");
    assert!(Sgd::new([], -0.1).is_err() && Adam::new([], f32::NAN).is_err());
    let twice = parameter("w", &[1], vec![0.0]);
    assert!(matches!(Sgd::new([twice.clone(), twice], 0.1), Err(QatError::OptimizerState(_))));
}
