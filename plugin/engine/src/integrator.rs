//! A reverse step that is exact where data is Gaussian, as functions of its variance λ along a direction:
//!
//! ```text
//! x_s − α_s μ = G(λ) (x_t − α_t μ) + N(λ) z
//! G = sqrt(m_s/m_t) R^{η²/2},    N² = m_s (1 − R^{η²})
//! m_t = α_t² λ + σ_t²,    R = (m_s/α_s²) / (m_t/α_t²)
//! ```
//!
//! The reverse SDE of noise level η, solved in closed form: m_t is the variance of x_t, and R that of x_s/α_s by
//! that of x_t/α_t. η = 0 is the probability-flow ODE (Song et al., arXiv 2011.13456; for Gaussian data, "analytical
//! teleportation", arXiv 2412.09726), η = 1 the posterior kernel of DDPM.

use crate::{
    error::Result,
    process::{ForwardProcess, Process},
    tensor::Tensor,
};

/// The step σ_t → σ_s, 0 < σ_s ≤ σ_t, α_s > 0; 0 ≤ η ≤ 1.
#[derive(Clone, Copy, Debug)]
pub struct Integrator {
    pub process: Process,
    pub sigma_t: f64,
    pub sigma_s: f64,
    pub eta: f64,
}

impl Integrator {
    /// G(λ); λ, float64, one by one.
    pub fn gain(&self, lambda: &Tensor) -> Result<Tensor> {
        let flow = self.marginal(lambda, self.sigma_s)?.f_div(&self.marginal(lambda, self.sigma_t)?)?.f_sqrt()?;
        Ok(match self.eta == 0.0 {
            true => flow,
            false => flow.f_mul(&self.ratio(lambda)?.f_pow_tensor_scalar(0.5 * self.eta * self.eta)?)?,
        })
    }

    /// N(λ); λ, float64, one by one.
    pub fn noise(&self, lambda: &Tensor) -> Result<Tensor> {
        let kept = self.ratio(lambda)?.f_pow_tensor_scalar(self.eta * self.eta)?;
        Ok(self.marginal(lambda, self.sigma_s)?.f_mul(&kept.f_neg()?.f_add_scalar(1.0)?.f_clamp_min(0.0)?)?.f_sqrt()?)
    }

    /// The same step from D(x_t): a of x_s = D + a(λ) r + N(λ) z, r = x_t − D; for α = 1.
    ///
    /// ```text
    /// a = (G − J_t)/(1 − J_t) = ((λ + σ_t²) G − λ)/σ_t²,    J_t = λ/(λ + σ_t²)
    /// ```
    pub fn residual_gain(&self, lambda: &Tensor) -> Result<Tensor> {
        let t2 = self.sigma_t * self.sigma_t;
        let kept = self.marginal(lambda, self.sigma_t)?.f_mul(&self.gain(lambda)?)?;
        Ok(kept.f_sub(lambda)?.f_div_scalar(t2)?)
    }

    /// a(0) = (σ_s/σ_t)^{1 + η²}, as a number; for α = 1.
    pub fn residual_gain_at_zero(&self) -> f64 {
        (self.sigma_s / self.sigma_t).powf(1.0 + self.eta * self.eta)
    }

    /// N(0) = σ_s sqrt(1 − (σ_s/σ_t)^{2 η²}), as a number; for α = 1.
    pub fn noise_at_zero(&self) -> f64 {
        self.sigma_s * (1.0 - (self.sigma_s / self.sigma_t).powf(2.0 * self.eta * self.eta)).sqrt()
    }

    /// How D changes from σ_t to σ along the step's mean, by r; for α = 1.
    ///
    /// ```text
    /// D_σ − D_t = λ/σ_t² (((λ + σ_t²)/(λ + σ²))^{(1 − η²)/2} − 1) r
    /// ```
    pub fn change(&self, lambda: &Tensor, sigma: f64) -> Result<Tensor> {
        let ratio = self.marginal(lambda, self.sigma_t)?.f_div(&self.marginal(lambda, sigma)?)?;
        let grown = ratio.f_log()?.f_mul_scalar(0.5 * (1.0 - self.eta * self.eta))?.f_expm1()?;
        Ok(grown.f_mul(lambda)?.f_div_scalar(self.sigma_t * self.sigma_t)?)
    }

    /// The factor of Δ in x_s, for D that is beyond a Gaussian's by Δ (v^e − σ_t^e)/(σ^e − σ_t^e) at v; for α = 1.
    ///
    /// ```text
    /// w = ∫_s^t k σ_s^k v^{−k−1} (v^e − σ_t^e)/(σ^e − σ_t^e) dv,    k = 1 + η²
    ///   = (k (e^{−e h} − 1) + e (1 − e^{−k h})) / ((k − e)(e^{−e g} − 1)),    h = ln(σ_t/σ_s), g = ln(σ_t/σ)
    /// ```
    ///
    /// The kernel is how the reverse SDE takes D at v to x_s. e, float64, one by one, 0 ≤ e < 1: with e = 0 D is
    /// linear in ln σ, as in exponential Adams methods (DPM-Solver++(2M), σ = σ_u before; SA-Solver, arXiv
    /// 2309.05019, 0 < η). σ ≠ σ_t; σ = σ_s corrects a step.
    pub fn weight(&self, exponent: &Tensor, sigma: f64) -> Result<Tensor> {
        // The limit e → 0 is reached to ten digits here.
        let e = exponent.f_clamp(1e-6, 1.0 - 1e-6)?;
        let k = 1.0 + self.eta * self.eta;
        let (h, g) = ((self.sigma_t / self.sigma_s).ln(), (self.sigma_t / sigma).ln());
        let taken = e.f_mul_scalar(-h)?.f_expm1()?.f_mul_scalar(k)?.f_sub(&e.f_mul_scalar((-k * h).exp_m1())?)?;
        let measured = e.f_neg()?.f_add_scalar(k)?.f_mul(&e.f_mul_scalar(-g)?.f_expm1()?)?;
        Ok(taken.f_div(&measured)?)
    }

    /// m: the variance of x at σ.
    fn marginal(&self, lambda: &Tensor, sigma: f64) -> Result<Tensor> {
        let alpha = self.process.alpha(sigma);
        Ok(lambda.f_mul_scalar(alpha * alpha)?.f_add_scalar(sigma * sigma)?)
    }

    /// R.
    fn ratio(&self, lambda: &Tensor) -> Result<Tensor> {
        let scale = self.process.alpha(self.sigma_t) / self.process.alpha(self.sigma_s);
        let marginals = self.marginal(lambda, self.sigma_s)?.f_div(&self.marginal(lambda, self.sigma_t)?)?;
        Ok(marginals.f_mul_scalar(scale * scale)?)
    }
}
