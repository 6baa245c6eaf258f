//! Forward mode of a thread.

use std::cell::Cell;

use crate::error::{Error, Result};

/// This thread's use of forward mode. Torch has one level of it for all threads of a process: the host, which opens
/// it, waits for the others.
pub(super) struct ForwardLevel(());

thread_local! {
    static HOLDS_LEVEL: Cell<bool> = const { Cell::new(false) };
}

impl ForwardLevel {
    /// Refused to a model that samples while it is differentiated.
    pub(super) fn take() -> Result<Self> {
        if HOLDS_LEVEL.replace(true) {
            return Err(Error::InUse("it is being differentiated already, and torch does not nest that".into()));
        }
        Ok(Self(()))
    }
}

impl Drop for ForwardLevel {
    fn drop(&mut self) {
        HOLDS_LEVEL.set(false);
    }
}
