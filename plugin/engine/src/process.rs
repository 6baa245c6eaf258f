//! The forward process and one step of its reversal, as numbers.
//!
//! All but [`ReverseStep::mean`] are scalars in float64.

pub use lgs_abi::options::Process;

use crate::{error::Result, tensor::Tensor};

/// Smallest α at which a Jacobian is taken. See [`ForwardProcess::jacobian_sigma`].
const MIN_ALPHA: f64 = 0.005;

/// By how much a schedule may exceed the largest noise level, relatively: what a float32 formula for it rounds by.
const SCHEDULE_ROUNDING: f64 = 1e-6;

/// x_t = α_t x_0 + σ_t ε as numbers.
pub trait ForwardProcess: Sized {
    /// α_t at noise level σ_t.
    fn alpha(self, sigma: f64) -> f64;

    /// σ/α, what x_t is scaled by to be x_0 and noise of this size; where a step's Jacobian is taken, so finite.
    fn noise_to_signal(self, sigma: f64) -> f64;

    /// λ = ln(α/σ), half the logarithm of the signal-to-noise ratio; −∞ where α = 0.
    fn half_log_snr(self, sigma: f64) -> f64;

    /// The largest noise level of the process.
    fn max_sigma(self) -> f64;

    /// A schedule's σ as the process has it: what is above the largest noise level by rounding is that level.
    ///
    /// ComfyUI's formula for shifted flows, in float32, gives up to two units above 1 for it.
    fn level(self, sigma: f64) -> f64 {
        let largest = self.max_sigma();
        match sigma > largest && sigma <= largest * (1.0 + SCHEDULE_ROUNDING) {
            true => largest,
            false => sigma,
        }
    }

    /// The noise level at which a step that starts at σ takes its Jacobian; D(x) is asked at σ itself.
    ///
    /// A flow starts at σ = 1, where α = 0 and Cov[x_0|x] = (σ²/α) J is 0/0: x says nothing about
    /// x_0, J vanishes, and what remains, the prior's covariance, cannot be found from it. A little
    /// below, J is still small but its ratio to α is right: Cov[x_0|x] changes by a relative
    /// α² λ / σ² and D(x) by α λ, for data of variance λ. The alternative, an isotropic first step,
    /// costs far more: on a Gaussian with λ_k ∝ k⁻² (d = 1024, mean 0.25) and T = 4, η = 1, the
    /// relative Fréchet distance is 0.316 with it and 0.0064 with α ≤ 0.02 here.
    fn jacobian_sigma(self, sigma: f64) -> f64;
}

impl ForwardProcess for Process {
    fn alpha(self, sigma: f64) -> f64 {
        match self {
            Process::VarianceExploding => 1.0,
            Process::Flow => 1.0 - sigma,
        }
    }

    fn noise_to_signal(self, sigma: f64) -> f64 {
        let sigma = self.jacobian_sigma(sigma);
        sigma / self.alpha(sigma)
    }

    fn half_log_snr(self, sigma: f64) -> f64 {
        (self.alpha(sigma) / sigma).ln()
    }

    fn max_sigma(self) -> f64 {
        match self {
            Process::VarianceExploding => f64::INFINITY,
            Process::Flow => 1.0,
        }
    }

    fn jacobian_sigma(self, sigma: f64) -> f64 {
        match self {
            Process::VarianceExploding => sigma,
            Process::Flow => sigma.min(1.0 - MIN_ALPHA),
        }
    }
}

/// The share of [`ReverseStep::multistep`]'s γ to take after a step that had c J.
///
/// D(x_t) − D(x_u) is J times noise with c J in it then, larger, and less of the variance at x_t is lacking. In
/// directions that x_t determines (J = 1) the variance at x_s is right to first order in γ with (σ_t/σ_u)² of it
/// (η = 1, steps of one length in ln σ), a tenth to a third in 7 to 14 steps; in those that it leaves open, with more.
/// No one share is right for all. On exact models, in 5 to 14 steps with the covariance from σ = 0.5 or 1 up, a fifth
/// has 0.94 (a Gaussian with the spectrum of pictures) and 0.47 (a mixture) times the error of none, in the geometric
/// mean; all of γ has up to 40 times it.
pub const SHARE_AFTER_COVARIANCE: f64 = 0.2;

