//! The C ABI of `lgs.h`: the one exported symbol, the table behind it, and nothing else of C
//! anywhere in the crate.
//!
//! Each function checks its pointers, runs plain Rust under `catch_unwind`, and turns the outcome
//! into a status and an error object. What is unsafe about them trusts the host to keep to the header: every
//! pointer is null or points to what the header says, for the time of the call.

mod arguments;
mod call;
mod guard;
pub mod types;

use std::{
    ffi::{c_char, CString},
    mem::size_of,
    path::Path,
    ptr::NonNull,
};

use lgs_abi::{
    engine::GaussianPrior,
    header::{Gaussian, Host},
    tensor::OwnedTensor,
};
use once_cell::sync::Lazy;

use self::{
    arguments::{borrowed, give_text, optional_text, out_parameter, sized, tensor},
    call::{logged, with_engine, Call},
    guard::guarded,
    types::{Api, EngineConfig, LgsEngine, LgsError, Tensor},
};
use crate::{engines, error::Error, logger::Sink, manifest, options};

pub const ABI_VERSION: u32 = 1;

static API: Api = Api {
    struct_size: size_of::<Api>(),
    abi_version: ABI_VERSION,
    reserved: 0,
    version,
    manifest: manifest_json,
    layout: layout_json,
    options_check,
    string_delete,
    engine_open,
    engine_info,
    engine_close,
    sample,
    reverse_noise,
    jvp,
    tensor_clone,
    tensor_delete,
    error_status,
    error_message,
    error_delete,
    principal_components,
    teleport,
};

/// See `lgs.h`.
#[no_mangle]
pub extern "C" fn lgs_get_api(abi_version: u32) -> *const Api {
    match abi_version {
        ABI_VERSION => &API,
        _ => std::ptr::null(),
    }
}

extern "C" fn version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

extern "C" fn manifest_json() -> *const c_char {
    manifest::NODES.as_ptr().cast()
}

extern "C" fn layout_json() -> *const c_char {
    static LAYOUT: Lazy<CString> = Lazy::new(|| CString::new(types::layout().to_string()).unwrap_or_default());
    LAYOUT.as_ptr()
}

unsafe extern "C" fn options_check(json: *const c_char, checked: *mut *mut c_char, error: *mut *mut LgsError) -> i32 {
    // SAFETY: the host keeps to the header.
    unsafe {
        guarded(error, || {
            let values = options::check(optional_text("options", json)?.unwrap_or_default())?.values;
            if !checked.is_null() {
                checked.write(give_text(serde_json::Value::from(values).to_string())?);
            }
            Ok(())
        })
    }
}

unsafe extern "C" fn string_delete(string: *mut c_char) {
    // SAFETY: the host keeps to the header.
    unsafe {
        if !string.is_null() {
            drop(CString::from_raw(string));
        }
    }
}

unsafe extern "C" fn engine_open(
    config: *const EngineConfig,
    engine: *mut *mut LgsEngine,
    error: *mut *mut LgsError,
) -> i32 {
    // SAFETY: the host keeps to the header.
    unsafe {
        guarded(error, || {
            let config: EngineConfig = sized("config", config, std::mem::offset_of!(EngineConfig, torch_version))?;
            let out = out_parameter("engine", engine)?;
            let sink = Sink { context: config.context, log: config.log };
            let opened = logged(sink, || {
                let manifest = optional_text("config.manifest", config.manifest)?
                    .ok_or_else(|| Error::argument("config.manifest: expected a path, got null"))?;
                let stated = optional_text("config.torch_version", config.torch_version)?;
                engines::open(Path::new(manifest), stated)
            })?;
            out.write(Box::into_raw(Box::new(LgsEngine { engine: opened, sink })));
            Ok(())
        })
    }
}

