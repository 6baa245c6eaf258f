//! Sampling: one reverse step, and a trajectory of them.
//!
//! The method is that of "The Value of Covariance Matching in Gaussian DDPMs and the Lanczos
//! Sampler" (arXiv 2605.22723); the names are the field's.

use tch::{Kind, Tensor};

use crate::{
    denoiser::{Denoiser, DoubledBatch, Evaluator, Layout, Plan},
    error::{Error, Result},
    jvp::{all_finite, Jvp, Linearization},
    noise::{denoised_only, step_noise},
    posterior::{self, PrincipalComponents},
    process::{Process, ReverseStep, SHARE_AFTER_COVARIANCE},
};

/// Covariance Σ of the reverse step: how much of c J, the posterior covariance of x_0 carried
/// through to x_s, is added to η² v I, what remains once x_0 is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covariance {
    /// η² v I, nothing of it: the smaller of DDPM's two choices (arXiv 2006.11239, 3.2).
    Isotropic,
    /// η² σ²_{t|s} I: the larger of DDPM's two.
    IsotropicLarge,
    /// Its mean eigenvalue, η² v I + c (tr J / d) I: Analytic-DPM's (arXiv 2201.06503), for each
    /// item by itself.
    IsotropicOptimal,
    /// Its diagonal, η² v I + c diag J, from probes: OCM's optimum (arXiv 2406.10808).
    Diagonal,
    /// The same from a network of the host's, trained as OCM's is.
    DiagonalLearned,
    /// Its diagonal in frequency space, from probes; after "Covariance-aware sampling for Diffusion
    /// Models" (arXiv 2605.13910).
    Spectral,
    /// All of it, η² v I + c J, by Lanczos (arXiv 2605.22723).
    Lanczos,
}

impl Covariance {
    /// Whether it is estimated with Jacobian-vector products along random directions.
    pub fn is_probed(self) -> bool {
        matches!(self, Covariance::IsotropicOptimal | Covariance::Diagonal | Covariance::Spectral)
    }

    /// Whether it has a part of the posterior covariance of x_0.
    pub fn has_posterior(self) -> bool {
        !matches!(self, Covariance::Isotropic | Covariance::IsotropicLarge)
    }
}

/// What a step takes whose σ is outside the range of the covariance; either costs one model evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherSteps {
    /// The isotropic covariance.
    Isotropic,
    /// That, and a mean of second order, with D(x) of the step before. See [`ReverseStep::multistep`].
    Multistep,
}

/// What a user can choose.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub process: Process,
    pub covariance: Covariance,
    /// Steps that start at a σ/α below the one or above the other are `other_steps`.
    pub covariance_min_sigma: f64,
    pub covariance_max_sigma: f64,
    pub other_steps: OtherSteps,
    pub jvp: Jvp,
    pub doubled_batch: DoubledBatch,
    /// What the model computes in, where that is not the dtype of x.
    pub precision: Option<Kind>,
    /// K, Jacobian-vector products a step.
    pub lanczos_steps: usize,
    /// Products a step of the covariances that are probed.
    pub probes: usize,
    /// Take the Krylov vector that the K-th product gives for free.
    pub extended: bool,
    /// 1: DDPM. 0: DDIM's mean. In [0, 1].
    pub eta: f64,
    /// Factor on the noise that each step adds.
    pub s_noise: f64,
    /// Estimated error of x at σ', relative to x, at which an item's recursion ends; 0: never early.
    pub tolerance: f64,
}

/// Where a trajectory is: once a step, when D(x) and the noise are known and x has not moved.
pub struct Progress<'a> {
    pub step: usize,
    pub steps: usize,
    pub sigma: f64,
    pub sigma_next: f64,
    /// Since the trajectory began, this step's included.
    pub model_evaluations: u64,
    pub jvps: u64,
    pub jvp: Jvp,
    /// Estimated relative error of Σ^{1/2} z, the largest of the batch; `None` without Lanczos.
    pub lanczos_error: Option<f64>,
    /// What of the noise's variance Σ has beyond η² v I, see [`crate::noise::Noise::covariance_share`]; `None` without noise.
    pub covariance_share: Option<f64>,
    /// Its variance, without s_noise: ‖Σ^{1/2} z‖² / d, the mean over the batch; 0 without noise.
    pub noise_variance: f64,
    /// The Ritz values of J, item by item, each item's rising; empty without Lanczos.
    pub ritz_values: &'a [f64],
    /// (batch, ...), in the model's dtype.
    pub x: &'a Tensor,
    pub denoised: &'a Tensor,
}

