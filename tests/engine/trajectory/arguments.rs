//! Arguments that cannot be used, and models, noise and observers that do not do as they should:
//! each is named, with the step and σ, and the next call works.

use crate::support::tensor::*;
use lgs_engine::{
    error::{Error, Result},
    options::{Covariance, Options},
    pointwise::{jvp, reverse_noise},
    process::Process,
    trajectory::sample,
};

use crate::support::{
    host::{message, says, TestHost, OPTIONS},
    numbers::{distance, Rng},
};

const SIGMAS: [f64; 4] = [1.0, 0.5, 0.25, 0.0];

fn half(x: &Tensor, _: f64) -> Result<Tensor> {
    Ok(x * 0.5)
}

fn x() -> Tensor {
    Rng::new(1).tensor(&[2, 6]).to_kind(Kind::Float)
}

fn host<'f>() -> TestHost<'f> {
    TestHost::new(half).noise(|_, _| Ok(x()))
}

/// What `sample` says to this host.
fn refused(mut host: TestHost<'_>, options: &Options, x: &Tensor, sigmas: &[f64]) -> Error {
    sample(&mut host, options, x, sigmas).expect_err("an error")
}

#[test]
fn noise_levels() {
    let ve = Process::VarianceExploding;
    for (process, sigmas, words) in [
        (ve, vec![], ["at least two", "got 0"]),
        (ve, vec![1.0], ["at least two", "got 1"]),
        (ve, vec![1.0, 0.5, 0.6], ["end in a fall, got 0.6 after 0.5", "unsampling"]),
        (ve, vec![0.0, 1.0, 2.0], ["end in a fall, got 2 after 1", "flipped schedule"]),
        (ve, vec![1.0, f64::NAN, 0.0], ["finite", "got NaN at index 1"]),
        (ve, vec![f64::INFINITY, 1.0], ["finite", "got inf at index 0"]),
        (ve, vec![1.0, -0.5], ["not negative", "got -0.5 at index 1"]),
        (ve, vec![1.0, 0.0, 0.0], ["above 0 after 0", "index 1"]),
        (ve, vec![0.0, 0.0], ["above 0 after 0", "index 0"]),
        (Process::Flow, vec![1.5, 0.5], ["at most 1 for a flow", "got 1.5 at index 0"]),
        (Process::Flow, vec![1.00001, 0.5], ["at most 1 for a flow", "got 1.00001 at index 0"]),
    ] {
        let mut host = host();
        let outcome = sample(&mut host, &Options { process, ..*OPTIONS }, &x(), &sigmas);
        assert!(matches!(outcome, Err(Error::Argument(_))), "{sigmas:?}");
        let text = message(outcome);
        assert!(text.starts_with("sigmas: "), "{text}");
        says(&text, &words);
        assert_eq!((host.evaluations, host.noises.len()), (0, 0));
    }
}

#[test]
fn more_lanczos_steps_than_an_item_has_numbers() {
    for (options, words) in [
        (Options { lanczos_steps: 0, ..*OPTIONS }, ["lanczos_steps: expected 1 to 6", "got 0"]),
        (Options { lanczos_steps: 7, ..*OPTIONS }, ["lanczos_steps: expected 1 to 6", "got 7"]),
    ] {
        let error = refused(host(), &options, &x(), &SIGMAS);
        assert!(matches!(error, Error::Argument(_)));
        says(&error.to_string(), &words);
        says(&message(reverse_noise(&mut host(), &options, &x(), 1.0, 0.5, &x())), &words);
    }
    // Steps that are not taken are not counted against the dimension.
    let isotropic = Options { covariance: Covariance::Isotropic, lanczos_steps: 64, ..*OPTIONS };
    assert!(sample(&mut host(), &isotropic, &x(), &SIGMAS).is_ok());
}

