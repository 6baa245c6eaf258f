//! What a trajectory needs beside the model: noise, and somebody to report to.

use crate::{
    checks::names::NOISE,
    covariance::Statistics,
    error::Result,
    model::{Denoiser, Evaluator},
    options::Jvp,
    tensor::Tensor,
};

/// A model with its surroundings.
pub trait Host: Denoiser {
    /// z ~ N(0, I), like x, for the step σ → σ'.
    fn noise(&mut self, sigma: f64, sigma_next: f64) -> Result<Tensor>;
    fn progress(&mut self, progress: &Progress<'_>) -> Result<()>;
}

impl<H: Host + ?Sized> Evaluator<'_, H> {
    /// z of the host's for the step σ → σ', (batch, ...) in the sampler's dtype, and ours.
    pub(crate) fn noise(&mut self, sigma: f64, sigma_next: f64) -> Result<Tensor> {
        let z = self.model().noise(sigma, sigma_next)?;
        self.layout.own(NOISE, &z)
    }
}

/// Where a trajectory is: once a step, when it is computed. x and D(x) are those that it started from.
pub struct Progress<'a> {
    pub step: usize,
    pub steps: usize,
    pub sigma: f64,
    pub sigma_next: f64,
    /// Since the trajectory began, this step's included.
    pub model_evaluations: u64,
    pub jvps: u64,
    pub jvp: Jvp,
    pub statistics: &'a Statistics,
    /// (batch, ...), in the model's dtype.
    pub x: &'a Tensor,
    pub denoised: &'a Tensor,
}
