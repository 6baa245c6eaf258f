//! The engine's side of the boundary with `liblgs`: handles to tensors, results to results, and
//! the net under panics.

use std::{
    panic::{catch_unwind, AssertUnwindSafe},
    sync::atomic::{AtomicPtr, Ordering},
};

use abi_stable::{
    export_root_module,
    prefix_type::PrefixTypeTrait,
    std_types::{RErr, ROk, ROption, RResult, RSlice, RStr, RString, RVec},
};
use lgs_abi::{
    Choice, EngineError, EngineErrorKind, EngineModule, EngineModuleRef, HostRef, Interruption, JvpResult, LogSink,
    Precision, PrincipalComponents, SamplerOptions, TensorHandle,
};
use tch::{Kind, Tensor};

use crate::{
    denoiser::{self, device, Denoiser, DoubledBatch},
    error::{Error, Result},
    jvp::Jvp,
    process::Process,
    sampler::{self, Covariance, Host, Options, OtherSteps, Progress},
};

/// The torch release that this engine's `tch` is for.
const TORCH: &str = "2.11";

#[export_root_module]
pub fn module() -> EngineModuleRef {
    EngineModule {
        torch,
        devices,
        set_log_sink,
        sample,
        reverse_noise,
        jvp,
        principal_components,
        tensor_clone,
        tensor_delete,
    }
    .leak_into_prefix()
}

extern "C" fn torch() -> RString {
    TORCH.into()
}

extern "C" fn devices() -> RVec<RString> {
    let cuda = catch_unwind(tch::Cuda::device_count).unwrap_or(0).max(0) as usize;
    std::iter::once(tch::Device::Cpu).chain((0..cuda).map(tch::Device::Cuda)).map(|d| device(d).into()).collect()
}

extern "C" fn sample(
    options: &SamplerOptions,
    host: HostRef<'_>,
    x: TensorHandle,
    sigmas: RSlice<'_, f64>,
) -> RResult<TensorHandle, EngineError> {
    guarded(|| {
        let (x, mut host) = (borrow(x)?, RemoteHost(host));
        Ok(give(sampler::sample(&mut host, &options_of(options), &x, sigmas.as_slice())?))
    })
}

extern "C" fn reverse_noise(
    options: &SamplerOptions,
    host: HostRef<'_>,
    x: TensorHandle,
    sigma: f64,
    sigma_next: f64,
    z: TensorHandle,
) -> RResult<TensorHandle, EngineError> {
    guarded(|| {
        let (x, z, mut host) = (borrow(x)?, borrow(z)?, RemoteHost(host));
        Ok(give(sampler::reverse_noise(&mut host, &options_of(options), &x, sigma, sigma_next, &z)?))
    })
}

extern "C" fn jvp(
    options: &SamplerOptions,
    host: HostRef<'_>,
    x: TensorHandle,
    sigma: f64,
    v: TensorHandle,
) -> RResult<JvpResult, EngineError> {
    guarded(|| {
        let (x, v, mut host) = (borrow(x)?, borrow(v)?, RemoteHost(host));
        let (denoised, product) = sampler::jvp(&mut host, &options_of(options), &x, sigma, &v)?;
        Ok(JvpResult { denoised: give(denoised), product: give(product) })
    })
}

extern "C" fn principal_components(
    options: &SamplerOptions,
    host: HostRef<'_>,
    x: TensorHandle,
    sigma: f64,
    z: TensorHandle,
) -> RResult<PrincipalComponents, EngineError> {
    guarded(|| {
        let (x, z, mut host) = (borrow(x)?, borrow(z)?, RemoteHost(host));
        let found = sampler::principal_components(&mut host, &options_of(options), &x, sigma, &z)?;
        Ok(PrincipalComponents {
            denoised: give(found.denoised),
            variances: give(found.variances),
            components: give(found.components),
        })
    })
}

extern "C" fn tensor_clone(tensor: TensorHandle) -> RResult<TensorHandle, EngineError> {
    guarded(|| Ok(give(borrow(tensor)?)))
}

extern "C" fn tensor_delete(tensor: TensorHandle) {
    let _ = catch_unwind(|| take(tensor).map(drop));
}

