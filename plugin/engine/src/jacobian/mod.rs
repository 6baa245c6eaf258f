//! Jacobian-vector products J v, J = ∂D/∂x, through the model: a [`linearization`] in each of the ways there
//! are, how far a finite [`difference`] reaches, and the [`selection`] of the way that serves a model best.

pub mod difference;
mod forward;
pub mod linearization;
mod selection;

pub use self::linearization::Linearization;
use crate::{
    error::{Error, Result},
    model::{Denoiser, Method},
    tensor::Tensor,
};

impl<M: Denoiser + ?Sized> Linearization<'_, '_, M> {
    /// J v for v (batch, ...) in the sampler's dtype; the result is like v.
    ///
    /// `reach` (batch,), at most 1, shortens the step of a finite difference along a v in which
    /// fewer than all dimensions take part ([`crate::linear::Krylov::reach`]).
    pub fn jvp(&mut self, v: &Tensor, reach: Option<&Tensor>) -> Result<Tensor> {
        let product = match self.evaluator.method {
            Method::Undecided => self.select(v)?,
            Method::FiniteDifference => self.finite_difference(v, reach)?,
            Method::CentralDifference => self.central_difference(v, reach)?.product()?,
            Method::Forward { fallback: false } => self.forward(v)?,
            Method::Forward { fallback: true } => self.forward_or_fall_back(v, reach)?,
        };
        self.evaluator.jvps += 1;
        Ok(product)
    }

    fn forward_or_fall_back(&mut self, v: &Tensor, reach: Option<&Tensor>) -> Result<Tensor> {
        let reason = match self.forward(v) {
            Ok(product) => return Ok(product),
            Err(error) => self.why_not(error)?,
        };
        log::warn!(
            "Jacobian-vector products: finite differences from here on, because forward mode failed where it had \
             worked before: {reason}"
        );
        let method = Method::without_forward_mode(self.evaluator.precision());
        self.evaluator.settle(method, self.evaluator.doubled_batch);
        match method {
            Method::CentralDifference => self.central_difference(v, reach)?.product(),
            _ => self.finite_difference(v, reach),
        }
    }

    /// Why a way of asking the model does not work, in words; an error that asks to stop stays one.
    fn why_not(&mut self, error: Error) -> Result<String> {
        self.evaluator.failed(&error);
        match error {
            Error::Stopped => Err(Error::Stopped),
            Error::Failed => Ok("it raised an error, which is in the log".into()),
            error => Ok(error.to_string()),
        }
    }
}
