//! Σ = η² v I + c diag J, from probes: OCM's optimum (arXiv 2406.10808), with no training.

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

pub struct Diagonal {
    /// At least 1.
    pub probes: usize,
}

impl<M: Denoiser + ?Sized> Law<M> for Diagonal {
    fn products(&self) -> usize {
        self.probes
    }

    fn check(&self, _: &Layout) -> Result<()> {
        probed::check(self.probes)
    }

    fn noise(&self, model: &mut Evaluator<'_, M>, draw: &Draw<'_>) -> Result<(Tensor, Noise)> {
        probed::noise(model, draw, Structure::Pixels, self.probes)
    }
}