unsafe extern "C" fn engine_info(engine: *const LgsEngine, info: *mut *mut c_char, error: *mut *mut LgsError) -> i32 {
    // SAFETY: the host keeps to the header.
    unsafe {
        guarded(error, || {
            let engine = &borrowed("engine", engine)?.engine;
            let out = out_parameter("info", info)?;
            let devices: Vec<String> = engine.module.devices()().into_iter().map(Into::into).collect();
            out.write(give_text(
                serde_json::json!({
                    "lgs": env!("CARGO_PKG_VERSION"),
                    "engine": engine.file.file_name().map(|name| name.to_string_lossy()),
                    "torch": engine.torch.to_string(),
                    "file": engine.file,
                    "interface": engine.interface,
                    "libtorch": engine.libtorch.as_ref().map(|file| file.to_string_lossy()),
                    "backend": engine.backend,
                    "devices": devices,
                })
                .to_string(),
            )?);
            Ok(())
        })
    }
}

unsafe extern "C" fn engine_close(engine: *mut LgsEngine) {
    // SAFETY: the host keeps to the header.
    unsafe {
        if !engine.is_null() {
            drop(Box::from_raw(engine));
        }
    }
}

unsafe extern "C" fn sample(
    engine: *const LgsEngine,
    options: *const c_char,
    host: *const Host,
    x: Tensor,
    sigmas: *const f64,
    count: usize,
    result: *mut Tensor,
    error: *mut *mut LgsError,
) -> i32 {
    // SAFETY: the host keeps to the header.
    unsafe {
        guarded(error, || {
            let x = tensor("x", x)?;
            if sigmas.is_null() {
                return Err(Error::argument("sigmas: expected an array, got null"));
            }
            let sigmas = std::slice::from_raw_parts(sigmas, count);
            let out = out_parameter("result", result)?;
            let engine = borrowed("engine", engine)?;
            let call = Call::of(host)?;
            if call.host.noise.is_none() {
                return Err(Error::argument("host.noise: sample needs this callback, got null"));
            }
            let value = with_engine(engine, options, call, |options, host| {
                engine.engine.module.sample()(options, host, x, sigmas.into())
            })?;
            out.write(give(value));
            Ok(())
        })
    }
}

unsafe extern "C" fn reverse_noise(
    engine: *const LgsEngine,
    options: *const c_char,
    host: *const Host,
    x: Tensor,
    sigma: f64,
    sigma_next: f64,
    z: Tensor,
    result: *mut Tensor,
    error: *mut *mut LgsError,
) -> i32 {
    // SAFETY: the host keeps to the header.
    unsafe {
        guarded(error, || {
            let (x, z) = (tensor("x", x)?, tensor("z", z)?);
            let out = out_parameter("result", result)?;
            let engine = borrowed("engine", engine)?;
            let value = with_engine(engine, options, Call::of(host)?, |options, host| {
                engine.engine.module.reverse_noise()(options, host, x, sigma, sigma_next, z)
            })?;
            out.write(give(value));
            Ok(())
        })
    }
}

unsafe extern "C" fn jvp(
    engine: *const LgsEngine,
    options: *const c_char,
    host: *const Host,
    x: Tensor,
    sigma: f64,
    v: Tensor,
    denoised: *mut Tensor,
    product: *mut Tensor,
    error: *mut *mut LgsError,
) -> i32 {
    // SAFETY: the host keeps to the header.
    unsafe {
        guarded(error, || {
            let (x, v) = (tensor("x", x)?, tensor("v", v)?);
            let (out_denoised, out_product) =
                (out_parameter("denoised", denoised)?, out_parameter("product", product)?);
            let engine = borrowed("engine", engine)?;
            let value = with_engine(engine, options, Call::of(host)?, |options, host| {
                engine.engine.module.jvp()(options, host, x, sigma, v)
            })?;
            out_denoised.write(give(value.denoised));
            out_product.write(give(value.product));
            Ok(())
        })
    }
}