/// One reverse step t → s with σ_s ≤ σ_t:
///
/// ```text
/// x_s ~ N(A x + B D(x), Σ),    Σ = η² v I + c J
/// ```
///
/// DDIM's family of kernels (arXiv 2010.02502, eq. 12) with the posterior covariance of x_0
/// carried through by the law of total covariance (arXiv 2605.22723). η = 1 is DDPM's kernel,
/// η = 0 has DDIM's mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReverseStep {
    pub process: Process,
    /// σ_t.
    pub sigma: f64,
    /// σ_s.
    pub sigma_next: f64,
    /// A, the factor of x.
    pub mean_x: f64,
    /// B, the factor of D(x).
    pub mean_denoised: f64,
    /// η² v: the variance that remains once x_0 is known.
    pub isotropic: f64,
    /// η² σ²_{t|s}: what x_s varies by given x_t and data that may lie anywhere.
    pub large: f64,
    /// c = B² σ²/α, the factor of J, at the noise level of [`ForwardProcess::jacobian_sigma`].
    pub covariance: f64,
}

/// x at σ_s ≥ σ_t, drawn given x (batch, ...) at σ_t by the forward process, with z a standard normal like x:
///
/// ```text
/// x_s = α_{s|t} x + √(σ_s² − α²_{s|t} σ_t²) z,    α_{s|t} = α_s/α_t
/// ```
///
/// It has the law of the data at σ_s where x had it at σ_t. What a sampler does between its passes in restart
/// sampling (arXiv 2306.14878).
pub fn forward_draw(process: Process, sigma_t: f64, sigma_s: f64, x: &Tensor, z: &Tensor) -> Result<Tensor> {
    // α_t = 0 only at the largest σ, from which nothing rises.
    let alpha = process.alpha(sigma_s) / process.alpha(sigma_t);
    let deviation = (sigma_s * sigma_s - alpha * alpha * sigma_t * sigma_t).max(0.0).sqrt();
    Ok(x.f_mul_scalar(alpha)?.f_add(&z.f_mul_scalar(deviation)?)?)
}

impl ReverseStep {
    /// The step σ_t → σ_s, 0 ≤ σ_s ≤ σ_t, σ_t > 0, 0 ≤ η ≤ 1.
    pub fn new(process: Process, sigma_t: f64, sigma_s: f64, eta: f64) -> Self {
        let (alpha_t, alpha_s) = (process.alpha(sigma_t), process.alpha(sigma_s));
        // α_s = 0 only where σ_s = σ_t = 1 and the step goes nowhere.
        let alpha_ts = if alpha_s > 0.0 { alpha_t / alpha_s } else { 1.0 };
        let var_ts = sigma_t * sigma_t - alpha_ts * alpha_ts * sigma_s * sigma_s;
        let v = (var_ts * sigma_s * sigma_s / (sigma_t * sigma_t)).max(0.0);
        let isotropic = eta * eta * v;
        let mean_x = (sigma_s * sigma_s - isotropic).max(0.0).sqrt() / sigma_t;
        let mean_denoised = alpha_s - alpha_t * mean_x;
        let sigma = process.jacobian_sigma(sigma_t);
        let covariance = mean_denoised * mean_denoised * sigma * sigma / process.alpha(sigma);
        let large = eta * eta * var_ts.max(0.0);
        Self { process, sigma: sigma_t, sigma_next: sigma_s, mean_x, mean_denoised, isotropic, large, covariance }
    }

    /// A x + B D(x), the kernel's mean; x and D(x) (batch, ...).
    pub fn mean(&self, x: &Tensor, denoised: &Tensor) -> Result<Tensor> {
        Ok(x.f_mul_scalar(self.mean_x)?.f_add(&denoised.f_mul_scalar(self.mean_denoised)?)?)
    }

    /// γ, the factor of D(x_t) − D(x_u) in a mean of second order, u → t the step before t → s:
    ///
    /// ```text
    /// γ = B/2 (λ_s − λ_t) / (λ_t − λ_u),    λ = ln(α/σ)
    /// ```
    ///
    /// DPM-Solver++(2M)'s (arXiv 2211.01095, algorithm 2; its stochastic version is η = 1). Why it belongs
    /// beside the covariances: D(x_t) is what one expected at x_u, D(x_u), plus J times the noise that the
    /// step before added. So the term is noise along J, found without a product, and to first order in the
    /// step it is as much as a step lacks that has nothing of c J. It takes the step u → t to have been such a
    /// step as well; else see [`SHARE_AFTER_COVARIANCE`].
    pub fn multistep(&self, sigma_u: f64) -> f64 {
        let [before, here, after] =
            [sigma_u, self.sigma, self.sigma_next].map(|sigma| self.process.half_log_snr(sigma));
        // A step that went nowhere does not show where D goes; a flow's first from α = 0 hardly does.
        match here > before && before.is_finite() {
            true => 0.5 * self.mean_denoised * (after - here) / (here - before),
            false => 0.0,
        }
    }
}
