//! Random numbers that depend on a seed alone, whatever other tests run; and dense linear algebra.

use crate::support::tensor::*;

/// splitmix64 (Steele, Lea and Flood 2014).
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        // Set for the thread that asks: the problems are small, and the tests are as many as the cores.
        tch::set_num_threads(1);
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(1))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [low, high).
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// N(0, 1), by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform(0.0, 1.0)).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform(0.0, 1.0)).cos()
    }

    /// Standard normal, float64.
    pub fn tensor(&mut self, shape: &[i64]) -> Tensor {
        let count = shape.iter().product::<i64>();
        let values: Vec<f64> = (0..count).map(|_| self.normal()).collect();
        Tensor::from_slice(&values).reshape(shape)
    }

    /// An orthogonal matrix.
    pub fn orthogonal(&mut self, d: i64) -> Tensor {
        Tensor::linalg_qr(&self.tensor(&[d, d]), "reduced").0
    }

    /// A symmetric matrix with these eigenvalues.
    pub fn symmetric(&mut self, eigenvalues: &[f64]) -> Tensor {
        let q = self.orthogonal(eigenvalues.len() as i64);
        (&q * Tensor::from_slice(eigenvalues)).matmul(&q.tr())
    }
}

/// f(M) of a symmetric matrix, by its eigenvectors.
pub fn function(matrix: &Tensor, f: impl Fn(f64) -> f64) -> Tensor {
    let (values, vectors) = matrix.linalg_eigh("L");
    let values: Vec<f64> = vec(&values).into_iter().map(f).collect();
    (&vectors * Tensor::from_slice(&values)).matmul(&vectors.tr())
}

/// M x for each row of x.
pub fn rows(matrix: &Tensor, x: &Tensor) -> Tensor {
    x.matmul(&matrix.tr())
}

pub fn identity(d: i64) -> Tensor {
    Tensor::eye(d, (Kind::Double, Device::Cpu))
}

/// The numbers of a tensor, in order.
pub fn vec(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.flatten(0, -1).to_kind(Kind::Double)).expect("numbers")
}

pub fn number(tensor: &Tensor) -> f64 {
    tensor.double_value(&[])
}

pub fn finite(tensor: &Tensor) -> bool {
    vec(tensor).into_iter().all(f64::is_finite)
}

/// The largest difference of two tensors of one shape.
pub fn distance(value: &Tensor, reference: &Tensor) -> f64 {
    assert_eq!(value.size(), reference.size());
    number(&(value.to_kind(Kind::Double) - reference.to_kind(Kind::Double)).abs().max())
}

/// ‖value − reference‖ / ‖reference‖ for each item.
pub fn relative_errors(value: &Tensor, reference: &Tensor) -> Vec<f64> {
    assert_eq!(value.size(), reference.size());
    let items = |t: &Tensor| t.to_kind(Kind::Double).reshape([t.size()[0], -1]);
    let (value, reference) = (items(value), items(reference));
    let norm = |t: &Tensor| t.norm_scalaropt_dim(2.0, [1i64], false);
    vec(&(norm(&(value - &reference)) / norm(&reference)))
}

/// The largest of [`relative_errors`].
pub fn relative_error(value: &Tensor, reference: &Tensor) -> f64 {
    relative_errors(value, reference).into_iter().fold(0.0, f64::max)
}

/// λ_k ∝ k^−power with this mean.
pub fn power_law(d: usize, power: f64, mean: f64) -> Vec<f64> {
    let values: Vec<f64> = (1..=d).map(|k| (k as f64).powf(-power)).collect();
    let sum: f64 = values.iter().sum();
    values.into_iter().map(|value| value * mean * d as f64 / sum).collect()
}
