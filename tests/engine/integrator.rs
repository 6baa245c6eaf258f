//! The step that is exact on Gaussian data: against Bayes' rule, the equations it solves, and itself in two steps.

use crate::support::tensor::*;
use lgs_engine::{
    integrator::Integrator,
    process::{ForwardProcess, Process},
};

use crate::support::numbers::{distance, vec, Rng};

const PROCESSES: [Process; 2] = [Process::VarianceExploding, Process::Flow];

/// Random steps of both processes, t > s > 0, and variances.
fn cases() -> impl Iterator<Item = (Process, f64, f64, Tensor)> {
    let mut rng = Rng::new(1);
    (0..40).map(move |i| {
        let process = PROCESSES[i % 2];
        let top = if process == Process::Flow { 1.0 } else { 40.0 };
        let t = if i < 4 { top } else { rng.uniform(0.05, 0.99) * top };
        let s = t * rng.uniform(0.1, 0.95);
        let lambda: Vec<f64> = (0..8).map(|_| 10f64.powf(rng.uniform(-3.0, 3.0))).chain([0.0]).collect();
        (process, t, s, Tensor::from_slice(&lambda))
    })
}

fn marginal(process: Process, lambda: &Tensor, sigma: f64) -> Tensor {
    lambda * process.alpha(sigma).powi(2) + sigma * sigma
}

#[test]
fn at_eta_1_it_is_bayes_rule() {
    // x_t given x_s is N(r x_s, σ_t² − r² σ_s²), r = α_t/α_s; so x_s given x_t follows from the joint Gaussian.
    for (process, sigma_t, sigma_s, lambda) in cases() {
        let integrator = Integrator { process, sigma_t, sigma_s, eta: 1.0 };
        let r = process.alpha(sigma_t) / process.alpha(sigma_s);
        let (m_t, m_s) = (marginal(process, &lambda, sigma_t), marginal(process, &lambda, sigma_s));
        let gain: Tensor = &m_s * r / &m_t;
        let variance = &m_s - &gain * r * &m_s;
        let came = integrator.gain(&lambda).expect("no error");
        assert!(distance(&(came / &gain.clamp_min(1e-300)), &gain.ones_like()) < 1e-12 || r == 0.0);
        let noise = integrator.noise(&lambda).expect("no error");
        assert!(distance(&(noise.square() / &m_s), &(variance / &m_s)) < 1e-10);
    }
}

#[test]
fn the_variance_is_that_of_the_noise_level_for_every_eta() {
    for (process, sigma_t, sigma_s, lambda) in cases() {
        for eta in [0.0, 0.3, 0.7, 1.0] {
            let integrator = Integrator { process, sigma_t, sigma_s, eta };
            let (gain, noise) = (integrator.gain(&lambda).expect("gain"), integrator.noise(&lambda).expect("noise"));
            let came = gain.square() * marginal(process, &lambda, sigma_t) + noise.square();
            let expected = marginal(process, &lambda, sigma_s);
            assert!(distance(&(came / &expected), &expected.ones_like()) < 1e-12, "{process:?} eta {eta}");
            assert!(eta > 0.0 || vec(&noise).iter().all(|&noise| noise == 0.0));
        }
    }
}

#[test]
fn two_steps_are_one() {
    for (process, t, s, lambda) in cases() {
        let u = 0.5 * (t + s);
        for eta in [0.0, 0.5, 1.0] {
            let step = |sigma_t, sigma_s| Integrator { process, sigma_t, sigma_s, eta };
            let gain = |a, b| step(a, b).gain(&lambda).expect("gain");
            let (first, second, whole) = (gain(t, u), gain(u, s), gain(t, s));
            assert!(distance(&(first * &second), &whole) < 1e-12);
            let noise = |a, b| step(a, b).noise(&lambda).expect("noise").square();
            let came = second.square() * noise(t, u) + noise(u, s);
            assert!(
                distance(&(came / marginal(process, &lambda, s)), &(noise(t, s) / marginal(process, &lambda, s)))
                    < 1e-10
            );
        }
    }
}

