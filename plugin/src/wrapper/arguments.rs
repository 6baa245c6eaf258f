//! Arguments that come from C: checked, copied, or borrowed for the time of a call.
//!
//! All of it trusts `lgs.h`: a pointer that is not null points to what the header says.

use std::{
    ffi::{c_char, CStr, CString},
    mem::{size_of, MaybeUninit},
    ptr::NonNull,
};

use lgs_abi::{
    header::{Choice, Gaussian, Host},
    tensor::BorrowedTensor,
};

use super::types::Tensor;
use crate::error::{Error, Result, Status};

/// A struct of the header, which begins with its own size.
///
/// # Safety
///
/// Plain data for which zero is a valid value, in fields of [`Versioned::UNIT`] bytes or a multiple of them, of
/// which the first is a `usize`, the size.
pub unsafe trait Versioned: Copy {
    const UNIT: usize = size_of::<usize>();
}

// SAFETY: pointers, functions that may be null, and numbers.
unsafe impl Versioned for Host {}

// SAFETY: pointers and a number.
unsafe impl Versioned for Gaussian {}

// SAFETY: numbers.
unsafe impl Versioned for Choice {
    const UNIT: usize = size_of::<i32>();
}

// SAFETY: pointers, and a function that may be null.
unsafe impl Versioned for super::types::EngineConfig {}

/// How much of a host's struct of `size` bytes is known here: whole fields, since half a pointer is none.
fn known<T: Versioned>(size: usize) -> usize {
    size.min(size_of::<T>()) / T::UNIT * T::UNIT
}

/// A copy of a host's struct, with zero for the fields that its version does not have.
///
/// `least` is the size up to the end of what the first version requires.
///
/// # Safety
///
/// `pointer` is null or points to a struct of its version.
pub unsafe fn sized<T: Versioned>(name: &str, pointer: *const T, least: usize) -> Result<T> {
    if pointer.is_null() {
        return Err(Error::argument(format!("{name}: expected a struct, got null")));
    }
    // SAFETY: every struct begins with its size.
    let size = unsafe { pointer.cast::<usize>().read() };
    if size < least || size > 4096 {
        return Err(Error::argument(format!(
            "{name}.struct_size: expected sizeof the struct, {} here, got {size}",
            size_of::<T>()
        )));
    }
    let mut copy = MaybeUninit::<T>::zeroed();
    // SAFETY: both hold at least so many bytes; and zero is a valid value of what is not copied.
    unsafe {
        std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), copy.as_mut_ptr().cast::<u8>(), known::<T>(size));
        Ok(copy.assume_init())
    }
}

/// Writes a struct back into the host's own of `size` bytes, as far as that has the fields; its size stays.
///
/// # Safety
///
/// `pointer` is what [`sized`] has read `value` from, and `size` was its size then.
pub unsafe fn write_back<T: Versioned>(value: &T, pointer: *mut T, size: usize) {
    let (head, value) = (size_of::<usize>(), std::ptr::from_ref(value).cast::<u8>());
    // SAFETY: both hold at least so many bytes.
    unsafe {
        std::ptr::copy_nonoverlapping(value.add(head), pointer.cast::<u8>().add(head), known::<T>(size) - head);
    }
}

/// # Safety
///
/// `text` is null or a text that outlives the lifetime.
pub unsafe fn optional_text<'a>(name: &str, text: *const c_char) -> Result<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: as above, and it ends with a zero byte.
    let text = unsafe { CStr::from_ptr(text) }.to_str();
    text.map(Some).map_err(|error| Error::argument(format!("{name}: expected UTF-8, got something else: {error}")))
}

/// A text that the host is to give back.
pub fn give_text(text: String) -> Result<*mut c_char> {
    let text = CString::new(text).map_err(|error| Error::new(Status::Internal, error.to_string()))?;
    Ok(text.into_raw())
}

/// # Safety
///
/// `tensor` is null or an at::Tensor that outlives the lifetime.
pub unsafe fn tensor<'a>(name: &str, tensor: Tensor) -> Result<BorrowedTensor<'a>> {
    match NonNull::new(tensor) {
        None => Err(Error::argument(format!("{name}: expected a tensor handle, got null"))),
        // SAFETY: as above.
        Some(handle) => Ok(unsafe { BorrowedTensor::new(handle) }),
    }
}

/// # Safety
///
/// `pointer` is null or points to a `T` that outlives the lifetime.
pub unsafe fn borrowed<'a, T>(name: &str, pointer: *const T) -> Result<&'a T> {
    // SAFETY: as above.
    unsafe { pointer.as_ref() }.ok_or_else(|| Error::argument(format!("{name}: expected a pointer, got null")))
}

pub fn out_parameter<T>(name: &str, pointer: *mut T) -> Result<*mut T> {
    match pointer.is_null() {
        true => Err(Error::argument(format!("{name}: expected a place for the result, got null"))),
        false => Ok(pointer),
    }
}
