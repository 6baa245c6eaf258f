//! The reverse kernels: identities of their coefficients, and the law that a chain of them leaves.

use lgs_engine::process::{ForwardProcess, Process, ReverseStep};

use crate::support::{
    gaussian::{alpha, kernel},
    numbers::Rng,
};

const PROCESSES: [Process; 2] = [Process::VarianceExploding, Process::Flow];
const ETAS: [f64; 3] = [0.0, 0.5, 1.0];

/// Random steps t → s of both processes; s = 0 now and then.
fn steps() -> impl Iterator<Item = (Process, f64, f64)> {
    let mut rng = Rng::new(1);
    (0..400).map(move |i| {
        let process = PROCESSES[i % 2];
        let t = match process {
            Process::VarianceExploding => 10f64.powf(rng.uniform(-2.5, 2.0)),
            Process::Flow => rng.uniform(0.01, 0.99),
        };
        let s = if i % 10 == 0 { 0.0 } else { t * rng.uniform(0.01, 0.999) };
        (process, t, s)
    })
}

fn close(value: f64, reference: f64, what: &str) {
    assert!((value - reference).abs() <= 1e-10 * (1.0 + reference.abs()), "{what}: {value}, expected {reference}");
}

#[test]
fn alpha_and_the_ends_of_sigma() {
    assert_eq!(Process::VarianceExploding.alpha(80.0), 1.0);
    assert_eq!(Process::Flow.alpha(0.25), 0.75);
    assert_eq!(Process::Flow.max_sigma(), 1.0);
    assert_eq!(Process::VarianceExploding.max_sigma(), f64::INFINITY);
    assert_eq!(Process::VarianceExploding.jacobian_sigma(80.0), 80.0);
    assert_eq!(Process::Flow.jacobian_sigma(0.9), 0.9);
    assert!((0.98..1.0).contains(&Process::Flow.jacobian_sigma(1.0)));
}

#[test]
fn noise_to_signal_is_sigma_for_data_of_the_same_size() {
    assert_eq!(Process::VarianceExploding.noise_to_signal(14.6), 14.6);
    assert_eq!(Process::Flow.noise_to_signal(0.75), 3.0);
    // Pure noise counts as the last level at which a Jacobian is taken: no range without a bound leaves it out.
    assert_eq!(Process::Flow.noise_to_signal(1.0), Process::Flow.noise_to_signal(0.999));
    assert!((100.0..10000.0).contains(&Process::Flow.noise_to_signal(1.0)));
}

#[test]
fn variance_exploding_at_eta_1_is_the_textbook_kernel() {
    for (_, t, s) in steps().filter(|step| step.0 == Process::VarianceExploding) {
        let step = ReverseStep::new(Process::VarianceExploding, t, s, 1.0);
        close(step.mean_x, s * s / (t * t), "A");
        close(step.mean_denoised, 1.0 - s * s / (t * t), "B");
        close(step.isotropic, s * s * (t * t - s * s) / (t * t), "v");
        close(step.covariance, step.mean_denoised.powi(2) * t * t, "c");
        close(step.large, t * t - s * s, "the variance of x_t given x_s");
    }
}

#[test]
fn eta_0_is_ddim() {
    for (process, t, s) in steps() {
        let step = ReverseStep::new(process, t, s, 0.0);
        close(step.mean_x, s / t, "A");
        close(step.mean_denoised, alpha(process, s) - alpha(process, t) * s / t, "B");
        assert_eq!(step.isotropic, 0.0);
    }
}

#[test]
fn coefficients_agree_with_bayes_rule() {
    for (process, t, s) in steps() {
        for eta in [0.0, 0.3, 0.5, 0.9, 1.0] {
            let step = ReverseStep::new(process, t, s, eta);
            let (a, b, v) = kernel(process, t, s, eta);
            close(step.mean_x, a, "A");
            close(step.mean_denoised, b, "B");
            close(step.isotropic, eta * eta * v, "v");
            close(step.covariance, b * b * t * t / alpha(process, t), "c");
        }
    }
}

#[test]
fn given_x_0_the_forward_marginal_is_kept_for_every_eta() {
    for (process, t, s) in steps() {
        for eta in ETAS {
            let step = ReverseStep::new(process, t, s, eta);
            close(step.mean_x * alpha(process, t) + step.mean_denoised, alpha(process, s), "mean");
            close(step.mean_x.powi(2) * t * t + step.isotropic, s * s, "variance");
        }
    }
}

