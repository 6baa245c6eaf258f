//! What may be sampled, what a model may return, and how it is called.

use crate::support::tensor::*;
use lgs_engine::{
    error::{Error, Result},
    layout::Layout,
    model::Evaluator,
    options::Jvp,
};

use crate::support::{
    host::{message, plan, says, TestHost},
    numbers::{distance, Rng},
};

const CPU: Device = Device::Cpu;

#[test]
fn float32_inside_whatever_the_model_uses_and_float64_throughout() {
    for (model, inside) in [
        (Kind::Double, Kind::Double),
        (Kind::Float, Kind::Float),
        (Kind::Half, Kind::Float),
        (Kind::BFloat16, Kind::Float),
    ] {
        let layout = Layout::of("x", &Tensor::zeros([2, 3, 4], (model, CPU))).expect("a layout");
        assert_eq!((layout.model_kind, layout.kind, layout.device), (model, inside, CPU));
        assert_eq!((layout.batch(), layout.dimension(), &layout.shape[..]), (2, 12, &[2, 3, 4][..]));
    }
}

#[test]
fn an_item_can_be_a_single_number() {
    let layout = Layout::of("x", &Tensor::zeros([5], (Kind::Float, CPU))).expect("a layout");
    assert_eq!((layout.batch(), layout.dimension()), (5, 1));
}

#[test]
fn other_dtypes_are_refused_by_name() {
    for (kind, name) in [
        (Kind::Int64, "int64"),
        (Kind::Int, "int32"),
        (Kind::Int16, "int16"),
        (Kind::Int8, "int8"),
        (Kind::Uint8, "uint8"),
        (Kind::Bool, "bool"),
        (Kind::ComplexFloat, "complex64"),
        (Kind::ComplexDouble, "complex128"),
    ] {
        let outcome = Layout::of("x", &Tensor::zeros([2, 3], (kind, CPU)));
        assert!(matches!(outcome, Err(Error::Type(_))), "{kind:?}");
        says(&message(outcome), &["x: ", "float32", &format!("got {name}")]);
    }
}

#[test]
fn empty_shapes_are_refused() {
    for shape in [&[][..], &[0], &[0, 3], &[2, 0], &[2, 3, 0, 4]] {
        let outcome = Layout::of("z", &Tensor::zeros(shape, (Kind::Float, CPU)));
        assert!(matches!(outcome, Err(Error::Argument(_))), "{shape:?}");
        says(&message(outcome), &["z: ", "(batch, ...)", &format!("got shape {shape:?}")]);
    }
    says(&message(Layout::of("x", &Tensor::new())), &["x: ", "undefined"]);
}

/// D(x) of a model on x (2, 3), float32.
fn evaluate(answer: impl FnMut(&Tensor, f64) -> Result<Tensor>) -> Result<Tensor> {
    let x = Rng::new(1).tensor(&[2, 3]).to_kind(Kind::Float);
    let layout = Layout::of("x", &x)?;
    Evaluator::new(&mut TestHost::new(answer), layout, plan(Jvp::FiniteDifference)).denoised(&x, 0.5)
}

#[test]
fn what_a_model_may_not_return() {
    let float = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, CPU));
    for (answer, words) in [
        (Tensor::new(), ["expected a tensor", "undefined"]),
        (float(&[2, 4]), ["expected shape [2, 3], that of x", "got shape [2, 4]"]),
        (float(&[3, 2]), ["expected shape [2, 3]", "got shape [3, 2]"]),
        (float(&[1, 3]), ["expected shape [2, 3]", "got shape [1, 3]"]),
        (float(&[]), ["expected shape [2, 3]", "got shape []"]),
        (float(&[2, 3, 1]), ["expected shape [2, 3]", "got shape [2, 3, 1]"]),
        (float(&[2, 3]).to_kind(Kind::Double), ["expected dtype float32, that of x", "got float64"]),
        (float(&[2, 3]).to_kind(Kind::Half), ["have the model return float32", "begin with an x of dtype float16"]),
        (float(&[2, 3]).to_kind(Kind::Int64), ["expected dtype float32", "got int64"]),
        (float(&[2, 3]).to_kind(Kind::ComplexFloat), ["expected dtype float32", "got complex64"]),
    ] {
        let outcome = evaluate(|_, _| Ok(answer.shallow_clone()));
        assert!(matches!(outcome, Err(Error::Output(_))));
        let text = message(outcome);
        says(&text, &words);
        says(&text, &["the denoised image that the model returned"]);
    }
    assert!(matches!(evaluate(|_, _| Err(Error::Failed)), Err(Error::Failed)));
    assert!(matches!(evaluate(|_, _| Err(Error::Stopped)), Err(Error::Stopped)));
}

