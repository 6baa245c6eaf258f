//! Tensors as handles: `at::Tensor*`, PyTorch's own `AtenTensorHandle`, as `OwnedFd` and `BorrowedFd` are
//! to a file descriptor.

use std::{ffi::c_void, marker::PhantomData, mem::ManuallyDrop, ptr::NonNull};

use abi_stable::StableAbi;

/// A tensor of somebody else's, for the time of a call.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct BorrowedTensor<'a> {
    handle: NonNull<c_void>,
    owner: PhantomData<&'a ()>,
}

impl BorrowedTensor<'_> {
    /// # Safety
    ///
    /// `handle` points to an `at::Tensor` that outlives the lifetime.
    pub unsafe fn new(handle: NonNull<c_void>) -> Self {
        Self { handle, owner: PhantomData }
    }

    pub fn handle(self) -> NonNull<c_void> {
        self.handle
    }
}

/// A tensor that is given back when this is dropped.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct OwnedTensor {
    handle: NonNull<c_void>,
    delete: unsafe extern "C" fn(NonNull<c_void>),
}

impl OwnedTensor {
    /// # Safety
    ///
    /// `handle` owns an `at::Tensor`, which `delete` frees; nobody else does.
    pub unsafe fn new(handle: NonNull<c_void>, delete: unsafe extern "C" fn(NonNull<c_void>)) -> Self {
        Self { handle, delete }
    }

    /// The handle, which the caller owns from here on.
    pub fn into_handle(self) -> NonNull<c_void> {
        ManuallyDrop::new(self).handle
    }
}

impl Drop for OwnedTensor {
    fn drop(&mut self) {
        // SAFETY: by the contract of `new`, and this is the one owner.
        unsafe { (self.delete)(self.handle) }
    }
}
