//! The laws of the noise, against closed forms and dense linear algebra.

mod laws;
mod principal_components;
mod statistics;
mod tolerance;
