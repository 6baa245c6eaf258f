//! The host's side of a call: the structs of `lgs.h` that its callbacks take.
//!
//! The header is their contract, and says what each field means; `tests/abi` holds this file against it.

use std::ffi::c_void;

use abi_stable::StableAbi;

/// `lgs_tensor_t`.
pub type Tensor = *mut c_void;

/// `lgs_signal_t`: what a callback answers.
pub mod signal {
    pub const FAIL: i32 = 0;
    pub const CONTINUE: i32 = 1;
    pub const STOP: i32 = 2;
}

/// Size of a struct of the header, and the offset of each of its fields.
pub struct StructLayout {
    pub name: &'static str,
    pub size: usize,
    pub fields: Vec<(&'static str, usize)>,
}

/// Declares structs of the header, and the function that says how they are laid out.
#[macro_export]
macro_rules! header_structs {
    ($($(#[$meta:meta])* $c_name:literal $name:ident { $($field:ident: $type:ty,)* })*) => {
        $(
            $(#[$meta])*
            #[repr(C)]
            #[derive(Clone, Copy)]
            pub struct $name { $(pub $field: $type,)* }
        )*

        /// How the structs of this file are laid out.
        pub fn layouts() -> Vec<$crate::host::StructLayout> {
            vec![$($crate::host::StructLayout {
                name: $c_name,
                size: std::mem::size_of::<$name>(),
                fields: vec![$((stringify!($field), std::mem::offset_of!($name, $field)),)*],
            },)*]
        }
    };
}

header_structs! {
    /// Where a trajectory is, once a step.
    #[derive(StableAbi)]
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
        x: *mut c_void,
        denoised: *mut c_void,
        covariance_share: f64,
        noise_variance: f64,
        ritz_values: *const f64,
        ritz_count: u64,
    }

    /// What was found out about a model, for the host to keep.
    #[derive(StableAbi, Default)]
    "lgs_choice" Choice {
        struct_size: usize,
        jvp: i32,
        doubled_batch: i32,
        coarse: i32,
        reserved: i32,
    }

    /// The host's callbacks, and what they are called with.
    #[derive(StableAbi)]
    "lgs_host" Host {
        struct_size: usize,
        context: *mut c_void,
        denoise: Option<unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void, *mut *mut c_void) -> i32>,
        noise: Option<unsafe extern "C" fn(*mut c_void, f64, f64, *mut *mut c_void) -> i32>,
        progress: Option<unsafe extern "C" fn(*mut c_void, *const Progress) -> i32>,
        forward_ad: Option<unsafe extern "C" fn(*mut c_void, i32) -> i32>,
        choice: *mut Choice,
        diagonal: Option<unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void, *mut *mut c_void) -> i32>,
    }
}
