//! D(x) and the noise Σ^{1/2} z of one reverse step, with each covariance.

use std::cell::OnceCell;

use tch::{Device, Kind, Tensor};

use crate::{
    denoiser::{Denoiser, Evaluator},
    error::{Error, Result},
    finite_difference::reach,
    jvp::{largest, Linearization},
    lanczos::{lanczos, Krylov},
    process::ReverseStep,
    sampler::{mean, Covariance, Options},
    square_root::{self, Coefficients, Projected},
    structured::{self, Structure},
};

/// The noise of one step.
pub struct Noise {
    /// Σ^{1/2} z, (batch, ...).
    pub value: Tensor,
    /// ‖Σ^{1/2} z‖² / d, the mean over the batch: its variance.
    pub variance: f64,
    /// What of its variance Σ has beyond s I, s = η² v: 1 − s ‖z‖² / ‖Σ^{1/2} z‖², squares summed over
    /// the batch. `None`: there is no noise.
    ///
    /// ‖Σ^{1/2} z‖² = zᵀ Σ z has the mean tr Σ (Hutchinson 1990), and s ‖z‖² the mean s d: so this is
    /// the share of c J in the trace of Σ, as the noise that was drawn has it.
    pub covariance_share: Option<f64>,
    /// Estimated relative error, the largest of the batch; of Lanczos alone.
    pub error: Option<f64>,
    /// [`Coefficients::ritz_values`]; empty without Lanczos.
    pub ritz_values: Vec<f64>,
}

/// D(x) alone.
pub fn denoised_only<M: Denoiser + ?Sized>(evaluator: &mut Evaluator<'_, M>, x: &Tensor, sigma: f64) -> Result<Tensor> {
    let denoised = Linearization::new(evaluator, x, sigma).denoised()?;
    check([(DENOISED, &denoised)])?;
    Ok(denoised)
}

/// D(x) and Σ^{1/2} z.
pub fn step_noise<M: Denoiser + ?Sized>(
    evaluator: &mut Evaluator<'_, M>,
    options: &Options,
    kernel: &ReverseStep,
    x: &Tensor,
    sigma: f64,
    z: &Tensor,
) -> Result<(Tensor, Noise)> {
    let step = Step { options, kernel, x, sigma, z };
    match options.covariance {
        Covariance::IsotropicLarge => step.isotropic(evaluator, kernel.large),
        Covariance::Isotropic => step.isotropic(evaluator, kernel.isotropic),
        // A step that goes nowhere, or in whose mean D(x) has no part.
        _ if kernel.covariance == 0.0 => step.isotropic(evaluator, kernel.isotropic),
        Covariance::IsotropicOptimal => step.probed(evaluator, Structure::Isotropic),
        Covariance::Diagonal => step.probed(evaluator, Structure::Pixels),
        Covariance::Spectral => step.probed(evaluator, Structure::Frequencies),
        Covariance::DiagonalLearned => step.learned(evaluator),
        Covariance::Lanczos => step.lanczos(evaluator),
    }
}

/// One reverse step: where it starts, what it is to be, and its z, (batch, ...).
struct Step<'s> {
    options: &'s Options,
    kernel: &'s ReverseStep,
    x: &'s Tensor,
    sigma: f64,
    z: &'s Tensor,
}

