//! Linear algebra without matrices: functions of (matvec, vector), each item of a batch by itself.
//!
//! [`mod@lanczos`]: the Krylov space of a vector. [`functions`]: functions of a symmetric matrix times a vector,
//! from it. [`bases`]: the same for a matrix that is diagonal in a basis known beforehand, [`low_rank`] for one that is known
//! along a few directions, [`octaves`] for one that is a number for each octave of frequencies.

pub mod bases;
mod cosines;
pub mod functions;
pub mod lanczos;
pub mod low_rank;
pub mod octaves;

pub use self::lanczos::{lanczos, Krylov};
