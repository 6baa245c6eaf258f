//! Tensors through PyTorch's stable C interface.
//!
//! Numbers among an operator's arguments cannot be passed (2.10 to 2.15): a tensor without axes, of float64 on the
//! processor, stands for one, to which torch gives the other's dtype and device as it does to a number. What is optional
//! cannot be passed either: for such operators there is another that comes to the same.

mod lists;
mod operations;
mod operators;
mod shim;
mod value;

use std::{ffi::c_void, mem::ManuallyDrop, ptr::NonNull, sync::OnceLock};

pub use lists::IntList;
use shim::{shim, Handle};
use value::{checked, refused};

/// Why libtorch does not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An operation failed.
    #[error("{0}")]
    Torch(String),
    /// There is no libtorch here that could be used.
    #[error("{0}")]
    Unusable(String),
}

type Result<T> = std::result::Result<T, Refusal>;

/// The torch release that this engine works with, as "2.11": the one that is loaded. "none" where none is.
pub fn torch() -> String {
    // SAFETY: a constant of libtorch's: major, minor and patch in the upper bytes.
    let release = shim().map(|shim| unsafe { (shim.aoti_torch_abi_version)() });
    release.map_or("none".into(), |version| format!("{}.{}", version >> 56, version >> 48 & 0xff))
}

/// What is needed before the first operation: a libtorch with all of the functions that are used.
pub fn prepare() -> std::result::Result<(), String> {
    shim().map(drop).map_err(|refusal| refusal.to_string())
}

/// dtypes, by tch's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Uint8,
    Int8,
    Int16,
    Int,
    Int64,
    Half,
    Float,
    Double,
    ComplexHalf,
    ComplexFloat,
    ComplexDouble,
    Bool,
    BFloat16,
}

const KINDS: [Kind; 13] = [
    Kind::Uint8,
    Kind::Int8,
    Kind::Int16,
    Kind::Int,
    Kind::Int64,
    Kind::Half,
    Kind::Float,
    Kind::Double,
    Kind::ComplexHalf,
    Kind::ComplexFloat,
    Kind::ComplexDouble,
    Kind::Bool,
    Kind::BFloat16,
];

impl Kind {
    /// The one that the interface has this number for.
    fn numbered(number: i32) -> Option<Kind> {
        static NUMBERS: OnceLock<[Option<i32>; KINDS.len()]> = OnceLock::new();
        let numbers = NUMBERS.get_or_init(|| KINDS.map(|kind| kind.number().ok()));
        numbers.iter().position(|&known| known == Some(number)).map(|at| KINDS[at])
    }

    /// As the interface numbers it.
    fn number(self) -> Result<i32> {
        let shim = shim()?;
        let number = match self {
            Kind::Uint8 => shim.aoti_torch_dtype_uint8,
            Kind::Int8 => shim.aoti_torch_dtype_int8,
            Kind::Int16 => shim.aoti_torch_dtype_int16,
            Kind::Int => shim.aoti_torch_dtype_int32,
            Kind::Int64 => shim.aoti_torch_dtype_int64,
            Kind::Half => shim.aoti_torch_dtype_float16,
            Kind::Float => shim.aoti_torch_dtype_float32,
            Kind::Double => shim.aoti_torch_dtype_float64,
            Kind::ComplexHalf => shim.aoti_torch_dtype_complex32,
            Kind::ComplexFloat => shim.aoti_torch_dtype_complex64,
            Kind::ComplexDouble => shim.aoti_torch_dtype_complex128,
            Kind::Bool => shim.aoti_torch_dtype_bool,
            Kind::BFloat16 => shim.aoti_torch_dtype_bfloat16,
        };
        // SAFETY: a constant.
        Ok(unsafe { number() })
    }
}

/// Where a tensor lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Cpu,
    Cuda(usize),
    Mps,
    /// Kind and index by the interface's numbers.
    Other(i32, i32),
}