impl Step<'_> {
    /// Σ = `variance` I.
    fn isotropic<M: Denoiser + ?Sized>(
        &self,
        evaluator: &mut Evaluator<'_, M>,
        variance: f64,
    ) -> Result<(Tensor, Noise)> {
        let denoised = Linearization::new(evaluator, self.x, self.sigma).denoised()?;
        let [z] = check_and_fetch([(DENOISED, &denoised), (NOISE, self.z)], [&self.z.f_norm()?])?;
        Ok((denoised, self.noise(self.z.f_mul_scalar(variance.sqrt())?, z * z, variance * (z * z))))
    }

    /// Σ = s I + c Bᵀ diag(λ) B, λ from probes of B J Bᵀ.
    fn probed<M: Denoiser + ?Sized>(
        &self,
        evaluator: &mut Evaluator<'_, M>,
        structure: Structure,
    ) -> Result<(Tensor, Noise)> {
        let mut model = Linearization::new(evaluator, self.x, self.jacobian_sigma());
        let basis = structured::Basis::of(structure, self.z)?;
        let eigenvalues = structured::eigenvalues(|v| model.jvp(v, None), &basis, self.z, self.options.probes)?;
        let denoised = model.denoised()?;
        let noise =
            self.structured(&basis, &eigenvalues, [(DENOISED, &denoised), (NOISE, self.z), (PRODUCT, &eigenvalues)])?;
        Ok((denoised, noise))
    }

    /// Σ = s I + c diag(λ), λ from the host's network for diag J.
    fn learned<M: Denoiser + ?Sized>(&self, evaluator: &mut Evaluator<'_, M>) -> Result<(Tensor, Noise)> {
        let sigma = self.jacobian_sigma();
        let diagonal = evaluator.diagonal(self.x, sigma)?;
        let denoised = Linearization::new(evaluator, self.x, sigma).denoised()?;
        let basis = structured::Basis::of(Structure::Pixels, self.z)?;
        let noise =
            self.structured(&basis, &diagonal, [(DENOISED, &denoised), (NOISE, self.z), (DIAGONAL, &diagonal)])?;
        Ok((denoised, noise))
    }

    /// Σ^{1/2} z for eigenvalues in a basis, once all that it is made of is `checked`.
    fn structured(
        &self,
        basis: &structured::Basis,
        eigenvalues: &Tensor,
        checked: [(&str, &Tensor); 3],
    ) -> Result<Noise> {
        let value = structured::square_root(self.covariance(), basis, eigenvalues, self.z)?;
        let [z, noise] = check_and_fetch(checked, [&self.z.f_norm()?, &value.f_norm()?])?;
        Ok(self.noise(value, z * z, noise * noise))
    }

    /// Σ = s I + c J, by Lanczos.
    fn lanczos<M: Denoiser + ?Sized>(&self, evaluator: &mut Evaluator<'_, M>) -> Result<(Tensor, Noise)> {
        let Step { options, kernel, x, z, .. } = *self;
        let (batch, dimension) = (evaluator.layout.batch(), evaluator.layout.dimension());
        let shape = evaluator.layout.shape.clone();
        let mut model = Linearization::new(evaluator, x, self.jacobian_sigma());
        let covariance = self.covariance();

        // With a tolerance, what is known after each product: items that are good enough keep it.
        let mut known: Option<Coefficients> = None;
        let mut settled = vec![false; batch as usize];
        // D(x) is there as soon as the first product is; and with a tolerance, ‖A x + B D(x)‖ (batch,).
        let denoised: OnceCell<Tensor> = OnceCell::new();
        let mean_norm: OnceCell<Tensor> = OnceCell::new();
        let krylov = lanczos(
            |v, krylov| {
                // Finite differences need D(x) first; forward mode gives it with the first product.
                let product = model.jvp(&v.f_view(&shape[..])?, reach(krylov)?.as_ref())?;
                if denoised.get().is_none() {
                    let d = model.denoised()?;
                    if options.tolerance > 0.0 {
                        let mean = mean(kernel, x, &d)?.f_reshape([batch, dimension])?;
                        let _ = mean_norm.set(mean.f_norm_scalaropt_dim(2.0, [1], false)?);
                    }
                    let _ = denoised.set(d);
                }
                Ok(product.f_reshape([batch, dimension])?)
            },
            &z.f_reshape([batch, dimension])?,
            options.lanczos_steps,
            |krylov| {
                let Some(mean_norm) = mean_norm.get() else { return Ok(false) };
                let (t, mean_norm) = Projected::fetch(krylov, mean_norm)?;
                if !t.is_finite() {
                    return Ok(true);
                }
                let mut now = t.square_root(covariance, options.extended)?;
                if let Some(earlier) = &known {
                    now.keep(&settled, earlier)?;
                }
                let noise_norm = now.norms(&t)?;
                for (item, settled) in settled.iter_mut().enumerate() {
                    // Of x at σ', mean and noise: what its error comes to in the end. The noise alone is
                    // next to nothing of x once σ' is small against the data.
                    let part = noise_norm[item] / mean_norm[item].hypot(noise_norm[item]).max(f64::MIN_POSITIVE);
                    *settled |= now.error[item] * part <= options.tolerance;
                }
                known = Some(now);
                Ok(settled.iter().all(|&settled| settled))
            },
        )?;
        let denoised = match denoised.into_inner() {
            Some(denoised) => denoised,
            None => model.denoised()?,
        };

        let t = fetch_checked(&krylov, &denoised)?;
        let coefficients = match known {
            Some(known) => known,
            None => t.square_root(covariance, options.extended)?,
        };
        let value = coefficients.combine(&krylov)?.f_reshape(&shape[..])?;
        let square = |norms: &[f64]| norms.iter().map(|norm| norm * norm).sum();
        let noise = Noise {
            error: Some(coefficients.largest_error()?),
            ..self.noise(value, square(&t.norm), square(&coefficients.norms(&t)?))
        };
        let noise = Noise { ritz_values: coefficients.ritz_values, ..noise };
        Ok((denoised, noise))
    }

    /// Σ^{1/2} z, of which ‖z‖² and ‖Σ^{1/2} z‖² are known, summed over the batch.
    fn noise(&self, value: Tensor, z: f64, noise: f64) -> Noise {
        Noise {
            variance: noise / value.numel() as f64,
            // Rounding must not make it negative where c J is next to nothing.
            covariance_share: (noise > 0.0).then(|| ((noise - self.kernel.isotropic * z) / noise).max(0.0)),
            value,
            error: None,
            ritz_values: Vec::new(),
        }
    }

    /// Where J is taken.
    fn jacobian_sigma(&self) -> f64 {
        self.options.process.jacobian_sigma(self.sigma)
    }

    /// Σ, but for what of J it has.
    fn covariance(&self) -> square_root::Covariance {
        square_root::Covariance { isotropic: self.kernel.isotropic, factor: self.kernel.covariance }
    }
}

