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

/// The most characters of what came that an error quotes.
const QUOTED: usize = 80;

/// What came, as an error quotes it: without what a terminal would obey, and cut where it is long.
pub fn quoted(text: &str) -> String {
    let mut shown = text.chars().flat_map(char::escape_debug);
    let mut quote: String = shown.by_ref().take(QUOTED).collect();
    if shown.next().is_some() {
        quote.push('…');
    }
    quote
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
