//! What a law of the covariance is given, and what it gives.

use crate::{
    checks::{
        finite_and_fetch,
        names::{DENOISED, NOISE},
    },
    error::Result,
    jacobian::Linearization,
    layout::Layout,
    model::{Denoiser, Evaluator},
    process::{ForwardProcess, ReverseStep},
    tensor::Tensor,
};

/// A covariance Σ of the reverse step.
pub trait Law<M: Denoiser + ?Sized> {
    /// Jacobian-vector products in each step.
    fn products(&self) -> usize {
        0
    }

    /// Whether it can be used for items of this layout.
    fn check(&self, _layout: &Layout) -> Result<()> {
        Ok(())
    }

    /// σ² where Σ = σ² I has nothing of J, and needs no model. `None`: it has a part of c J.
    fn without_posterior(&self, _step: &ReverseStep) -> Option<f64> {
        None
    }

    /// D(x) and Σ^{1/2} z; c > 0 where Σ has a part of c J.
    fn noise(&self, model: &mut Evaluator<'_, M>, draw: &Draw<'_>) -> Result<(Tensor, Noise)>;
}

impl<M: Denoiser + ?Sized> dyn Law<M> + '_ {
    /// D(x) and Σ^{1/2} z of any step.
    pub fn draw(&self, model: &mut Evaluator<'_, M>, draw: &Draw<'_>) -> Result<(Tensor, Noise)> {
        match self.adds_posterior(draw.step) || self.without_posterior(draw.step).is_some() {
            true => self.noise(model, draw),
            // A step that goes nowhere, or in whose mean D(x) has no part.
            false => draw.isotropic(model, draw.step.isotropic),
        }
    }

    /// Whether a step adds any noise at all: DDIM (isotropic, η = 0) does not.
    pub fn adds_noise(&self, step: &ReverseStep) -> bool {
        step.isotropic > 0.0 || self.adds_posterior(step)
    }

    fn adds_posterior(&self, step: &ReverseStep) -> bool {
        self.without_posterior(step).is_none() && step.covariance > 0.0
    }
}

/// The noise of one step.
pub struct Noise {
    /// Σ^{1/2} z, (batch, ...).
    pub value: Tensor,
    pub statistics: Statistics,
}

/// What is known of a step's noise. The default is that of a step without any.
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// ‖Σ^{1/2} z‖² / d, the mean over the batch: its variance. 0 without noise.
    pub noise_variance: f64,
    /// What of its variance Σ has beyond s I, s = η² v: 1 − s ‖z‖² / ‖Σ^{1/2} z‖², squares summed over
    /// the batch. `None`: there is no noise.
    ///
    /// ‖Σ^{1/2} z‖² = zᵀ Σ z has the mean tr Σ (Hutchinson 1990), and s ‖z‖² the mean s d: so this is
    /// the share of c J in the trace of Σ, as the noise that was drawn has it.
    pub covariance_share: Option<f64>,
    /// Estimated relative error of Σ^{1/2} z, the largest of the batch; of Lanczos alone.
    pub lanczos_error: Option<f64>,
    /// The Ritz values of J, item by item, each item's rising; empty without Lanczos.
    pub ritz_values: Vec<f64>,
}

/// f(θ) = sqrt(s + c max(θ, 0)), which takes J to Σ^{1/2} for Σ = s I + c J.
///
/// θ < 0 comes only from an inexact model, or from chance: counting it as 0 keeps Σ ⪰ s I, which the exact
/// posterior obeys.
#[derive(Clone, Copy, Debug)]
pub struct SquareRoot {
    /// s.
    pub isotropic: f64,
    /// c.
    pub factor: f64,
}

impl SquareRoot {
    /// f of each number of a tensor.
    pub fn of(self, theta: &Tensor) -> Result<Tensor> {
        Ok(theta.f_clamp_min(0.0)?.f_mul_scalar(self.factor)?.f_add_scalar(self.isotropic)?.f_sqrt()?)
    }
}

/// One draw of a step's noise: the step, where it starts, and its z, (batch, ...).
pub struct Draw<'d> {
    pub step: &'d ReverseStep,
    pub x: &'d Tensor,
    /// D(x, σ), where it is known already.
    pub denoised: Option<&'d Tensor>,
    pub z: &'d Tensor,
}

impl Draw<'_> {
    /// D at x and the step's own σ.
    pub fn here<'e, 'm, M: Denoiser + ?Sized>(&self, model: &'e mut Evaluator<'m, M>) -> Linearization<'e, 'm, M> {
        Linearization::new(model, self.x, self.step.sigma).knowing(self.denoised)
    }

    /// D at x and the noise level at which a step takes J.
    pub fn linearization<'e, 'm, M: Denoiser + ?Sized>(
        &self,
        model: &'e mut Evaluator<'m, M>,
    ) -> Linearization<'e, 'm, M> {
        let sigma = self.jacobian_sigma();
        Linearization::new(model, self.x, sigma).knowing(self.denoised.filter(|_| sigma == self.step.sigma))
    }

    /// Where J is taken.
    pub fn jacobian_sigma(&self) -> f64 {
        self.step.process.jacobian_sigma(self.step.sigma)
    }

    /// What takes J to Σ^{1/2}.
    pub fn square_root(&self) -> SquareRoot {
        SquareRoot { isotropic: self.step.isotropic, factor: self.step.covariance }
    }

    /// Σ = `variance` I.
    pub fn isotropic<M: Denoiser + ?Sized>(
        &self,
        model: &mut Evaluator<'_, M>,
        variance: f64,
    ) -> Result<(Tensor, Noise)> {
        let denoised = self.here(model).denoised()?;
        let [z] = finite_and_fetch([(DENOISED, &denoised), (NOISE, self.z)], [&self.z.f_norm()?])?;
        Ok((denoised, self.noise(self.z.f_mul_scalar(variance.sqrt())?, z * z, variance * (z * z))))
    }

    /// Σ^{1/2} z, of which ‖z‖² and ‖Σ^{1/2} z‖² are known, summed over the batch.
    pub fn noise(&self, value: Tensor, z: f64, noise: f64) -> Noise {
        let statistics = Statistics {
            noise_variance: noise / value.numel() as f64,
            // Rounding must not make it negative where c J is next to nothing.
            covariance_share: (noise > 0.0).then(|| ((noise - self.step.isotropic * z) / noise).max(0.0)),
            ..Statistics::default()
        };
        Noise { value, statistics }
    }
}
