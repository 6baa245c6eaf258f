//! The types that cross a boundary, each declared once.
//!
//! * [`options`]: what a user can choose, by the names that the manifest gives it.
//! * [`tensor`]: tensors as handles that cannot leak.
//! * [`header`]: the structs of `lgs.h` that liblgs and engines share, written from it. [`layout`]: how they are laid out.
//! * [`engine`]: what an engine offers to `liblgs`.
//! * [`libtorch`]: the one that the host has loaded, for both.
//!
//! `liblgs` is loaded by the host and knows nothing of torch; an engine is built for one torch release
//! and holds the mathematics. They are compiled apart and meet at run time, so every type here has a
//! layout that `abi_stable` compares when an engine is loaded.

// Generated code of `StableAbi`.
#![allow(non_local_definitions)]

pub mod engine;
pub mod header;
pub mod layout;
pub mod libtorch;
pub mod options;
pub mod tensor;