#[test]
fn a_step_that_goes_nowhere_does_nothing() {
    for (process, t, _) in steps().chain([(Process::Flow, 1.0, 1.0)]) {
        for eta in ETAS {
            let step = ReverseStep::new(process, t, t, eta);
            close(step.mean_x, 1.0, "A");
            close(step.mean_denoised, 0.0, "B");
            close(step.isotropic, 0.0, "v");
            close(step.covariance, 0.0, "c");
        }
    }
}

#[test]
fn the_mean_of_second_order_is_exact_for_a_d_that_is_linear_in_lambda() {
    // At η = 0, x_s = (σ_s/σ_t) x + σ_s ∫ e^λ D dλ from λ_t to λ_s. B D + γ ΔD is its D at the middle of the
    // step, as DPM-Solver++(2M) has it, and so right to the third order in the step.
    let error = |process: Process, h: f64| {
        let sigma = |lambda: f64| match process {
            Process::VarianceExploding => (-lambda).exp(),
            Process::Flow => 1.0 / (1.0 + lambda.exp()),
        };
        let (before, here, after) = (0.3 - 0.7 * h, 0.3, 0.3 + h);
        let step = ReverseStep::new(process, sigma(here), sigma(after), 0.0);
        let gamma = step.multistep(sigma(before));
        // ∫ e^λ λ dλ = e^λ (λ − 1).
        let exact = sigma(after) * (after.exp() * (after - 1.0) - here.exp() * (here - 1.0));
        (step.mean_denoised * here + gamma * (here - before) - exact).abs()
    };
    for process in PROCESSES {
        let (coarse, fine) = (error(process, 0.02), error(process, 0.01));
        assert!((7.0..9.0).contains(&(coarse / fine)), "{process:?}: {coarse} {fine}");
    }
}

#[test]
fn a_step_without_one_before_that_tells_anything_is_of_first_order() {
    let step = ReverseStep::new(Process::Flow, 0.9, 0.5, 1.0);
    assert_eq!(step.multistep(1.0), 0.0, "from pure noise");
    assert_eq!(step.multistep(0.9), 0.0, "from a step that went nowhere");
    let ve = Process::VarianceExploding;
    assert_eq!(ReverseStep::new(ve, 2.0, 2.0, 1.0).multistep(4.0), 0.0, "of one that goes nowhere");
}

#[test]
fn a_step_to_zero_is_the_posterior_of_x_0() {
    for (process, t, _) in steps() {
        for eta in ETAS {
            let step = ReverseStep::new(process, t, 0.0, eta);
            assert_eq!((step.mean_x, step.mean_denoised, step.isotropic), (0.0, 1.0, 0.0));
            close(step.covariance, t * t / alpha(process, t), "c");
        }
    }
}

#[test]
fn pure_noise_of_a_flow_gives_finite_coefficients() {
    for s in [0.0, 1e-6, 0.5, 0.999, 1.0] {
        for eta in ETAS {
            let step = ReverseStep::new(Process::Flow, 1.0, s, eta);
            for coefficient in [step.mean_x, step.mean_denoised, step.isotropic, step.covariance] {
                assert!(coefficient.is_finite() && coefficient >= 0.0, "{step:?}");
            }
        }
    }
}

/// A falling schedule.
fn schedule(rng: &mut Rng, first: f64, last: f64, steps: usize) -> Vec<f64> {
    let mut levels: Vec<f64> =
        (1..steps).map(|_| (rng.uniform(last.ln(), first.ln())).exp()).chain([first, last]).collect();
    levels.sort_by(|a, b| b.total_cmp(a));
    levels
}

/// Var of x at the end of the chain, for x_0 ~ N(0, λ) and the exact model, from Var of x at its start.
fn end_of_chain(process: Process, levels: &[f64], eta: f64, lambda: f64, mut variance: f64) -> f64 {
    for pair in levels.windows(2) {
        let step = ReverseStep::new(process, pair[0], pair[1], eta);
        let sigma = process.jacobian_sigma(pair[0]);
        let alpha = alpha(process, sigma);
        let jacobian = alpha * lambda / (alpha * alpha * lambda + sigma * sigma);
        let mean = step.mean_x + step.mean_denoised * jacobian;
        variance = mean * mean * variance + step.isotropic + step.covariance * jacobian;
    }
    variance
}

