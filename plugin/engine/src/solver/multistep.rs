//! A draw with the isotropic covariance, around a mean of second order:
//!
//! ```text
//! x_s = A x + B D(x_t) + γ (D(x_t) − D(x_u)) + Σ^{1/2} z
//! ```
//!
//! u → t the step before, γ of [`ReverseStep::multistep`]: DPM-Solver++(2M) at η = 0, its SDE at η = 1.
//!
//! [`ReverseStep::multistep`]: crate::process::ReverseStep::multistep

use super::{
    ancestral::Ancestral,
    seam::{History, Outcome, Solver, Step},
};
use crate::{error::Result, host::Host, model::Evaluator, options::Covariance, process::SHARE_AFTER_COVARIANCE};

pub struct Multistep<'h, H: Host + ?Sized> {
    pub isotropic: Ancestral<'h, H>,
}

impl<H: Host + ?Sized> Solver<H> for Multistep<'_, H> {
    fn step(&mut self, model: &mut Evaluator<'_, H>, step: &Step<'_>, history: &History) -> Result<Outcome> {
        let (denoised, noise) = self.isotropic.draw(model, step)?;
        let mut mean = step.mean(&denoised)?;
        if let (false, Some(before)) = (step.is_last(), history.last()) {
            let share = if before.covariance == Covariance::Isotropic { 1.0 } else { SHARE_AFTER_COVARIANCE };
            let gamma = share * step.kernel.multistep(before.sigma);
            mean = mean.f_add(&denoised.f_sub(&before.denoised)?.f_mul_scalar(gamma)?)?;
        }
        self.isotropic.outcome(mean, denoised, noise)
    }

    fn memory(&self) -> usize {
        1
    }
}
