//! What can go wrong in the plugin: a status of `lgs.h` and a sentence for the user.

use lgs_abi::engine::{EngineError, EngineErrorKind as Kind};

pub type Result<T> = std::result::Result<T, Error>;

/// `lgs_status_t`, less `LGS_OK`.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    InvalidArgument = 1,
    InvalidType = 2,
    Manifest = 3,
    Engine = 4,
    ModelOutput = 5,
    HostFailed = 6,
    HostStopped = 7,
    Torch = 8,
    Internal = 9,
    OutOfMemory = 10,
}

#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub status: Status,
    pub message: String,
}

impl Error {
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub fn argument(message: impl Into<String>) -> Self {
        Self::new(Status::InvalidArgument, message)
    }
}

impl From<EngineError> for Error {
    fn from(error: EngineError) -> Self {
        let status = match error.kind {
            Kind::InvalidArgument => Status::InvalidArgument,
            Kind::InvalidType => Status::InvalidType,
            Kind::BadModelOutput => Status::ModelOutput,
            Kind::HostFailed => Status::HostFailed,
            Kind::HostStopped => Status::HostStopped,
            Kind::Torch => Status::Torch,
            Kind::OutOfMemory => Status::OutOfMemory,
            Kind::Internal => Status::Internal,
        };
        Self::new(status, error.message)
    }
}