/// What a trajectory needs beside the model.
pub trait Host: Denoiser {
    /// z ~ N(0, I), like x, for the step σ → σ'.
    fn noise(&mut self, sigma: f64, sigma_next: f64) -> Result<Tensor>;
    fn progress(&mut self, progress: &Progress<'_>) -> Result<()>;
}

/// A trajectory from x (batch, ...) at `sigmas[0]` down to the last of `sigmas`; like x.
///
/// A last σ of 0 gives D(x) of the step before, as every k-diffusion sampler does.
pub fn sample<H: Host + ?Sized>(host: &mut H, options: &Options, x: &Tensor, sigmas: &[f64]) -> Result<Tensor> {
    let _no_grad = tch::no_grad_guard();
    let layout = Layout::of("x", x)?;
    check_sigmas(options.process, sigmas)?;
    check_options(options, &layout)?;
    check_finite("x", x)?;
    let (kind, model_kind) = (layout.kind, layout.model_kind);
    let steps = sigmas.len() - 1;
    let mut evaluator = Evaluator::new(host, layout, options.plan());
    let mut x = x.f_to_kind(kind)?;
    // σ and D(x) of the step before, and how much of its change a multistep after it takes.
    let mut before: Option<(f64, Tensor, f64)> = None;
    for (step, (&sigma, &sigma_next)) in sigmas.iter().zip(&sigmas[1..]).enumerate() {
        let multistep = options.is_multistep(sigma);
        let options = options.at(sigma);
        let kernel = ReverseStep::new(options.process, sigma, sigma_next, options.eta);
        let place = format!("step {} of {steps} (sigma {sigma:.6})", step + 1);
        // On the last step the mean alone is wanted: x_0 is D(x).
        let (denoised, noise) = match sigma_next > 0.0 && options.adds_noise(&kernel) {
            true => {
                let z = evaluator.model().noise(sigma, sigma_next)?;
                let z = evaluator.layout.working("the noise", &z).map_err(|error| error.at(&place))?;
                step_noise(&mut evaluator, &options, &kernel, &x, sigma, &z)
                    .map(|(denoised, noise)| (denoised, Some(noise)))
            }
            false => denoised_only(&mut evaluator, &x, sigma).map(|denoised| (denoised, None)),
        }
        .map_err(|error| error.at(&place))?;
        let progress = Progress {
            step,
            steps,
            sigma,
            sigma_next,
            model_evaluations: evaluator.model_evaluations,
            jvps: evaluator.jvps,
            jvp: evaluator.method.kind(),
            lanczos_error: noise.as_ref().and_then(|noise| noise.error),
            covariance_share: noise.as_ref().and_then(|noise| noise.covariance_share),
            noise_variance: noise.as_ref().map_or(0.0, |noise| noise.variance),
            ritz_values: noise.as_ref().map_or(&[], |noise| &noise.ritz_values),
            x: &x.f_to_kind(model_kind)?,
            denoised: &denoised.f_to_kind(model_kind)?,
        };
        evaluator.model().progress(&progress)?;
        if sigma_next == 0.0 {
            x = denoised;
            continue;
        }
        let mut mean = mean(&kernel, &x, &denoised)?;
        if let (true, Some((sigma_before, denoised_before, share))) = (multistep, &before) {
            let gamma = share * kernel.multistep(options.process, *sigma_before, sigma, sigma_next);
            mean = mean.f_add(&denoised.f_sub(denoised_before)?.f_mul_scalar(gamma)?)?;
        }
        x = match noise {
            Some(noise) if options.s_noise == 1.0 => mean.f_add(&noise.value)?,
            Some(noise) => mean.f_add(&noise.value.f_mul_scalar(options.s_noise)?)?,
            None => mean,
        };
        let share = if options.covariance == Covariance::Isotropic { 1.0 } else { SHARE_AFTER_COVARIANCE };
        before = Some((sigma, denoised, share));
    }
    Ok(x.f_to_kind(model_kind)?)
}

/// A x + B D(x), the mean of the reverse kernel.
pub fn mean(kernel: &ReverseStep, x: &Tensor, denoised: &Tensor) -> Result<Tensor> {
    Ok(x.f_mul_scalar(kernel.mean_x)?.f_add(&denoised.f_mul_scalar(kernel.mean_denoised)?)?)
}

/// Σ^{1/2} z of the step σ → σ' at x, without s_noise; x, z and the result (batch, ...).
///
/// σ' = 0 gives the square root of the posterior covariance of x_0 itself.
pub fn reverse_noise<M: Denoiser + ?Sized>(
    model: &mut M,
    options: &Options,
    x: &Tensor,
    sigma: f64,
    sigma_next: f64,
    z: &Tensor,
) -> Result<Tensor> {
    let _no_grad = tch::no_grad_guard();
    let layout = Layout::of("x", x)?;
    if sigma_next == 0.0 {
        check_sigmas(options.process, &[sigma, sigma_next])?;
    } else {
        check_sigmas(options.process, &[sigma, sigma_next, 0.0])?;
    }
    check_options(options, &layout)?;
    check_finite("x", x)?;
    let z = argument("z", &layout, z)?;
    let model_kind = layout.model_kind;
    let kernel = ReverseStep::new(options.process, sigma, sigma_next, options.eta);
    let x = x.f_to_kind(layout.kind)?;
    let mut evaluator = Evaluator::new(model, layout, options.plan());
    let options = options.at(sigma);
    let noise = match options.covariance {
        // Without a model.
        Covariance::Isotropic => z.f_mul_scalar(kernel.isotropic.sqrt())?,
        Covariance::IsotropicLarge => z.f_mul_scalar(kernel.large.sqrt())?,
        _ => {
            step_noise(&mut evaluator, &options, &kernel, &x, sigma, &z)
                .map_err(|error| error.at(format!("sigma {sigma:.6}")))?
                .1
                .value
        }
    };
    Ok(noise.f_to_kind(model_kind)?)
}

/// D(x, σ) and the leading principal components of the posterior of x_0 given x, from K = `lanczos_steps`
/// products in a Krylov space that begins with z; x and z (batch, ...). All that is returned is in x's dtype.
pub fn principal_components<M: Denoiser + ?Sized>(
    model: &mut M,
    options: &Options,
    x: &Tensor,
    sigma: f64,
    z: &Tensor,
) -> Result<PrincipalComponents> {
    let _no_grad = tch::no_grad_guard();
    let options = Options { covariance: Covariance::Lanczos, ..*options };
    let layout = Layout::of("x", x)?;
    check_sigmas(options.process, &[sigma, 0.0])?;
    check_options(&options, &layout)?;
    check_finite("x", x)?;
    let z = argument("z", &layout, z)?;
    let (kind, model_kind) = (layout.kind, layout.model_kind);
    // A step to σ = 0 has the covariance of x_0 itself.
    let factor = ReverseStep::new(options.process, sigma, 0.0, options.eta).covariance;
    let jacobian_sigma = options.process.jacobian_sigma(sigma);
    let mut evaluator = Evaluator::new(model, layout, options.plan());
    let x = x.f_to_kind(kind)?;
    let found = posterior::principal_components(&mut evaluator, &x, jacobian_sigma, factor, &z, options.lanczos_steps)
        .map_err(|error| error.at(format!("sigma {sigma:.6}")))?;
    Ok(PrincipalComponents {
        denoised: found.denoised.f_to_kind(model_kind)?,
        variances: found.variances.f_to_kind(model_kind)?,
        components: found.components.f_to_kind(model_kind)?,
    })
}

/// D(x, σ) and J v at x; x, v and both results (batch, ...).
pub fn jvp<M: Denoiser + ?Sized>(
    model: &mut M,
    options: &Options,
    x: &Tensor,
    sigma: f64,
    v: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let _no_grad = tch::no_grad_guard();
    let layout = Layout::of("x", x)?;
    check_sigmas(options.process, &[sigma, 0.0])?;
    check_finite("x", x)?;
    let v = argument("v", &layout, v)?;
    let (kind, model_kind) = (layout.kind, layout.model_kind);
    let mut evaluator = Evaluator::new(model, layout, Plan { products: 1, ..options.plan() });
    let mut model = Linearization::new(&mut evaluator, &x.f_to_kind(kind)?, sigma);
    let place = format!("sigma {sigma:.6}");
    let product = model.jvp(&v, None).map_err(|error| error.at(&place))?;
    let denoised = model.denoised()?;
    for (name, tensor) in [("denoised image", &denoised), ("Jacobian-vector product", &product)] {
        if !all_finite(tensor)? {
            return Err(Error::Output(format!("the model's {name} is NaN or infinite")).at(&place));
        }
    }
    Ok((denoised.f_to_kind(model_kind)?, product.f_to_kind(model_kind)?))
}

impl Options {
    fn plan(&self) -> Plan {
        Plan {
            jvp: self.jvp,
            doubled_batch: self.doubled_batch,
            precision: self.precision,
            products: if self.covariance.is_probed() { self.probes } else { self.lanczos_steps },
        }
    }