#[test]
fn x_and_its_companions() {
    for (wrong, words) in [
        (x().to_kind(Kind::Int64), ["x: ", "got int64"]),
        (x().narrow(0, 0, 0), ["x: ", "got shape [0, 6]"]),
        (x().sum(Kind::Float), ["x: ", "got shape []"]),
        (x() * f64::NAN, ["x: expected finite numbers", "NaN"]),
        (x() / 0.0, ["x: expected finite numbers", "infinity"]),
    ] {
        says(&refused(host(), &OPTIONS, &wrong, &SIGMAS).to_string(), &words);
        says(&message(reverse_noise(&mut host(), &OPTIONS, &wrong, 1.0, 0.5, &x())), &words);
        says(&message(jvp(&mut host(), &OPTIONS, &wrong, 1.0, &x())), &words);
    }
    for (wrong, words) in [
        (x().narrow(1, 0, 5), ["expected shape [2, 6]", "got shape [2, 5]"]),
        (x().to_kind(Kind::Bool), ["float32", "got bool"]),
        (x() * f64::INFINITY, ["expected finite numbers", "infinity"]),
    ] {
        let z = message(reverse_noise(&mut host(), &OPTIONS, &x(), 1.0, 0.5, &wrong));
        let v = message(jvp(&mut host(), &OPTIONS, &x(), 1.0, &wrong));
        assert!(z.starts_with("z: ") && v.starts_with("v: "), "{z}; {v}");
        says(&z, &words);
        says(&v, &words);
    }
    for (sigma, sigma_next) in [(0.5, 1.0), (0.0, 0.0), (f64::NAN, 0.1), (1.0, -1.0), (1.0, f64::NAN)] {
        let outcome = reverse_noise(&mut host(), &OPTIONS, &x(), sigma, sigma_next, &x());
        assert!(matches!(outcome, Err(Error::Argument(_))), "{sigma} → {sigma_next}");
        says(&message(outcome), &["sigma"]);
    }
}

/// A model that is well but for its n-th call, which it answers with `spoil` of the right answer.
fn spoilt<'f>(call: usize, spoil: impl Fn(Tensor) -> Tensor + 'f) -> TestHost<'f> {
    let mut calls = 0;
    TestHost::new(move |x: &Tensor, sigma| {
        calls += 1;
        let denoised = half(x, sigma)?;
        Ok(if calls == call { spoil(denoised) } else { denoised })
    })
    .noise(|_, _| Ok(x()))
}

/// One number of the last item replaced.
fn with(bad: f64) -> impl Fn(Tensor) -> Tensor {
    move |tensor| {
        let _ = tensor.get(1).get(3).fill_(bad);
        tensor
    }
}

#[test]
fn what_the_model_returns_is_looked_at_in_every_step() {
    // With K = 3 the second step begins with the fifth call; the last has the ninth alone.
    for (call, place) in [
        (1, "step 1 of 3 (sigma 1.000000): "),
        (5, "step 2 of 3 (sigma 0.500000): "),
        (6, "step 2 of 3 (sigma 0.500000): "),
        (9, "step 3 of 3 (sigma 0.250000): "),
    ] {
        let product = call == 6;
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let error = refused(spoilt(call, with(bad)), &OPTIONS, &x(), &SIGMAS);
            assert!(matches!(error, Error::Output(_)));
            let text = error.to_string();
            assert!(text.starts_with(place), "call {call}: {text}");
            says(&text, &[if product { "Jacobian-vector product" } else { "denoised image" }, "NaN or infinity"]);
        }
        for (spoil, words) in [
            ((|t: Tensor| t.narrow(1, 0, 3)) as fn(Tensor) -> Tensor, ["expected shape [2, 6]", "got shape [2, 3]"]),
            (|t| t.to_kind(Kind::Double), ["expected dtype float32", "got float64"]),
            (|t| t.to_kind(Kind::Half), ["have the model return float32", "x of dtype float16"]),
            (|t| t.to_kind(Kind::Int64), ["expected dtype float32", "got int64"]),
            (|_| Tensor::new(), ["expected a tensor", "undefined"]),
        ] {
            let text = refused(spoilt(call, spoil), &OPTIONS, &x(), &SIGMAS).to_string();
            assert!(text.starts_with(place), "call {call}: {text}");
            says(&text, &words);
        }
    }
}

#[test]
fn a_tolerance_hides_nothing_and_neither_does_isotropic() {
    let tolerant = Options { tolerance: 0.5, ..*OPTIONS };
    let isotropic = Options { covariance: Covariance::Isotropic, ..*OPTIONS };
    for call in [1, 2] {
        let text = refused(spoilt(call, with(f64::NAN)), &tolerant, &x(), &SIGMAS).to_string();
        says(&text, &["step 1 of 3 (sigma 1.000000)", "NaN or infinity"]);
    }
    let text = refused(spoilt(2, with(f64::NAN)), &isotropic, &x(), &SIGMAS).to_string();
    says(&text, &["step 2 of 3 (sigma 0.500000)", "denoised image", "NaN or infinity"]);
}

