//! Σ = η² σ²_{t|s} I: the larger of DDPM's two choices (arXiv 2006.11239, 3.2), nothing of J.

use super::draw::{Draw, Law, Noise};
use crate::{
    error::Result,
    model::{Denoiser, Evaluator},
    process::ReverseStep,
    tensor::Tensor,
};

pub struct IsotropicLarge;

impl<M: Denoiser + ?Sized> Law<M> for IsotropicLarge {
    fn without_posterior(&self, step: &ReverseStep) -> Option<f64> {
        Some(step.large)
    }

    fn noise(&self, model: &mut Evaluator<'_, M>, draw: &Draw<'_>) -> Result<(Tensor, Noise)> {
        draw.isotropic(model, draw.step.large)
    }
}