    /// Whether a step that starts at σ takes the covariance.
    fn in_range(&self, sigma: f64) -> bool {
        (self.covariance_min_sigma..=self.covariance_max_sigma).contains(&self.process.noise_to_signal(sigma))
    }

    fn is_multistep(&self, sigma: f64) -> bool {
        self.other_steps == OtherSteps::Multistep && !self.in_range(sigma)
    }

    /// The options of a step that starts at σ.
    fn at(&self, sigma: f64) -> Self {
        match self.in_range(sigma) {
            true => *self,
            false => Self { covariance: Covariance::Isotropic, ..*self },
        }
    }

    /// Whether a step adds any noise at all: DDIM (isotropic, η = 0) does not.
    fn adds_noise(&self, kernel: &ReverseStep) -> bool {
        let has_posterior = self.covariance.has_posterior() && kernel.covariance > 0.0;
        self.s_noise > 0.0 && (kernel.isotropic > 0.0 || has_posterior)
    }
}

fn check_finite(name: &str, tensor: &Tensor) -> Result<()> {
    match all_finite(tensor)? {
        true => Ok(()),
        false => Err(Error::Argument(format!("{name}: expected finite numbers, got NaN or infinity"))),
    }
}

/// A tensor that the caller gave beside x, in the sampler's dtype.
fn argument(name: &str, layout: &Layout, tensor: &Tensor) -> Result<Tensor> {
    Layout::of(name, tensor)?;
    let tensor = layout.working(name, tensor).map_err(|error| match error {
        Error::Output(message) => Error::Argument(message),
        other => other,
    })?;
    check_finite(name, &tensor)?;
    Ok(tensor)
}

fn check_sigmas(process: Process, sigmas: &[f64]) -> Result<()> {
    let wrong = |what: String| Err(Error::Argument(format!("sigmas: {what}")));
    if sigmas.len() < 2 {
        return wrong(format!("expected at least two noise levels, got {}", sigmas.len()));
    }
    for (i, &sigma) in sigmas.iter().enumerate() {
        let last = i + 1 == sigmas.len();
        if !sigma.is_finite() || sigma < 0.0 {
            return wrong(format!("expected finite numbers that are not negative, got {sigma} at index {i}"));
        }
        if sigma == 0.0 && !last {
            return wrong(format!("expected 0 only as the last noise level, got it at index {i}"));
        }
        if sigma > process.max_sigma() {
            return wrong(format!("expected at most {} for a flow, got {sigma} at index {i}", process.max_sigma()));
        }
        if i > 0 && sigma > sigmas[i - 1] {
            return wrong(format!(
                "expected noise levels that do not rise, got {sigma} at index {i} after {}",
                sigmas[i - 1]
            ));
        }
    }
    Ok(())
}

fn check_options(options: &Options, layout: &Layout) -> Result<()> {
    let (k, d) = (options.lanczos_steps as i64, layout.dimension());
    if options.covariance == Covariance::Lanczos && !(1..=d).contains(&k) {
        return Err(Error::Argument(format!(
            "lanczos_steps: expected 1 to {d}, the numbers in one item of x, got {k}"
        )));
    }
    if options.covariance.is_probed() && options.probes == 0 {
        return Err(Error::Argument("probes: expected at least 1, got 0".into()));
    }
    for (name, value, low, high) in [
        ("eta", options.eta, 0.0, 1.0),
        ("s_noise", options.s_noise, 0.0, f64::MAX),
        ("tolerance", options.tolerance, 0.0, f64::MAX),
        ("covariance_min_sigma", options.covariance_min_sigma, 0.0, f64::MAX),
        ("covariance_max_sigma", options.covariance_max_sigma, 0.0, f64::MAX),
    ] {
        if !(low..=high).contains(&value) {
            return Err(Error::Argument(format!("{name}: expected {low} to {high}, got {value}")));
        }
    }
    Ok(())
}
