//! What can go wrong while sampling, in words that a user can act on.

use std::fmt;

use tch::TchError;

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
    /// The model, the noise source or an observer failed; it knows why.
    #[error("a callback of the host failed")]
    Failed,
    /// The model, the noise source or an observer asked to stop.
    #[error("a callback of the host asked to stop")]
    Stopped,
    /// libtorch refused an operation.
    #[error("libtorch: {}", without_call_stack(.0))]
    Torch(#[from] TchError),
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

/// libtorch's message without what is for its own developers.
fn without_call_stack(error: &TchError) -> String {
    let message = error.to_string();
    message.split("\nException raised from").next().unwrap_or_default().to_owned()
}