/// A second owner of the tensor behind a borrowed handle.
fn borrow(handle: TensorHandle) -> Result<Tensor> {
    if handle.0.is_null() {
        return Err(Error::Argument("tensor: expected a handle, got null".into()));
    }
    // SAFETY: not null, and by the contract of `TensorHandle` it points to an at::Tensor.
    Ok(unsafe { Tensor::clone_from_ptr(handle.0.cast()) })
}

/// The owner of the tensor behind an owned handle.
fn take(handle: TensorHandle) -> Result<Tensor> {
    if handle.0.is_null() {
        return Err(Error::Output("the host returned no tensor".into()));
    }
    // SAFETY: as in `borrow`; ownership was given with the handle.
    Ok(unsafe { Tensor::from_ptr(handle.0.cast()) })
}

/// An owned handle for a tensor.
fn give(tensor: Tensor) -> TensorHandle {
    let mut tensor = std::mem::ManuallyDrop::new(tensor);
    TensorHandle(tensor.as_mut_ptr().cast())
}

/// A handle that borrows from `tensor`.
fn lend(tensor: &Tensor) -> TensorHandle {
    TensorHandle(tensor.as_ptr().cast_mut().cast())
}

fn guarded<T>(work: impl FnOnce() -> Result<T>) -> RResult<T, EngineError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => ROk(value),
        Ok(Err(error)) => RErr(engine_error(&error)),
        Err(panic) => {
            let what = panic
                .downcast_ref::<&str>()
                .map(|text| text.to_string())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "unknown".into());
            RErr(EngineError {
                kind: EngineErrorKind::Internal,
                message: format!("the engine panicked, which is a bug in it: {what}").into(),
            })
        }
    }
}

fn engine_error(error: &Error) -> EngineError {
    let kind = match error {
        Error::Argument(_) => EngineErrorKind::InvalidArgument,
        Error::Type(_) => EngineErrorKind::InvalidType,
        Error::Output(_) | Error::ForwardMode(_) => EngineErrorKind::BadModelOutput,
        Error::Failed => EngineErrorKind::HostFailed,
        Error::Stopped => EngineErrorKind::HostStopped,
        Error::Torch(_) => EngineErrorKind::Torch,
    };
    EngineError { kind, message: error.to_string().into() }
}

fn options_of(options: &SamplerOptions) -> Options {
    Options {
        process: match options.process {
            lgs_abi::Process::VarianceExploding => Process::VarianceExploding,
            lgs_abi::Process::Flow => Process::Flow,
        },
        covariance: match options.covariance {
            lgs_abi::Covariance::Isotropic => Covariance::Isotropic,
            lgs_abi::Covariance::IsotropicLarge => Covariance::IsotropicLarge,
            lgs_abi::Covariance::IsotropicOptimal => Covariance::IsotropicOptimal,
            lgs_abi::Covariance::Diagonal => Covariance::Diagonal,
            lgs_abi::Covariance::DiagonalLearned => Covariance::DiagonalLearned,
            lgs_abi::Covariance::Spectral => Covariance::Spectral,
            lgs_abi::Covariance::Lanczos => Covariance::Lanczos,
        },
        jvp: jvp_of(options.jvp),
        doubled_batch: match options.doubled_batch {
            lgs_abi::DoubledBatch::Auto => DoubledBatch::Auto,
            lgs_abi::DoubledBatch::Always => DoubledBatch::Always,
            lgs_abi::DoubledBatch::Never => DoubledBatch::Never,
        },
        precision: match options.precision {
            Precision::Auto => None,
            Precision::Float64 => Some(Kind::Double),
            Precision::Float32 => Some(Kind::Float),
            Precision::Float16 => Some(Kind::Half),
            Precision::BFloat16 => Some(Kind::BFloat16),
        },
        lanczos_steps: options.lanczos_steps as usize,
        probes: options.probes as usize,
        extended: options.extended,
        eta: options.eta,
        s_noise: options.s_noise,
        tolerance: options.tolerance,
        covariance_min_sigma: options.covariance_min_sigma,
        covariance_max_sigma: options.covariance_max_sigma,
        other_steps: match options.other_steps {
            lgs_abi::OtherSteps::Isotropic => OtherSteps::Isotropic,
            lgs_abi::OtherSteps::Multistep => OtherSteps::Multistep,
        },
    }
}