#[test]
fn a_model_may_return_a_view_or_its_input() {
    let x = Rng::new(1).tensor(&[2, 3]).to_kind(Kind::Float);
    assert_eq!(distance(&evaluate(|x, _| Ok(x.shallow_clone())).expect("no error"), &x), 0.0);
    let turned = evaluate(|x, _| Ok(x.tr().contiguous().tr())).expect("no error");
    assert_eq!(distance(&turned, &x), 0.0);
    let spread = evaluate(|x, _| Ok(x.narrow(1, 0, 1).expand_as(x))).expect("no error");
    assert_eq!(distance(&spread, &x.narrow(1, 0, 1).expand_as(&x)), 0.0);
}

#[test]
fn the_model_is_called_in_its_own_dtype() {
    for model in [Kind::Double, Kind::Float, Kind::Half, Kind::BFloat16] {
        let x = Rng::new(2).tensor(&[2, 3]).to_kind(model);
        let layout = Layout::of("x", &x).expect("a layout");
        let (inside, mut seen) = (layout.kind, Vec::new());
        let denoised = {
            let mut host = TestHost::new(|x: &Tensor, sigma| {
                seen.push((x.kind(), sigma));
                Ok(x.shallow_clone())
            });
            let mut evaluator = Evaluator::new(&mut host, layout, plan(Jvp::FiniteDifference));
            evaluator.denoised(&x.to_kind(inside), 0.5).expect("no error")
        };
        assert_eq!(seen, [(model, 0.5)]);
        assert_eq!(denoised.kind(), inside);
        assert_eq!(distance(&denoised, &x), 0.0);
    }
}

#[test]
fn evaluations_that_gave_a_result_are_counted() {
    let x = Tensor::zeros([1, 2], (Kind::Float, CPU));
    let mut calls = 0;
    let mut host = TestHost::new(|x: &Tensor, _| {
        calls += 1;
        if calls == 2 {
            Err(Error::Failed)
        } else {
            Ok(x.shallow_clone())
        }
    });
    let layout = Layout::of("x", &x).expect("a layout");
    let mut evaluator = Evaluator::new(&mut host, layout, plan(Jvp::FiniteDifference));
    assert!(evaluator.denoised(&x, 1.0).is_ok());
    assert!(evaluator.denoised(&x, 1.0).is_err());
    assert!(evaluator.denoised(&x, 1.0).is_ok());
    assert_eq!((evaluator.model_evaluations, evaluator.jvps), (2, 0));
    assert_eq!(host.evaluations, 3);
}

#[test]
fn what_is_not_the_model_s_is_named_and_taken_in_any_float_dtype() {
    let layout = Layout::of("x", &Tensor::zeros([2, 3], (Kind::Float, CPU))).expect("a layout");
    for kind in [Kind::Double, Kind::Float, Kind::Half, Kind::BFloat16] {
        let taken = layout.working("the noise", &Tensor::ones([2, 3], (kind, CPU))).expect("no error");
        assert_eq!(taken.kind(), Kind::Float);
    }
    for (wrong, words) in [
        (Tensor::ones([2, 3], (Kind::Int64, CPU)), ["float16, bfloat16, float32 or float64", "got int64"]),
        (Tensor::ones([2, 1], (Kind::Float, CPU)), ["expected shape [2, 3]", "got shape [2, 1]"]),
        (Tensor::new(), ["expected a tensor", "undefined"]),
    ] {
        let text = message(layout.working("the noise", &wrong));
        says(&text, &words);
        assert!(text.starts_with("the noise: "), "{text}");
    }
}

#[test]
fn what_is_kept_of_an_answer_is_not_the_models_memory() {
    let mut memory = Tensor::zeros([2, 3], (Kind::Float, CPU));
    let mut host = TestHost::new(|x, _| {
        memory.copy_(&(x * 2.0));
        Ok(memory.shallow_clone())
    });
    let x = Tensor::ones([2, 3], (Kind::Float, CPU));
    let mut model = Evaluator::new(&mut host, Layout::of("x", &x).expect("a layout"), plan(Jvp::FiniteDifference));
    let first = model.denoised(&x, 1.0).expect("D(x)");
    let second = model.denoised(&(&x * 3.0), 1.0).expect("D(3 x)");
    assert_eq!(distance(&first, &(&x * 2.0)), 0.0);
    assert_eq!(distance(&second, &(&x * 6.0)), 0.0);
}
