//! Σ = η² v I + c diag J, diag J from a network of the host's: OCM itself (arXiv 2406.10808).

use super::{
    draw::{Draw, Law, Noise},
    probed::with_eigenvalues,
};
use crate::{
    checks::names::{DENOISED, DIAGONAL},
    error::Result,
    linear::bases::{Basis, Structure},
    model::{Denoiser, Evaluator},
    tensor::Tensor,
};

pub struct DiagonalLearned;

impl<M: Denoiser + ?Sized> Law<M> for DiagonalLearned {
    fn noise(&self, model: &mut Evaluator<'_, M>, draw: &Draw<'_>) -> Result<(Tensor, Noise)> {
        let diagonal = model.diagonal(draw.x, draw.jacobian_sigma())?;
        let denoised = draw.here(model).denoised()?;
        let basis = Basis::of(Structure::Pixels, draw.z)?;
        let noise = with_eigenvalues(draw, &basis, &diagonal, [(DENOISED, &denoised), (DIAGONAL, &diagonal)])?;
        Ok((denoised, noise))
    }
}
