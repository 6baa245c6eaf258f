//! Teleportation: against the ODE in closed form and integrated, item by item, and with priors that do not fit.

use crate::support::tensor::*;
use lgs_engine::{
    error::Error,
    process::{ForwardProcess, Process},
    start::{teleport, GaussianPrior},
};

use crate::support::{
    host::says,
    numbers::{distance, function, identity, power_law, relative_error, rows, vec, Rng},
};

const VE: Process = Process::VarianceExploding;

/// A prior of shape (2, 3, 4) and rank 5 in this dtype, and its dense covariance, float64.
fn prior(kind: Kind) -> (GaussianPrior, Tensor) {
    let mut rng = Rng::new(1);
    let basis = rng.orthogonal(24).narrow(1, 0, 5);
    let variances = Tensor::from_slice(&power_law(5, 1.0, 3.0));
    let rest = 0.04;
    let around: Tensor = (identity(24) - basis.matmul(&basis.tr())) * rest;
    let dense = (&basis * &variances).matmul(&basis.tr()) + around;
    let mean = rng.tensor(&[2, 3, 4]).to_kind(kind);
    let basis = basis.reshape([2, 3, 4, 5]).to_kind(kind);
    (GaussianPrior { mean, basis, variances: variances.to_kind(kind), rest }, dense)
}

fn x(kind: Kind) -> Tensor {
    (Rng::new(2).tensor(&[3, 2, 3, 4]) * 5.0).to_kind(kind)
}

/// The ODE of the dense Gaussian in closed form: sqrt of the one marginal covariance by that of the other.
fn closed_form(prior: &GaussianPrior, dense: &Tensor, process: Process, x: &Tensor, t: f64, s: f64) -> Tensor {
    let (alpha_t, alpha_s) = (process.alpha(t), process.alpha(s));
    let gain =
        function(dense, |lambda| ((alpha_s * alpha_s * lambda + s * s) / (alpha_t * alpha_t * lambda + t * t)).sqrt());
    let mean = prior.mean.to_kind(Kind::Double).reshape([1, -1]);
    let from_mean = x.to_kind(Kind::Double).reshape([x.size()[0], -1]) - &mean * alpha_t;
    (rows(&gain, &from_mean) + mean * alpha_s).reshape(x.size())
}

#[test]
fn it_is_the_ode_in_closed_form() {
    for (kind, bound) in [(Kind::Double, 1e-12), (Kind::Float, 1e-5)] {
        let (prior, dense) = prior(kind);
        let x = x(kind);
        for (process, t, s) in [(VE, 40.0, 5.0), (VE, 2.0, 0.01), (Process::Flow, 1.0, 0.8), (Process::Flow, 0.97, 0.3)]
        {
            let came = teleport(&prior, process, &x, t, s).expect("no error");
            assert_eq!((came.kind(), came.size()), (kind, x.size()));
            let expected = closed_form(&prior, &dense, process, &x, t, s);
            assert!(relative_error(&came, &expected) < bound, "{kind:?} {process:?} {t} {s}");
        }
    }
}

#[test]
fn it_is_where_heun_s_method_ends_in_many_steps() {
    // The ODE itself, dx/dσ = (x − D)/σ, with D of the dense Gaussian.
    let (prior, dense) = prior(Kind::Double);
    let x = x(Kind::Double).reshape([3, 24]);
    let mean = prior.mean.reshape([1, 24]);
    let slope = |x: &Tensor, sigma: f64| {
        let jacobian = function(&dense, |lambda| lambda / (lambda + sigma * sigma));
        let denoised = &mean + rows(&jacobian, &(x - &mean));
        (x - denoised) / sigma
    };
    let (t, s, steps) = (10.0f64, 1.0f64, 400);
    let sigma = |i: usize| t * (s / t).powf(i as f64 / steps as f64);
    let mut y = x.shallow_clone();
    for i in 0..steps {
        let (here, next) = (sigma(i), sigma(i + 1));
        let d = slope(&y, here);
        let predicted = &y + &d * (next - here);
        y = &y + (d + slope(&predicted, next)) * (0.5 * (next - here));
    }
    let came = teleport(&prior, VE, &x.reshape([3, 2, 3, 4]), t, s).expect("no error");
    assert!(relative_error(&came.reshape([3, 24]), &y) < 1e-4);
}

