//! The engine's side of the boundary with `liblgs`: handles to tensors, the host's callbacks to a [`Host`],
//! results to results, and the net under panics.

use std::{
    ffi::c_void,
    panic::{catch_unwind, AssertUnwindSafe},
    ptr::NonNull,
    sync::{PoisonError, RwLock},
};

use abi_stable::{
    export_root_module,
    prefix_type::PrefixTypeTrait,
    std_types::{RErr, ROk, RResult, RSlice, RString, RVec},
};
use lgs_abi::{
    engine::{
        panic_message, EngineError, EngineErrorKind, EngineModule, EngineModuleRef, GaussianPrior, JvpResult, LogSink,
        PrincipalComponents,
    },
    header::{self, signal},
    options::{Jvp, Options, Process},
    tensor::{BorrowedTensor, OwnedTensor},
};

use crate::{
    error::{Error, Result},
    host::{Host, Progress},
    layout::device,
    model::{Calibration, Denoiser},
    pointwise, start,
    tensor::{self, Device, Tensor},
    trajectory,
};

#[export_root_module]
pub fn module() -> EngineModuleRef {
    EngineModule {
        torch,
        ready,
        devices,
        set_log_sink,
        sample,
        reverse_noise,
        jvp,
        principal_components,
        teleport,
        tensor_clone,
        tensor_delete,
    }
    .leak_into_prefix()
}

extern "C" fn torch() -> RString {
    tensor::torch().into()
}

extern "C" fn ready() -> RResult<(), RString> {
    tensor::prepare().map_err(Into::into).into()
}

extern "C" fn devices() -> RVec<RString> {
    let cuda = (0..tensor::cuda_devices()).map(Device::Cuda);
    std::iter::once(Device::Cpu).chain(cuda).map(|d| device(d).into()).collect()
}

extern "C" fn sample(
    options: &Options,
    host: &header::Host,
    x: BorrowedTensor<'_>,
    sigmas: RSlice<'_, f64>,
) -> RResult<OwnedTensor, EngineError> {
    guarded(|| give(trajectory::sample(&mut CHost(host), options, &borrow(x), sigmas.as_slice())?))
}

extern "C" fn reverse_noise(
    options: &Options,
    host: &header::Host,
    x: BorrowedTensor<'_>,
    sigma: f64,
    sigma_next: f64,
    z: BorrowedTensor<'_>,
) -> RResult<OwnedTensor, EngineError> {
    guarded(|| {
        let noise = pointwise::reverse_noise(&mut CHost(host), options, &borrow(x), sigma, sigma_next, &borrow(z))?;
        give(noise)
    })
}

extern "C" fn jvp(
    options: &Options,
    host: &header::Host,
    x: BorrowedTensor<'_>,
    sigma: f64,
    v: BorrowedTensor<'_>,
) -> RResult<JvpResult, EngineError> {
    guarded(|| {
        let (denoised, product) = pointwise::jvp(&mut CHost(host), options, &borrow(x), sigma, &borrow(v))?;
        Ok(JvpResult { denoised: give(denoised)?, product: give(product)? })
    })
}

extern "C" fn principal_components(
    options: &Options,
    host: &header::Host,
    x: BorrowedTensor<'_>,
    sigma: f64,
    z: BorrowedTensor<'_>,
) -> RResult<PrincipalComponents, EngineError> {
    guarded(|| {
        let found = pointwise::principal_components(&mut CHost(host), options, &borrow(x), sigma, &borrow(z))?;
        Ok(PrincipalComponents {
            denoised: give(found.denoised)?,
            variances: give(found.variances)?,
            components: give(found.components)?,
        })
    })
}

extern "C" fn teleport(
    process: Process,
    prior: &GaussianPrior<'_>,
    x: BorrowedTensor<'_>,
    sigma: f64,
    sigma_next: f64,
) -> RResult<OwnedTensor, EngineError> {
    guarded(|| {
        let prior = start::GaussianPrior {
            mean: borrow(prior.mean),
            basis: borrow(prior.basis),
            variances: borrow(prior.variances),
            rest: prior.rest,
        };
        give(start::teleport(&prior, process, &borrow(x), sigma, sigma_next)?)
    })
}

