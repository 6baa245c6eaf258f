//! Analytical teleportation (Wang and Vastola, arXiv 2412.09726): at high noise a model's answer is that of a Gaussian
//! with the data's mean and covariance, and the steps there can be taken in closed form, at no evaluation.
//!
//! ```text
//! x_s = α_s μ + G(ρ) (x_t − α_t μ) + Σ_k (G(λ_k) − G(ρ)) u_k u_kᵀ (x_t − α_t μ)
//! ```
//!
//! with the integrator's G at η = 0 ([`crate::integrator`]), and the prior's covariance in the place of J.

use crate::{
    checks,
    error::{Error, Result},
    integrator::Integrator,
    layout::Layout,
    linear::low_rank::{departure, LowRank},
    process::{ForwardProcess, Process},
    tensor::{self, Device, Kind, Tensor},
};

/// x_0 ~ N(μ, U diag(λ) Uᵀ + ρ (I − U Uᵀ)).
pub struct GaussianPrior {
    /// μ, (...): the shape of one item.
    pub mean: Tensor,
    /// U, (..., r), of orthonormal columns.
    pub basis: Tensor,
    /// λ, (r,).
    pub variances: Tensor,
    /// ρ.
    pub rest: f64,
}

/// How far U may be from orthonormal: it is kept in float32.
const ORTHONORMAL: f64 = 1e-3;

/// x at σ' for x (batch, ...) at σ, along the probability-flow ODE of this prior; like x.
pub fn teleport(prior: &GaussianPrior, process: Process, x: &Tensor, sigma: f64, sigma_next: f64) -> Result<Tensor> {
    let _no_grad = tensor::no_grad_guard();
    let layout = Layout::of("x", x)?;
    let sigma = process.level(sigma);
    check_levels(process, sigma, sigma_next)?;
    let covariance = prior.checked(&layout)?;
    checks::finite("x", x)?;
    let integrator = Integrator { process, sigma_t: sigma, sigma_s: sigma_next, eta: 0.0 };
    let mean = prior.mean.f_to_device(layout.device)?.f_to_kind(layout.kind)?.f_reshape([1, -1])?;
    let from_mean = x
        .f_to_kind(layout.kind)?
        .f_reshape([layout.batch(), layout.dimension()])?
        .f_sub(&mean.f_mul_scalar(process.alpha(sigma))?)?;
    let moved = covariance.function(|lambda| integrator.gain(lambda), &from_mean)?;
    let moved = moved.f_add(&mean.f_mul_scalar(process.alpha(sigma_next))?)?;
    Ok(moved.f_reshape(&layout.shape[..])?.f_to_kind(layout.model_kind)?)
}

fn check_levels(process: Process, sigma: f64, sigma_next: f64) -> Result<()> {
    let top = process.max_sigma();
    if !(sigma.is_finite() && sigma > 0.0 && sigma <= top) {
        let most = if top.is_finite() { format!(", at most {top} for a flow") } else { String::new() };
        return Err(Error::Argument(format!("sigma: expected a noise level above 0{most}, got {sigma}")));
    }
    match sigma_next > 0.0 && sigma_next < sigma {
        true => Ok(()),
        false => Err(Error::Argument(format!(
            "sigma_next: expected a noise level above 0 and below the {sigma} of x, got {sigma_next}"
        ))),
    }
}

impl GaussianPrior {
    /// The covariance, once all of the prior fits together and to items of this layout.
    fn checked(&self, layout: &Layout) -> Result<LowRank> {
        let wrong = |what: String| Err(Error::Argument(what));
        for (name, tensor) in [("mean", &self.mean), ("basis", &self.basis), ("variances", &self.variances)] {
            if !tensor.defined() || !matches!(tensor.f_kind(), Ok(Kind::Float | Kind::Double)) {
                return Err(Error::Type(format!("prior.{name}: expected a tensor of dtype float32 or float64")));
            }
            if tensor.numel() > 0 {
                checks::finite(&format!("prior.{name}"), tensor)?;
            }
        }
        let item = &layout.shape[1..];
        if self.mean.size() != item {
            return wrong(format!(
                "prior.mean: expected shape {item:?}, that of one item of x, got {:?}; a prior is for one model and size",
                self.mean.size()
            ));
        }
        let (rank, dimension) = (self.variances.size(), layout.dimension());
        let [rank] = rank[..] else {
            return wrong(format!("prior.variances: expected shape (rank,), got {rank:?}"));
        };
        let expected: Vec<i64> = item.iter().copied().chain([rank]).collect();
        if self.basis.size() != expected || rank > dimension {
            return wrong(format!(
                "prior.basis: expected shape {expected:?}, a column for each variance and at most {dimension} of them, got \
                 {:?}",
                self.basis.size()
            ));
        }
        let eigenvalues = self.variances.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?;
        if rank > 0 && eigenvalues.f_min()?.f_double_value(&[])? < 0.0 {
            return wrong("prior.variances: expected numbers that are not negative".into());
        }
        if !(self.rest.is_finite() && self.rest >= 0.0) {
            return wrong(format!("prior.rest: expected a variance, at least 0, got {}", self.rest));
        }
        let basis = self.basis.f_reshape([dimension, rank])?;
        let departure = departure(&basis)?;
        if departure > ORTHONORMAL {
            return wrong(format!(
                "prior.basis: expected orthonormal columns, got such with Uᵀ U off the identity by {departure:.2e}"
            ));
        }
        Ok(LowRank { basis, eigenvalues, rest: self.rest })
    }
}
