//! What can be asked of one point: the noise of a step, a Jacobian-vector product, the principal components.

use crate::{
    checks::{self, all_finite},
    covariance::{
        law,
        principal_components::{self, PrincipalComponents},
        Draw,
    },
    error::{Error, Result},
    jacobian::Linearization,
    layout::Layout,
    model::{Denoiser, Evaluator, Plan},
    options::{covariance_range, Covariance, Options},
    process::{ForwardProcess, ReverseStep},
    tensor::{self, Tensor},
};

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
    let _no_grad = tensor::no_grad_guard();
    let layout = Layout::of("x", x)?;
    let levels = match sigma_next == 0.0 {
        true => checks::sigmas(options.process, &[sigma, sigma_next])?,
        false => checks::sigmas(options.process, &[sigma, sigma_next, 0.0])?,
    };
    let (sigma, sigma_next) = (levels[0], levels[1]);
    if sigma_next > sigma {
        return Err(Error::Argument(format!("sigma_next: expected at most the sigma of x, {sigma}, got {sigma_next}")));
    }
    let full = law::<M>(options);
    full.check(&layout)?;
    checks::finite("x", x)?;
    let z = checks::argument("z", &layout, z)?;
    let model_kind = layout.model_kind;
    let step = &ReverseStep::new(options.process, sigma, sigma_next, options.eta);
    let law = match covariance_range(options).contains(&options.process.noise_to_signal(sigma)) {
        true => full,
        false => law::<M>(&Options { covariance: Covariance::Isotropic, ..*options }),
    };
    let x = x.f_to_kind(layout.kind)?;
    let mut evaluator = Evaluator::new(model, layout, Plan::of(options, law.products()));
    let noise = match law.without_posterior(step) {
        // Without a model.
        Some(variance) => z.f_mul_scalar(variance.sqrt())?,
        None => {
            law.draw(&mut evaluator, &Draw { step, x: &x, denoised: None, z: &z })
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
    let _no_grad = tensor::no_grad_guard();
    let layout = Layout::of("x", x)?;
    let sigma = checks::sigmas(options.process, &[sigma, 0.0])?[0];
    let law = law::<M>(&Options { covariance: Covariance::Lanczos, ..*options });
    law.check(&layout)?;
    checks::finite("x", x)?;
    let z = checks::argument("z", &layout, z)?;
    let (kind, model_kind) = (layout.kind, layout.model_kind);
    // A step to σ = 0 has the covariance of x_0 itself.
    let factor = ReverseStep::new(options.process, sigma, 0.0, options.eta).covariance;
    let jacobian_sigma = options.process.jacobian_sigma(sigma);
    let mut evaluator = Evaluator::new(model, layout, Plan::of(options, law.products()));
    let x = x.f_to_kind(kind)?;
    let steps = law.products();
    let levels = (sigma, jacobian_sigma);
    let found = principal_components::principal_components(&mut evaluator, &x, levels, factor, &z, steps)
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
    let _no_grad = tensor::no_grad_guard();
    let layout = Layout::of("x", x)?;
    let sigma = checks::sigmas(options.process, &[sigma, 0.0])?[0];
    checks::finite("x", x)?;
    let v = checks::argument("v", &layout, v)?;
    let (kind, model_kind) = (layout.kind, layout.model_kind);
    let mut evaluator = Evaluator::new(model, layout, Plan::of(options, 1));
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
