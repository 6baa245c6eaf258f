//! Jacobian-vector products by finite differences, and what becomes of forward mode where it does
//! not work: here it never does, for only Python can open a dual level.

use crate::support::tensor::*;
use lgs_engine::{
    error::{Error, Result},
    jacobian::Linearization,
    layout::Layout,
    model::{Denoiser, Evaluator, Method, Plan},
    options::{Jvp, Precision},
    process::Process,
};

use crate::support::{
    gaussian::Gaussian,
    host::{plan, says, TestHost},
    log::recorded,
    numbers::{distance, finite, power_law, relative_error, relative_errors, rows, Rng},
};

const VE: Process = Process::VarianceExploding;

/// J v at x, and D(x) and the counts of it.
struct Product {
    product: Tensor,
    denoised: Tensor,
    model_evaluations: u64,
    jvps: u64,
}

fn product(model: &mut dyn Denoiser, method: Jvp, x: &Tensor, sigma: f64, v: &Tensor) -> Result<Product> {
    let layout = Layout::of("x", x)?;
    let (x, v) = (x.to_kind(layout.kind), v.to_kind(layout.kind));
    let mut evaluator = Evaluator::new(model, layout, plan(method));
    let mut linearization = Linearization::new(&mut evaluator, &x, sigma);
    let product = linearization.jvp(&v, None)?;
    let denoised = linearization.denoised()?;
    Ok(Product { product, denoised, model_evaluations: evaluator.model_evaluations, jvps: evaluator.jvps })
}

#[test]
fn a_finite_difference_of_a_linear_model_is_exact_but_for_rounding() {
    for (seed, sigma) in [(0, 0.01), (1, 0.5), (2, 80.0)] {
        let gaussian = Gaussian::new(seed, &power_law(48, 1.6, 0.25));
        let mut rng = Rng::new(seed);
        let (x, v) = (rng.tensor(&[3, 48]), rng.tensor(&[3, 48]));
        let mut model = TestHost::new(|x, sigma| Ok(gaussian.denoised(VE, x, sigma)));
        let came = product(&mut model, Jvp::FiniteDifference, &x, sigma, &v).expect("no error");
        let expected = rows(&gaussian.jacobian(VE, sigma), &v);
        // Rounding of D(x) over a step of 1e-5 σ, for each item as large as its v.
        let scale = 1e-15 * (1.0 + 1.0 / sigma) / 1e-5;
        assert!(distance(&came.product, &expected) < 40.0 * scale, "{}", distance(&came.product, &expected));
        assert!(distance(&came.denoised, &gaussian.denoised(VE, &x, sigma)) < 1e-14);
        assert_eq!((came.model_evaluations, came.jvps, model.evaluations), (2, 1, 2));
    }
}

/// Two-point data ±1 in each number: D = tanh(x/σ²), J = diag((1 − D²)/σ²).
fn two_points(x: &Tensor, sigma: f64) -> Result<Tensor> {
    Ok((x / (sigma * sigma)).tanh())
}

#[test]
fn a_curved_model_in_float64_and_in_float32() {
    // The first error of a one-sided difference is h v D''/2, of both signs; 1 % here at the step of float32.
    for (kind, bound) in [(Kind::Double, 1e-4), (Kind::Float, 2e-2)] {
        for (seed, sigma) in [(0, 0.5), (1, 1.0), (2, 5.0)] {
            let mut rng = Rng::new(seed);
            let x = (rng.tensor(&[2, 64]).sign() + rng.tensor(&[2, 64]) * sigma).to_kind(kind);
            let v = rng.tensor(&[2, 64]).to_kind(kind);
            let came = product(&mut TestHost::new(two_points), Jvp::FiniteDifference, &x, sigma, &v).expect("no error");
            let denoised = two_points(&x.to_kind(Kind::Double), sigma).expect("no error");
            let expected: Tensor = (1.0 - &denoised * &denoised) / (sigma * sigma) * v.to_kind(Kind::Double);
            let error = relative_error(&came.product, &expected);
            assert!(error < bound, "{kind:?}, sigma {sigma}: {error}");
        }
    }
}

#[test]
fn the_length_of_v_does_not_matter() {
    let mut rng = Rng::new(3);
    let (x, v) = (rng.tensor(&[1, 32]), rng.tensor(&[1, 32]));
    let jvp = |v: &Tensor| {
        product(&mut TestHost::new(two_points), Jvp::FiniteDifference, &x, 0.8, v).expect("no error").product
    };
    let reference = jvp(&v);
    for length in [1e-12, 1e-3, 1e3, 1e12] {
        assert!(relative_error(&(jvp(&(&v * length)) / length), &reference) < 1e-7, "{length}");
    }
}

