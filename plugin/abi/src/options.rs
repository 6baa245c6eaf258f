//! What a user can choose.
//!
//! Names, defaults and ranges are the manifest's (`manifests/nodes.json`); here is what type each option
//! has. serde reads an option by its name there, and an enum by the names of its variants.

use abi_stable::StableAbi;
use serde::{Deserialize, Serialize};

/// Forward process x_t = α_t x_0 + σ_t ε.
#[repr(u8)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Process {
    /// α = 1.
    #[serde(rename = "ve")]
    VarianceExploding,
    /// α = 1 − σ, σ in [0, 1].
    Flow,
}

/// How a trajectory gets from one noise level to the next.
#[repr(u8)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Solver {
    /// Draws from the reverse kernel with a covariance.
    Ancestral,
    /// A step of second order with J from the change of D, one evaluation a step.
    Secant,
}

/// Covariance Σ of the reverse step: how much of c J, the posterior covariance of x_0 carried through
/// to x_s, is added to η² v I, what remains once x_0 is known.
#[repr(u8)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Covariance {
    /// η² v I, nothing of it: the smaller of DDPM's two choices (arXiv 2006.11239, 3.2).
    Isotropic,
    /// η² σ²_{t|s} I: the larger of DDPM's two.
    IsotropicLarge,
    /// Its mean eigenvalue, η² v I + c (tr J / d) I: Analytic-DPM's (arXiv 2201.06503), for each item by
    /// itself.
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

/// How Jacobian-vector products are computed.
#[repr(u8)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Jvp {
    /// The cheapest way that is right for the model.
    #[default]
    Auto,
    Forward,
    FiniteDifference,
    CentralDifference,
}

impl Jvp {
    /// `LGS_JVP_...` of `lgs.h`.
    pub fn number(self) -> i32 {
        self as i32
    }

    /// The way of that number; `Auto` for a number that stands for none.
    pub fn of_number(number: i32) -> Self {
        let all = [Jvp::Auto, Jvp::Forward, Jvp::FiniteDifference, Jvp::CentralDifference];
        all.into_iter().find(|jvp| jvp.number() == number).unwrap_or_default()
    }
}

/// What the model computes in.
#[repr(u8)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// The dtype of x.
    #[default]
    Auto,
    Float64,
    Float32,
    Float16,
    BFloat16,
}

/// What a step takes whose σ/α is outside the range of the covariance; either costs one model evaluation.
#[repr(u8)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum OtherSteps {
    /// The isotropic covariance.
    Isotropic,
    /// That, and a mean of second order, with D(x) of the step before.
    Multistep,
}

/// Whether D(x) and D(x + h v) go through the model in one call, on a doubled batch.
#[repr(u8)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum DoubledBatch {
    /// Where that was found to be right and faster.
    #[default]
    Auto,
    Always,
    Never,
}

/// Everything that a user can choose, already checked against the manifest.
#[repr(C)]
#[derive(StableAbi, Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct Options {
    pub process: Process,
    pub solver: Solver,
    pub covariance: Covariance,
    pub jvp: Jvp,
    pub precision: Precision,
    pub other_steps: OtherSteps,
    pub doubled_batch: DoubledBatch,
    /// The trajectory begins with noise alone, which lacks the mean of data; for [`Solver::Secant`].
    pub pure_noise: bool,
    /// Take the Krylov vector that the K-th product gives for free.
    pub extended: bool,
    /// K, Jacobian-vector products a step, at least 1.
    pub lanczos_steps: u32,
    /// Products a step of the covariances that are probed, at least 1.
    pub probes: u32,
    /// 1: DDPM. 0: DDIM's mean. In [0, 1].
    pub eta: f64,
    /// Factor on the noise that each step adds.
    pub s_noise: f64,
    /// Estimated error of x at σ', relative to x, at which an item's recursion ends; 0: never early.
    pub tolerance: f64,
    /// Steps that start at a σ/α below the one or above the other are `other_steps`.
    pub covariance_min_sigma: f64,
    pub covariance_max_sigma: f64,
}
