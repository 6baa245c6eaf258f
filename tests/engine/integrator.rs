//! The step that is exact on Gaussian data: against Bayes' rule, the equations it solves, and itself in two steps.

use lgs_engine::{
    integrator::Integrator,
    process::{ForwardProcess, Process},
};
use tch::Tensor;

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
