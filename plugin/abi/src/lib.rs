//! The types that cross the boundary between `liblgs` and its engines.
//!
//! `liblgs` is loaded by the host and knows nothing of torch; an engine is built for one torch
//! release and holds the mathematics. They are compiled apart and meet at run time, so every type
//! here has a layout that `abi_stable` compares when an engine is loaded. [`EngineModule`] is what
//! an engine offers; [`Host`] is what it may ask for while it works.

// Generated code of `sabi_trait` and `StableAbi`.
#![allow(non_local_definitions, clippy::missing_safety_doc)]

use std::ffi::c_void;

use abi_stable::{
    declare_root_module_statics,
    library::RootModule,
    package_version_strings, sabi_trait,
    sabi_types::{RMut, VersionStrings},
    std_types::{ROption, RResult, RSlice, RStr, RString},
    StableAbi,
};

/// An `at::Tensor*`: PyTorch's own `AtenTensorHandle`, never null where a tensor is meant.
///
/// Whoever receives one as an argument borrows it for the call; whoever receives one as a result
/// owns it, and gives it back with [`EngineModule::tensor_delete`].
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorHandle(pub *mut c_void);

/// Forward process x_t = α_t x_0 + σ_t ε.
#[repr(u8)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// α = 1.
    VarianceExploding,
    /// α = 1 − σ, σ in [0, 1].
    Flow,
}

/// Covariance of the reverse step.
#[repr(u8)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covariance {
    /// η² v I: the smaller of DDPM's two.
    Isotropic,
    /// η² σ²_{t|s} I: the larger of DDPM's two.
    IsotropicLarge,
    /// η² v I + c (tr J / d) I, c = B² σ²/α, from probes.
    IsotropicOptimal,
    /// η² v I + c diag J, from probes.
    Diagonal,
    /// η² v I + c diag J, from the host's network.
    DiagonalLearned,
    /// η² v I + c diag(B J Bᵀ) in a frequency basis B, from probes.
    Spectral,
    /// η² v I + c J, by Lanczos.
    Lanczos,
}

/// How Jacobian-vector products are computed.
#[repr(u8)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jvp {
    /// The cheapest way that is right for the model.
    Auto,
    Forward,
    FiniteDifference,
    CentralDifference,
}

/// What the model computes in.
#[repr(u8)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// The dtype of x.
    Auto,
    Float64,
    Float32,
    Float16,
    BFloat16,
}

/// Everything that a user can choose, already checked against the manifest.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq)]
pub struct SamplerOptions {
    pub process: Process,
    pub covariance: Covariance,
    pub jvp: Jvp,
    pub precision: Precision,
    /// K, at least 1.
    pub lanczos_steps: u32,
    /// Take the Krylov vector that the K-th product gives for free.
    pub extended: bool,
    /// In [0, 1].
    pub eta: f64,
    /// Factor on the noise that each step adds.
    pub s_noise: f64,
    /// Error of a step's result, relative to it, at which the Lanczos recursion ends; 0: never early.
    pub tolerance: f64,
    /// Steps that start at a σ/α below the one or above the other are `other_steps`.
    pub covariance_min_sigma: f64,
    pub covariance_max_sigma: f64,
    pub other_steps: OtherSteps,
    pub doubled_batch: DoubledBatch,
    /// Jacobian-vector products a step of the covariances that take probes, at least 1.
    pub probes: u32,
}

/// What a step takes outside the range of the covariance.
#[repr(u8)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherSteps {
    /// The isotropic covariance.
    Isotropic,
    /// That, and a mean of second order.
    Multistep,
}

/// Whether D(x) and D(x + h v) go through the model in one call, on a doubled batch.
#[repr(u8)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoubledBatch {
    /// Where that was found to be right and faster.
    Auto,
    Always,
    Never,
}

/// What was found out about a model, for the host to keep.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// How to differentiate it; `Auto`: not known.
    pub jvp: Jvp,
    /// Whether a doubled batch is right and faster.
    pub doubled_batch: ROption<bool>,
    /// It rounds like bfloat16, whatever its dtype.
    pub coarse: bool,
}

/// Where a trajectory is, once a step, before x moves on.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct Progress<'a> {
    pub step: u64,
    pub steps: u64,
    pub sigma: f64,
    pub sigma_next: f64,
    /// Model evaluations since the trajectory began, this step's included. A forward-mode
    /// evaluation counts once.
    pub model_evaluations: u64,
    /// Jacobian-vector products since the trajectory began, this step's included.
    pub jvps: u64,
    /// How they are computed: `Auto` as long as it is undecided.
    pub jvp: Jvp,
    /// Largest over the batch of the estimated relative error of Σ^{1/2} z; NaN where no
    /// Lanczos recursion ran.
    pub lanczos_error: f64,
    /// Borrowed: x_t, and D(x_t).
    pub x: TensorHandle,
    pub denoised: TensorHandle,
    /// What of the variance of Σ^{1/2} z is not of η² v I; NaN where no noise is added.
    pub covariance_share: f64,
    /// The variance of Σ^{1/2} z, ‖Σ^{1/2} z‖² / d, the mean over the batch; 0 where no noise is added.
    pub noise_variance: f64,
    /// The Ritz values of J, as many for each item, one item after the other, each item's rising; empty
    /// where no Lanczos recursion ran.
    pub ritz_values: RSlice<'a, f64>,
}

