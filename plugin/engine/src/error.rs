//! What can go wrong while sampling, in words that a user can act on.

use std::fmt;

use tch::TchError;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug)]
pub enum Error {
    /// An argument has a value or a shape that cannot be used.
    Argument(String),
    /// An argument has a dtype that cannot be used.
    Type(String),
    /// The model or the noise source gave something that cannot be used.
    Output(String),
    /// The model cannot be differentiated in forward mode.
    ForwardMode(String),
    /// The model, the noise source or an observer failed; it knows why.
    Failed,
    /// The model, the noise source or an observer asked to stop.
    Stopped,
    /// libtorch refused an operation.
    Torch(TchError),
}

impl Error {
    /// The same error with where it happened in front, where that helps.
    pub fn at(self, place: impl fmt::Display) -> Self {
        match self {
            Error::Output(message) => Error::Output(format!("{place}: {message}")),
            Error::ForwardMode(message) => Error::ForwardMode(format!("{place}: {message}")),
            other => other,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Argument(message) | Error::Type(message) => f.write_str(message),
            Error::Output(message) | Error::ForwardMode(message) => f.write_str(message),
            Error::Failed => f.write_str("a callback of the host failed"),
            Error::Stopped => f.write_str("a callback of the host asked to stop"),
            Error::Torch(error) => {
                // What follows is libtorch's call stack, for its own developers.
                let message = error.to_string();
                write!(f, "libtorch: {}", message.split("\nException raised from").next().unwrap_or(&message))
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<TchError> for Error {
    fn from(error: TchError) -> Self {
        Error::Torch(error)
    }
}
