//! PyTorch's stable C interface, looked up in the libtorch of this process: torch/csrc/stable/c/shim.h and
//! torch/csrc/inductor/aoti_torch/c/shim.h, of which the functions below have been there, unchanged, since 2.10.

use std::{
    ffi::{c_char, c_void, CStr},
    sync::OnceLock,
};

use lgs_abi::libtorch::{self, Libtorch};
use libloading::Library;

use super::Refusal;

/// An at::Tensor*, and a list's or a string's like.
pub type Handle = *mut c_void;

/// A value on the dispatcher's stack: 8 bytes that hold a number, a truth value or a handle.
pub type Value = u64;

/// What the functions return: 0 where all went well.
type Status = i32;

/// The release whose rules for [`Value`] are followed: major, minor and patch in the upper bytes.
pub const RULES_OF: u64 = 0x020A_0000_0000_0000;

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident: fn($($argument:ty),*) $(-> $result:ty)?,)*) => {
        /// The functions of libtorch's that are used, by its names for them.
        #[allow(non_snake_case)]
        pub struct Shim {
            $($(#[$doc])* pub $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
            /// What the latest exception of this thread said; older releases have no such function, and print it.
            what: Option<unsafe extern "C" fn() -> *const c_char>,
            /// libtorch, which stays loaded.
            _library: Library,
        }

        impl Shim {
            /// Looks all of them up; `Err` names those that are missing.
            #[allow(non_snake_case)]
            fn find(library: Library) -> Result<Self, Vec<&'static str>> {
                let mut missing = Vec::new();
                $(
                    // SAFETY: the header declares the function so.
                    let $name = unsafe {
                        library.get::<unsafe extern "C" fn($($argument),*) $(-> $result)?>(concat!(stringify!($name), "\0").as_bytes())
                    }.map(|symbol| *symbol).map_err(|_| missing.push(stringify!($name)));
                )*
                // SAFETY: torch/csrc/stable/c/shim.h declares the function so.
                let what = unsafe { library.get(b"torch_exception_get_what_without_backtrace\0") }.map(|symbol| *symbol).ok();
                match missing.is_empty() {
                    $(true if $name.is_err() => Err(missing),)*
                    true => Ok(Self { $($name: $name.map_err(|()| Vec::new())?,)* what, _library: library }),
                    false => Err(missing),
                }
            }
        }
    };
}

functions! {
    /// Calls an operator: its arguments are on the stack, and then its results. It takes over the handles, but where there
    /// is no such operator; of a text it keeps some bytes for good (2.11).
    torch_call_dispatcher: fn(*const c_char, *const c_char, *mut Value, u64) -> Status,
    torch_new_list_reserve_size: fn(usize, *mut Handle) -> Status,
    torch_list_push_back: fn(Handle, Value) -> Status,
    torch_list_size: fn(Handle, *mut usize) -> Status,
    torch_list_get_item: fn(Handle, usize, *mut Value) -> Status,
    torch_delete_list: fn(Handle) -> Status,
    torch_new_string_handle: fn(*const c_char, usize, *mut Handle) -> Status,
    torch_delete_string: fn(Handle) -> Status,
    aoti_torch_abi_version: fn() -> u64,
    aoti_torch_new_tensor_handle: fn(Handle, *mut Handle) -> Status,
    aoti_torch_delete_tensor_object: fn(Handle) -> Status,
    aoti_torch_is_defined: fn(Handle, *mut bool) -> Status,
    aoti_torch_get_dim: fn(Handle, *mut i64) -> Status,
    aoti_torch_get_numel: fn(Handle, *mut i64) -> Status,
    /// A pointer to as many as the tensor has axes, which is the tensor's own.
    aoti_torch_get_sizes: fn(Handle, *mut *mut i64) -> Status,
    aoti_torch_get_dtype: fn(Handle, *mut i32) -> Status,
    aoti_torch_get_device_type: fn(Handle, *mut i32) -> Status,
    aoti_torch_get_device_index: fn(Handle, *mut i32) -> Status,
    aoti_torch_get_data_ptr: fn(Handle, *mut *mut c_void) -> Status,
    aoti_torch_empty_strided: fn(i64, *const i64, *const i64, i32, i32, i32, *mut Handle) -> Status,
    aoti_torch_scalar_to_tensor_float64: fn(f64, *mut Handle) -> Status,
    aoti_torch_scalar_to_tensor_float32: fn(f32, *mut Handle) -> Status,
    /// x - alpha y. For this and the next few operators there are functions, which are quicker than the dispatcher by name.
    aoti_torch_aten_subtract_Tensor: fn(Handle, Handle, f64, *mut Handle) -> Status,
    aoti_torch_aten_amax: fn(Handle, *const i64, i64, i32, *mut Handle) -> Status,
    aoti_torch_aten_fill__Scalar: fn(Handle, f64) -> Status,
    aoti_torch_aten_narrow: fn(Handle, i64, i64, i64, *mut Handle) -> Status,
    /// The list says how much is put before and after the last axis, and so on; then come the mode, and a number or null.
    aoti_torch_aten_pad: fn(Handle, *const i64, i64, *const c_char, *mut f64, *mut Handle) -> Status,
    aoti_torch_grad_mode_is_enabled: fn() -> bool,
    aoti_torch_grad_mode_set_enabled: fn(bool),
    aoti_torch_dtype_float64: fn() -> i32,
    aoti_torch_dtype_float32: fn() -> i32,
    aoti_torch_dtype_float16: fn() -> i32,
    aoti_torch_dtype_bfloat16: fn() -> i32,
    aoti_torch_dtype_int64: fn() -> i32,
    aoti_torch_dtype_int32: fn() -> i32,
    aoti_torch_dtype_int16: fn() -> i32,
    aoti_torch_dtype_int8: fn() -> i32,
    aoti_torch_dtype_uint8: fn() -> i32,
    aoti_torch_dtype_bool: fn() -> i32,
    aoti_torch_dtype_complex32: fn() -> i32,
    aoti_torch_dtype_complex64: fn() -> i32,
    aoti_torch_dtype_complex128: fn() -> i32,
    aoti_torch_device_type_cpu: fn() -> i32,
    aoti_torch_device_type_cuda: fn() -> i32,
    aoti_torch_device_type_mps: fn() -> i32,
}

