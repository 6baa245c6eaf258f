//! The noise Σ^{1/2} z of one reverse step, with each covariance Σ: one file a law.
//!
//! Σ = η² v I + c J is what the posterior covariance of x_0 asks for ([`crate::process::ReverseStep`]); the
//! laws differ in how much of J they have, and in how many Jacobian-vector products that takes.

pub mod diagonal;
pub mod diagonal_learned;
pub mod draw;
pub mod isotropic;
pub mod isotropic_large;
pub mod isotropic_optimal;
pub mod lanczos;
pub mod principal_components;
pub mod probed;
pub mod spectral;

pub use self::draw::{Draw, Law, Noise, SquareRoot, Statistics};
use self::{
    diagonal::diagonal, diagonal_learned::DiagonalLearned, isotropic::Isotropic, isotropic_large::IsotropicLarge,
    isotropic_optimal::isotropic_optimal, lanczos::Lanczos, spectral::spectral,
};
use crate::{
    model::Denoiser,
    options::{Covariance, Options},
};

/// The law that the options ask for.
pub fn law<'m, M: Denoiser + ?Sized + 'm>(options: &Options) -> Box<dyn Law<M> + 'm> {
    let probes = options.probes as usize;
    match options.covariance {
        Covariance::Isotropic => Box::new(Isotropic),
        Covariance::IsotropicLarge => Box::new(IsotropicLarge),
        Covariance::IsotropicOptimal => Box::new(isotropic_optimal(probes)),
        Covariance::Diagonal => Box::new(diagonal(probes)),
        Covariance::DiagonalLearned => Box::new(DiagonalLearned),
        Covariance::Spectral => Box::new(spectral(probes)),
        Covariance::Lanczos => Box::new(Lanczos {
            steps: options.lanczos_steps as usize,
            extended: options.extended,
            tolerance: options.tolerance,
        }),
    }
}
