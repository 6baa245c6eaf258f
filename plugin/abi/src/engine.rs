//! What an engine offers to `liblgs`.

use abi_stable::{
    declare_root_module_statics,
    library::RootModule,
    package_version_strings,
    sabi_types::VersionStrings,
    std_types::{RResult, RSlice, RStr, RString, RVec},
    StableAbi,
};

use crate::{
    header::Host,
    options::{Options, Process},
    tensor::{BorrowedTensor, OwnedTensor},
};

/// What kind of failure an engine reports.
#[repr(u8)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineErrorKind {
    /// An argument has a value or a shape that cannot be used.
    InvalidArgument,
    /// An argument is of the wrong kind (dtype).
    InvalidType,
    /// The model or the noise source gave something that cannot be used.
    BadModelOutput,
    /// A host callback failed or asked to stop.
    HostFailed,
    HostStopped,
    /// libtorch refused an operation.
    Torch,
    /// There is no memory left for it.
    OutOfMemory,
    /// A bug of the engine.
    Internal,
}

/// A failure, in words for the user.
#[repr(C)]
#[derive(StableAbi, Clone, Debug)]
pub struct EngineError {
    pub kind: EngineErrorKind,
    pub message: RString,
}

/// What a panic said, for an error.
pub fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "no message",
    }
}

/// The host's log, as an engine reaches it.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct LogSink {
    /// A record of the engine's `log`; `level` counts as `log::Level` does, from 1 (error) to 5 (trace).
    pub write: extern "C" fn(level: u8, target: RStr<'_>, message: RStr<'_>),
    /// What the host's log callback has answered on this thread since it was last asked: a signal of
    /// [`crate::header::signal`].
    pub answer: extern "C" fn() -> i32,
}

/// D(x) and J v at one point.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct JvpResult {
    pub denoised: OwnedTensor,
    pub product: OwnedTensor,
}

/// The posterior mean of x_0 given x, and the leading principal components of its covariance.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct PrincipalComponents {
    pub denoised: OwnedTensor,
    /// (batch, K), falling.
    pub variances: OwnedTensor,
    /// (batch, K, ...), of length 1.
    pub components: OwnedTensor,
}

/// x_0 ~ N(μ, U diag(λ) Uᵀ + ρ (I − U Uᵀ)).
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct GaussianPrior<'a> {
    /// μ, (...): the shape of one item.
    pub mean: BorrowedTensor<'a>,
    /// U, (..., r), of orthonormal columns.
    pub basis: BorrowedTensor<'a>,
    /// λ, (r,).
    pub variances: BorrowedTensor<'a>,
    /// ρ.
    pub rest: f64,
}

/// What an engine offers. Functions never unwind; they may be called from any thread, and call back on it.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = EngineModuleRef, prefix_fields = EngineModulePrefix)))]
#[sabi(missing_field(panic))]
pub struct EngineModule {
    /// The torch release that it works with, as "2.11".
    pub torch: extern "C" fn() -> RString,
    /// Whether the libtorch that is loaded has all that it uses; asked before anything else.
    pub ready: extern "C" fn() -> RResult<(), RString>,
    /// Devices that the host's libtorch sees, as "cpu", "cuda:0".
    pub devices: extern "C" fn() -> RVec<RString>,
    /// Where log records go. The last caller's sink stays.
    pub set_log_sink: extern "C" fn(sink: LogSink),
    /// A whole trajectory from x (batch, ...) at `sigmas[0]` to `sigmas[last]`.
    pub sample: extern "C" fn(
        options: &Options,
        host: &Host,
        x: BorrowedTensor<'_>,
        sigmas: RSlice<'_, f64>,
    ) -> RResult<OwnedTensor, EngineError>,
    /// Σ^{1/2} z of one reverse step at x.
    pub reverse_noise: extern "C" fn(
        options: &Options,
        host: &Host,
        x: BorrowedTensor<'_>,
        sigma: f64,
        sigma_next: f64,
        z: BorrowedTensor<'_>,
    ) -> RResult<OwnedTensor, EngineError>,
    /// D(x, σ) and J v.
    pub jvp: extern "C" fn(
        options: &Options,
        host: &Host,
        x: BorrowedTensor<'_>,
        sigma: f64,
        v: BorrowedTensor<'_>,
    ) -> RResult<JvpResult, EngineError>,
    /// D(x, σ) and the leading principal components of Cov[x_0 | x], from K products in the Krylov space of z.
    pub principal_components: extern "C" fn(
        options: &Options,
        host: &Host,
        x: BorrowedTensor<'_>,
        sigma: f64,
        z: BorrowedTensor<'_>,
    ) -> RResult<PrincipalComponents, EngineError>,
    /// x at σ' for x (batch, ...) at σ, along the probability-flow ODE of a Gaussian prior.
    pub teleport: extern "C" fn(
        process: Process,
        prior: &GaussianPrior<'_>,
        x: BorrowedTensor<'_>,
        sigma: f64,
        sigma_next: f64,
    ) -> RResult<OwnedTensor, EngineError>,
    /// A second owner of the same tensor.
    pub tensor_clone: extern "C" fn(tensor: BorrowedTensor<'_>) -> RResult<OwnedTensor, EngineError>,
    /// Frees a tensor whose handle is owned.
    #[sabi(last_prefix_field)]
    pub tensor_delete: unsafe extern "C" fn(handle: std::ptr::NonNull<std::ffi::c_void>),
}

impl RootModule for EngineModuleRef {
    declare_root_module_statics! {EngineModuleRef}
    const BASE_NAME: &'static str = "lgs_engine";
    const NAME: &'static str = "lgs_engine";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}