extern "C" fn tensor_clone(tensor: BorrowedTensor<'_>) -> RResult<OwnedTensor, EngineError> {
    guarded(|| give(borrow(tensor)))
}

unsafe extern "C" fn tensor_delete(handle: NonNull<c_void>) {
    // SAFETY: by the contract of `EngineModule::tensor_delete` the handle owns an at::Tensor.
    let _ = catch_unwind(|| drop(unsafe { tensor::owned(handle) }));
}

/// A second owner of a tensor of the host's.
fn borrow(tensor: BorrowedTensor<'_>) -> Tensor {
    // SAFETY: by the contract of `BorrowedTensor` it points to an at::Tensor.
    unsafe { tensor::borrowed(tensor.handle()) }
}

/// A tensor for the host to own.
fn give(tensor: Tensor) -> Result<OwnedTensor> {
    let handle = tensor::into_handle(tensor)
        .ok_or_else(|| Error::Output("expected a tensor for the host, got a null handle".into()))?;
    // SAFETY: the handle owns the tensor, which its Rust owner above will not drop.
    Ok(unsafe { OwnedTensor::new(handle, tensor_delete) })
}

/// A handle that borrows from `tensor`.
fn lend(tensor: &Tensor) -> *mut c_void {
    tensor::lend(tensor)
}

fn guarded<T>(work: impl FnOnce() -> Result<T>) -> RResult<T, EngineError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => ROk(value),
        Ok(Err(error)) => RErr(engine_error(&error)),
        Err(panic) => {
            let message = panic_message(&*panic);
            RErr(match tensor::refusal_of_panic(message) {
                Some(refused) => engine_error(&Error::of_torch(&refused)),
                None => EngineError {
                    kind: EngineErrorKind::Internal,
                    message: format!("the engine panicked, which is a bug in it: {message}").into(),
                },
            })
        }
    }
}

fn engine_error(error: &Error) -> EngineError {
    let kind = match error {
        Error::Argument(_) => EngineErrorKind::InvalidArgument,
        Error::Type(_) => EngineErrorKind::InvalidType,
        Error::Output(_) | Error::ForwardMode(_) | Error::InUse(_) => EngineErrorKind::BadModelOutput,
        Error::Failed => EngineErrorKind::HostFailed,
        Error::Stopped => EngineErrorKind::HostStopped,
        Error::Torch(_) => EngineErrorKind::Torch,
        Error::OutOfMemory(_) => EngineErrorKind::OutOfMemory,
    };
    EngineError { kind, message: error.to_string().into() }
}

/// The host's callbacks, which `liblgs` has checked: they and their context are valid for the call.
struct CHost<'h>(&'h header::Host);

/// What a callback has answered, or what the log callback has meanwhile.
fn answered(answer: i32) -> Result<()> {
    let logged = sink().map_or(signal::CONTINUE, |sink| (sink.answer)());
    match if logged == signal::CONTINUE { answer } else { logged } {
        signal::CONTINUE => Ok(()),
        signal::STOP => Err(Error::Stopped),
        _ => Err(Error::Failed),
    }
}

impl CHost<'_> {
    /// The tensor that a callback stores. One that has stored none has failed, whatever it answers: a
    /// foreign-function layer may answer with chance for a callback that died in it. One that has stored
    /// one and failed does not get it back.
    fn tensor(&self, callback: impl FnOnce(*mut c_void, *mut *mut c_void) -> i32) -> Result<Tensor> {
        let mut stored = std::ptr::null_mut();
        let answer = callback(self.0.context, &mut stored);
        // SAFETY: by the contract of the callbacks, what is stored is an at::Tensor that is ours from here on.
        let tensor = NonNull::new(stored).map(|handle| unsafe { tensor::owned(handle) });
        answered(answer)?;
        tensor.ok_or(Error::Failed)
    }
}

