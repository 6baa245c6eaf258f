//! The secant: exact where data is Gaussian by octaves, of second order where it is not, one evaluation a step.

use crate::support::tensor::*;
use lgs_engine::{
    error::Result,
    integrator::Integrator,
    layout::Layout,
    linear::octaves::Octaves,
    options::{Options, Solver},
    process::{ForwardProcess, Process},
    trajectory::sample,
};

use crate::support::{
    host::{message, says, TestHost, OPTIONS},
    numbers::{distance, number, relative_error, vec, Rng},
};

const VE: Process = Process::VarianceExploding;
const SHAPE: [i64; 4] = [2, 3, 8, 8];

fn options(process: Process, eta: f64) -> Options {
    Options { solver: Solver::Secant, process, eta, ..*OPTIONS }
}

fn levels(process: Process) -> Vec<f64> {
    match process {
        VE => vec![10.0, 4.0, 3.9, 1.0, 0.3, 0.0],
        Process::Flow => vec![1.0, 0.9, 0.5, 0.2, 0.0],
    }
}

/// N(μ, C), C one number for each octave.
struct ByOctave {
    octaves: Octaves,
    mean: Tensor,
    variance: Tensor,
}

impl ByOctave {
    fn new() -> Self {
        let mean = Rng::new(7).tensor(&SHAPE) * 0.5;
        let octaves = Octaves::of(&Layout::of("x", &mean).expect("a layout")).expect("octaves");
        let variances = [30.0, 4.0, 0.5, 0.02];
        assert_eq!(octaves.count(), variances.len());
        let variance = Tensor::from_slice(&variances).repeat([SHAPE[0], 1]);
        Self { octaves, mean, variance }
    }

    /// f(C) v.
    fn function(&self, f: impl Fn(&Tensor) -> Tensor, v: &Tensor) -> Tensor {
        let coefficients = self.octaves.coefficients(v).expect("B v");
        self.octaves.vector(&self.octaves.scaled(&f(&self.variance), &coefficients).expect("scaled")).expect("v")
    }

    fn denoised(&self, process: Process, x: &Tensor, sigma: f64) -> Tensor {
        let alpha = process.alpha(sigma);
        let away = x.to_kind(Kind::Double) - &self.mean * alpha;
        let mean = &self.mean + self.function(|c| c * alpha / (c * alpha * alpha + sigma * sigma), &away);
        mean.to_kind(x.kind())
    }

    /// What the reverse SDE makes of x, with these noises; D(x) at the end.
    fn exact(&self, process: Process, eta: f64, x: &Tensor, sigmas: &[f64], noises: &[Tensor]) -> Tensor {
        let mut x = x.shallow_clone();
        for (i, pair) in sigmas.windows(2).enumerate() {
            let [sigma_t, sigma_s] = [pair[0], pair[1]];
            if sigma_s == 0.0 {
                return self.denoised(process, &x, sigma_t);
            }
            let step = Integrator { process, sigma_t, sigma_s, eta };
            let away = x - &self.mean * process.alpha(sigma_t);
            let noise = self.function(|c| step.noise(c).expect("noise"), &noises[i]);
            x = &self.mean * process.alpha(sigma_s) + self.function(|c| step.gain(c).expect("gain"), &away) + noise;
        }
        x
    }
}

#[test]
fn it_is_exact_on_a_gaussian_by_octaves() {
    let law = ByOctave::new();
    for process in [VE, Process::Flow] {
        let sigmas = levels(process);
        for eta in [0.0, 0.4, 1.0] {
            let mut rng = Rng::new(3);
            let x = rng.tensor(&SHAPE) * sigmas[0];
            let noises: Vec<Tensor> = sigmas.iter().map(|_| rng.tensor(&SHAPE)).collect();
            let mut given = noises.iter();
            let mut host = TestHost::new(|x, sigma| Ok(law.denoised(process, x, sigma)))
                .noise(|_, _| Ok(given.next().expect("a noise").shallow_clone()));
            let came = sample(&mut host, &options(process, eta), &x, &sigmas).expect("no error");
            let evaluations = host.evaluations;
            drop(host);
            if process == Process::Flow && eta > 0.0 {
                // From x = ε the SDE forgets all of it, which a step from the Jacobian's α there does not.
                assert!(vec(&came).into_iter().all(f64::is_finite));
                continue;
            }
            // D at σ = 1 knows nothing of x: exact up to the Jacobian's α there.
            let bound = if process == VE { 1e-9 } else { 2e-2 };
            let expected = law.exact(process, eta, &x, &sigmas, &noises);
            assert!(
                relative_error(&came, &expected) < bound,
                "{process:?} eta {eta}: {:?}",
                relative_error(&came, &expected)
            );
            assert_eq!(evaluations, sigmas.len() - 1, "one evaluation a step");
        }
    }
}

