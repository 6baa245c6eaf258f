//! The C ABI of `lgs.h`: the one exported symbol, the table behind it, and nothing else of C
//! anywhere in the crate.
//!
//! Each function checks its pointers, runs plain Rust under `catch_unwind`, and turns the outcome
//! into a status and an error object.

pub mod host;
pub mod types;

use std::{
    ffi::{c_char, CStr, CString},
    mem::size_of,
    panic::{catch_unwind, AssertUnwindSafe},
    path::Path,
};

use abi_stable::{erased_types::TD_Opaque, sabi_types::RMut, std_types::RResult};
use lgs_abi::{EngineError, HostRef, Host_TO, SamplerOptions, TensorHandle};
use once_cell::sync::Lazy;

use self::{
    host::Callbacks,
    types::{Api, Choice, EngineConfig, Host, LgsEngine, LgsError, Tensor},
};
use crate::{
    engines,
    error::{Error, Result, Status},
    logger::{Scope, Sink},
    manifest, options,
};

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
    guarded(error, || {
        let values = options::check(optional_text("options", json)?.unwrap_or_default())?.values;
        if !checked.is_null() {
            checked.write(give_text(serde_json::Value::from(values).to_string())?);
        }
        Ok(())
    })
}

unsafe extern "C" fn string_delete(string: *mut c_char) {
    if !string.is_null() {
        drop(CString::from_raw(string));
    }
}

unsafe extern "C" fn engine_open(
    config: *const EngineConfig,
    engine: *mut *mut LgsEngine,
    error: *mut *mut LgsError,
) -> i32 {
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

unsafe extern "C" fn engine_info(engine: *const LgsEngine, info: *mut *mut c_char, error: *mut *mut LgsError) -> i32 {
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
                "devices": devices,
            })
            .to_string(),
        )?);
        Ok(())
    })
}