impl Device {
    /// Kind and index, as the interface numbers them.
    fn numbers(self) -> Result<(i32, i32)> {
        let shim = shim()?;
        // SAFETY: constants.
        Ok(unsafe {
            match self {
                // With an index it would be another device than the one without, and a move would copy.
                Device::Cpu => ((shim.aoti_torch_device_type_cpu)(), -1),
                Device::Cuda(index) => ((shim.aoti_torch_device_type_cuda)(), index as i32),
                Device::Mps => ((shim.aoti_torch_device_type_mps)(), 0),
                Device::Other(kind, index) => (kind, index),
            }
        })
    }
}

/// A tensor, of which this is one owner.
pub struct Tensor(NonNull<c_void>);

// SAFETY: an at::Tensor is counted atomically, and may be used and freed on any thread.
unsafe impl Send for Tensor {}

impl Drop for Tensor {
    fn drop(&mut self) {
        if let Ok(shim) = shim() {
            // SAFETY: the handle is ours, and this is its end.
            unsafe { (shim.aoti_torch_delete_tensor_object)(self.0.as_ptr()) };
        }
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor[{:?}, {:?}]", self.size(), self.f_kind())
    }
}

/// Gradients are not recorded until this is dropped.
pub fn no_grad_guard() -> impl Drop {
    struct Guard(Option<bool>);
    impl Drop for Guard {
        fn drop(&mut self) {
            if let (Ok(shim), Some(before)) = (shim(), self.0) {
                // SAFETY: sets a flag of this thread's.
                unsafe { (shim.aoti_torch_grad_mode_set_enabled)(before) };
            }
        }
    }
    Guard(shim().ok().map(|shim| {
        // SAFETY: a flag of this thread's.
        unsafe {
            let before = (shim.aoti_torch_grad_mode_is_enabled)();
            (shim.aoti_torch_grad_mode_set_enabled)(false);
            before
        }
    }))
}

pub use operations::{make_dual, unpack_dual};
pub use shim::cuda_devices;

/// The tensor of a handle.
///
/// # Safety
///
/// The handle owns an `at::Tensor`, and nobody else uses it.
pub unsafe fn owned(handle: NonNull<c_void>) -> Tensor {
    Tensor(handle)
}

/// A second owner of a tensor of the host's.
///
/// # Safety
///
/// The handle points to an `at::Tensor`.
pub unsafe fn borrowed(handle: NonNull<c_void>) -> Tensor {
    ManuallyDrop::new(Tensor(handle)).shallow_clone()
}

/// A handle that owns the tensor.
pub fn into_handle(tensor: Tensor) -> Option<NonNull<c_void>> {
    NonNull::new(tensor.into_raw())
}

/// A handle that borrows from the tensor.
pub fn lend(tensor: &Tensor) -> *mut c_void {
    tensor.0.as_ptr()
}

/// The interface does not panic.
pub fn refusal_of_panic(_: &str) -> Option<String> {
    None
}

impl Tensor {
    fn into_raw(self) -> Handle {
        ManuallyDrop::new(self).0.as_ptr()
    }