/// The K × K problem of a Krylov space that began with the noise, in one transfer with whether all is well.
pub(crate) fn fetch_checked(krylov: &Krylov, denoised: &Tensor) -> Result<Projected> {
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

/// That each of these tensors is finite; the first that is not is named.
fn check<const N: usize>(tensors: [(&str, &Tensor); N]) -> Result<()> {
    check_and_fetch(tensors, []).map(|[]| ())
}

/// The same, and the numbers of further tensors of one each.
fn check_and_fetch<const N: usize, const M: usize>(
    tensors: [(&str, &Tensor); N],
    also: [&Tensor; M],
) -> Result<[f64; M]> {
    // Together, for the sake of one wait for the device.
    let mut all = tensors.iter().map(|(_, tensor)| largest(tensor)).collect::<Result<Vec<_>>>()?;
    for number in also {
        all.push(number.f_reshape([1])?);
    }
    let mut numbers = vec![0.0f64; N + M];
    Tensor::f_cat(&all, 0)?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?.f_copy_data(&mut numbers, N + M)?;
    match tensors.iter().zip(&numbers).find(|(_, number)| !number.is_finite()) {
        Some(((what, _), _)) => Err(not_finite(what)),
        None => Ok(std::array::from_fn(|i| numbers[N + i])),
    }
}

const DENOISED: &str = "the denoised image that the model returned";
const NOISE: &str = "the noise";
const DIAGONAL: &str = "the diagonal that the network for it returned";
const PRODUCT: &str = "the model's Jacobian-vector product";

fn not_finite(what: &str) -> Error {
    Error::Output(format!("{what} holds NaN or infinity"))
}
