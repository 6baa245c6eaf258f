//! Σ = η² v I + c Bᵀ diag(B J Bᵀ) B, from probes, B a cosine transform of tiles; after "Covariance-aware
//! sampling for Diffusion Models" (arXiv 2605.13910).

use super::probed::Probed;
use crate::linear::bases::Structure;

/// The law, with so many products a step.
pub fn spectral(probes: usize) -> Probed {
    Probed { structure: Structure::Frequencies, probes }
}