#[test]
fn the_single_step_names_its_sigma() {
    for call in [1, 2] {
        let text = message(reverse_noise(&mut spoilt(call, with(f64::NAN)), &OPTIONS, &x(), 0.5, 0.25, &x()));
        says(&text, &["sigma 0.500000", "NaN or infinity"]);
        let text = message(jvp(&mut spoilt(call, with(f64::NAN)), &OPTIONS, &x(), 0.5, &x()));
        says(&text, &["sigma 0.500000", "NaN or infinite"]);
    }
}

#[test]
fn what_the_noise_source_returns() {
    for (options, bad, words) in [
        (*OPTIONS, x().narrow(0, 0, 1), ["expected shape [2, 6]", "got shape [1, 6]"]),
        (*OPTIONS, x().to_kind(Kind::Int64), ["float32", "got int64"]),
        (*OPTIONS, Tensor::new(), ["expected a tensor", "undefined"]),
        (*OPTIONS, with(f64::NAN)(x()), ["the noise", "NaN or infinity"]),
        (*OPTIONS, with(f64::INFINITY)(x()), ["the noise", "NaN or infinity"]),
        (
            Options { covariance: Covariance::Isotropic, ..*OPTIONS },
            with(f64::NAN)(x()),
            ["the noise", "NaN or infinity"],
        ),
    ] {
        let mut draws = 0;
        let host = TestHost::new(half).noise(|_, _| {
            draws += 1;
            Ok(if draws == 2 { bad.shallow_clone() } else { x() })
        });
        let text = refused(host, &options, &x(), &SIGMAS).to_string();
        assert!(text.starts_with("step 2 of 3 (sigma 0.500000): "), "{text}");
        says(&text, &words);
    }
    // Another float dtype is taken.
    let mut host = TestHost::new(half).noise(|_, _| Ok(x().to_kind(Kind::Double)));
    let result = sample(&mut host, &OPTIONS, &x(), &SIGMAS).expect("no error");
    assert_eq!(result.kind(), Kind::Float);
}

#[test]
fn a_host_can_fail_and_stop_anywhere() {
    for stop in [false, true] {
        let answer = move || if stop { Error::Stopped } else { Error::Failed };
        let as_answered = |error: &Error| match stop {
            true => matches!(error, Error::Stopped),
            false => matches!(error, Error::Failed),
        };
        for at in 1..=9 {
            let mut calls = 0;
            let model = TestHost::new(|x: &Tensor, sigma| {
                calls += 1;
                if calls == at {
                    Err(answer())
                } else {
                    half(x, sigma)
                }
            });
            assert!(as_answered(&refused(model.noise(|_, _| Ok(x())), &OPTIONS, &x(), &SIGMAS)));
            assert_eq!(calls, at, "nothing is asked afterwards");
        }
        assert!(as_answered(&refused(TestHost::new(half).noise(|_, _| Err(answer())), &OPTIONS, &x(), &SIGMAS)));
        let mut reports = 0;
        let watching = host().watch(|_| {
            reports += 1;
            if reports == 2 {
                Err(answer())
            } else {
                Ok(())
            }
        });
        assert!(as_answered(&refused(watching, &OPTIONS, &x(), &SIGMAS)));
        assert_eq!(reports, 2);
    }
}

#[test]
fn after_every_failure_the_next_call_works() {
    let reference = sample(&mut host(), &OPTIONS, &x(), &SIGMAS).expect("no error");
    for mut broken in [spoilt(2, with(f64::NAN)), spoilt(3, |_| Tensor::new()), TestHost::new(half)] {
        assert!(sample(&mut broken, &OPTIONS, &x(), &SIGMAS).is_err());
        let again = sample(&mut host(), &OPTIONS, &x(), &SIGMAS).expect("no error");
        assert_eq!(distance(&again, &reference), 0.0);
    }
    let weight = Tensor::ones([1], (Kind::Float, Device::Cpu)).set_requires_grad(true);
    assert!((weight * 2.0).requires_grad(), "gradients are recorded as before");
}
