//! Σ = η² v I + c Bᵀ diag(B J Bᵀ) B, from probes, B a cosine transform of tiles; after "Covariance-aware
//! sampling for Diffusion Models" (arXiv 2605.13910).

use tch::Tensor;

use super::{
    draw::{Draw, Law, Noise},
    probed,
};
use crate::{
    error::Result,
    layout::Layout,
    linear::bases::Structure,
    model::{Denoiser, Evaluator},
};

pub struct Spectral {
    /// At least 1.
    pub probes: usize,
}

impl<M: Denoiser + ?Sized> Law<M> for Spectral {
    fn products(&self) -> usize {
        self.probes
    }

    fn check(&self, _: &Layout) -> Result<()> {
        probed::check(self.probes)
    }

    fn noise(&self, model: &mut Evaluator<'_, M>, draw: &Draw<'_>) -> Result<(Tensor, Noise)> {
        probed::noise(model, draw, Structure::Frequencies, self.probes)
    }
}
