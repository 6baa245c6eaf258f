//! How far a finite difference reaches.
//!
//! D(x, σ) varies over distances of σ in each of the directions that the data vary in, so h is
//! counted in units of σ: h v has, per number that takes part in v, a fixed fraction of σ. The
//! fraction alone then decides the truncation error, whatever the noise level and the number of
//! pixels, and rounding in the model bounds it below. The fractions are those of a study that can
//! be run again: `tests/evidence/studies/products.py`.

use crate::{
    error::Result,
    tensor::{Kind, Tensor},
};

/// Which finite difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// (D(x + h v) − D(x)) / h, wrong by h/2 times the second derivative along v.
    OneSided,
    /// (D(x + h v) − D(x − h v)) / 2h, wrong by h²/6 times the third.
    Central,
}

/// h for each item, (batch, 1, ...): fraction · σ √d · reach / ‖v‖, for v (batch, ...).
///
/// `reach` (batch,): see [`crate::linear::Krylov::reach`].
pub fn step(difference: Difference, precision: Kind, sigma: f64, v: &Tensor, reach: Option<&Tensor>) -> Result<Tensor> {
    let shape = v.size();
    let dimension: i64 = shape[1..].iter().product();
    let length = fraction(difference, precision) * sigma * (dimension as f64).sqrt();
    let axes: Vec<i64> = (1..shape.len() as i64).collect();
    let norm = match axes.is_empty() {
        true => v.f_abs()?,
        false => v.f_norm_scalaropt_dim(2.0, &axes[..], true)?,
    };
    // v = 0 (a Krylov space that is exhausted) moves nowhere, whatever h is.
    let h = norm.f_clamp_min(1e-20)?.f_reciprocal()?.f_mul_scalar(length)?;
    Ok(match reach {
        Some(reach) => h.f_mul(&reach.f_reshape(h.size())?)?,
        None => h,
    })
}

/// h v per number, in units of σ, for a model that computes in `precision`.
fn fraction(difference: Difference, precision: Kind) -> f64 {
    match (difference, precision) {
        (Difference::OneSided, Kind::Double) => 1e-5,
        (Difference::OneSided, Kind::Float) => 3e-3,
        (Difference::OneSided, Kind::Half) => 0.1,
        (Difference::OneSided, _) => 0.25,
        (Difference::Central, Kind::Double) => 1e-4,
        (Difference::Central, Kind::Float) => 1e-2,
        (Difference::Central, Kind::Half) => 0.2,
        (Difference::Central, _) => 0.3,
    }
}
