//! The structs of `lgs.h` that engines have no part in. The header is the contract; `tests/abi` holds this file
//! against it.

use std::ffi::{c_char, c_void};

use lgs_abi::{
    header::{self, Gaussian, Host},
    layout::StructLayout,
};

use crate::logger::LogCallback;

/// `lgs_tensor_t`.
pub type Tensor = *mut c_void;

/// Declares structs of the header, and the function that says how they are laid out.
macro_rules! header_structs {
    ($($(#[$meta:meta])* $c_name:literal $name:ident { $($field:ident: $type:ty,)* })*) => {
        $(
            $(#[$meta])*
            #[repr(C)]
            #[derive(Clone, Copy)]
            pub struct $name { $(pub $field: $type,)* }
        )*

        /// How the structs of this file are laid out.
        pub fn layouts() -> Vec<StructLayout> {
            vec![$(StructLayout {
                name: $c_name,
                size: std::mem::size_of::<$name>(),
                fields: vec![$((stringify!($field), std::mem::offset_of!($name, $field)),)*],
            },)*]
        }
    };
}

header_structs! {
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
        teleport: unsafe extern "C" fn(
            *const LgsEngine, *const c_char, *const Gaussian, Tensor, f64, f64, *mut Tensor, *mut *mut LgsError,
        ) -> i32,
    }
}

/// Size and offsets of every struct of the header, as `lgs_api.layout` gives them.
pub fn layout() -> serde_json::Value {
    let structs = header::layouts().into_iter().chain(layouts());
    let described = structs.map(|layout| {
        let fields: serde_json::Map<_, _> =
            layout.fields.into_iter().map(|(name, offset)| (name.to_owned(), offset.into())).collect();
        (layout.name.to_owned(), serde_json::json!({"size": layout.size, "fields": fields}))
    });
    described.collect::<serde_json::Map<_, _>>().into()
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
