//! Forward mode, one thread at a time.

use std::{
    cell::Cell,
    sync::{Mutex, PoisonError},
};

use crate::error::{Error, Result};

/// The use of forward mode by one thread at a time: torch has one level of it for all threads.
pub(super) struct ForwardLevel(#[allow(dead_code, reason = "held, not read")] std::sync::MutexGuard<'static, ()>);

static LEVEL: Mutex<()> = Mutex::new(());

thread_local! {
    static HOLDS_LEVEL: Cell<bool> = const { Cell::new(false) };
}

impl ForwardLevel {
    /// Waits for other threads; refused to a model that samples while it is differentiated.
    pub(super) fn take() -> Result<Self> {
        if HOLDS_LEVEL.get() {
            return Err(Error::ForwardMode("it is being differentiated already, and torch does not nest that".into()));
        }
        let level = Self(LEVEL.lock().unwrap_or_else(PoisonError::into_inner));
        HOLDS_LEVEL.set(true);
        Ok(level)
    }
}

impl Drop for ForwardLevel {
    fn drop(&mut self) {
        HOLDS_LEVEL.set(false);
    }
}

/// Why forward mode does not work, in words; an error that asks to stop stays one.
pub(super) fn why_not(error: Error) -> Result<String> {
    match error {
        Error::Stopped => Err(Error::Stopped),
        Error::Failed => Ok("it raised an error, which is in the log".into()),
        error => Ok(error.to_string()),
    }
}