#[test]
fn v_of_zero_gives_zero() {
    let mut rng = Rng::new(4);
    for kind in [Kind::Double, Kind::Float, Kind::BFloat16, Kind::Half] {
        let x = rng.tensor(&[2, 8]).to_kind(kind);
        let v = x.zeros_like();
        for sigma in [1e-3, 1.0, 80.0] {
            let mut model = TestHost::new(|x: &Tensor, _| Ok(x * 0.5));
            let came = product(&mut model, Jvp::FiniteDifference, &x, sigma, &v).expect("no error");
            assert!(finite(&came.product) && distance(&came.product, &v) == 0.0, "{kind:?}");
        }
    }
}

#[test]
fn items_have_steps_of_their_own() {
    let mut rng = Rng::new(5);
    let x = rng.tensor(&[3, 16]);
    let v = rng.tensor(&[3, 16]) * Tensor::from_slice(&[1e-6, 1.0, 1e6]).unsqueeze(1);
    let jvp = |x: &Tensor, v: &Tensor| {
        product(&mut TestHost::new(two_points), Jvp::FiniteDifference, x, 0.8, v).expect("no error").product
    };
    let together = jvp(&x, &v);
    for item in 0..3 {
        let alone = jvp(&x.narrow(0, item, 1), &v.narrow(0, item, 1));
        assert!(relative_error(&together.narrow(0, item, 1), &alone) < 1e-12);
    }
}

#[test]
fn any_number_of_axes() {
    let mut rng = Rng::new(6);
    for shape in [vec![3], vec![3, 4], vec![3, 2, 4, 4], vec![3, 2, 2, 3, 3]] {
        let (x, v) = (rng.tensor(&shape), rng.tensor(&shape));
        let mut model = TestHost::new(|x: &Tensor, _| Ok(x * 0.25));
        let came = product(&mut model, Jvp::FiniteDifference, &x, 0.5, &v).expect("no error");
        assert_eq!(came.product.size(), shape);
        assert!(distance(&came.product, &(&v * 0.25)) < 1e-9);
    }
}

#[test]
fn low_precision_models_are_differenced_over_wider_steps() {
    let mut rng = Rng::new(7);
    let (x, v) = (rng.tensor(&[2, 256]), rng.tensor(&[2, 256]));
    for (kind, bound) in [(Kind::Half, 0.05), (Kind::BFloat16, 0.25)] {
        let mut model = TestHost::new(|x: &Tensor, _| Ok(x * 0.5));
        let came =
            product(&mut model, Jvp::FiniteDifference, &x.to_kind(kind), 1.0, &v.to_kind(kind)).expect("no error");
        let errors = relative_errors(&came.product, &(&v * 0.5));
        assert!(errors.iter().all(|&error| error < bound), "{kind:?}: {errors:?}");
    }
}

#[test]
fn a_model_that_rounds_more_than_its_dtype_says_gets_a_wider_step() {
    let mut rng = Rng::new(13);
    let (x, v) = (rng.tensor(&[2, 256]).to_kind(Kind::Float), rng.tensor(&[2, 256]).to_kind(Kind::Float));
    for (inside, declared) in [(Kind::Half, Precision::Float16), (Kind::BFloat16, Precision::BFloat16)] {
        let error = |precision: Precision| {
            let mut model = TestHost::new(|x: &Tensor, _| Ok((x.to_kind(inside) * 0.5).to_kind(Kind::Float)));
            let layout = Layout::of("x", &x).expect("a layout");
            let mut evaluator = Evaluator::new(&mut model, layout, Plan { precision, ..plan(Jvp::FiniteDifference) });
            let product = Linearization::new(&mut evaluator, &x, 1.0).jvp(&v, None).expect("no error");
            relative_error(&product, &(&v * 0.5))
        };
        let (declared, undeclared) = (error(declared), error(Precision::Auto));
        assert!(declared < 0.25 && declared < undeclared / 3.0, "{inside:?}: {declared}, undeclared {undeclared}");
        // What is finer than the dtype of x changes nothing.
        assert_eq!(error(Precision::Float64), undeclared);
    }
}

#[test]
fn d_of_x_is_evaluated_once_however_many_products() {
    let mut rng = Rng::new(8);
    let x = rng.tensor(&[1, 8]);
    let mut model = TestHost::new(two_points);
    let layout = Layout::of("x", &x).expect("a layout");
    let mut evaluator = Evaluator::new(&mut model, layout, plan(Jvp::FiniteDifference));
    let mut linearization = Linearization::new(&mut evaluator, &x, 1.0);
    for _ in 0..4 {
        let _ = linearization.jvp(&rng.tensor(&[1, 8]), None).expect("no error");
    }
    let _ = linearization.denoised().expect("no error");
    let _ = linearization.denoised().expect("no error");
    assert_eq!((evaluator.model_evaluations, evaluator.jvps), (5, 4));
}

