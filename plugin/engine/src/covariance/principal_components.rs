//! The principal components of the posterior of x_0 given x.
//!
//! ```text
//! Cov[x_0 | x] = (σ²/α) J ≈ Σ_k λ_k u_k u_kᵀ,    λ_k = (σ²/α) max(θ_k, 0),    u_k = V w_k
//! ```
//!
//! with θ_k and w_k the eigenvalues and eigenvectors of T: Ritz values and vectors, which converge
//! from the outside of the spectrum inwards (Golub and Van Loan, "Matrix Computations", 10.1). What
//! they show is Manor and Michaeli's, "On the Posterior Distribution in Denoising: Application to
//! Uncertainty Quantification" (arXiv 2309.13598), who find them by subspace iteration.

use super::lanczos::projected;
use crate::{
    error::Result,
    jacobian::Linearization,
    linear::lanczos,
    model::{Denoiser, Evaluator},
    tensor::Tensor,
};

/// D(x) and the leading components.
pub struct PrincipalComponents {
    /// (batch, ...).
    pub denoised: Tensor,
    /// λ_1 … λ_K, falling, (batch, K).
    pub variances: Tensor,
    /// u_1 … u_K, (batch, K, ...): of length 1, and orthogonal; 0 where the Krylov space is exhausted to the last digit.
    pub components: Tensor,
}

/// From K = `steps` products at (x, σ'), in a Krylov space that begins with z, and D(x, σ); `factor` is σ'²/α'.
pub fn principal_components<M: Denoiser + ?Sized>(
    evaluator: &mut Evaluator<'_, M>,
    x: &Tensor,
    (sigma, jacobian_sigma): (f64, f64),
    factor: f64,
    z: &Tensor,
    steps: usize,
) -> Result<PrincipalComponents> {
    let (batch, dimension) = (evaluator.layout.batch(), evaluator.layout.dimension());
    let shape = evaluator.layout.shape.clone();
    let elsewhere = Linearization::new(evaluator, x, sigma).denoised_apart_from(jacobian_sigma)?;
    let mut model = Linearization::new(evaluator, x, jacobian_sigma);
    let krylov = lanczos(
        |v, krylov| {
            let product = model.jvp(&v.f_view(&shape[..])?, krylov.reach()?.as_ref())?;
            Ok(product.f_reshape([batch, dimension])?)
        },
        &z.f_reshape([batch, dimension])?,
        steps,
        |_| Ok(false),
    )?;
    let denoised = elsewhere.map_or_else(|| model.denoised(), Ok)?;
    let (theta, w) = projected(&krylov, &denoised)?.eigen(steps)?;
    let (kind, device) = (krylov.basis.f_kind()?, krylov.basis.device());
    let like_z = |t: Tensor| t.f_flip([1])?.f_to_device(device)?.f_to_kind(kind);
    let variances = like_z(theta.f_clamp_min(0.0)?.f_mul_scalar(factor)?)?;
    let vectors = like_z(w.f_transpose(1, 2)?)?.f_bmm(&krylov.basis.f_narrow(1, 0, steps as i64)?)?;
    let shape: Vec<i64> = [batch, steps as i64].into_iter().chain(shape[1..].iter().copied()).collect();
    Ok(PrincipalComponents { denoised, variances, components: vectors.f_reshape(shape)? })
}
