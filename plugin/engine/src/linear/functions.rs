//! f(J) z from a Krylov space of J that begins with z.
//!
//! ```text
//! f(J) z ≈ ‖z‖ V W diag(f(θ)) Wᵀ e_1,    T = W diag(θ) Wᵀ
//! ```
//!
//! (Golub and Meurant, "Matrices, Moments and Quadrature", 2010, 10.2.) The function is the caller's. The K × K
//! problem is solved in float64 on the CPU, and fetching it is the only time that a step waits for the device.

use super::lanczos::Krylov;
use crate::{
    error::{Error, Result},
    tensor::{Device, Kind, Tensor},
};

/// T of every item of a batch, on the CPU in float64.
pub struct Projected {
    pub batch: usize,
    pub steps: usize,
    /// ‖z‖ for each item.
    pub norm: Vec<f64>,
    /// a_k of item i at `i * steps + k − 1`, and b_k likewise.
    pub a: Vec<f64>,
    pub b: Vec<f64>,
}

/// f(J) z / ‖z‖ in the Krylov basis.
pub struct Coefficients {
    /// (batch, K + 1), float64 on the CPU.
    pub values: Tensor,
    /// Estimated relative error for each item.
    pub error: Vec<f64>,
    /// The Ritz values of J, which are the eigenvalues of the K × K matrix T as it is, neither clamped
    /// nor with the guess of a larger one: θ_k of item i at `i * K + k − 1`, rising with k.
    pub ritz_values: Vec<f64>,
}

impl Projected {
    /// Fetches T, and with it `also` (batch,), a number for each item, in one transfer.
    pub fn fetch(krylov: &Krylov, also: &Tensor) -> Result<(Self, Vec<f64>)> {
        let steps = krylov.steps();
        let columns: Vec<&Tensor> = krylov.a.iter().chain(&krylov.b).chain([&krylov.norm, also]).collect();
        let table = Tensor::f_stack(&columns, 0)?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?;
        let batch = table.size2()?.1 as usize;
        let numbers = Vec::<f64>::try_from(table.f_flatten(0, -1)?)?;
        let by_item = |first: usize| -> Vec<f64> {
            (0..batch).flat_map(|i| (0..steps).map(move |k| (first + k) * batch + i)).map(|at| numbers[at]).collect()
        };
        let (a, b) = (by_item(0), by_item(steps));
        let row = |r: usize| numbers[r * batch..(r + 1) * batch].to_vec();
        Ok((Self { batch, steps, norm: row(2 * steps), a, b }, row(2 * steps + 1)))
    }

    pub fn is_finite(&self) -> bool {
        self.a.iter().chain(&self.b).all(|number| number.is_finite())
    }

    /// f(T) e_1 for every item, and an estimate of its error. `f` maps eigenvalues, float64, one by one.
    ///
    /// `extended`: the K-th product has also given b_K and v_{K+1}; with them, and
    /// [a guess](next_diagonal) of a_{K+1}, T grows by a row at no cost, which makes K products
    /// about as good as K + 1. The distance between the two answers estimates the error of the plain
    /// one, which is nearly always the larger.
    pub fn function(&self, f: impl Fn(&Tensor) -> Result<Tensor>, extended: bool) -> Result<Coefficients> {
        let (larger, _) = self.function_of_t(&f, self.steps + 1)?;
        let (plain, theta) = self.function_of_t(&f, self.steps)?;
        let plain = plain.f_constant_pad_nd([0, 1])?;
        let norm = |t: &Tensor| t.f_norm_scalaropt_dim(2.0, [1], false);
        let distance = norm(&larger.f_sub(&plain)?)?.f_div(&norm(&larger)?.f_clamp_min(f64::MIN_POSITIVE)?)?;
        let error = Vec::<f64>::try_from(distance)?;
        let ritz_values = Vec::<f64>::try_from(theta.f_flatten(0, -1)?)?;
        Ok(Coefficients { values: if extended { larger } else { plain }, error, ritz_values })
    }

