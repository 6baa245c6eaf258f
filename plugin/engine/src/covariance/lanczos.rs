//! Σ = η² v I + c J, all of it, in a Krylov space that begins with the noise: the Lanczos Gaussian sampler
//! (arXiv 2605.22723).

use std::cell::OnceCell;

use super::draw::{Draw, Law, Noise};
use crate::{
    checks::{
        names::{DENOISED, NOISE, PRODUCT},
        not_finite,
    },
    error::{Error, Result},
    layout::Layout,
    linear::{
        functions::{Coefficients, Projected},
        lanczos, Krylov,
    },
    model::{Denoiser, Evaluator},
    tensor::Tensor,
};

pub struct Lanczos {
    /// K, at least 1.
    pub steps: usize,
    /// Take the Krylov vector that the K-th product gives for free.
    pub extended: bool,
    /// Estimated error of x at σ', relative to x, at which an item's recursion ends; 0: never early.
    pub tolerance: f64,
}

impl<M: Denoiser + ?Sized> Law<M> for Lanczos {
    fn products(&self) -> usize {
        self.steps
    }

    fn check(&self, layout: &Layout) -> Result<()> {
        let (k, d) = (self.steps as i64, layout.dimension());
        match (1..=d).contains(&k) {
            true => Ok(()),
            false => {
                Err(Error::Argument(format!("lanczos_steps: expected 1 to {d}, the numbers in one item of x, got {k}")))
            }
        }
    }

    fn noise(&self, model: &mut Evaluator<'_, M>, draw: &Draw<'_>) -> Result<(Tensor, Noise)> {
        let (batch, dimension) = (model.layout.batch(), model.layout.dimension());
        let shape = model.layout.shape.clone();
        let elsewhere = draw.here(model).denoised_apart_from(draw.jacobian_sigma())?;
        let mut at = draw.linearization(model);
        let square_root = draw.square_root();

        // With a tolerance, what is known after each product: items that are good enough keep it.
        let mut known: Option<Coefficients> = None;
        let mut settled = vec![false; batch as usize];
        // D(x) is there as soon as the first product is; and with a tolerance, ‖A x + B D(x)‖ (batch,).
        let denoised: OnceCell<Tensor> = OnceCell::new();
        let mean_norm: OnceCell<Tensor> = OnceCell::new();
        let krylov = lanczos(
            |v, krylov| {
                // Finite differences need D(x) first; forward mode gives it with the first product.
                let product = at.jvp(&v.f_view(&shape[..])?, krylov.reach()?.as_ref())?;
                if denoised.get().is_none() {
                    let d = elsewhere.as_ref().map_or_else(|| at.denoised(), |d| Ok(d.shallow_clone()))?;
                    if self.tolerance > 0.0 {
                        let mean = draw.step.mean(draw.x, &d)?.f_reshape([batch, dimension])?;
                        let _ = mean_norm.set(mean.f_norm_scalaropt_dim(2.0, [1], false)?);
                    }
                    let _ = denoised.set(d);
                }
                Ok(product.f_reshape([batch, dimension])?)
            },
            &draw.z.f_reshape([batch, dimension])?,
            self.steps,
            |krylov| {
                let Some(mean_norm) = mean_norm.get() else { return Ok(false) };
                let (t, mean_norm) = Projected::fetch(krylov, mean_norm)?;
                if !t.is_finite() {
                    return Ok(true);
                }
                let mut now = t.function(|theta| square_root.of(theta), self.extended)?;
                if let Some(earlier) = &known {
                    now.keep(&settled, earlier)?;
                }
                let noise_norm = now.norms(&t)?;
                for (item, settled) in settled.iter_mut().enumerate() {
                    // Of x at σ', mean and noise: what its error comes to in the end. The noise alone is
                    // next to nothing of x once σ' is small against the data.
                    let part = noise_norm[item] / mean_norm[item].hypot(noise_norm[item]).max(f64::MIN_POSITIVE);
                    *settled |= now.error[item] * part <= self.tolerance;
                }
                known = Some(now);
                Ok(settled.iter().all(|&settled| settled))
            },
        )?;
        let denoised = match denoised.into_inner().or(elsewhere) {
            Some(denoised) => denoised,
            None => at.denoised()?,
        };

        let t = projected(&krylov, &denoised)?;
        let coefficients = match known {
            Some(known) => known,
            None => t.function(|theta| square_root.of(theta), self.extended)?,
        };
        let value = coefficients.combine(&krylov)?.f_reshape(&shape[..])?;
        let square = |norms: &[f64]| norms.iter().map(|norm| norm * norm).sum();
        let mut noise = draw.noise(value, square(&t.norm), square(&coefficients.norms(&t)?));
        noise.statistics.lanczos_error = Some(coefficients.largest_error()?);
        noise.statistics.ritz_values = coefficients.ritz_values;
        Ok((denoised, noise))
    }
}

/// The K × K problem of a Krylov space that began with the noise, in one transfer with whether all is finite.
pub(super) fn projected(krylov: &Krylov, denoised: &Tensor) -> Result<Projected> {
    let finite = denoised
        .f_reshape([denoised.size()[0], -1])?
        .f_isfinite()?
        .f_all_dim(1, false)?
        .f_to_kind(krylov.norm.f_kind()?)?;
    let (t, finite) = Projected::fetch(krylov, &finite)?;
    if finite.contains(&0.0) {
        return Err(not_finite(DENOISED));
    }
    if t.norm.iter().any(|norm| !norm.is_finite()) {
        return Err(not_finite(NOISE));
    }
    match t.is_finite() {
        true => Ok(t),
        false => Err(not_finite(PRODUCT)),
    }
}
