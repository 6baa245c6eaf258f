//! The structs of `lgs.h` that liblgs and engines share, and what callbacks answer: written from it
//! by host-shim/bindings.py (`make docs`). The header says what each field means.

use std::{ffi::c_void, mem::offset_of};

use abi_stable::StableAbi;

use crate::layout::StructLayout;

/// `lgs_signal_t`: what a callback answers.
pub mod signal {
    pub const FAIL: i32 = 0;
    pub const CONTINUE: i32 = 1;
    pub const STOP: i32 = 2;
}

/// `lgs_progress_t`.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Progress {
    pub struct_size: usize,
    pub step: u64,
    pub steps: u64,
    pub sigma: f64,
    pub sigma_next: f64,
    pub model_evaluations: u64,
    pub jvps: u64,
    pub jvp: i32,
    pub reserved: i32,
    pub lanczos_error: f64,
    pub x: *mut c_void,
    pub denoised: *mut c_void,
    pub covariance_share: f64,
    pub noise_variance: f64,
    pub ritz_values: *const f64,
    pub ritz_count: u64,
}

/// `lgs_choice_t`.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Default)]
pub struct Choice {
    pub struct_size: usize,
    pub jvp: i32,
    pub doubled_batch: i32,
    pub coarse: i32,
    pub reserved: i32,
}

/// `lgs_host_t`.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Host {
    pub struct_size: usize,
    pub context: *mut c_void,
    pub denoise: Option<unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void, *mut *mut c_void) -> i32>,
    pub noise: Option<unsafe extern "C" fn(*mut c_void, f64, f64, *mut *mut c_void) -> i32>,
    pub progress: Option<unsafe extern "C" fn(*mut c_void, *const Progress) -> i32>,
    pub forward_ad: Option<unsafe extern "C" fn(*mut c_void, i32) -> i32>,
    pub choice: *mut Choice,
    pub diagonal: Option<unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void, *mut *mut c_void) -> i32>,
}

/// `lgs_gaussian_t`.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Gaussian {
    pub struct_size: usize,
    pub mean: *mut c_void,
    pub basis: *mut c_void,
    pub variances: *mut c_void,
    pub rest: f64,
}

/// How the structs of this file are laid out.
pub fn layouts() -> Vec<StructLayout> {
    vec![
        StructLayout {
            name: "lgs_progress",
            size: size_of::<Progress>(),
            fields: vec![
                ("struct_size", offset_of!(Progress, struct_size)),
                ("step", offset_of!(Progress, step)),
                ("steps", offset_of!(Progress, steps)),
                ("sigma", offset_of!(Progress, sigma)),
                ("sigma_next", offset_of!(Progress, sigma_next)),
                ("model_evaluations", offset_of!(Progress, model_evaluations)),
                ("jvps", offset_of!(Progress, jvps)),
                ("jvp", offset_of!(Progress, jvp)),
                ("reserved", offset_of!(Progress, reserved)),
                ("lanczos_error", offset_of!(Progress, lanczos_error)),
                ("x", offset_of!(Progress, x)),
                ("denoised", offset_of!(Progress, denoised)),
                ("covariance_share", offset_of!(Progress, covariance_share)),
                ("noise_variance", offset_of!(Progress, noise_variance)),
                ("ritz_values", offset_of!(Progress, ritz_values)),
                ("ritz_count", offset_of!(Progress, ritz_count)),
            ],
        },
        StructLayout {
            name: "lgs_choice",
            size: size_of::<Choice>(),
            fields: vec![
                ("struct_size", offset_of!(Choice, struct_size)),
                ("jvp", offset_of!(Choice, jvp)),
                ("doubled_batch", offset_of!(Choice, doubled_batch)),
                ("coarse", offset_of!(Choice, coarse)),
                ("reserved", offset_of!(Choice, reserved)),
            ],
        },
        StructLayout {
            name: "lgs_host",
            size: size_of::<Host>(),
            fields: vec![
                ("struct_size", offset_of!(Host, struct_size)),
                ("context", offset_of!(Host, context)),
                ("denoise", offset_of!(Host, denoise)),
                ("noise", offset_of!(Host, noise)),
                ("progress", offset_of!(Host, progress)),
                ("forward_ad", offset_of!(Host, forward_ad)),
                ("choice", offset_of!(Host, choice)),
                ("diagonal", offset_of!(Host, diagonal)),
            ],
        },
        StructLayout {
            name: "lgs_gaussian",
            size: size_of::<Gaussian>(),
            fields: vec![
                ("struct_size", offset_of!(Gaussian, struct_size)),
                ("mean", offset_of!(Gaussian, mean)),
                ("basis", offset_of!(Gaussian, basis)),
                ("variances", offset_of!(Gaussian, variances)),
                ("rest", offset_of!(Gaussian, rest)),
            ],
        },
    ]
}
