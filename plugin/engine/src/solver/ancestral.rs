//! A draw from the reverse kernel with a covariance:
//!
//! ```text
//! x_s = A x + B D(x) + Σ^{1/2} z
//! ```
//!
//! With the full covariance, "The Value of Covariance Matching in Gaussian DDPMs and the Lanczos Sampler"
//! (arXiv 2605.22723); isotropic, DDIM's family (arXiv 2010.02502).

use super::seam::{History, Outcome, Solver, Step};
use crate::{
    checks::{finite_and_fetch, names::DENOISED},
    covariance::{law, Draw, Law, Noise, Statistics},
    error::Result,
    host::Host,
    jacobian::Linearization,
    layout::Layout,
    model::Evaluator,
    options::{Covariance, Options},
    tensor::Tensor,
};

pub struct Ancestral<'h, H: Host + ?Sized> {
    law: Box<dyn Law<H> + 'h>,
    covariance: Covariance,
    /// Factor on the noise.
    s_noise: f64,
}

impl<'h, H: Host + ?Sized + 'h> Ancestral<'h, H> {
    pub fn new(options: &Options) -> Self {
        Self { law: law(options), covariance: options.covariance, s_noise: options.s_noise }
    }

    /// D(x), and the noise where there is any.
    pub fn draw(&self, model: &mut Evaluator<'_, H>, step: &Step<'_>) -> Result<(Tensor, Option<Noise>)> {
        let Step { kernel, x, denoised } = *step;
        if step.is_last() || self.s_noise == 0.0 || !self.law.adds_noise(kernel) {
            let denoised = Linearization::new(model, x, kernel.sigma).knowing(denoised).denoised()?;
            let [] = finite_and_fetch([(DENOISED, &denoised)], [])?;
            return Ok((denoised, None));
        }
        let z = model.noise(kernel.sigma, kernel.sigma_next)?;
        let (denoised, noise) = self.law.draw(model, &Draw { step: kernel, x, denoised, z: &z })?;
        Ok((denoised, Some(noise)))
    }

    /// The mean and the noise together.
    pub fn outcome(&self, mean: Tensor, denoised: Tensor, noise: Option<Noise>) -> Result<Outcome> {
        let (x, statistics) = match noise {
            Some(noise) if self.s_noise == 1.0 => (mean.f_add(&noise.value)?, noise.statistics),
            Some(noise) => (mean.f_add(&noise.value.f_mul_scalar(self.s_noise)?)?, noise.statistics),
            None => (mean, Statistics::default()),
        };
        Ok(Outcome { x, denoised, denoised_next: None, covariance: self.covariance, statistics })
    }
}

impl<H: Host + ?Sized> Solver<H> for Ancestral<'_, H> {
    fn step(&mut self, model: &mut Evaluator<'_, H>, step: &Step<'_>, _: &History) -> Result<Outcome> {
        let (denoised, noise) = self.draw(model, step)?;
        self.outcome(step.mean(&denoised)?, denoised, noise)
    }

    fn check(&self, layout: &Layout) -> Result<()> {
        self.law.check(layout)
    }

    fn products(&self) -> usize {
        self.law.products()
    }
}
