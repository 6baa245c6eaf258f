//! Tensors of the host's libtorch: the operations that the mathematics uses, by tch's names, in its fallible form.
//!
//! There are two ways to them, and an engine is built with one:
//!
//! * `of_tch`: tch, which is C++ compiled for one release of torch.
//! * `stable`, in the package of that name: PyTorch's stable C interface, looked up in the libtorch that is loaded. No
//!   C++, no headers; any release from 2.10 on, on every system.

#[cfg(not(feature = "stable"))]
mod of_tch;
#[cfg(feature = "stable")]
mod stable;

#[cfg(not(feature = "stable"))]
pub use of_tch::*;
#[cfg(feature = "stable")]
pub use stable::*;
