//! Linear algebra without matrices, against dense linear algebra.

mod bases;
mod functions;
mod lanczos;
mod low_rank;
mod octaves;
