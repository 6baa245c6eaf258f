//! The host's callbacks as the engine's [`lgs_abi::Host`].

use lgs_abi::{Choice, EngineModuleRef, Interruption, Jvp, Progress, TensorHandle};

use abi_stable::std_types::{RErr, RNone, ROk, ROption, RResult, RSome};

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

    /// The same for a callback that stores a tensor. One that has stored none has failed, whatever it
    /// answers: a foreign-function layer may answer with chance for a callback that died in it.
    fn tensor(&self, signal: i32, tensor: types::Tensor) -> RResult<TensorHandle, Interruption> {
        match Self::answered(signal) {
            ROk(()) if tensor.is_null() => RErr(Interruption::Failed),
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

    fn diagonal(&mut self, x: TensorHandle, sigma: TensorHandle) -> ROption<RResult<TensorHandle, Interruption>> {
        let Some(callback) = self.host.diagonal else { return ROption::RNone };
        let mut diagonal = std::ptr::null_mut();
        let answer = unsafe { callback(self.host.context, x.0, sigma.0, &mut diagonal) };
        ROption::RSome(self.tensor(answer, diagonal))
    }

    fn progress(&mut self, progress: &Progress<'_>) -> RResult<(), Interruption> {
        let Some(callback) = self.host.progress else { return Self::answered(signal::CONTINUE) };
        let progress = types::Progress {
            struct_size: std::mem::size_of::<types::Progress>(),
            step: progress.step,
            steps: progress.steps,
            sigma: progress.sigma,
            sigma_next: progress.sigma_next,
            model_evaluations: progress.model_evaluations,
            jvps: progress.jvps,
            jvp: number_of(progress.jvp),
            reserved: 0,
            lanczos_error: progress.lanczos_error,
            x: progress.x.0,
            denoised: progress.denoised.0,
            covariance_share: progress.covariance_share,
            noise_variance: progress.noise_variance,
            ritz_values: match progress.ritz_values.is_empty() {
                true => std::ptr::null(),
                false => progress.ritz_values.as_ptr(),
            },
            ritz_count: progress.ritz_values.len() as u64,
        };
        Self::answered(unsafe { callback(self.host.context, &progress) })
    }

    fn forward_ad(&mut self, open: bool) -> ROption<RResult<(), Interruption>> {
        match self.host.forward_ad {
            Some(callback) => ROption::RSome(Self::answered(unsafe { callback(self.host.context, open.into()) })),
            None => ROption::RNone,
        }
    }

    fn choice(&self) -> Choice {
        // SAFETY: null, or a struct of the host's for the time of the call, which nobody else writes to.
        let Some(kept) = (unsafe { self.host.choice.as_ref() }) else {
            return Choice { jvp: Jvp::Auto, doubled_batch: RNone, coarse: false };
        };
        Choice {
            jvp: match kept.jvp {
                1 => Jvp::Forward,
                2 => Jvp::FiniteDifference,
                3 => Jvp::CentralDifference,
                _ => Jvp::Auto,
            },
            doubled_batch: match kept.doubled_batch {
                1 => RSome(true),
                2 => RSome(false),
                _ => RNone,
            },
            coarse: kept.coarse != 0,
        }
    }

    fn choose(&mut self, choice: Choice) {
        // SAFETY: as in `choice`.
        if let Some(kept) = unsafe { self.host.choice.as_mut() } {
            kept.jvp = number_of(choice.jvp);
            kept.doubled_batch = match choice.doubled_batch {
                RNone => 0,
                RSome(true) => 1,
                RSome(false) => 2,
            };
            kept.coarse = choice.coarse.into();
        }
    }
}

/// `LGS_JVP_...`.
fn number_of(jvp: Jvp) -> i32 {
    match jvp {
        Jvp::Auto => 0,
        Jvp::Forward => 1,
        Jvp::FiniteDifference => 2,
        Jvp::CentralDifference => 3,
    }
}
