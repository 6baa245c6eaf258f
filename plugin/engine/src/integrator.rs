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

use tch::Tensor;

use crate::{
    error::Result,
    process::{ForwardProcess, Process},
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
