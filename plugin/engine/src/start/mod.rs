//! Where a trajectory starts: below σ_max, from what is known of the data before the first evaluation.

pub mod teleport;

pub use self::teleport::{teleport, GaussianPrior};
