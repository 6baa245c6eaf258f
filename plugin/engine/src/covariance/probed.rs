//! Σ = s I + c Bᵀ diag(λ) B: what the laws have in common that take J to be diagonal in a known basis.

use tch::Tensor;

use super::draw::{Draw, Noise};
use crate::{
    checks::{
        finite_and_fetch,
        names::{DENOISED, NOISE, PRODUCT},
    },
    error::{Error, Result},
    linear::bases::{self, Basis, Structure},
    model::{Denoiser, Evaluator},
};

/// That there is a probe.
pub fn check(probes: usize) -> Result<()> {
    match probes {
        0 => Err(Error::Argument("probes: expected at least 1, got 0".into())),
        _ => Ok(()),
    }
}

/// D(x) and Σ^{1/2} z, λ from `probes` products.
pub fn noise<M: Denoiser + ?Sized>(
    model: &mut Evaluator<'_, M>,
    draw: &Draw<'_>,
    structure: Structure,
    probes: usize,
) -> Result<(Tensor, Noise)> {
    let mut at = draw.linearization(model);
    let basis = Basis::of(structure, draw.z)?;
    let eigenvalues = bases::eigenvalues(|v| at.jvp(v, None), &basis, draw.z, probes)?;
    let denoised = at.denoised()?;
    let noise = with_eigenvalues(draw, &basis, &eigenvalues, [(DENOISED, &denoised), (PRODUCT, &eigenvalues)])?;
    Ok((denoised, noise))
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
