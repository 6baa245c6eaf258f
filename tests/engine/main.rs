//! Tests of `lgs_engine` against independent references in float64, one file for each of its
//! modules. One program, so that it is linked once.
//!
//! Forward-mode differentiation needs a dual level, which libtorch opens from Python only: what is
//! exact about it is tested through the shim, and here what happens where there is none.

mod choice;
mod denoiser;
mod finite_difference;
mod jvp;
mod lanczos;
mod posterior;
mod process;
mod sampler;
mod square_root;
mod structured;
mod support;
