//! The C ABI of `lgs.h`: the one exported symbol, the table behind it, and nothing else of C
//! anywhere in the crate.
//!
//! Each function checks its pointers, runs plain Rust under `catch_unwind`, and turns the outcome
//! into a status and an error object. What is unsafe about them trusts the host to keep to the header: every
//! pointer is null or points to what the header says, for the time of the call.

mod arguments;
pub mod types;

use std::{
    ffi::{c_char, CString},
    mem::size_of,
    panic::{catch_unwind, AssertUnwindSafe},
    path::Path,
    ptr::NonNull,
};

use abi_stable::std_types::RResult;
use lgs_abi::{
    engine::{panic_message, EngineError},
    host::{signal, Choice, Host, Tensor},
    options::{Covariance, Options},
    tensor::OwnedTensor,
};
use once_cell::sync::Lazy;

use self::{
    arguments::{borrowed, give_text, optional_text, out_parameter, sized, tensor, write_back},
    types::{Api, EngineConfig, LgsEngine, LgsError},
};
use crate::{
    engines,
    error::{Error, Result, Status},
    logger::{self, Scope, Sink},
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

/// Runs the body of a C function: nothing unwinds out of it, and an error goes where it is wanted.
///
/// # Safety
///
/// `error` is null or a place for one.
unsafe fn guarded(error: *mut *mut LgsError, body: impl FnOnce() -> Result<()>) -> i32 {
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let what = format!("liblgs panicked, which is a bug in it: {}", panic_message(&*panic));
        Err(Error::new(Status::Internal, what))
    });
    match outcome {
        Ok(()) => 0,
        Err(failure) => {
            let status = failure.status as i32;
            if !error.is_null() {
                let message = CString::new(failure.message.replace('\0', " ")).unwrap_or_default();
                // SAFETY: not null, and see above.
                unsafe { error.write(Box::into_raw(Box::new(LgsError { status, message }))) };
            }
            status
        }
    }
}

/// Runs `work` with this thread's log going to `sink`. A log callback that has not said to go on wins: the
/// outcome is dropped then, and what it owns with it.
fn logged<T>(sink: Sink, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let _scope = Scope::enter(sink);
    let value = work()?;
    match logger::answer() {
        signal::CONTINUE => Ok(value),
        signal::STOP => Err(Error::new(Status::HostStopped, "the log callback asked to stop")),
        _ => Err(Error::new(Status::HostFailed, "the log callback failed")),
    }
}

/// What the engine calls that run a model have in common.
///
/// # Safety
///
/// `json` is null or a text.
unsafe fn with_engine<T>(
    engine: &LgsEngine,
    json: *const c_char,
    mut call: Call,
    run: impl FnOnce(&Options, &Host) -> RResult<T, EngineError>,
) -> Result<T> {
    // SAFETY: see above.
    let options = options::check(unsafe { optional_text("options", json) }?.unwrap_or_default())?.options;
    if options.covariance == Covariance::DiagonalLearned && call.host.diagonal.is_none() {
        return Err(Error::argument(
            "diagonal: expected a network for the diagonal of the Jacobian, which covariance \"diagonal-learned\" needs, \
             got none; give one, or take covariance \"diagonal\", which needs none",
        ));
    }
    logged(engine.sink, || Ok(run(&options, call.complete()).into_result()?))
}

/// A host's structs, in this library's version of them, for the time of a call.
struct Call {
    host: Host,
    choice: Choice,
    /// The host's own, which gets what was found out; may be null.
    kept: *mut Choice,
}

impl Call {
    /// # Safety
    ///
    /// `host` is null or the host's struct, which outlives this.
    unsafe fn of(host: *const Host) -> Result<Self> {
        // SAFETY: see above, and the header.
        unsafe {
            let host: Host = sized("host", host, std::mem::offset_of!(Host, noise))?;
            if host.denoise.is_none() {
                return Err(Error::argument("host.denoise: expected a callback, got null"));
            }
            let kept = host.choice;
            let choice = match kept.is_null() {
                true => Choice::default(),
                false => sized("host.choice", kept, std::mem::offset_of!(Choice, doubled_batch))?,
            };
            Ok(Self { host, choice, kept })
        }
    }

    /// The host as an engine takes it: every field there, and `choice` its own.
    fn complete(&mut self) -> &Host {
        self.host.struct_size = size_of::<Host>();
        self.choice.struct_size = size_of::<Choice>();
        self.host.choice = if self.kept.is_null() { self.kept } else { &mut self.choice };
        &self.host
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.kept.is_null() {
            // SAFETY: `of` has read `choice` from there.
            unsafe { write_back(&self.choice, self.kept) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    #[test]
    fn an_error_says_what_a_panic_said() {
        let panics: [(fn(), &str); 2] =
            [(|| panic!("a literal"), "a literal"), (|| panic!("number {}", 7), "number 7")];
        for (panic, said) in panics {
            let mut error = std::ptr::null_mut();
            // SAFETY: a place for an error.
            let status = unsafe {
                guarded(&mut error, || {
                    panic();
                    Ok(())
                })
            };
            assert_eq!(status, Status::Internal as i32);
            // SAFETY: the error that was stored.
            let message = unsafe { CStr::from_ptr(error_message(error)) }.to_str().expect("UTF-8").to_owned();
            // SAFETY: as above, and it is not used again.
            unsafe { error_delete(error) };
            assert!(message.contains(said), "{message}");
        }
    }
}