#[test]
fn an_item_is_the_same_in_any_batch_to_the_last_bit_and_two_steps_are_one() {
    let (prior, _) = prior(Kind::Float);
    let x = x(Kind::Float);
    let together = teleport(&prior, VE, &x, 20.0, 3.0).expect("no error");
    for item in 0..3 {
        let single = teleport(&prior, VE, &x.narrow(0, item, 1), 20.0, 3.0).expect("no error");
        assert_eq!(distance(&single, &together.narrow(0, item, 1)), 0.0);
    }
    let first = teleport(&prior, VE, &x, 20.0, 7.0).expect("no error");
    let second = teleport(&prior, VE, &first, 7.0, 3.0).expect("no error");
    assert!(relative_error(&second, &together) < 1e-5);
}

#[test]
fn half_precision_is_computed_in_float32() {
    let (prior, dense) = prior(Kind::Float);
    for kind in [Kind::Half, Kind::BFloat16] {
        let x = x(kind);
        let came = teleport(&prior, VE, &x, 20.0, 3.0).expect("no error");
        assert_eq!(came.kind(), kind);
        assert!(relative_error(&came, &closed_form(&prior, &dense, VE, &x, 20.0, 3.0)) < 4e-3);
    }
}

#[test]
fn a_rank_of_zero_and_shapes_of_one_axis() {
    let none = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
    let prior = GaussianPrior { mean: none(&[6]), basis: none(&[6, 0]), variances: none(&[0]), rest: 3.0 };
    let x = Rng::new(3).tensor(&[2, 6]).to_kind(Kind::Float);
    let came = teleport(&prior, VE, &x, 4.0, 1.0).expect("no error");
    assert!(relative_error(&came, &(&x * (4.0f64 / 19.0).sqrt())) < 1e-6);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let x = x(Kind::Float);
    let good = || prior(Kind::Float).0;
    let refused = |prior: GaussianPrior, process: Process, x: &Tensor, t: f64, s: f64, words: &[&str]| {
        let error = teleport(&prior, process, x, t, s).expect_err("an error");
        assert!(matches!(error, Error::Argument(_) | Error::Type(_)), "{error}");
        says(&error.to_string(), words);
    };
    for (t, s, words) in [
        (5.0, 5.0, ["sigma_next", "got 5"]),
        (5.0, 8.0, ["sigma_next", "got 8"]),
        (5.0, 0.0, ["sigma_next", "got 0"]),
        (5.0, -1.0, ["sigma_next", "got -1"]),
        (5.0, f64::NAN, ["sigma_next", "got NaN"]),
        (f64::INFINITY, 1.0, ["sigma", "got inf"]),
        (0.0, 1.0, ["sigma", "got 0"]),
    ] {
        refused(good(), VE, &x, t, s, &words);
    }
    refused(good(), Process::Flow, &x, 1.5, 0.5, &["sigma", "at most 1", "got 1.5"]);
    refused(good(), VE, &x.narrow(1, 0, 1), 5.0, 1.0, &["prior.mean", "[1, 3, 4]", "[2, 3, 4]"]);
    refused(GaussianPrior { rest: -0.1, ..good() }, VE, &x, 5.0, 1.0, &["prior.rest", "-0.1"]);
    refused(GaussianPrior { rest: f64::NAN, ..good() }, VE, &x, 5.0, 1.0, &["prior.rest", "NaN"]);
    let spoilt = good();
    let _ = spoilt.variances.get(0).fill_(f64::NAN);
    refused(spoilt, VE, &x, 5.0, 1.0, &["prior.variances", "NaN"]);
    let negative = GaussianPrior { variances: -good().variances, ..good() };
    refused(negative, VE, &x, 5.0, 1.0, &["prior.variances", "not negative"]);
    let short = GaussianPrior { variances: good().variances.narrow(0, 0, 4), ..good() };
    refused(short, VE, &x, 5.0, 1.0, &["prior.basis", "[2, 3, 4, 4]"]);
    let longer = GaussianPrior { basis: good().basis * 1.5, ..good() };
    refused(longer, VE, &x, 5.0, 1.0, &["prior.basis", "orthonormal"]);
    let integers = GaussianPrior { mean: good().mean.to_kind(Kind::Int64), ..good() };
    refused(integers, VE, &x, 5.0, 1.0, &["prior.mean", "float32"]);
    let bad = x.copy();
    let _ = bad.get(0).get(0).get(0).get(0).fill_(f64::NAN);
    refused(good(), VE, &bad, 5.0, 1.0, &["x: expected finite"]);
    assert!(vec(&teleport(&good(), VE, &x, 5.0, 1.0).expect("no error")).iter().all(|number| number.is_finite()));
}
