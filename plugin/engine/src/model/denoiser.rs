//! The model, as the mathematics sees it.

use crate::{error::Result, options::Jvp, tensor::Tensor};

/// A model that gives the posterior mean D(x, σ) = E[x_0 | x_t = x].
pub trait Denoiser {
    /// D(x, σ): x (batch, ...), σ (batch,), both in the model's dtype on the model's device.
    fn denoise(&mut self, x: &Tensor, sigma: &Tensor) -> Result<Tensor>;

    /// Opens or closes forward-mode AD level 0 on this thread. `None`: there is no such thing.
    fn forward_ad(&mut self, open: bool) -> Option<Result<()>>;

    /// diag J at (x, σ), J = ∂D/∂x, by a network of its own; arguments and result as of `denoise`.
    /// `None`: there is no such network.
    fn diagonal(&mut self, _x: &Tensor, _sigma: &Tensor) -> Option<Result<Tensor>> {
        None
    }

    /// What was found out about this model before, if the host has kept it.
    fn calibration(&self) -> Calibration {
        Calibration::default()
    }

    /// Keep this for the next trajectory through the same model.
    fn keep(&mut self, _calibration: Calibration) {}
}

/// What was found out about a model, for tensors of one shape and dtype.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calibration {
    /// How to differentiate it; `Auto`: not known.
    pub jvp: Jvp,
    /// Whether D(x) and D(x + h v) in one call, on a doubled batch, are right and faster.
    pub doubled_batch: Option<bool>,
    /// It rounds like bfloat16, whatever its dtype.
    pub coarse: bool,
}
