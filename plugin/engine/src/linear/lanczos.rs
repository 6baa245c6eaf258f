//! The Lanczos recursion: an orthonormal basis of a Krylov space and the matrix in it.
//!
//! Functions of (matvec, vector), never of a matrix; every item of the batch is a problem of its
//! own. [`super::functions`] takes functions of the small matrix.

use crate::{
    error::Result,
    tensor::{Kind, Tensor},
};

/// K steps of Lanczos on a symmetric J from v_1 = z / ‖z‖: J V ≈ V T with T tridiagonal.
pub struct Krylov {
    /// v_1 … v_{K+1} as rows, (batch, K + 1, d); zero from where the space is exhausted.
    pub basis: Tensor,
    /// ‖z‖, (batch,).
    pub norm: Tensor,
    /// a_1 … a_K, the diagonal of T, each (batch,).
    pub a: Vec<Tensor>,
    /// b_1 … b_K, each (batch,). b_1 … b_{K−1} are beside the diagonal of T; b_K and v_{K+1} come
    /// with the K-th product and belong to the next, larger T.
    pub b: Vec<Tensor>,
}

impl Krylov {
    /// K, the number of products made.
    pub fn steps(&self) -> usize {
        self.a.len()
    }

    /// √(d_eff / d) for v_2, v_3, … of this space, (batch,); `None` for v_1: how far along them a finite
    /// difference may reach, of its step along v_1.
    ///
    /// v_1 is white noise, in which all d dimensions take part alike; J v_1 and all that follows lies
    /// where J is large. How many dimensions that is, its participation ratio (tr J)² / tr J² estimates,
    /// and the first product gives both: v_1ᵀ J v_1 = a_1 is about tr J / d, and
    /// ‖J v_1‖² = a_1² + b_1² about tr J² / d. A step as long as that of v_1 would be √(d / d_eff) times
    /// too long in each of them: 3 (σ = 0.05) to 10 times (σ = 20) on the bundled model.
    pub fn reach(&self) -> Result<Option<Tensor>> {
        let (Some(a), Some(b)) = (self.a.first(), self.b.first()) else { return Ok(None) };
        let a_squared = a.f_square()?;
        let length = a_squared.f_add(&b.f_square()?)?.f_clamp_min(f64::from(f32::MIN_POSITIVE))?;
        Ok(Some(a_squared.f_div(&length)?.f_sqrt()?.f_clamp(SHORTEST_REACH, 1.0)?))
    }
}

/// a_1 is one sample of a trace, and can come out near 0 by chance.
const SHORTEST_REACH: f64 = 0.05;

/// Runs at most `steps` steps from z (batch, d); `enough` is asked after each and can end it.
///
/// `matvec` maps (batch, d) to (batch, d), once a step; it also gets the space so far. The basis is
/// kept orthogonal by projecting against all of it, twice (Giraud et al., "The loss of orthogonality
/// in the Gram-Schmidt orthogonalization process", 2005: twice is enough), so that T stays right in
/// float32 and for a K near the dimension. Source of the recursion: Golub and Van Loan, "Matrix
/// Computations", 10.1.
pub fn lanczos(
    mut matvec: impl FnMut(&Tensor, &Krylov) -> Result<Tensor>,
    z: &Tensor,
    steps: usize,
    mut enough: impl FnMut(&Krylov) -> Result<bool>,
) -> Result<Krylov> {
    let (batch, dimension) = z.size2()?;
    let kind = z.f_kind()?;
    let basis = Tensor::f_empty([batch, steps as i64 + 1, dimension], (kind, z.device()))?;
    let norm = z.f_norm_scalaropt_dim(2.0, [1], false)?;
    let never = norm.f_le(f64::from(f32::MIN_POSITIVE))?;
    let mut v = put_normalized(&basis.f_select(1, 0)?, z, &norm, &never)?;
    let mut krylov = Krylov { basis, norm, a: Vec::new(), b: Vec::new() };
    let mut scale: Option<Tensor> = None;
    for k in 1..=steps as i64 {
        let w = matvec(&v, &krylov)?;
        let seen = krylov.basis.f_narrow(1, 0, k)?;
        let (w, coefficients) = project_out(&seen, &w.f_unsqueeze(1)?)?;
        let (w, _) = project_out(&seen, &w)?;
        let w = w.f_squeeze_dim(1)?;
        // The last coefficient is v_k · J v_k.
        let a = coefficients.f_select(2, k - 1)?.f_squeeze_dim(1)?;
        let b = w.f_norm_scalaropt_dim(2.0, [1], false)?;
        // What remains is only rounding when the space is exhausted: that direction must not be
        // blown up to a unit vector.
        let magnitude = a.f_abs()?.f_maximum(&b)?;
        let largest = match scale {
            Some(scale) => scale.f_maximum(&magnitude)?,
            None => magnitude,
        };
        let exhausted = b.f_le_tensor(&largest.f_mul_scalar(rounding(kind))?)?;
        v = put_normalized(&krylov.basis.f_select(1, k)?, &w, &b, &exhausted)?;
        krylov.a.push(a);
        krylov.b.push(b.f_masked_fill(&exhausted, 0.0)?);
        scale = Some(largest);
        if enough(&krylov)? {
            break;
        }
    }
    krylov.basis = krylov.basis.f_narrow(1, 0, krylov.steps() as i64 + 1)?;
    Ok(krylov)
}

/// w (batch, 1, d) less its part in the span of the orthonormal rows of `basis` (batch, k, d), and
/// its coefficients there, (batch, 1, k).
fn project_out(basis: &Tensor, w: &Tensor) -> Result<(Tensor, Tensor)> {
    let coefficients = w.f_bmm(&basis.f_transpose(1, 2)?)?;
    Ok((w.f_baddbmm(&coefficients, basis, 1.0, -1.0)?, coefficients))
}

/// Puts w / ‖w‖ of each item (0 for a `zero` one) in its row of the basis, and gives that row.
fn put_normalized(row: &Tensor, w: &Tensor, norm: &Tensor, zero: &Tensor) -> Result<Tensor> {
    let factor = norm.f_reciprocal()?.f_masked_fill(zero, 0.0)?;
    Ok(w.f_mul_out(row, &factor.f_unsqueeze(1)?)?)
}

/// Relative size below which a remainder is rounding error.
fn rounding(kind: Kind) -> f64 {
    match kind {
        Kind::Double => 16.0 * f64::EPSILON,
        _ => 16.0 * f64::from(f32::EPSILON),
    }
}
