//! Σ = η² v I + c (tr J / d) I, from probes: Analytic-DPM's (arXiv 2201.06503), for each item by itself.

use super::probed::Probed;
use crate::linear::bases::Structure;

/// The law, with so many products a step.
pub fn isotropic_optimal(probes: usize) -> Probed {
    Probed { structure: Structure::Isotropic, probes }
}