unsafe extern "C" fn principal_components(
    engine: *const LgsEngine,
    options: *const c_char,
    host: *const Host,
    x: Tensor,
    sigma: f64,
    z: Tensor,
    denoised: *mut Tensor,
    variances: *mut Tensor,
    components: *mut Tensor,
    error: *mut *mut LgsError,
) -> i32 {
    // SAFETY: the host keeps to the header.
    unsafe {
        guarded(error, || {
            let (x, z) = (tensor("x", x)?, tensor("z", z)?);
            let out_denoised = out_parameter("denoised", denoised)?;
            let out_variances = out_parameter("variances", variances)?;
            let out_components = out_parameter("components", components)?;
            let engine = borrowed("engine", engine)?;
            let value = with_engine(engine, options, Call::of(host)?, |options, host| {
                engine.engine.module.principal_components()(options, host, x, sigma, z)
            })?;
            out_denoised.write(give(value.denoised));
            out_variances.write(give(value.variances));
            out_components.write(give(value.components));
            Ok(())
        })
    }
}

unsafe extern "C" fn teleport(
    engine: *const LgsEngine,
    options: *const c_char,
    prior: *const Gaussian,
    x: Tensor,
    sigma: f64,
    sigma_next: f64,
    result: *mut Tensor,
    error: *mut *mut LgsError,
) -> i32 {
    // SAFETY: the host keeps to the header.
    unsafe {
        guarded(error, || {
            let x = tensor("x", x)?;
            let prior: Gaussian = sized("prior", prior, size_of::<Gaussian>())?;
            let prior = GaussianPrior {
                mean: tensor("prior.mean", prior.mean)?,
                basis: tensor("prior.basis", prior.basis)?,
                variances: tensor("prior.variances", prior.variances)?,
                rest: prior.rest,
            };
            let out = out_parameter("result", result)?;
            let engine = borrowed("engine", engine)?;
            let process = options::check(optional_text("options", options)?.unwrap_or_default())?.options.process;
            let value = logged(engine.sink, || {
                let moved = engine.engine.module.teleport()(process, &prior, x, sigma, sigma_next);
                Ok(moved.into_result()?)
            })?;
            out.write(give(value));
            Ok(())
        })
    }
}

unsafe extern "C" fn tensor_clone(
    engine: *const LgsEngine,
    source: Tensor,
    clone: *mut Tensor,
    error: *mut *mut LgsError,
) -> i32 {
    // SAFETY: the host keeps to the header.
    unsafe {
        guarded(error, || {
            let engine = borrowed("engine", engine)?;
            let out = out_parameter("clone", clone)?;
            out.write(give(engine.engine.module.tensor_clone()(tensor("tensor", source)?).into_result()?));
            Ok(())
        })
    }
}

unsafe extern "C" fn tensor_delete(engine: *const LgsEngine, tensor: Tensor) {
    // SAFETY: the host keeps to the header.
    unsafe {
        if let (Some(engine), Some(tensor)) = (engine.as_ref(), NonNull::new(tensor)) {
            engine.engine.module.tensor_delete()(tensor);
        }
    }
}

unsafe extern "C" fn error_status(error: *const LgsError) -> i32 {
    // SAFETY: the host keeps to the header.
    unsafe { error.as_ref().map_or(0, |error| error.status) }
}

unsafe extern "C" fn error_message(error: *const LgsError) -> *const c_char {
    // SAFETY: the host keeps to the header.
    unsafe { error.as_ref().map_or(c"".as_ptr(), |error| error.message.as_ptr()) }
}

unsafe extern "C" fn error_delete(error: *mut LgsError) {
    // SAFETY: the host keeps to the header.
    unsafe {
        if !error.is_null() {
            drop(Box::from_raw(error));
        }
    }
}

/// A tensor that is the host's from here on.
fn give(tensor: OwnedTensor) -> Tensor {
    tensor.into_handle().as_ptr()
}