#[test]
fn small_steps_follow_the_reverse_sde() {
    // Variance exploding: dx = (1 + η²) σ (x − μ) / (λ + σ²) dσ backwards, and 2 η² σ dσ of variance.
    let process = Process::VarianceExploding;
    let lambda = Tensor::from_slice(&[0.01, 0.25, 4.0, 100.0]);
    for (sigma, eta) in [(0.2, 0.0), (1.0, 0.5), (5.0, 1.0)] {
        let h = 1e-5 * sigma;
        let integrator = Integrator { process, sigma_t: sigma, sigma_s: sigma - h, eta };
        let slope: Tensor = (1.0 - integrator.gain(&lambda).expect("gain")) / h;
        let expected: Tensor = (1.0 + eta * eta) * sigma / (&lambda + sigma * sigma);
        assert!(distance(&(slope / expected), &lambda.ones_like()) < 1e-3);
        let rate: Tensor = integrator.noise(&lambda).expect("noise").square() / h;
        assert!(distance(&(rate / (2.0 * sigma)), &(lambda.ones_like() * eta * eta)) < 1e-3);
    }
}

const ETAS: [f64; 4] = [0.0, 0.3, 0.7, 1.0];

/// Random steps for α = 1.
fn exploding() -> impl Iterator<Item = (f64, f64, Tensor)> {
    cases().filter(|case| case.0 == Process::VarianceExploding).map(|(_, t, s, lambda)| (t, s, lambda))
}

#[test]
fn from_d_it_is_the_same_step() {
    // D = J x and r = (1 − J) x where the mean is 0: D + a r = G x.
    for (sigma_t, sigma_s, lambda) in exploding() {
        let j: Tensor = &lambda / (&lambda + sigma_t * sigma_t);
        for eta in ETAS {
            let integrator = Integrator { process: Process::VarianceExploding, sigma_t, sigma_s, eta };
            let a = integrator.residual_gain(&lambda).expect("a");
            let came: Tensor = &j + a * (1.0 - &j);
            assert!(distance(&came, &integrator.gain(&lambda).expect("gain")) < 1e-9, "eta {eta}");
        }
        // J = 0: the exponential integrator's own.
        let integrator = Integrator { process: Process::VarianceExploding, sigma_t, sigma_s, eta: 0.5 };
        let a = integrator.residual_gain(&lambda.zeros_like()).expect("a");
        assert!(distance(&a, &(lambda.ones_like() * (sigma_s / sigma_t).powf(1.25))) < 1e-13);
    }
}

#[test]
fn d_changes_along_the_step_as_a_gaussians_does() {
    for (sigma_t, sigma_s, lambda) in exploding() {
        for eta in ETAS {
            let integrator = Integrator { process: Process::VarianceExploding, sigma_t, sigma_s, eta };
            // x = 1 at σ_t: D_t = J_t, r = 1 − J_t; at σ_s the mean of x is G.
            let j = |sigma: f64| -> Tensor { &lambda / (&lambda + sigma * sigma) };
            let expected: Tensor = j(sigma_s) * integrator.gain(&lambda).expect("gain") - j(sigma_t);
            let came = integrator.change(&lambda, sigma_s).expect("change") * (1.0 - j(sigma_t));
            assert!(distance(&came, &expected) < 1e-11, "eta {eta}");
        }
    }
}

#[test]
fn the_weight_of_a_change_is_its_integral() {
    // Simpson's rule in ln v.
    let exponents = [0.0, 1e-4, 0.2, 0.5, 0.9, 1.0];
    for (sigma_t, sigma_s, _) in exploding().take(12) {
        for eta in ETAS {
            let integrator = Integrator { process: Process::VarianceExploding, sigma_t, sigma_s, eta };
            for node in [sigma_s, 1.7 * sigma_t] {
                let came = integrator.weight(&Tensor::from_slice(&exponents), node).expect("weight");
                let k = 1.0 + eta * eta;
                let h = (sigma_t / sigma_s).ln();
                for (exponent, came) in exponents.iter().zip(vec(&came)) {
                    // (v^e − t^e)/(node^e − t^e), ln v − ln t = u.
                    let measure = |u: f64| match *exponent {
                        0.0 => u,
                        e => (e * u).exp_m1(),
                    };
                    let f = |u: f64| k * (-k * (u + h)).exp() * measure(u) / measure((node / sigma_t).ln());
                    let parts = 2000;
                    let width = h / parts as f64;
                    let sum: f64 = (0..=parts)
                        .map(|i| {
                            let share = if i == 0 || i == parts { 1.0 } else { 2.0 + 2.0 * (i % 2) as f64 };
                            share * f(-h + i as f64 * width)
                        })
                        .sum();
                    let expected = sum * width / 3.0;
                    assert!(
                        (came - expected).abs() < 2e-5 * expected.abs().max(1e-3),
                        "{exponent} {eta}: {came} {expected}"
                    );
                }
            }
        }
    }
}