    /// The eigenvalues θ of T, which rise, (batch, size), and its eigenvectors, the columns of W, (batch,
    /// size, size), for T with `size` rows: K, or K + 1 with a guess of a_{K+1}.
    pub fn eigen(&self, size: usize) -> Result<(Tensor, Tensor)> {
        let mut t = vec![0.0; self.batch * size * size];
        for i in 0..self.batch {
            let item = i * self.steps..(i + 1) * self.steps;
            let (a, b) = (&self.a[item.clone()], &self.b[item]);
            let at = |row: usize, column: usize| (i * size + row) * size + column;
            for k in 0..size {
                t[at(k, k)] = if k < self.steps { a[k] } else { next_diagonal(a, b) };
                if k + 1 < size {
                    t[at(k, k + 1)] = b[k];
                    t[at(k + 1, k)] = b[k];
                }
            }
        }
        let (batch, size) = (self.batch as i64, size as i64);
        let t = Tensor::f_from_slice(&t)?.f_reshape([batch, size, size])?;
        Ok(t.f_linalg_eigh("L")?)
    }

    /// f(T) e_1 and the eigenvalues θ of T, both (batch, size).
    fn function_of_t(&self, f: impl Fn(&Tensor) -> Result<Tensor>, size: usize) -> Result<(Tensor, Tensor)> {
        let (theta, w) = self.eigen(size)?;
        // W diag(f) Wᵀ e_1: Wᵀ e_1 is the first row of W.
        let weights = f(&theta)?.f_mul(&w.f_select(1, 0)?)?;
        Ok((w.f_bmm(&weights.f_unsqueeze(2)?)?.f_squeeze_dim(2)?, theta))
    }
}

/// An estimate of a_{K+1}, which would take one more product: a_K, or more where J ⪰ 0 asks for it.
///
/// T_{K+1} ⪰ 0 needs a_{K+1} ≥ b_K² / δ_K, δ_K the last pivot of T_K = L diag(δ) Lᵀ; with equality
/// it is the matrix of a Gauss-Radau rule with a node at 0 (Golub and Meurant, "Matrices, Moments
/// and Quadrature", 2010, 6.2). The bound matters most for K = 1, where v_1 is random and a_1 a
/// mean over the whole spectrum: on the bundled model it makes the error of K = 1 a half to a fifth
/// of that with a_K. An inexact model's T_K need not be ⪰ 0; then there is no bound.
fn next_diagonal(a: &[f64], b: &[f64]) -> f64 {
    let last = a.len() - 1;
    // A pivot of the size of rounding is uninformative.
    let least = a.iter().fold(0.0, |largest: f64, a| largest.max(a.abs())) * f64::EPSILON.sqrt();
    let mut pivot = a[0];
    for k in 1..=last {
        if pivot <= least {
            return a[last];
        }
        pivot = a[k] - b[k - 1] * b[k - 1] / pivot;
    }
    match pivot > least {
        true => a[last].max(b[last] * b[last] / pivot),
        false => a[last],
    }
}

impl Coefficients {
    /// ‖z‖ V c, (batch, d) in the basis' dtype, on its device.
    pub fn combine(&self, krylov: &Krylov) -> Result<Tensor> {
        let basis = &krylov.basis;
        // Not waited for: the numbers are staged before the call returns.
        let values = self.values.f_internal_to_copy((basis.f_kind()?, basis.device()), true)?;
        let values = values.f_mul(&krylov.norm.f_unsqueeze(1)?)?;
        Ok(values.f_unsqueeze(1)?.f_bmm(basis)?.f_squeeze_dim(1)?)
    }

    /// ‖f(J) z‖ of every item, which is ‖z‖ times that of its coefficients: the basis is orthonormal.
    pub fn norms(&self, t: &Projected) -> Result<Vec<f64>> {
        let norms = Vec::<f64>::try_from(self.values.f_norm_scalaropt_dim(2.0, [1], false)?)?;
        Ok(norms.iter().zip(&t.norm).map(|(norm, length)| norm * length).collect())
    }

    /// Takes over the coefficients (of fewer or as many vectors) and the error of the items that
    /// `earlier` has for `which`. Ritz values stay: they are J's, and more products give better ones.
    pub fn keep(&mut self, which: &[bool], earlier: &Coefficients) -> Result<()> {
        let size = self.values.size2()?.1;
        let missing = size - earlier.values.size2()?.1;
        let earlier_values = earlier.values.f_constant_pad_nd([0, missing])?;
        for (i, _) in which.iter().enumerate().filter(|(_, &keep)| keep) {
            let item = i as i64;
            self.values.f_select(0, item)?.f_copy_(&earlier_values.f_select(0, item)?)?;
            self.error[i] = earlier.error[i];
        }
        Ok(())
    }

    /// The largest estimated error of the batch.
    pub fn largest_error(&self) -> Result<f64> {
        self.error
            .iter()
            .copied()
            .reduce(f64::max)
            .ok_or_else(|| Error::Argument("x: expected at least one item, got an empty batch".into()))
    }
}
