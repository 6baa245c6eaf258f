//! Σ = s I + c Bᵀ diag(λ) B: what the laws have in common that take J to be diagonal in a known basis.

use super::draw::{Draw, Law, Noise};
use crate::{
    checks::{
        finite_and_fetch,
        names::{DENOISED, NOISE, PRODUCT},
    },
    error::{Error, Result},
    layout::Layout,
    linear::bases::{self, Basis, Structure},
    model::{Denoiser, Evaluator},
    tensor::Tensor,
};

/// λ from probes, B and what is alike in λ by the structure.
pub struct Probed {
    pub structure: Structure,
    /// At least 1.
    pub probes: usize,
}

impl<M: Denoiser + ?Sized> Law<M> for Probed {
    fn products(&self) -> usize {
        self.probes
    }

    fn check(&self, _: &Layout) -> Result<()> {
        match self.probes {
            0 => Err(Error::Argument("probes: expected at least 1, got 0".into())),
            _ => Ok(()),
        }
    }

    fn noise(&self, model: &mut Evaluator<'_, M>, draw: &Draw<'_>) -> Result<(Tensor, Noise)> {
        let elsewhere = draw.here(model).denoised_apart_from(draw.jacobian_sigma())?;
        let mut at = draw.linearization(model);
        let basis = Basis::of(self.structure, draw.z)?;
        let eigenvalues = bases::eigenvalues(|v| at.jvp(v, None), &basis, draw.z, self.probes)?;
        let denoised = elsewhere.map_or_else(|| at.denoised(), Ok)?;
        let noise = with_eigenvalues(draw, &basis, &eigenvalues, [(DENOISED, &denoised), (PRODUCT, &eigenvalues)])?;
        Ok((denoised, noise))
    }
}

/// Σ^{1/2} z for these λ, once all that it is made of is `checked`.
pub fn with_eigenvalues(
    draw: &Draw<'_>,
    basis: &Basis,
    eigenvalues: &Tensor,
    checked: [(&str, &Tensor); 2],
) -> Result<Noise> {
    let square_root = draw.square_root();
    let value = bases::function(|lambda| square_root.of(lambda), basis, eigenvalues, draw.z)?;
    let [denoised, diagonal] = checked;
    let [z, noise] = finite_and_fetch([denoised, (NOISE, draw.z), diagonal], [&draw.z.f_norm()?, &value.f_norm()?])?;
    Ok(draw.noise(value, z * z, noise * noise))
}
