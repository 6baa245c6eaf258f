//! The structs of `lgs.h`. The header is the contract; the tests hold this file against it.

use std::ffi::{c_char, c_void};

/// `lgs_tensor_t`.
pub type Tensor = *mut c_void;

/// `lgs_signal_t`.
pub mod signal {
    pub const FAIL: i32 = 0;
    pub const CONTINUE: i32 = 1;
    pub const STOP: i32 = 2;
}

pub type LogCallback = unsafe extern "C" fn(*mut c_void, i32, *const c_char) -> i32;

/// Declares structs of the header and how they are laid out.
macro_rules! structs {
    ($($(#[$meta:meta])* $c_name:literal $name:ident { $($field:ident: $type:ty,)* })*) => {
        $(
            $(#[$meta])*
            #[repr(C)]
            #[derive(Clone, Copy)]
            pub struct $name { $(pub $field: $type,)* }
        )*

        /// Size and offsets of every struct, as `lgs_api.layout` gives them.
        pub fn layout() -> serde_json::Value {
            let mut structs = serde_json::Map::new();
            $({
                let mut fields = serde_json::Map::new();
                $(fields.insert(stringify!($field).into(), std::mem::offset_of!($name, $field).into());)*
                structs.insert(
                    $c_name.into(),
                    serde_json::json!({"size": std::mem::size_of::<$name>(), "fields": fields}),
                );
            })*
            structs.into()
        }
    };
}

structs! {
    "lgs_progress" Progress {
        struct_size: usize,
        step: u64,
        steps: u64,
        sigma: f64,
        sigma_next: f64,
        model_evaluations: u64,
        jvps: u64,
        jvp: i32,
        reserved: i32,
        lanczos_error: f64,
        x: Tensor,
        denoised: Tensor,
        covariance_share: f64,
        noise_variance: f64,
        ritz_values: *const f64,
        ritz_count: u64,
    }

    "lgs_choice" Choice {
        struct_size: usize,
        jvp: i32,
        doubled_batch: i32,
        coarse: i32,
        reserved: i32,
    }

    "lgs_host" Host {
        struct_size: usize,
        context: *mut c_void,
        denoise: Option<unsafe extern "C" fn(*mut c_void, Tensor, Tensor, *mut Tensor) -> i32>,
        noise: Option<unsafe extern "C" fn(*mut c_void, f64, f64, *mut Tensor) -> i32>,
        progress: Option<unsafe extern "C" fn(*mut c_void, *const Progress) -> i32>,
        forward_ad: Option<unsafe extern "C" fn(*mut c_void, i32) -> i32>,
        choice: *mut Choice,
        diagonal: Option<unsafe extern "C" fn(*mut c_void, Tensor, Tensor, *mut Tensor) -> i32>,
    }

    "lgs_engine_config" EngineConfig {
        struct_size: usize,
        manifest: *const c_char,
        torch_version: *const c_char,
        context: *mut c_void,
        log: Option<LogCallback>,
    }

    "lgs_api" Api {
        struct_size: usize,
        abi_version: u32,
        reserved: u32,
        version: extern "C" fn() -> *const c_char,
        manifest: extern "C" fn() -> *const c_char,
        layout: extern "C" fn() -> *const c_char,
        options_check: unsafe extern "C" fn(*const c_char, *mut *mut c_char, *mut *mut LgsError) -> i32,
        string_delete: unsafe extern "C" fn(*mut c_char),
        engine_open: unsafe extern "C" fn(*const EngineConfig, *mut *mut LgsEngine, *mut *mut LgsError) -> i32,
        engine_info: unsafe extern "C" fn(*const LgsEngine, *mut *mut c_char, *mut *mut LgsError) -> i32,
        engine_close: unsafe extern "C" fn(*mut LgsEngine),
        sample: unsafe extern "C" fn(
            *const LgsEngine, *const c_char, *const Host, Tensor, *const f64, usize, *mut Tensor, *mut *mut LgsError,
        ) -> i32,
        reverse_noise: unsafe extern "C" fn(
            *const LgsEngine, *const c_char, *const Host, Tensor, f64, f64, Tensor, *mut Tensor, *mut *mut LgsError,
        ) -> i32,
        jvp: unsafe extern "C" fn(
            *const LgsEngine, *const c_char, *const Host, Tensor, f64, Tensor, *mut Tensor, *mut Tensor,
            *mut *mut LgsError,
        ) -> i32,
        tensor_clone: unsafe extern "C" fn(*const LgsEngine, Tensor, *mut Tensor, *mut *mut LgsError) -> i32,
        tensor_delete: unsafe extern "C" fn(*const LgsEngine, Tensor),
        error_status: unsafe extern "C" fn(*const LgsError) -> i32,
        error_message: unsafe extern "C" fn(*const LgsError) -> *const c_char,
        error_delete: unsafe extern "C" fn(*mut LgsError),
        principal_components: unsafe extern "C" fn(
            *const LgsEngine, *const c_char, *const Host, Tensor, f64, Tensor, *mut Tensor, *mut Tensor, *mut Tensor,
            *mut *mut LgsError,
        ) -> i32,
    }
}

/// `lgs_engine_t`: opaque to the host.
pub struct LgsEngine {
    pub engine: crate::engines::Engine,
    pub sink: crate::logger::Sink,
}

/// `lgs_error_t`: opaque to the host.
pub struct LgsError {
    pub status: i32,
    pub message: std::ffi::CString,
}
