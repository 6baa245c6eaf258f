//! Σ = η² v I + c (tr J / d) I, from probes: Analytic-DPM's (arXiv 2201.06503), for each item by itself.

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

pub struct IsotropicOptimal {
    /// At least 1.
    pub probes: usize,
}

impl<M: Denoiser + ?Sized> Law<M> for IsotropicOptimal {
    fn products(&self) -> usize {
        self.probes
    }

    fn check(&self, _: &Layout) -> Result<()> {
        probed::check(self.probes)
    }

    fn noise(&self, model: &mut Evaluator<'_, M>, draw: &Draw<'_>) -> Result<(Tensor, Noise)> {
        probed::noise(model, draw, Structure::Isotropic, self.probes)
    }
}
