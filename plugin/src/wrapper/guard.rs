//! The outcome of a C function: a status, and an error object where it is wanted. Nothing unwinds out of it.

use std::{
    ffi::CString,
    panic::{catch_unwind, AssertUnwindSafe},
};

use lgs_abi::engine::panic_message;

use super::types::LgsError;
use crate::error::{Error, Result, Status};

/// Runs the body of a C function: nothing unwinds out of it, and an error goes where it is wanted.
///
/// # Safety
///
/// `error` is null or a place for one.
pub unsafe fn guarded(error: *mut *mut LgsError, body: impl FnOnce() -> Result<()>) -> i32 {
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let what = format!("liblgs panicked, which is a bug in it: {}", panic_message(&*panic));
        Err(Error::new(Status::Internal, what))
    });
    match outcome {
        Ok(()) => 0,
        Err(failure) => {
            let status = failure.status as i32;
            if !error.is_null() {
                let message = CString::new(failure.message.replace('\0', " ")).unwrap_or_default();
                // SAFETY: not null, and see above.
                unsafe { error.write(Box::into_raw(Box::new(LgsError { status, message }))) };
            }
            status
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_a_panic_said() {
        let panics: [(fn(), &str); 2] =
            [(|| panic!("a literal"), "a literal"), (|| panic!("number {}", 7), "number 7")];
        for (panic, said) in panics {
            let mut error = std::ptr::null_mut();
            // SAFETY: a place for an error.
            let status = unsafe {
                guarded(&mut error, || {
                    panic();
                    Ok(())
                })
            };
            assert_eq!(status, Status::Internal as i32);
            // SAFETY: the error that was stored.
            let error = unsafe { Box::from_raw(error) };
            let message = error.message.to_str().expect("UTF-8");
            assert!(message.contains(said), "{message}");
        }
    }
}
