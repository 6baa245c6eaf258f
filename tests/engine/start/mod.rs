//! Where a trajectory starts.

mod teleport;
