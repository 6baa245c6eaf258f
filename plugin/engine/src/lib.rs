//! Lanczos Gaussian sampling on the host's libtorch: all of the mathematics, and nothing else.
//!
//! * [`process`]: the forward process, the reverse step's coefficients.
//! * [`denoiser`]: the model as a trait, and the checked call of it.
//! * [`jvp`]: Jacobian-vector products through the model, [`finite_difference`] how far such a one
//!   reaches, [`choice`] which way of them to take.
//! * [`lanczos`](mod@lanczos): the Krylov space. [`square_root`]: Σ^{1/2} z from it.
//! * [`posterior`]: the principal components of the posterior covariance from it.
//! * [`structured`]: Σ^{1/2} z for covariances that are diagonal in a known basis.
//! * [`noise`]: the noise of one step, with each covariance. [`sampler`]: a step and a trajectory.
//! * [`module`]: how `liblgs` reaches all this; the only part that knows of handles.
//!
//! Only the fallible `f_…` calls of `tch` are used: a panic here is a bug.

pub mod choice;
pub mod denoiser;
pub mod error;
pub mod finite_difference;
pub mod jvp;
pub mod lanczos;
pub mod module;
pub mod noise;
pub mod posterior;
pub mod process;
pub mod sampler;
pub mod square_root;
pub mod structured;