/// Why a host callback did not answer.
#[repr(u8)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// It failed; the engine may try another way.
    Failed,
    /// Stop at once.
    Stopped,
}

/// What an engine may ask of the host while it works: always on the thread of the call.
#[sabi_trait]
pub trait Host {
    /// D(x, σ): x (batch, ...), σ (batch,) on x's device in x's dtype; the result is like x.
    fn denoise(&mut self, x: TensorHandle, sigma: TensorHandle) -> RResult<TensorHandle, Interruption>;
    /// z ~ N(0, I), like x, for the step σ → σ'.
    fn noise(&mut self, sigma: f64, sigma_next: f64) -> RResult<TensorHandle, Interruption>;
    /// diag J at (x, σ), by a network of its own; arguments and result as of `denoise`. `RNone`: this
    /// host has none.
    fn diagonal(&mut self, x: TensorHandle, sigma: TensorHandle) -> ROption<RResult<TensorHandle, Interruption>>;
    /// Once a step.
    fn progress(&mut self, progress: &Progress<'_>) -> RResult<(), Interruption>;
    /// Opens or closes a forward-AD level on this thread, with gradients and inference mode off.
    /// `RNone`: this host has no forward mode.
    fn forward_ad(&mut self, open: bool) -> ROption<RResult<(), Interruption>>;
    /// What was chosen for this model before.
    fn choice(&self) -> Choice;
    /// Keep this for the next call with the same model.
    fn choose(&mut self, choice: Choice);
}

/// A [`Host`] that lives on the caller's stack.
pub type HostRef<'a> = Host_TO<'a, RMut<'a, ()>>;

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
    /// libtorch refused an operation (out of memory, say).
    Torch,
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

/// A record of the engine's `log`, on its way to the host's.
///
/// `level` counts as `log::Level` does, from 1 (error) to 5 (trace).
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct LogSink {
    pub write: extern "C" fn(level: u8, target: RStr<'_>, message: RStr<'_>),
}

/// D(x) and J v at one point.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct JvpResult {
    pub denoised: TensorHandle,
    pub product: TensorHandle,
}

/// The posterior mean of x_0 given x, and the leading principal components of its covariance.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct PrincipalComponents {
    pub denoised: TensorHandle,
    /// (batch, K), falling.
    pub variances: TensorHandle,
    /// (batch, K, ...), of length 1.
    pub components: TensorHandle,
}

/// What an engine offers. Functions never unwind; they may be called from any thread.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = EngineModuleRef, prefix_fields = EngineModulePrefix)))]
#[sabi(missing_field(panic))]
pub struct EngineModule {
    /// The torch release it was compiled against, as "2.11".
    pub torch: extern "C" fn() -> RString,
    /// Devices that the host's libtorch sees, as "cpu", "cuda:0".
    pub devices: extern "C" fn() -> abi_stable::std_types::RVec<RString>,
    /// Where log records go. The last caller's sink stays.
    pub set_log_sink: extern "C" fn(sink: LogSink),
    /// A whole trajectory from x (batch, ...) at `sigmas[0]` to `sigmas[last]`.
    pub sample: for<'a> extern "C" fn(
        options: &SamplerOptions,
        host: HostRef<'a>,
        x: TensorHandle,
        sigmas: RSlice<'_, f64>,
    ) -> RResult<TensorHandle, EngineError>,
    /// Σ^{1/2} z of one reverse step at x.
    pub reverse_noise: for<'a> extern "C" fn(
        options: &SamplerOptions,
        host: HostRef<'a>,
        x: TensorHandle,
        sigma: f64,
        sigma_next: f64,
        z: TensorHandle,
    ) -> RResult<TensorHandle, EngineError>,
    /// D(x, σ) and J v.
    pub jvp: for<'a> extern "C" fn(
        options: &SamplerOptions,
        host: HostRef<'a>,
        x: TensorHandle,
        sigma: f64,
        v: TensorHandle,
    ) -> RResult<JvpResult, EngineError>,
    /// D(x, σ) and the leading principal components of Cov[x_0 | x], from K products in the Krylov space of z.
    pub principal_components: for<'a> extern "C" fn(
        options: &SamplerOptions,
        host: HostRef<'a>,
        x: TensorHandle,
        sigma: f64,
        z: TensorHandle,
    ) -> RResult<PrincipalComponents, EngineError>,
    /// A second owning handle of the same tensor.
    pub tensor_clone: extern "C" fn(tensor: TensorHandle) -> RResult<TensorHandle, EngineError>,
    /// Gives an owned handle back.
    #[sabi(last_prefix_field)]
    pub tensor_delete: extern "C" fn(tensor: TensorHandle),
}

impl RootModule for EngineModuleRef {
    declare_root_module_statics! {EngineModuleRef}
    const BASE_NAME: &'static str = "lgs_engine";
    const NAME: &'static str = "lgs_engine";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}