    fn second_owner(&self) -> Result<Tensor> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: the tensor is alive, and the out parameter is ours.
        let status = unsafe { (shim()?.aoti_torch_new_tensor_handle)(self.0.as_ptr(), &mut handle) };
        checked("aoti_torch_new_tensor_handle", status)?;
        NonNull::new(handle).map(Tensor).ok_or_else(|| Refusal::Torch("expected a tensor, got null".into()))
    }

    /// A number of the tensor's, by a function of the interface that stores it.
    fn asked<T: Default>(&self, name: &str, function: unsafe extern "C" fn(Handle, *mut T) -> i32) -> Result<T> {
        let mut answer = T::default();
        // SAFETY: the tensor is alive, and the out parameter is ours.
        checked(name, unsafe { function(self.0.as_ptr(), &mut answer) })?;
        Ok(answer)
    }

    /// Another owner of the same tensor.
    ///
    /// # Panics
    ///
    /// Where no tensor could have been made, as there is no libtorch.
    pub fn shallow_clone(&self) -> Tensor {
        self.second_owner().expect("a tensor has a second owner")
    }

    pub fn defined(&self) -> bool {
        shim().and_then(|shim| self.asked("aoti_torch_is_defined", shim.aoti_torch_is_defined)).unwrap_or(false)
    }

    pub fn dim(&self) -> usize {
        shim().and_then(|shim| self.asked("aoti_torch_get_dim", shim.aoti_torch_get_dim)).unwrap_or(0).max(0) as usize
    }

    pub fn numel(&self) -> usize {
        let numel = shim().and_then(|shim| self.asked("aoti_torch_get_numel", shim.aoti_torch_get_numel));
        numel.unwrap_or(0).max(0) as usize
    }

    pub fn size(&self) -> Vec<i64> {
        let (Ok(shim), axes) = (shim(), self.dim()) else { return Vec::new() };
        let mut sizes = std::ptr::null_mut();
        // SAFETY: the tensor is alive, and the out parameter is ours.
        let status = unsafe { (shim.aoti_torch_get_sizes)(self.0.as_ptr(), &mut sizes) };
        if status != 0 || sizes.is_null() || axes == 0 {
            return Vec::new();
        }
        // SAFETY: as many as there are axes, and they live as long as the tensor.
        unsafe { std::slice::from_raw_parts(sizes, axes) }.to_vec()
    }

    pub fn size1(&self) -> Result<i64> {
        match self.size()[..] {
            [count] => Ok(count),
            ref other => Err(Refusal::Torch(format!("expected one axis, got shape {other:?}"))),
        }
    }

    pub fn size2(&self) -> Result<(i64, i64)> {
        match self.size()[..] {
            [rows, columns] => Ok((rows, columns)),
            ref other => Err(Refusal::Torch(format!("expected two axes, got shape {other:?}"))),
        }
    }

    pub fn f_kind(&self) -> Result<Kind> {
        let number = self.asked("aoti_torch_get_dtype", shim()?.aoti_torch_get_dtype)?;
        Kind::numbered(number).ok_or_else(|| {
            Refusal::Torch(format!("expected a dtype that is known here, got number {number} of torch's"))
        })
    }

    pub fn device(&self) -> Device {
        self.f_device().unwrap_or(Device::Cpu)
    }

    fn f_device(&self) -> Result<Device> {
        let shim = shim()?;
        let kind = self.asked("aoti_torch_get_device_type", shim.aoti_torch_get_device_type)?;
        let index = self.asked("aoti_torch_get_device_index", shim.aoti_torch_get_device_index)?;
        // SAFETY: constants.
        Ok(unsafe {
            match kind {
                kind if kind == (shim.aoti_torch_device_type_cpu)() => Device::Cpu,
                kind if kind == (shim.aoti_torch_device_type_cuda)() => Device::Cuda(index.max(0) as usize),
                kind if kind == (shim.aoti_torch_device_type_mps)() => Device::Mps,
                kind => Device::Other(kind, index),
            }
        })
    }

    /// Numbers that are not set yet, contiguous.
    pub fn f_empty(size: impl IntList, (kind, device): (Kind, Device)) -> Result<Tensor> {
        let size = size.integers();
        let mut strides = vec![1; size.len()];
        for i in (1..size.len()).rev() {
            strides[i - 1] = strides[i] * size[i].max(1);
        }
        let ((device_type, index), mut handle) = (device.numbers()?, std::ptr::null_mut());
        // SAFETY: as many sizes and strides as axes, and the out parameter is ours.
        let status = unsafe {
            let (axes, dtype) = (size.len() as i64, kind.number()?);
            (shim()?.aoti_torch_empty_strided)(
                axes,
                size.as_ptr(),
                strides.as_ptr(),
                dtype,
                device_type,
                index,
                &mut handle,
            )
        };
        match NonNull::new(handle) {
            Some(handle) if status == 0 => Ok(Tensor(handle)),
            _ => Err(refused(
                &format!("an empty tensor of shape {size:?}"),
                Some((device, size.iter().product::<i64>() * 8)),
            )),
        }
    }

    /// Whether a device has room for so many bytes.
    fn room_for(bytes: i64, device: Device) -> bool {
        let made = || -> Option<()> {
            let ((device_type, index), mut handle) = (device.numbers().ok()?, std::ptr::null_mut());
            let (shim, dtype) = (shim().ok()?, Kind::Uint8.number().ok()?);
            // SAFETY: one size and one stride, and the out parameter is ours.
            unsafe { (shim.aoti_torch_empty_strided)(1, &bytes.max(1), &1, dtype, device_type, index, &mut handle) };
            NonNull::new(handle).map(|handle| drop(Tensor(handle)))
        };
        made().is_some()
    }

    /// A number as a tensor without axes, which stands for it among an operator's arguments.
    fn of_number(number: f64) -> Result<Tensor> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: the out parameter is ours.
        let status = unsafe { (shim()?.aoti_torch_scalar_to_tensor_float64)(number, &mut handle) };
        checked("aoti_torch_scalar_to_tensor_float64", status)?;
        NonNull::new(handle).map(Tensor).ok_or_else(|| Refusal::Torch("expected a tensor, got null".into()))
    }

    /// Where the numbers of a contiguous tensor on the processor are.
    fn data(&self) -> Result<*mut c_void> {
        let mut data = std::ptr::null_mut();
        // SAFETY: the tensor is alive, and the out parameter is ours.
        let status = unsafe { (shim()?.aoti_torch_get_data_ptr)(self.0.as_ptr(), &mut data) };
        checked("aoti_torch_get_data_ptr", status)?;
        Ok(data)
    }

    /// A tensor of one axis on the processor.
    pub fn f_from_slice<T: Element>(numbers: &[T]) -> Result<Tensor> {
        let tensor = Tensor::f_empty(numbers.len() as i64, (T::KIND, Device::Cpu))?;
        if !numbers.is_empty() {
            // SAFETY: as many numbers of this dtype, in memory that nobody else knows yet.
            unsafe { std::ptr::copy_nonoverlapping(numbers.as_ptr(), tensor.data()?.cast::<T>(), numbers.len()) };
        }
        Ok(tensor)
    }

    fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        if self.dim() != 1 {
            return Err(Refusal::Torch(format!("expected one axis, got shape {:?}", self.size())));
        }
        // On the processor, in this dtype, contiguous: whatever it was.
        let here = self.f_to_device(Device::Cpu)?.f_to_kind(T::KIND)?;
        let count = here.numel();
        let here = if count > 1 { here.joined()? } else { here };
        if count == 0 {
            return Ok(Vec::new());
        }
        // SAFETY: as many numbers of this dtype, which live as long as `here`.
        Ok(unsafe { std::slice::from_raw_parts(here.data()?.cast::<T>().cast_const(), count) }.to_vec())
    }

    /// The number at an index for each axis. Waits for the device.
    pub fn f_double_value(&self, indices: &[i64]) -> Result<f64> {
        let mut item = self.shallow_clone();
        for &index in indices {
            item = item.f_select(0, index)?;
        }
        match item.f_reshape([-1])?.to_vec::<f64>()?[..] {
            [number] => Ok(number),
            ref other => Err(Refusal::Torch(format!("expected one number, got {}", other.len()))),
        }
    }
}

/// Numbers as Rust has them.
pub trait Element: Copy {
    const KIND: Kind;
}

impl Element for f64 {
    const KIND: Kind = Kind::Double;
}

impl Element for f32 {
    const KIND: Kind = Kind::Float;
}

impl Element for i64 {
    const KIND: Kind = Kind::Int64;
}

macro_rules! vectors {
    ($($element:ty),*) => {$(
        impl TryFrom<&Tensor> for Vec<$element> {
            type Error = Refusal;

            fn try_from(tensor: &Tensor) -> Result<Self> {
                tensor.to_vec()
            }
        }

        impl TryFrom<Tensor> for Vec<$element> {
            type Error = Refusal;

            fn try_from(tensor: Tensor) -> Result<Self> {
                tensor.to_vec()
            }
        }
    )*};
}

vectors!(f64, f32, i64);