#[test]
fn a_chain_of_steps_keeps_the_marginals_of_gaussian_data() {
    let mut rng = Rng::new(2);
    for process in PROCESSES {
        let first = if process == Process::Flow { 0.99 } else { 80.0 };
        for eta in ETAS {
            for steps in [1, 2, 7, 30] {
                let levels = schedule(&mut rng, first, 0.01, steps);
                let lambda = 10f64.powf(rng.uniform(-4.0, 2.0));
                let marginal = |sigma: f64| alpha(process, sigma).powi(2) * lambda + sigma * sigma;
                let variance = end_of_chain(process, &levels, eta, lambda, marginal(first));
                close(variance / marginal(0.01), 1.0, &format!("{process:?}, eta {eta}, {steps} steps"));
            }
        }
    }
}

#[test]
fn a_flow_that_starts_at_pure_noise_keeps_the_marginals_nearly() {
    // There x says nothing about x_0, and a level a little below stands in.
    let mut rng = Rng::new(3);
    for eta in ETAS {
        for lambda in [0.01, 0.25, 1.0] {
            let levels = schedule(&mut rng, 1.0, 0.01, 8);
            let variance = end_of_chain(Process::Flow, &levels, eta, lambda, 1.0);
            let marginal = 0.99f64.powi(2) * lambda + 1e-4;
            assert!((variance / marginal - 1.0).abs() < 0.02, "eta {eta}, λ {lambda}: {}", variance / marginal);
        }
    }
}

/// x_0 from a mixture of two normal laws on the line, w N(m, u) + (1 − w) N(n, r).
struct Mixture {
    w: f64,
    m: f64,
    u: f64,
    n: f64,
    r: f64,
}

impl Mixture {
    /// Density of x, mean and variance of x_0 given x.
    fn at(&self, process: Process, sigma: f64, x: f64) -> (f64, f64, f64) {
        let alpha = alpha(process, sigma);
        let part = |weight: f64, mean: f64, variance: f64| {
            let marginal = alpha * alpha * variance + sigma * sigma;
            let gain = alpha * variance / marginal;
            let density = weight * (-(x - alpha * mean).powi(2) / (2.0 * marginal)).exp()
                / (std::f64::consts::TAU * marginal).sqrt();
            (density, mean + gain * (x - alpha * mean), variance * sigma * sigma / marginal)
        };
        let (p, q) = (part(self.w, self.m, self.u), part(1.0 - self.w, self.n, self.r));
        let density = p.0 + q.0;
        let (left, right) = (p.0 / density, q.0 / density);
        let mean = left * p.1 + right * q.1;
        (density, mean, left * (p.2 + p.1 * p.1) + right * (q.2 + q.1 * q.1) - mean * mean)
    }

    fn mean(&self) -> f64 {
        self.w * self.m + (1.0 - self.w) * self.n
    }

    fn variance(&self) -> f64 {
        self.w * (self.u + self.m * self.m) + (1.0 - self.w) * (self.r + self.n * self.n) - self.mean().powi(2)
    }
}

#[test]
fn one_step_keeps_mean_and_variance_of_data_that_are_not_gaussian() {
    // Σ is the covariance of the exact reverse law, so the first two moments come out right for any
    // data, by the laws of total expectation and variance. The integrals are over x_t.
    let mixture = Mixture { w: 0.3, m: -1.5, u: 0.04, n: 1.0, r: 0.3 };
    for (process, t, s) in [
        (Process::VarianceExploding, 1.2, 0.4),
        (Process::VarianceExploding, 0.5, 0.0),
        (Process::Flow, 0.8, 0.3),
        (Process::Flow, 0.4, 0.0),
    ] {
        for eta in ETAS {
            let step = ReverseStep::new(process, t, s, eta);
            let (points, reach) = (20_001, 14.0);
            let width = 2.0 * reach / (points - 1) as f64;
            let (mut total, mut mean, mut square) = (0.0, 0.0, 0.0);
            for i in 0..points {
                let x = -reach + i as f64 * width;
                let (density, denoised, posterior) = mixture.at(process, t, x);
                if density < 1e-290 {
                    continue;
                }
                // Tweedie, second order: Cov[x_0 | x] = (σ²/α) J.
                let jacobian = alpha(process, t) / (t * t) * posterior;
                let next = step.mean_x * x + step.mean_denoised * denoised;
                let variance = step.isotropic + step.covariance * jacobian;
                total += density * width;
                mean += density * width * next;
                square += density * width * (next * next + variance);
            }
            close(total, 1.0, "the integral");
            close(mean, alpha(process, s) * mixture.mean(), "mean");
            let expected = alpha(process, s).powi(2) * mixture.variance() + s * s;
            close(square - mean * mean, expected, &format!("variance, {process:?}, eta {eta}"));
        }
    }
}
