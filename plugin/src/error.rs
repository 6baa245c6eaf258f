//! What can go wrong in the plugin: a status of `lgs.h` and a sentence for the user.

use std::fmt;

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
}

#[derive(Clone, Debug)]
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

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<lgs_abi::EngineError> for Error {
    fn from(error: lgs_abi::EngineError) -> Self {
        use lgs_abi::EngineErrorKind as Kind;
        let status = match error.kind {
            Kind::InvalidArgument => Status::InvalidArgument,
            Kind::InvalidType => Status::InvalidType,
            Kind::BadModelOutput => Status::ModelOutput,
            Kind::HostFailed => Status::HostFailed,
            Kind::HostStopped => Status::HostStopped,
            Kind::Torch => Status::Torch,
            Kind::Internal => Status::Internal,
        };
        Self::new(status, error.message)
    }
}
