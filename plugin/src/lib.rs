//! `liblgs`: full-covariance diffusion sampling behind a stable C ABI.
//!
//! The library that a host loads. It needs no torch to load: it reads manifests, checks options,
//! picks the engine built for the torch that the host has in its process, and passes calls on.
//!
//! * [`wrapper`]: the C ABI of `include/lgs.h`, and all that is unsafe about it.
//! * [`manifest`], [`options`]: what the plugin offers, what a user may choose.
//! * [`torch`], [`engines`], [`files`]: which engine, and loading it.
//! * [`logger`]: `log` to the host's logger.

pub mod engines;
pub mod error;
pub mod files;
pub mod logger;
pub mod manifest;
pub mod options;
pub mod torch;
pub mod wrapper;