unsafe extern "C" fn engine_close(engine: *mut LgsEngine) {
    if !engine.is_null() {
        drop(Box::from_raw(engine));
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
    guarded(error, || {
        let x = tensor("x", x)?;
        if sigmas.is_null() {
            return Err(Error::argument("sigmas: expected an array, got null"));
        }
        let sigmas = std::slice::from_raw_parts(sigmas, count);
        let out = out_parameter("result", result)?;
        let engine = borrowed("engine", engine)?;
        let callbacks = callbacks(engine, host)?;
        if callbacks.host.noise.is_none() {
            return Err(Error::argument("host.noise: sample needs this callback, got null"));
        }
        let value = with_engine(engine, options, callbacks, |options, host| {
            engine.engine.module.sample()(options, host, x, sigmas.into())
        })?;
        out.write(value.0);
        Ok(())
    })
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
    guarded(error, || {
        let (x, z) = (tensor("x", x)?, tensor("z", z)?);
        let out = out_parameter("result", result)?;
        let engine = borrowed("engine", engine)?;
        let value = with_engine(engine, options, callbacks(engine, host)?, |options, host| {
            engine.engine.module.reverse_noise()(options, host, x, sigma, sigma_next, z)
        })?;
        out.write(value.0);
        Ok(())
    })
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
    guarded(error, || {
        let (x, v) = (tensor("x", x)?, tensor("v", v)?);
        let (out_denoised, out_product) = (out_parameter("denoised", denoised)?, out_parameter("product", product)?);
        let engine = borrowed("engine", engine)?;
        let value = with_engine(engine, options, callbacks(engine, host)?, |options, host| {
            engine.engine.module.jvp()(options, host, x, sigma, v)
        })?;
        out_denoised.write(value.denoised.0);
        out_product.write(value.product.0);
        Ok(())
    })
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
    guarded(error, || {
        let (x, z) = (tensor("x", x)?, tensor("z", z)?);
        let out_denoised = out_parameter("denoised", denoised)?;
        let out_variances = out_parameter("variances", variances)?;
        let out_components = out_parameter("components", components)?;
        let engine = borrowed("engine", engine)?;
        let value = with_engine(engine, options, callbacks(engine, host)?, |options, host| {
            engine.engine.module.principal_components()(options, host, x, sigma, z)
        })?;
        out_denoised.write(value.denoised.0);
        out_variances.write(value.variances.0);
        out_components.write(value.components.0);
        Ok(())
    })
}

unsafe extern "C" fn tensor_clone(
    engine: *const LgsEngine,
    source: Tensor,
    clone: *mut Tensor,
    error: *mut *mut LgsError,
) -> i32 {
    guarded(error, || {
        let engine = borrowed("engine", engine)?;
        let out = out_parameter("clone", clone)?;
        out.write(engine.engine.module.tensor_clone()(tensor("tensor", source)?).into_result()?.0);
        Ok(())
    })
}

unsafe extern "C" fn tensor_delete(engine: *const LgsEngine, tensor: Tensor) {
    if let (Some(engine), false) = (engine.as_ref(), tensor.is_null()) {
        engine.engine.module.tensor_delete()(TensorHandle(tensor));
    }
}

unsafe extern "C" fn error_status(error: *const LgsError) -> i32 {
    error.as_ref().map_or(0, |error| error.status)
}

unsafe extern "C" fn error_message(error: *const LgsError) -> *const c_char {
    error.as_ref().map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

unsafe extern "C" fn error_delete(error: *mut LgsError) {
    if !error.is_null() {
        drop(Box::from_raw(error));
    }
}

/// Runs the body of a C function: nothing unwinds out of it, and an error goes where it is wanted.
unsafe fn guarded(error: *mut *mut LgsError, body: impl FnOnce() -> Result<()>) -> i32 {
    let outcome = catch_unwind(AssertUnwindSafe(body))
        .unwrap_or_else(|_| Err(Error::new(Status::Internal, "liblgs panicked, which is a bug in it")));
    match outcome {
        Ok(()) => 0,
        Err(failure) => {
            let status = failure.status as i32;
            if !error.is_null() {
                let message = CString::new(failure.message.replace('\0', " ")).unwrap_or_default();
                error.write(Box::into_raw(Box::new(LgsError { status, message })));
            }
            status
        }
    }
}

/// Runs `work` with this thread's log going to `sink`; a log callback that said to stop wins.
fn logged<T>(sink: Sink, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let _scope = Scope::enter(sink);
    let outcome = work();
    match (Scope::interruption(), outcome) {
        (Some(lgs_abi::Interruption::Stopped), Ok(_)) => {
            Err(Error::new(Status::HostStopped, "the log callback asked to stop"))
        }
        (Some(lgs_abi::Interruption::Failed), Ok(_)) => Err(Error::new(Status::HostFailed, "the log callback failed")),
        (_, outcome) => outcome,
    }
}

/// What the engine calls that run a model have in common.
unsafe fn with_engine<T>(
    engine: &LgsEngine,
    json: *const c_char,
    mut callbacks: Callbacks,
    call: impl FnOnce(&SamplerOptions, HostRef<'_>) -> RResult<T, EngineError>,
) -> Result<T> {
    let options = options::check(optional_text("options", json)?.unwrap_or_default())?.options;
    if options.covariance == lgs_abi::Covariance::DiagonalLearned && callbacks.host.diagonal.is_none() {
        return Err(Error::argument(
            "diagonal: expected a network for the diagonal of the Jacobian, which covariance \"diagonal-learned\" needs, \
             got none; give one, or take covariance \"diagonal\", which needs none",
        ));
    }
    logged(engine.sink, || {
        let host = Host_TO::from_ptr(RMut::new(&mut callbacks), TD_Opaque);
        Ok(call(&options, host).into_result()?)
    })
}

unsafe fn callbacks(engine: &LgsEngine, host: *const Host) -> Result<Callbacks> {
    let host: Host = sized("host", host, std::mem::offset_of!(Host, noise))?;
    if host.denoise.is_none() {
        return Err(Error::argument("host.denoise: expected a callback, got null"));
    }
    if !host.choice.is_null() {
        let size = host.choice.cast::<usize>().read();
        if size < size_of::<Choice>() {
            return Err(Error::argument(format!(
                "host.choice.struct_size: expected sizeof the struct, {} here, got {size}",
                size_of::<Choice>()
            )));
        }
    }
    Ok(Callbacks { host, module: engine.engine.module })
}

/// A copy of a host's struct, with zero for the fields that its version does not have.
///
/// `least` is the size up to the end of what the first version requires.
unsafe fn sized<T: Copy>(name: &str, pointer: *const T, least: usize) -> Result<T> {
    if pointer.is_null() {
        return Err(Error::argument(format!("{name}: expected a struct, got null")));
    }
    let size = pointer.cast::<usize>().read();
    if size < least || size > 4096 {
        return Err(Error::argument(format!(
            "{name}.struct_size: expected sizeof the struct, {} here, got {size}",
            size_of::<T>()
        )));
    }
    // Whole fields only, each of which is as large as a pointer: a size that ends within one would
    // make half a pointer of it.
    let known = size.min(size_of::<T>()) / size_of::<usize>() * size_of::<usize>();
    // Zero is a valid value of each field: null, none, 0.
    let mut copy = std::mem::MaybeUninit::<T>::zeroed();
    std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), copy.as_mut_ptr().cast::<u8>(), known);
    Ok(copy.assume_init())
}

unsafe fn optional_text<'a>(name: &str, text: *const c_char) -> Result<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    let text = CStr::from_ptr(text).to_str();
    text.map(Some).map_err(|error| Error::argument(format!("{name}: expected UTF-8, got something else: {error}")))
}

fn give_text(text: String) -> Result<*mut c_char> {
    let text = CString::new(text).map_err(|error| Error::new(Status::Internal, error.to_string()))?;
    Ok(text.into_raw())
}

fn tensor(name: &str, tensor: Tensor) -> Result<TensorHandle> {
    match tensor.is_null() {
        true => Err(Error::argument(format!("{name}: expected a tensor handle, got null"))),
        false => Ok(TensorHandle(tensor)),
    }
}

unsafe fn borrowed<'a, T>(name: &str, pointer: *const T) -> Result<&'a T> {
    pointer.as_ref().ok_or_else(|| Error::argument(format!("{name}: expected a pointer, got null")))
}

fn out_parameter<T>(name: &str, pointer: *mut T) -> Result<*mut T> {
    match pointer.is_null() {
        true => Err(Error::argument(format!("{name}: expected a place for the result, got null"))),
        false => Ok(pointer),
    }
}
