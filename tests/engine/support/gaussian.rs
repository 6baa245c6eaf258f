//! x_0 ~ N(0, C): the posterior mean and the covariance of every reverse kernel in closed form.

use crate::support::tensor::*;
use lgs_engine::process::Process;

use super::numbers::{function, rows, Rng};

pub struct Gaussian {
    pub covariance: Tensor,
}

/// α at σ.
pub fn alpha(process: Process, sigma: f64) -> f64 {
    match process {
        Process::VarianceExploding => 1.0,
        Process::Flow => 1.0 - sigma,
    }
}

/// A, B and v of the kernel t → s with η: x_s | x_t, x_0 ~ N(α_s x_0 + A (x_t − α_t x_0), η² v I), where
/// v is what Bayes' rule gives and A what the marginal variance σ_s² asks for.
pub fn kernel(process: Process, t: f64, s: f64, eta: f64) -> (f64, f64, f64) {
    let ratio = alpha(process, t) / alpha(process, s);
    // 1/v = 1/σ_s² + ratio² / (σ_t² − ratio² σ_s²): the precisions of x_s given x_0 and of x_t given x_s.
    let v = if s > 0.0 { 1.0 / (1.0 / (s * s) + ratio * ratio / (t * t - ratio * ratio * s * s)) } else { 0.0 };
    let a = (s * s - eta * eta * v).sqrt() / t;
    (a, alpha(process, s) - alpha(process, t) * a, v)
}

impl Gaussian {
    pub fn new(seed: u64, eigenvalues: &[f64]) -> Self {
        Self { covariance: Rng::new(seed).symmetric(eigenvalues) }
    }

    /// J = ∂D/∂x.
    pub fn jacobian(&self, process: Process, sigma: f64) -> Tensor {
        let alpha = alpha(process, sigma);
        function(&self.covariance, |lambda| alpha * lambda / (alpha * alpha * lambda + sigma * sigma))
    }

    /// D(x, σ) for each row of x (batch, d), in x's dtype.
    pub fn denoised(&self, process: Process, x: &Tensor, sigma: f64) -> Tensor {
        let x64 = x.to_kind(Kind::Double);
        rows(&self.jacobian(process, sigma), &x64).to_kind(x.kind())
    }

    /// Cov[x_s | x_t] by the law of total covariance over x_0, for t below the pure noise of a flow.
    pub fn reverse(&self, process: Process, t: f64, s: f64, eta: f64) -> Tensor {
        let (alpha, (_, b, v)) = (alpha(process, t), kernel(process, t, s, eta));
        function(&self.covariance, |lambda| {
            let posterior = 1.0 / (1.0 / lambda + alpha * alpha / (t * t));
            eta * eta * v + b * b * posterior
        })
    }

    /// Σ^{1/2} z for each row of z.
    pub fn noise(&self, process: Process, t: f64, s: f64, eta: f64, z: &Tensor) -> Tensor {
        rows(&function(&self.reverse(process, t, s, eta), f64::sqrt), z)
    }
}
