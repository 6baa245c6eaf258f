//! What can go wrong while sampling, in words that a user can act on.

use std::fmt;

use crate::tensor::Refusal;

/// What libtorch says, in part, where there is no memory: CUDA, ROCm, XPU and MPS; a CPU on Linux; on Windows.
const NO_MEMORY: [&str; 3] = ["out of memory", "can't allocate memory", "not enough memory"];

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An argument has a value or a shape that cannot be used.
    #[error("{0}")]
    Argument(String),
    /// An argument has a dtype that cannot be used.
    #[error("{0}")]
    Type(String),
    /// The model or the noise source gave something that cannot be used.
    #[error("{0}")]
    Output(String),
    /// The model cannot be differentiated in forward mode.
    #[error("{0}")]
    ForwardMode(String),
    /// Forward mode is in use, by a call that waits for this one.
    #[error("{0}")]
    InUse(String),
    /// The model, the noise source or an observer failed; it knows why.
    #[error("a callback of the host failed")]
    Failed,
    /// The model, the noise source or an observer asked to stop.
    #[error("a callback of the host asked to stop")]
    Stopped,
    /// libtorch refused an operation.
    #[error("libtorch: {0}")]
    Torch(String),
    /// There was no memory left for an operation or a table. It is free again.
    #[error("out of memory, of which a smaller batch or fewer pixels need less: {0}")]
    OutOfMemory(String),
}

impl From<Refusal> for Error {
    fn from(error: Refusal) -> Self {
        match error {
            Refusal::Torch(message) => Self::of_torch(&message),
            other => Self::of_torch(&other.to_string()),
        }
    }
}

impl Error {
    /// What libtorch refused, by its message.
    pub fn of_torch(message: &str) -> Self {
        let message = without_call_stack(message).to_owned();
        match NO_MEMORY.iter().any(|words| message.contains(words)) {
            true => Error::OutOfMemory(message),
            false => Error::Torch(message),
        }
    }

    /// Whether the same may well work at another time: no reason to judge a model by.
    pub fn passes(&self) -> bool {
        matches!(self, Error::OutOfMemory(_) | Error::InUse(_))
    }

    /// The same error with where it happened in front, where that helps.
    pub fn at(self, place: impl fmt::Display) -> Self {
        match self {
            Error::Output(message) => Error::Output(format!("{place}: {message}")),
            Error::ForwardMode(message) => Error::ForwardMode(format!("{place}: {message}")),
            Error::InUse(message) => Error::InUse(format!("{place}: {message}")),
            other => other,
        }
    }
}

/// libtorch's message without what is for its own developers.
fn without_call_stack(message: &str) -> &str {
    message.split("\nException raised from").next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_every_device_are_told_from_others() {
        for message in [
            "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 139.72 GiB",
            "MPS backend out of memory (MPS allocated: 9.05 GB)",
            "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to \
             allocate 40000000000 bytes. Error code 12 (Cannot allocate memory)",
            "DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes.",
        ] {
            assert!(matches!(Error::of_torch(message), Error::OutOfMemory(_)), "{message}");
        }
        assert!(matches!(Error::of_torch("The size of tensor a (3) must match"), Error::Torch(_)));
    }
}