#[test]
fn methods_are_told_as_they_were_asked_for() {
    for (jvp, method) in [
        (Jvp::Auto, Method::Undecided),
        (Jvp::Forward, Method::Forward { fallback: false }),
        (Jvp::FiniteDifference, Method::FiniteDifference),
        (Jvp::CentralDifference, Method::CentralDifference),
    ] {
        assert_eq!(Method::from(jvp), method);
        assert_eq!(method.kind(), jvp);
        assert_eq!(Method::remembered(jvp).kind(), jvp);
    }
    assert_eq!(Method::remembered(Jvp::Forward), Method::Forward { fallback: true });
}

/// A host, what `"forward"` fails with on it, and the levels that it was asked for.
type WithoutForwardMode = (TestHost<'static>, fn(&Error) -> bool, Vec<bool>);

fn without_forward_mode() -> Vec<WithoutForwardMode> {
    vec![
        (TestHost::new(two_points), |e| matches!(e, Error::ForwardMode(_)), vec![]),
        (TestHost::new(two_points).forward_ad(|_| Err(Error::Failed)), |e| matches!(e, Error::Failed), vec![true]),
        // The level that this host says is open is not: libtorch refuses the dual number.
        (TestHost::new(two_points).forward_ad(|_| Ok(())), |e| matches!(e, Error::Torch(_)), vec![true, false]),
    ]
}

#[test]
fn forward_fails_where_it_does_not_work() {
    let mut rng = Rng::new(9);
    let (x, v) = (rng.tensor(&[1, 8]), rng.tensor(&[1, 8]));
    for (mut model, expected, levels) in without_forward_mode() {
        let error = product(&mut model, Jvp::Forward, &x, 1.0, &v).err().expect("an error");
        assert!(expected(&error), "{error:?}");
        assert_eq!(model.levels, levels, "what was opened is closed");
    }
}

#[test]
fn auto_falls_back_and_says_so_once() {
    let mut rng = Rng::new(10);
    let (x, v) = (rng.tensor(&[1, 8]), rng.tensor(&[1, 8]));
    let reference =
        product(&mut TestHost::new(two_points), Jvp::FiniteDifference, &x, 1.0, &v).expect("no error").product;
    for (mut model, _, levels) in without_forward_mode() {
        let layout = Layout::of("x", &x).expect("a layout");
        let (counts, records) = recorded(|| {
            let mut evaluator = Evaluator::new(&mut model, layout, plan(Jvp::Auto));
            let mut linearization = Linearization::new(&mut evaluator, &x, 1.0);
            for _ in 0..3 {
                assert_eq!(distance(&linearization.jvp(&v, None).expect("no error"), &reference), 0.0);
            }
            (evaluator.model_evaluations, evaluator.jvps)
        });
        // The three products, D(x) twice, to see whether the model is random, and two more, whether it rounds.
        assert_eq!(counts, (7, 3));
        assert_eq!(model.levels, levels, "forward mode is tried once");
        let [(level, text)] = &records[..] else { panic!("one record, got {records:?}") };
        assert_eq!(*level, log::Level::Warn);
        says(text, &["finite differences", "because forward mode does not work"]);
    }
}

#[test]
fn a_host_that_asks_to_stop_is_not_asked_again() {
    let mut rng = Rng::new(11);
    let (x, v) = (rng.tensor(&[1, 8]), rng.tensor(&[1, 8]));
    // Auto has three evaluations to judge forward mode by before it tries it.
    for (jvp, evaluations) in [(Jvp::Auto, 3), (Jvp::Forward, 0)] {
        let mut model = TestHost::new(two_points).forward_ad(|_| Err(Error::Stopped));
        assert!(matches!(product(&mut model, jvp, &x, 1.0, &v), Err(Error::Stopped)));
        assert_eq!((model.evaluations, model.levels), (evaluations, vec![true]));
    }
    for jvp in [Jvp::Auto, Jvp::FiniteDifference] {
        let mut model = TestHost::new(|_: &Tensor, _| Err(Error::Stopped));
        assert!(matches!(product(&mut model, jvp, &x, 1.0, &v), Err(Error::Stopped)));
        assert_eq!(model.evaluations, 1);
    }
}

#[test]
fn errors_of_the_model_come_out_of_both_evaluations() {
    let mut rng = Rng::new(12);
    let (x, v) = (rng.tensor(&[1, 8]), rng.tensor(&[1, 8]));
    for failing in [1, 2] {
        let mut calls = 0;
        let mut model = TestHost::new(|x: &Tensor, sigma| {
            calls += 1;
            if calls == failing {
                Err(Error::Failed)
            } else {
                two_points(x, sigma)
            }
        });
        assert!(matches!(product(&mut model, Jvp::FiniteDifference, &x, 1.0, &v), Err(Error::Failed)));
    }
}