fn jvp_of(jvp: lgs_abi::Jvp) -> Jvp {
    match jvp {
        lgs_abi::Jvp::Auto => Jvp::Auto,
        lgs_abi::Jvp::Forward => Jvp::Forward,
        lgs_abi::Jvp::FiniteDifference => Jvp::FiniteDifference,
        lgs_abi::Jvp::CentralDifference => Jvp::CentralDifference,
    }
}

fn jvp_for_host(jvp: Jvp) -> lgs_abi::Jvp {
    match jvp {
        Jvp::Auto => lgs_abi::Jvp::Auto,
        Jvp::Forward => lgs_abi::Jvp::Forward,
        Jvp::FiniteDifference => lgs_abi::Jvp::FiniteDifference,
        Jvp::CentralDifference => lgs_abi::Jvp::CentralDifference,
    }
}

/// The host, on the other side of the boundary.
struct RemoteHost<'a>(HostRef<'a>);

fn answered<T>(answer: RResult<T, Interruption>) -> Result<T> {
    match answer {
        ROk(value) => Ok(value),
        RErr(Interruption::Failed) => Err(Error::Failed),
        RErr(Interruption::Stopped) => Err(Error::Stopped),
    }
}

impl Denoiser for RemoteHost<'_> {
    fn denoise(&mut self, x: &Tensor, sigma: &Tensor) -> Result<Tensor> {
        take(answered(self.0.denoise(lend(x), lend(sigma)))?)
    }

    fn diagonal(&mut self, x: &Tensor, sigma: &Tensor) -> Option<Result<Tensor>> {
        match self.0.diagonal(lend(x), lend(sigma)) {
            ROption::RSome(answer) => Some(answered(answer).and_then(take)),
            ROption::RNone => None,
        }
    }

    fn forward_ad(&mut self, open: bool) -> Option<Result<()>> {
        match self.0.forward_ad(open) {
            ROption::RSome(answer) => Some(answered(answer)),
            ROption::RNone => None,
        }
    }

    fn choice(&self) -> denoiser::Choice {
        let Choice { jvp, doubled_batch, coarse } = self.0.choice();
        denoiser::Choice { jvp: jvp_of(jvp), doubled_batch: doubled_batch.into(), coarse }
    }

    fn choose(&mut self, choice: denoiser::Choice) {
        let denoiser::Choice { jvp, doubled_batch, coarse } = choice;
        self.0.choose(Choice { jvp: jvp_for_host(jvp), doubled_batch: doubled_batch.into(), coarse });
    }
}

impl Host for RemoteHost<'_> {
    fn noise(&mut self, sigma: f64, sigma_next: f64) -> Result<Tensor> {
        take(answered(self.0.noise(sigma, sigma_next))?)
    }

    fn progress(&mut self, progress: &Progress<'_>) -> Result<()> {
        answered(self.0.progress(&lgs_abi::Progress {
            step: progress.step as u64,
            steps: progress.steps as u64,
            sigma: progress.sigma,
            sigma_next: progress.sigma_next,
            model_evaluations: progress.model_evaluations,
            jvps: progress.jvps,
            jvp: jvp_for_host(progress.jvp),
            lanczos_error: progress.lanczos_error.unwrap_or(f64::NAN),
            x: lend(progress.x),
            denoised: lend(progress.denoised),
            covariance_share: progress.covariance_share.unwrap_or(f64::NAN),
            noise_variance: progress.noise_variance,
            ritz_values: progress.ritz_values.into(),
        }))
    }
}

/// Forwards the engine's `log` records. The engine is a library of its own, with its own `log`.
struct Forward;

type Write = extern "C" fn(u8, RStr<'_>, RStr<'_>);

static SINK: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

extern "C" fn set_log_sink(sink: LogSink) {
    SINK.store(sink.write as *mut (), Ordering::Release);
    // A second call finds the logger set, which is what is wanted.
    if log::set_logger(&Forward).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}

impl log::Log for Forward {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        !SINK.load(Ordering::Acquire).is_null()
    }

    fn log(&self, record: &log::Record<'_>) {
        let sink = SINK.load(Ordering::Acquire);
        if !sink.is_null() {
            // SAFETY: only `set_log_sink` stores here, and only a `Write`.
            let write: Write = unsafe { std::mem::transmute(sink) };
            write(record.level() as u8, record.target().into(), record.args().to_string().as_str().into());
        }
    }

    fn flush(&self) {}
}