impl Denoiser for CHost<'_> {
    fn denoise(&mut self, x: &Tensor, sigma: &Tensor) -> Result<Tensor> {
        let Some(denoise) = self.0.denoise else { return Err(Error::Failed) };
        // SAFETY: see `CHost`.
        self.tensor(|context, stored| unsafe { denoise(context, lend(x), lend(sigma), stored) })
    }

    fn diagonal(&mut self, x: &Tensor, sigma: &Tensor) -> Option<Result<Tensor>> {
        let diagonal = self.0.diagonal?;
        // SAFETY: see `CHost`.
        Some(self.tensor(|context, stored| unsafe { diagonal(context, lend(x), lend(sigma), stored) }))
    }

    fn forward_ad(&mut self, open: bool) -> Option<Result<()>> {
        let forward_ad = self.0.forward_ad?;
        // SAFETY: see `CHost`.
        Some(answered(unsafe { forward_ad(self.0.context, open.into()) }))
    }

    fn calibration(&self) -> Calibration {
        // SAFETY: null, or a struct of full size for the time of the call, which nobody else writes to.
        let Some(kept) = (unsafe { self.0.choice.as_ref() }) else { return Calibration::default() };
        Calibration {
            jvp: Jvp::of_number(kept.jvp),
            doubled_batch: match kept.doubled_batch {
                1 => Some(true),
                2 => Some(false),
                _ => None,
            },
            coarse: kept.coarse != 0,
        }
    }

    fn keep(&mut self, calibration: Calibration) {
        // SAFETY: as in `calibration`.
        let Some(kept) = (unsafe { self.0.choice.as_mut() }) else { return };
        kept.jvp = calibration.jvp.number();
        kept.doubled_batch = match calibration.doubled_batch {
            None => 0,
            Some(true) => 1,
            Some(false) => 2,
        };
        kept.coarse = calibration.coarse.into();
    }
}

impl Host for CHost<'_> {
    fn noise(&mut self, sigma: f64, sigma_next: f64) -> Result<Tensor> {
        let Some(noise) = self.0.noise else { return Err(Error::Failed) };
        // SAFETY: see `CHost`.
        self.tensor(|context, stored| unsafe { noise(context, sigma, sigma_next, stored) })
    }

    fn progress(&mut self, progress: &Progress<'_>) -> Result<()> {
        let Some(callback) = self.0.progress else { return answered(signal::CONTINUE) };
        let statistics = progress.statistics;
        let ritz_values = &statistics.ritz_values[..];
        let reported = header::Progress {
            struct_size: std::mem::size_of::<header::Progress>(),
            step: progress.step as u64,
            steps: progress.steps as u64,
            sigma: progress.sigma,
            sigma_next: progress.sigma_next,
            model_evaluations: progress.model_evaluations,
            jvps: progress.jvps,
            jvp: progress.jvp.number(),
            reserved: 0,
            lanczos_error: statistics.lanczos_error.unwrap_or(f64::NAN),
            x: lend(progress.x),
            denoised: lend(progress.denoised),
            covariance_share: statistics.covariance_share.unwrap_or(f64::NAN),
            noise_variance: statistics.noise_variance,
            ritz_values: if ritz_values.is_empty() { std::ptr::null() } else { ritz_values.as_ptr() },
            ritz_count: ritz_values.len() as u64,
        };
        // SAFETY: see `CHost`.
        answered(unsafe { callback(self.0.context, &reported) })
    }
}

/// Forwards the engine's `log` records. The engine is a library of its own, with its own `log`.
struct Forward;

static SINK: RwLock<Option<LogSink>> = RwLock::new(None);

fn sink() -> Option<LogSink> {
    *SINK.read().unwrap_or_else(PoisonError::into_inner)
}

extern "C" fn set_log_sink(sink: LogSink) {
    *SINK.write().unwrap_or_else(PoisonError::into_inner) = Some(sink);
    // A second call finds the logger set, which is what is wanted.
    if log::set_logger(&Forward).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}

impl log::Log for Forward {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if let Some(sink) = sink() {
            (sink.write)(record.level() as u8, record.target().into(), record.args().to_string().as_str().into());
        }
    }

    fn flush(&self) {}
}
