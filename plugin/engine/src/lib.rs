//! Lanczos Gaussian sampling on the host's libtorch: all of the mathematics, and nothing else.
//!
//! Each module knows of those above it alone:
//!
//! * [`tensor`]: libtorch's tensors, the only part that knows how libtorch is reached.
//! * [`error`], [`options`], [`process`], [`layout`], [`checks`], [`memory`]: the ground. The reverse step's coefficients
//!   are in [`process`].
//! * [`model`]: the model as a trait, and the one place where it is called.
//! * [`jacobian`]: Jacobian-vector products through the model, and which way of them to take.
//! * [`linear`]: Lanczos, functions of a symmetric matrix, structured bases.
//! * [`covariance`]: the noise of one step, a file a law.
//! * [`integrator`]: the step that is exact where data is Gaussian, as functions of a variance.
//! * [`start`]: where a trajectory starts, if not at its first noise level.
//! * [`host`]: what a trajectory needs beside the model.
//! * [`solver`]: from one noise level to the next, a file a solver.
//! * [`trajectory`]: the loop over them. [`pointwise`]: what can be asked of a single point.
//! * [`module`]: how `liblgs` reaches all this; the only part that knows of handles.
//!
//! Only the fallible `f_…` calls of tensors are used: a panic here is a bug, unless it is one of `tch`'s own
//! ([`tensor`]).

pub mod checks;
pub mod covariance;
pub mod error;
pub mod host;
pub mod integrator;
pub mod jacobian;
pub mod layout;
pub mod linear;
mod memory;
pub mod model;
mod module;
pub mod options;
pub mod pointwise;
pub mod process;
pub mod solver;
pub mod start;
pub mod tensor;
pub mod trajectory;