#[test]
fn a_flow_below_pure_noise_is_exact_too() {
    let law = ByOctave::new();
    let sigmas = [0.95, 0.9, 0.5, 0.2, 0.0];
    let x = Rng::new(4).tensor(&SHAPE);
    for eta in [0.0, 0.4, 1.0] {
        let mut rng = Rng::new(6);
        let noises: Vec<Tensor> = sigmas.iter().map(|_| rng.tensor(&SHAPE)).collect();
        let mut given = noises.iter();
        let mut host = TestHost::new(|x, sigma| Ok(law.denoised(Process::Flow, x, sigma)))
            .noise(|_, _| Ok(given.next().expect("a noise").shallow_clone()));
        let came = sample(&mut host, &options(Process::Flow, eta), &x, &sigmas).expect("no error");
        assert!(relative_error(&came, &law.exact(Process::Flow, eta, &x, &sigmas, &noises)) < 1e-9, "eta {eta}");
    }
}

#[test]
fn it_tells_the_eigenvalues_of_j() {
    let law = ByOctave::new();
    let sigmas = levels(VE);
    let mut host = TestHost::new(|x, sigma| Ok(law.denoised(VE, x, sigma)));
    let _ = sample(&mut host, &options(VE, 0.0), &(Rng::new(3).tensor(&SHAPE) * 10.0), &sigmas).expect("no error");
    for (report, pair) in host.reports.iter().zip(sigmas.windows(2)) {
        let told = &report.statistics.ritz_values;
        if pair[1] == 0.0 {
            assert!(told.is_empty());
            continue;
        }
        let s2 = pair[1] * pair[1];
        let expected: Vec<f64> = [0.02, 0.5, 4.0, 30.0].iter().map(|c| c / (c + s2)).collect();
        assert_eq!(told.len(), 2 * expected.len());
        for (told, expected) in told.iter().zip(expected.iter().cycle()) {
            assert!((told - expected).abs() < 1e-9, "{told} {expected}");
        }
    }
}

/// Two Gaussians of variance 0.04 at ±1 in each of four numbers: D in closed form.
fn two_heaps(x: &Tensor, sigma: f64) -> Tensor {
    let variance = 0.04 + sigma * sigma;
    let centre: Tensor = (x / variance).tanh();
    &centre + (x - &centre) * (0.04 / variance)
}

#[test]
fn of_the_ode_it_is_of_second_order() {
    // Equal steps in ln σ; the reference is Heun's method in many.
    let (top, bottom) = (5.0f64, 0.05f64);
    let geometric = |steps: usize| -> Vec<f64> {
        (0..=steps).map(|i| top * (bottom / top).powf(i as f64 / steps as f64)).collect()
    };
    let x = Rng::new(5).tensor(&[1, 1, 4, 4]) * top;
    let mut reference = x.copy();
    for pair in geometric(20_000).windows(2) {
        let slope = |x: &Tensor, sigma: f64| (x - two_heaps(x, sigma)) / sigma;
        let (h, first) = (pair[1] - pair[0], slope(&reference, pair[0]));
        let second = slope(&(&reference + &first * h), pair[1]);
        reference += (first + second) * (0.5 * h);
    }
    let errors: Vec<f64> = [20, 160, 320, 640]
        .map(|steps| {
            let mut host = TestHost::new(|x, sigma| Ok(two_heaps(x, sigma)));
            let came = sample(&mut host, &options(VE, 0.0), &x, &geometric(steps)).expect("no error");
            number(&(came - &reference).norm())
        })
        .to_vec();
    let slope = |from: usize, to: usize, times: f64| (errors[from] / errors[to]).ln() / times.ln();
    assert!(slope(0, 3, 32.0) > 1.8 && slope(2, 3, 2.0) > 1.7, "{errors:?}");
}

#[test]
fn noise_alone_gets_the_mean() {
    // A model that knows one picture: D = μ everywhere. From σ z it ends there at any rate; what is on the way shows.
    let mean = Rng::new(1).tensor(&SHAPE);
    let z = Rng::new(2).tensor(&SHAPE);
    let run = |pure_noise: bool, x: Tensor| {
        let mut host = TestHost::new(|x, _| Ok(mean.to_kind(x.kind())));
        let options = Options { pure_noise, ..options(VE, 0.0) };
        sample(&mut host, &options, &x, &[8.0, 4.0, 2.0]).expect("no error")
    };
    let expected = run(false, &z * 8.0 + &mean);
    assert!(distance(&run(true, &z * 8.0), &expected) < 1e-12);
    assert!(distance(&expected, &(&z * 2.0 + &mean)) < 1e-12);
    assert!(distance(&run(false, &z * 8.0), &expected) > 0.1);
}

