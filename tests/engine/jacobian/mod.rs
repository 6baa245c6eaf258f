//! Jacobian-vector products, and the choice between the ways of computing them.

mod difference;
mod linearization;
mod selection;
