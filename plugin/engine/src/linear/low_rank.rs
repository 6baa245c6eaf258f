//! f(J) v for a J that is known along a few directions, and a multiple of the identity beside them:
//!
//! ```text
//! J = Σ_k λ_k u_k u_kᵀ + ρ (I − U Uᵀ)
//! f(J) v = f(ρ) v + Σ_k (f(λ_k) − f(ρ)) u_k u_kᵀ v
//! ```

use crate::{
    error::Result,
    tensor::{Kind, Tensor},
};

/// U (d, r), of orthonormal columns; λ (r,), float64 on the CPU; ρ.
pub struct LowRank {
    pub basis: Tensor,
    pub eigenvalues: Tensor,
    pub rest: f64,
}

impl LowRank {
    /// f(J) v for each row of v (batch, d), in v's dtype. `f` maps eigenvalues, float64, one by one.
    ///
    /// Each item by itself: in a product of all at once its last bits would depend on how many they are.
    pub fn function(&self, f: impl Fn(&Tensor) -> Result<Tensor>, v: &Tensor) -> Result<Tensor> {
        let rest = Tensor::f_from_slice(&[self.rest])?;
        let values = f(&Tensor::f_cat(&[&self.eigenvalues, &rest], 0)?)?;
        let rank = self.eigenvalues.size1()?;
        let of_rest = values.f_double_value(&[rank])?;
        let difference = values.f_narrow(0, 0, rank)?.f_sub_scalar(of_rest)?;
        let (kind, device) = (v.f_kind()?, v.device());
        let difference = difference.f_to_device(device)?.f_to_kind(kind)?;
        let basis = self.basis.f_to_device(device)?.f_to_kind(kind)?;
        let items = v.f_unbind(0)?.into_iter().map(|v| -> Result<Tensor> {
            let coefficients = basis.f_tr()?.f_mv(&v)?.f_mul(&difference)?;
            Ok(v.f_mul_scalar(of_rest)?.f_add(&basis.f_mv(&coefficients)?)?)
        });
        Ok(Tensor::f_stack(&items.collect::<Result<Vec<_>>>()?, 0)?)
    }
}

/// The largest entry of |Uᵀ U − I|: how far the columns are from orthonormal.
pub fn departure(basis: &Tensor) -> Result<f64> {
    let basis = basis.f_to_kind(Kind::Double)?;
    let gram = basis.f_tr()?.f_mm(&basis)?;
    let identity = Tensor::f_eye(gram.size2()?.0, (Kind::Double, gram.device()))?;
    match gram.numel() {
        0 => Ok(0.0),
        _ => Ok(gram.f_sub(&identity)?.f_abs()?.f_max()?.f_double_value(&[])?),
    }
}