#[test]
fn a_step_that_goes_nowhere_costs_nothing() {
    let law = ByOctave::new();
    let run = |sigmas: &[f64]| {
        let mut host = TestHost::new(|x, sigma| Ok(law.denoised(VE, x, sigma)));
        let x = Rng::new(3).tensor(&SHAPE) * 10.0;
        (sample(&mut host, &options(VE, 0.0), &x, sigmas).expect("no error"), host.evaluations)
    };
    let (expected, evaluations) = run(&[10.0, 4.0, 1.0, 0.3, 0.0]);
    let (came, with) = run(&[10.0, 10.0, 4.0, 4.0, 1.0, 0.3, 0.3, 0.0]);
    assert!(relative_error(&came, &expected) < 1e-9);
    assert_eq!(with, evaluations);
}

#[test]
fn a_model_may_hand_out_the_same_tensor_each_time() {
    let law = ByOctave::new();
    for kind in [Kind::Double, Kind::Float, Kind::BFloat16] {
        let x = (Rng::new(3).tensor(&SHAPE) * 10.0).to_kind(kind);
        let mut fresh = TestHost::new(|x, sigma| Ok(law.denoised(VE, x, sigma)));
        let expected = sample(&mut fresh, &options(VE, 0.0), &x, &levels(VE)).expect("no error");
        let mut buffer = x.zeros_like();
        let mut reusing = TestHost::new(|x: &Tensor, sigma| {
            buffer.copy_(&law.denoised(VE, x, sigma));
            Ok(buffer.shallow_clone())
        });
        let came = sample(&mut reusing, &options(VE, 0.0), &x, &levels(VE)).expect("no error");
        assert_eq!(distance(&came, &expected), 0.0, "{kind:?}");
    }
}

#[test]
fn a_model_may_write_to_what_it_is_given() {
    let law = ByOctave::new();
    let x = Rng::new(3).tensor(&SHAPE) * 10.0;
    let mut plain = TestHost::new(|x, sigma| Ok(law.denoised(VE, x, sigma)));
    let expected = sample(&mut plain, &options(VE, 0.0), &x, &levels(VE)).expect("no error");
    let mut writing = TestHost::new(|x: &Tensor, sigma| {
        let denoised = law.denoised(VE, x, sigma);
        let _ = x.shallow_clone().zero_();
        Ok(denoised)
    });
    let came = sample(&mut writing, &options(VE, 0.0), &x, &levels(VE)).expect("no error");
    assert_eq!(distance(&came, &expected), 0.0);
}

#[test]
fn items_of_a_batch_know_nothing_of_each_other() {
    let run = |x: &Tensor, z: &[Tensor]| {
        let mut given = z.iter();
        let mut host = TestHost::new(|x, sigma| Ok(two_heaps(x, sigma)))
            .noise(|_, _| Ok(given.next().expect("a noise").shallow_clone()));
        sample(&mut host, &options(VE, 0.5), x, &[5.0, 2.0, 1.0, 0.3, 0.0]).expect("no error")
    };
    let mut rng = Rng::new(9);
    let x = rng.tensor(&[3, 2, 8, 8]) * 5.0;
    let z: Vec<Tensor> = (0..4).map(|_| rng.tensor(&[3, 2, 8, 8])).collect();
    let together = run(&x, &z);
    for item in 0..3 {
        let alone: Vec<Tensor> = z.iter().map(|z| z.narrow(0, item, 1)).collect();
        assert!(distance(&run(&x.narrow(0, item, 1), &alone), &together.narrow(0, item, 1)) < 1e-9);
    }
}

#[test]
fn half_precision_costs_half_precision() {
    let law = ByOctave::new();
    let run = |kind: Kind| {
        let x = (Rng::new(3).tensor(&SHAPE) * 10.0).to_kind(kind);
        let mut host = TestHost::new(|x, sigma| Ok(law.denoised(VE, x, sigma)));
        sample(&mut host, &options(VE, 0.0), &x, &levels(VE)).expect("no error")
    };
    let expected = run(Kind::Double);
    for (kind, bound) in [(Kind::Float, 1e-4), (Kind::Half, 5e-3), (Kind::BFloat16, 4e-2)] {
        let came = run(kind);
        assert_eq!(came.kind(), kind);
        assert!(relative_error(&came, &expected) < bound, "{kind:?}: {}", relative_error(&came, &expected));
    }
}