impl Shim {
    /// Why the latest call of this thread's has failed, where libtorch says so.
    pub fn reason(&self) -> Option<String> {
        // SAFETY: takes nothing, and gives a text of this thread's that lives until the next exception, or null.
        let text = unsafe { self.what?() };
        if text.is_null() {
            return None;
        }
        // SAFETY: as above.
        let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
        let first = text.lines().map(str::trim).find(|line| !line.is_empty());
        first.map(str::to_owned)
    }
}

/// The functions, looked up at the first call. A failure is not remembered: libtorch may be loaded later.
pub fn shim() -> Result<&'static Shim, Refusal> {
    static SHIM: OnceLock<Shim> = OnceLock::new();
    if let Some(shim) = SHIM.get() {
        return Ok(shim);
    }
    let libtorch = libtorch::loaded().map_err(Refusal::Unusable)?;
    let Libtorch { library, .. } =
        libtorch.ok_or_else(|| Refusal::Unusable("no libtorch is loaded in this process".into()))?;
    let found = Shim::find(library).map_err(|missing| {
        Refusal::Unusable(format!(
            "expected a libtorch with PyTorch's stable C interface (2.10 or newer), got one without {}",
            missing.join(", ")
        ))
    })?;
    Ok(SHIM.get_or_init(|| found))
}

/// How many CUDA devices there are, ROCm's among them: of its own runtime, where this libtorch is one for it. Starts
/// nothing.
pub fn cuda_devices() -> usize {
    #[cfg(unix)]
    const RUNTIMES: [&str; 5] =
        ["libcudart.so.13", "libcudart.so.12", "libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so"];
    #[cfg(windows)]
    const RUNTIMES: [&str; 5] =
        ["cudart64_13.dll", "cudart64_12.dll", "amdhip64_7.dll", "amdhip64_6.dll", "amdhip64.dll"];
    if libtorch::backend() == "CPU" {
        return 0;
    }
    for library in RUNTIMES.iter().filter_map(|name| libtorch::library_named(name)) {
        for symbol in [b"cudaGetDeviceCount\0".as_slice(), b"hipGetDeviceCount\0"] {
            let mut count = 0i32;
            // SAFETY: CUDA's and ROCm's headers declare it as `int f(int *count)`.
            let status = unsafe { library.get::<unsafe extern "C" fn(*mut i32) -> i32>(symbol) }
                .map_or(1, |function| unsafe { function(&mut count) });
            if status == 0 {
                return count.max(0) as usize;
            }
        }
    }
    0
}

/// An operator, by its name and that of its overload.
#[derive(Clone, Copy)]
pub struct Operator {
    pub name: &'static CStr,
    pub overload: &'static CStr,
}

impl std::fmt::Display for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, overload) = (self.name.to_string_lossy(), self.overload.to_string_lossy());
        f.write_str(&name)?;
        if overload.is_empty() {
            Ok(())
        } else {
            write!(f, ".{overload}")
        }
    }
}
