//! Tensors through tch.

use std::{
    ffi::c_void,
    mem::ManuallyDrop,
    panic::{self, catch_unwind},
    ptr::NonNull,
    sync::Once,
};

pub use tch::{Device, Kind, TchError as Refusal, Tensor};

/// The torch release that this engine's tch is for: that of the tch in Cargo.toml, or what `make engines` builds for.
const TORCH: &str = match option_env!("LGS_TORCH") {
    Some(release) => release,
    None => "2.11",
};

/// The torch release that this engine works with, as "2.11".
pub fn torch() -> String {
    TORCH.into()
}

/// What is needed before the first operation.
pub fn prepare() -> Result<(), String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(without_reports_of_refusals);
    Ok(())
}

/// Gradients are not recorded until this is dropped.
pub fn no_grad_guard() -> impl Drop {
    tch::no_grad_guard()
}

/// A dual number x + v ε of forward mode's level 0.
pub fn make_dual(x: &Tensor, v: &Tensor) -> Result<Tensor, Refusal> {
    Tensor::f_internal_make_dual(x, v, 0)
}

/// The two parts of a dual number. A tangent that it does not have is undefined.
pub fn unpack_dual(dual: &Tensor) -> Result<(Tensor, Tensor), Refusal> {
    Tensor::f_internal_unpack_dual(dual, 0)
}

/// How many CUDA devices this libtorch sees.
pub fn cuda_devices() -> usize {
    catch_unwind(tch::Cuda::device_count).unwrap_or(0).max(0) as usize
}

/// The tensor of a handle.
///
/// # Safety
///
/// The handle owns an `at::Tensor`, and nobody else uses it.
pub unsafe fn owned(handle: NonNull<c_void>) -> Tensor {
    // SAFETY: the contract.
    unsafe { Tensor::from_ptr(handle.as_ptr().cast()) }
}

/// A second owner of a tensor of the host's.
///
/// # Safety
///
/// The handle points to an `at::Tensor`.
pub unsafe fn borrowed(handle: NonNull<c_void>) -> Tensor {
    // SAFETY: the contract.
    unsafe { Tensor::clone_from_ptr(handle.as_ptr().cast()) }
}

/// A handle that owns the tensor.
pub fn into_handle(tensor: Tensor) -> Option<NonNull<c_void>> {
    NonNull::new(ManuallyDrop::new(tensor).as_mut_ptr().cast())
}

/// A handle that borrows from the tensor.
pub fn lend(tensor: &Tensor) -> *mut c_void {
    tensor.as_ptr().cast_mut().cast()
}

/// What libtorch refused, where a panic says so.
///
/// `tch` 0.24 reads the error of an operation after it has dropped its arguments, and its `Scalar` unwraps, when
/// dropped, whatever error there is: an operation with a number among its arguments panics where it should fail.
pub fn refusal_of_panic(message: &str) -> Option<String> {
    let quoted = message.strip_prefix("called `Result::unwrap()` on an `Err` value: Torch(\"")?.strip_suffix("\")")?;
    Some(quoted.replace("\\n", "\n").replace("\\\"", "\"").replace("\\'", "'").replace("\\\\", "\\"))
}

/// A panic that is answered as an error is no bug, and nothing is to be printed of it. The hook is that of the engine's
/// own standard library, and nobody else's.
fn without_reports_of_refusals() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if refusal_of_panic(lgs_abi::engine::panic_message(panic.payload())).is_none() {
            report(panic);
        }
    }));
}
