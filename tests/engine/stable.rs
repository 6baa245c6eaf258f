//! The engine's tests, of the engine on PyTorch's stable C interface.

extern crate lgs_engine_stable as lgs_engine;

include!("main.rs");