#[test]
fn noise_is_asked_for_where_there_is_any() {
    let law = ByOctave::new();
    let asked = |eta: f64, s_noise: f64| {
        let mut rng = Rng::new(1);
        let mut host = TestHost::new(|x, sigma| Ok(law.denoised(VE, x, sigma))).noise(|_, _| Ok(rng.tensor(&SHAPE)));
        let options = Options { s_noise, ..options(VE, eta) };
        let _ = sample(&mut host, &options, &(Rng::new(3).tensor(&SHAPE) * 10.0), &levels(VE)).expect("no error");
        (host.noises.clone(), host.reports.iter().map(|report| report.statistics.noise_variance).collect::<Vec<_>>())
    };
    assert!(asked(0.0, 1.0).0.is_empty() && asked(0.5, 0.0).0.is_empty());
    let (noises, variances) = asked(0.5, 1.0);
    assert_eq!(noises, [(10.0, 4.0), (4.0, 3.9), (3.9, 1.0), (1.0, 0.3)]);
    assert!(variances[..4].iter().all(|&variance| variance > 0.0) && variances[4] == 0.0);
    // It is told without the factor; J, and so the noise's shape, is the same on a Gaussian.
    let twice = asked(0.5, 2.0).1;
    assert!(twice.iter().zip(&variances).all(|(twice, once)| (twice - once).abs() <= 1e-9 * once));
}

#[test]
fn whatever_a_model_answers_it_stays_finite_or_says_so() {
    let x = Rng::new(3).tensor(&SHAPE) * 10.0;
    let models: [fn(&Tensor, f64) -> Result<Tensor>; 6] = [
        |x, _| Ok(x.zeros_like()),
        |x, _| Ok(x.shallow_clone()),
        |x, _| Ok(-x),
        |x, _| Ok(x * 3.0),
        |x, _| Ok(x.round()),
        |x, sigma| Ok((x * 40.0).sin() * sigma),
    ];
    for (number, model) in models.into_iter().enumerate() {
        for eta in [0.0, 1.0] {
            let mut rng = Rng::new(1);
            let mut host = TestHost::new(model).noise(|_, _| Ok(rng.tensor(&SHAPE)));
            let came = sample(&mut host, &options(VE, eta), &x, &levels(VE)).expect("no error");
            assert!(vec(&came).into_iter().all(f64::is_finite), "model {number}");
        }
    }
    let mut calls = 0;
    let mut host = TestHost::new(|x: &Tensor, _| {
        calls += 1;
        Ok(if calls == 3 { x * f64::NAN } else { x * 0.5 })
    });
    let text = message(sample(&mut host, &options(VE, 0.0), &x, &levels(VE)));
    says(&text, &["step 2 of 5 (sigma 4", "denoised image", "NaN"]);
}

#[test]
fn what_a_host_keeps_behind_a_mask_stays_and_the_rest_goes_on_as_if_alone() {
    // The left half of a picture is known; numbers are independent, so that the right half knows nothing of it.
    let known = Rng::new(11).tensor(&[1, 2, 8, 8]);
    let right = Tensor::cat(&[known.narrow(3, 0, 4).zeros_like(), known.narrow(3, 4, 4).ones_like()], 3);
    let masked = |x: &Tensor, sigma: f64| &right * two_heaps(x, sigma) + (1.0 - &right) * &known;
    let sigmas: Vec<f64> = (0..40).map(|i| 5.0 * 0.01f64.powf(i as f64 / 39.0)).chain([0.0]).collect();
    for eta in [0.0, 0.5] {
        let mut rng = Rng::new(12);
        let x = &known + rng.tensor(&[1, 2, 8, 8]) * sigmas[0];
        let mut host = TestHost::new(|x, sigma| Ok(masked(x, sigma))).noise(|_, _| Ok(rng.tensor(&[1, 2, 8, 8])));
        let came = sample(&mut host, &options(VE, eta), &x, &sigmas).expect("no error");
        drop(host);
        assert_eq!(distance(&came.narrow(3, 0, 4), &known.narrow(3, 0, 4)), 0.0, "eta {eta}");
        let free = came.narrow(3, 4, 4);
        if eta == 0.0 {
            let mut host = TestHost::new(|x, sigma| Ok(two_heaps(x, sigma)));
            let alone = sample(&mut host, &options(VE, eta), &x, &sigmas).expect("no error").narrow(3, 4, 4);
            assert!(distance(&free, &alone) < 0.05, "{}", distance(&free, &alone));
        }
        // Every number is in one of the two heaps.
        assert!(vec(&free).into_iter().all(|number| (number.abs() - 1.0).abs() < 0.8), "eta {eta}");
    }
}
