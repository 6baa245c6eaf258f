//! The host's callbacks as the engine's [`lgs_abi::Host`].

use lgs_abi::{EngineModuleRef, Interruption, Jvp, Progress, TensorHandle};

use abi_stable::std_types::{RErr, ROk, ROption, RResult};

use super::types::{self, signal};
use crate::logger;

/// Callbacks that have been checked: those that a call needs are there.
pub struct Callbacks {
    pub host: types::Host,
    /// Gives back what a failing callback has stored all the same.
    pub module: EngineModuleRef,
}

impl Callbacks {
    /// A callback's answer, or what the log callback has answered meanwhile.
    fn answered(signal: i32) -> RResult<(), Interruption> {
        if let Some(interruption) = logger::Scope::interruption() {
            return RErr(interruption);
        }
        match signal {
            signal::CONTINUE => ROk(()),
            signal::STOP => RErr(Interruption::Stopped),
            _ => RErr(Interruption::Failed),
        }
    }

    /// The same for a callback that stores a tensor.
    fn tensor(&self, signal: i32, tensor: types::Tensor) -> RResult<TensorHandle, Interruption> {
        match Self::answered(signal) {
            ROk(()) => ROk(TensorHandle(tensor)),
            RErr(interruption) => {
                if !tensor.is_null() {
                    self.module.tensor_delete()(TensorHandle(tensor));
                }
                RErr(interruption)
            }
        }
    }
}

// SAFETY, for each callback: the host gave it together with the context, both for this call.
impl lgs_abi::Host for Callbacks {
    fn denoise(&mut self, x: TensorHandle, sigma: TensorHandle) -> RResult<TensorHandle, Interruption> {
        let mut denoised = std::ptr::null_mut();
        let Some(callback) = self.host.denoise else { return RErr(Interruption::Failed) };
        let answer = unsafe { callback(self.host.context, x.0, sigma.0, &mut denoised) };
        self.tensor(answer, denoised)
    }

    fn noise(&mut self, sigma: f64, sigma_next: f64) -> RResult<TensorHandle, Interruption> {
        let mut z = std::ptr::null_mut();
        let Some(callback) = self.host.noise else { return RErr(Interruption::Failed) };
        let answer = unsafe { callback(self.host.context, sigma, sigma_next, &mut z) };
        self.tensor(answer, z)
    }

    fn progress(&mut self, progress: &Progress) -> RResult<(), Interruption> {
        let Some(callback) = self.host.progress else { return Self::answered(signal::CONTINUE) };
        let progress = types::Progress {
            struct_size: std::mem::size_of::<types::Progress>(),
            step: progress.step,
            steps: progress.steps,
            sigma: progress.sigma,
            sigma_next: progress.sigma_next,
            model_evaluations: progress.model_evaluations,
            jvps: progress.jvps,
            jvp: match progress.jvp {
                Jvp::Auto => 0,
                Jvp::Forward => 1,
                Jvp::FiniteDifference => 2,
            },
            reserved: 0,
            lanczos_error: progress.lanczos_error,
            x: progress.x.0,
            denoised: progress.denoised.0,
        };
        Self::answered(unsafe { callback(self.host.context, &progress) })
    }

    fn forward_ad(&mut self, open: bool) -> ROption<RResult<(), Interruption>> {
        match self.host.forward_ad {
            Some(callback) => ROption::RSome(Self::answered(unsafe { callback(self.host.context, open.into()) })),
            None => ROption::RNone,
        }
    }
}
