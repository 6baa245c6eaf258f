//! The model: what it is to the mathematics ([`denoiser`]), the one place where it is called ([`evaluator`]),
//! and how it is differentiated ([`method`]).

pub mod denoiser;
pub mod evaluator;
pub mod method;

pub use self::{
    denoiser::{Calibration, Denoiser},
    evaluator::{Evaluator, Plan},
    method::Method,
};
