//! A call that runs the model: the host's structs, its options, and its log.

use std::{ffi::c_char, mem::size_of};

use abi_stable::std_types::RResult;
use lgs_abi::{
    engine::EngineError,
    header::{signal, Choice, Host},
    options::{Covariance, Options},
};

use super::{
    arguments::{optional_text, sized, write_back},
    types::LgsEngine,
};
use crate::{
    error::{Error, Result, Status},
    logger::{self, Scope, Sink},
    options,
};

/// Runs `work` with this thread's log going to `sink`. A log callback that has not said to go on wins: the
/// outcome is dropped then, and what it owns with it.
pub fn logged<T>(sink: Sink, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let _scope = Scope::enter(sink);
    let value = work()?;
    match logger::answer() {
        signal::CONTINUE => Ok(value),
        signal::STOP => Err(Error::new(Status::HostStopped, "the log callback asked to stop")),
        _ => Err(Error::new(Status::HostFailed, "the log callback failed")),
    }
}

/// What the engine calls that run a model have in common.
///
/// # Safety
///
/// `json` is null or a text.
pub unsafe fn with_engine<T>(
    engine: &LgsEngine,
    json: *const c_char,
    mut call: Call,
    run: impl FnOnce(&Options, &Host) -> RResult<T, EngineError>,
) -> Result<T> {
    // SAFETY: see above.
    let options = options::check(unsafe { optional_text("options", json) }?.unwrap_or_default())?.options;
    if options.covariance == Covariance::DiagonalLearned && call.host.diagonal.is_none() {
        return Err(Error::argument(
            "diagonal: expected a network for the diagonal of the Jacobian, which covariance \"diagonal-learned\" needs, \
             got none; give one, or take covariance \"diagonal\", which needs none",
        ));
    }
    logged(engine.sink, || Ok(run(&options, call.complete()).into_result()?))
}

/// A host's structs, in this library's version of them, for the time of a call.
pub struct Call {
    pub host: Host,
    choice: Choice,
    /// The host's own, which gets what was found out, and its size; may be null.
    kept: *mut Choice,
    kept_size: usize,
}

impl Call {
    /// # Safety
    ///
    /// `host` is null or the host's struct, which outlives this.
    pub unsafe fn of(host: *const Host) -> Result<Self> {
        // SAFETY: see above, and the header.
        unsafe {
            let host: Host = sized("host", host, std::mem::offset_of!(Host, noise))?;
            if host.denoise.is_none() {
                return Err(Error::argument("host.denoise: expected a callback, got null"));
            }
            let kept = host.choice;
            let choice = match kept.is_null() {
                true => Choice::default(),
                false => sized("host.choice", kept, std::mem::offset_of!(Choice, doubled_batch))?,
            };
            Ok(Self { host, choice, kept, kept_size: choice.struct_size })
        }
    }

    /// The host as an engine takes it: every field there, and `choice` its own.
    fn complete(&mut self) -> &Host {
        self.host.struct_size = size_of::<Host>();
        self.choice.struct_size = size_of::<Choice>();
        self.host.choice = if self.kept.is_null() { self.kept } else { &mut self.choice };
        &self.host
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.kept.is_null() {
            // SAFETY: `of` has read `choice` from there, and its size with it.
            unsafe { write_back(&self.choice, self.kept, self.kept_size) };
        }
    }
}
