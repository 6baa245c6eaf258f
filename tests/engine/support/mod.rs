//! What the tests share. [`numbers`]: random tensors and dense linear algebra. [`gaussian`]: data of
//! which everything is known. [`host`]: a host made of closures. [`log`]: what was logged.

pub mod gaussian;
pub mod host;
pub mod log;
pub mod numbers;
pub mod tensor;
