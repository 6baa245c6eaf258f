//! What a user can choose, in terms of the mathematics.

use crate::tensor::Kind;
pub use lgs_abi::options::{Covariance, DoubledBatch, Jvp, Options, OtherSteps, Precision, Solver};

use std::ops::RangeInclusive;

/// The dtype of that precision; `None`: that of x.
pub fn kind_of(precision: Precision) -> Option<Kind> {
    match precision {
        Precision::Auto => None,
        Precision::Float64 => Some(Kind::Double),
        Precision::Float32 => Some(Kind::Float),
        Precision::Float16 => Some(Kind::Half),
        Precision::BFloat16 => Some(Kind::BFloat16),
    }
}

/// The σ/α at which a step has to start to take the covariance.
pub fn covariance_range(options: &Options) -> RangeInclusive<f64> {
    options.covariance_min_sigma..=options.covariance_max_sigma
}
