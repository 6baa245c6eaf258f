//! Jacobian-vector products J v, J = ∂D/∂x, through the model.
//!
//! *Forward mode* carries v through the model as the tangent of a dual number: exact, and D(x)
//! comes with it, but every operation of the model must have a forward formula, and one pass costs
//! several evaluations. A *finite difference* costs one evaluation, a central one two, and works
//! with every model; its step trades truncation against rounding ([`crate::finite_difference`]).
//! [`crate::choice`] finds out which of them serves a model best.

use std::{
    cell::Cell,
    sync::{Mutex, PoisonError},
};

use tch::{Kind, Tensor};

use crate::{
    denoiser::{Denoiser, Evaluator},
    error::{Error, Result},
    finite_difference::{step, Difference},
};

/// What the caller asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Jvp {
    /// The cheapest way that is right for the model.
    #[default]
    Auto,
    Forward,
    FiniteDifference,
    CentralDifference,
}

/// What is known so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Not tried yet.
    Undecided,
    /// `fallback`: should it fail after all, take finite differences from there on.
    Forward {
        fallback: bool,
    },
    FiniteDifference,
    CentralDifference,
}

impl From<Jvp> for Method {
    fn from(jvp: Jvp) -> Self {
        match jvp {
            Jvp::Auto => Method::Undecided,
            Jvp::Forward => Method::Forward { fallback: false },
            Jvp::FiniteDifference => Method::FiniteDifference,
            Jvp::CentralDifference => Method::CentralDifference,
        }
    }
}

impl Method {
    /// What `Auto` has chosen before; undecided where it has not.
    pub fn remembered(jvp: Jvp) -> Self {
        match jvp {
            Jvp::Forward => Method::Forward { fallback: true },
            other => other.into(),
        }
    }

    /// The best for a model without forward mode that computes in `precision`.
    ///
    /// In half precision a central difference: it halves the error, which is worth more than what
    /// the same evaluation would buy as another Lanczos step.
    pub fn without_forward_mode(precision: Kind) -> Self {
        match precision {
            Kind::Double | Kind::Float => Method::FiniteDifference,
            _ => Method::CentralDifference,
        }
    }

    /// What to tell the caller.
    pub fn kind(self) -> Jvp {
        match self {
            Method::Undecided => Jvp::Auto,
            Method::Forward { .. } => Jvp::Forward,
            Method::FiniteDifference => Jvp::FiniteDifference,
            Method::CentralDifference => Jvp::CentralDifference,
        }
    }
}

/// D linearized at one (x, σ): D(x) and J v, each evaluated when first asked for.
pub struct Linearization<'e, 'm, M: Denoiser + ?Sized> {
    pub(crate) evaluator: &'e mut Evaluator<'m, M>,
    x: Tensor,
    sigma: f64,
    denoised: Option<Tensor>,
}

impl<'e, 'm, M: Denoiser + ?Sized> Linearization<'e, 'm, M> {
    /// x (batch, ...) in the sampler's dtype.
    pub fn new(evaluator: &'e mut Evaluator<'m, M>, x: &Tensor, sigma: f64) -> Self {
        Self { evaluator, x: x.shallow_clone(), sigma, denoised: None }
    }

    /// D(x), like x.
    pub fn denoised(&mut self) -> Result<Tensor> {
        if let Some(denoised) = &self.denoised {
            return Ok(denoised.shallow_clone());
        }
        let x = self.copy_of_x()?;
        let denoised = self.evaluator.denoised(&x, self.sigma)?;
        self.denoised = Some(denoised.shallow_clone());
        Ok(denoised)
    }

    /// J v for v (batch, ...) in the sampler's dtype; the result is like v.
    ///
    /// `reach` (batch,), at most 1, shortens the step of a finite difference along a v in which
    /// fewer than all dimensions take part ([`crate::finite_difference::reach`]).
    pub fn jvp(&mut self, v: &Tensor, reach: Option<&Tensor>) -> Result<Tensor> {
        let product = match self.evaluator.method {
            Method::Undecided => self.choose(v)?,
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
            Err(error) => why_not(error)?,
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

    /// J v as the tangent of D at the dual number x + v ε; gives D(x) too.
    pub(crate) fn forward(&mut self, v: &Tensor) -> Result<Tensor> {
        let _level = ForwardLevel::take()?;
        match self.evaluator.model().forward_ad(true) {
            None => return Err(Error::ForwardMode("this host has no forward-mode differentiation".into())),
            Some(opened) => opened?,
        }
        let dual = self.dual_evaluation(v);
        let closed = self.evaluator.model().forward_ad(false).unwrap_or(Ok(()));
        let (denoised, tangent) = dual?;
        closed?;
        if self.denoised.is_none() {
            self.denoised = Some(denoised.f_to_kind(self.evaluator.layout.kind)?);
        }
        Ok(tangent.f_to_kind(self.evaluator.layout.kind)?)
    }

    fn dual_evaluation(&mut self, v: &Tensor) -> Result<(Tensor, Tensor)> {
        // Copies, made now that inference mode is off: a dual number cannot be made of a tensor
        // that was made in inference mode.
        let kind = self.evaluator.layout.model_kind;
        let x = self.x.f_to_dtype(kind, false, true)?;
        let v = v.f_to_dtype(kind, false, true)?;
        let dual = Tensor::f_internal_make_dual(&x, &v, 0)?;
        let output = self.evaluator.call(&dual, self.sigma, 1)?;
        let (denoised, tangent) = Tensor::f_internal_unpack_dual(&output, 0)?;
        if !tangent.defined() {
            return Err(Error::ForwardMode(
                "the model's result carries no derivative: some operation in it drops the tangent, or the \
                 result does not depend on x; jvp=\"finite-difference\" works with every model"
                    .into(),
            ));
        }
        Ok((denoised, tangent))
    }

    /// (D(x + h v) − D(x)) / h, h for each item of the batch.
    pub(crate) fn finite_difference(&mut self, v: &Tensor, reach: Option<&Tensor>) -> Result<Tensor> {
        let h = self.step(v, reach, Difference::OneSided)?;
        let (denoised, mut moved) = self.with_denoised(vec![self.x.f_addcmul(v, &h)?])?;
        Ok(moved.remove(0).f_sub(&denoised)?.f_div(&h)?)
    }

    /// D at x + h v and at x − h v, and with them (D(x + h v) − D(x − h v)) / 2h.
    pub(crate) fn central_difference(&mut self, v: &Tensor, reach: Option<&Tensor>) -> Result<Central> {
        let h = self.step(v, reach, Difference::Central)?;
        let points = vec![self.x.f_addcmul(v, &h)?, self.x.f_addcmul(v, &h.f_neg()?)?];
        let (_, mut moved) = self.with_denoised(points)?;
        let (behind, ahead) = (moved.remove(1), moved.remove(0));
        Ok(Central { ahead, behind, h })
    }

    /// D(x) and J v by a one-sided difference, from one call on a doubled batch.
    pub(crate) fn pair(&mut self, v: &Tensor) -> Result<Pair> {
        let h = self.step(v, None, Difference::OneSided)?;
        let points = [self.copy_of_x()?, self.x.f_addcmul(v, &h)?];
        let mut both = self.evaluator.denoised_together(&points, self.sigma)?;
        let (ahead, denoised) = (both.remove(1), both.remove(0));
        let product = ahead.f_sub(&denoised)?.f_div(&h)?;
        Ok(Pair { denoised, product })
    }

    /// Sets what is known of D(x), and gives what was.
    pub(crate) fn replace_denoised(&mut self, denoised: Option<Tensor>) -> Option<Tensor> {
        std::mem::replace(&mut self.denoised, denoised)
    }

    fn step(&self, v: &Tensor, reach: Option<&Tensor>, difference: Difference) -> Result<Tensor> {
        step(difference, self.evaluator.precision(), self.sigma, v, reach)
    }

    /// D(x), and D at further points: all in one call if they can be and D(x) is not known.
    fn with_denoised(&mut self, mut points: Vec<Tensor>) -> Result<(Tensor, Vec<Tensor>)> {
        if let Some(denoised) = &self.denoised {
            let denoised = denoised.shallow_clone();
            return Ok((denoised, self.evaluator.denoised_at(&points, self.sigma)?));
        }
        points.insert(0, self.copy_of_x()?);
        let mut moved = self.evaluator.denoised_at(&points, self.sigma)?;
        let denoised = moved.remove(0);
        self.denoised = Some(denoised.shallow_clone());
        Ok((denoised, moved))
    }

    /// A copy, for a model that writes to what it is given.
    fn copy_of_x(&self) -> Result<Tensor> {
        Ok(self.x.f_to_dtype(self.x.f_kind()?, false, true)?)
    }
}

/// D(x) and J v.
pub(crate) struct Pair {
    pub denoised: Tensor,
    pub product: Tensor,
}

/// D at x + h v and at x − h v.
pub(crate) struct Central {
    ahead: Tensor,
    behind: Tensor,
    h: Tensor,
}

impl Central {
    /// (D(x + h v) − D(x − h v)) / 2h.
    pub fn product(&self) -> Result<Tensor> {
        Ok(self.ahead.f_sub(&self.behind)?.f_div(&self.h.f_mul_scalar(2.0)?)?)
    }

    /// (D(x + h v) − 2 D(x) + D(x − h v)) / 2h: half of what the one-sided differences to the two
    /// sides differ by. Rounding in the model makes it √3 times what it makes of the product's error.
    pub fn spread(&self, denoised: &Tensor) -> Result<Tensor> {
        let second = self.ahead.f_add(&self.behind)?.f_sub(&denoised.f_mul_scalar(2.0)?)?;
        Ok(second.f_div(&self.h.f_mul_scalar(2.0)?)?)
    }
}

/// Why forward mode does not work, in words; an error that asks to stop stays one.
pub(crate) fn why_not(error: Error) -> Result<String> {
    match error {
        Error::Stopped => Err(Error::Stopped),
        Error::Failed => Ok("it raised an error, which is in the log".into()),
        error => Ok(error.to_string()),
    }
}

/// The use of forward mode by one thread at a time: torch has one level of it for all threads.
struct ForwardLevel(#[allow(dead_code, reason = "held, not read")] std::sync::MutexGuard<'static, ()>);

static LEVEL: Mutex<()> = Mutex::new(());

thread_local! {
    static HOLDS_LEVEL: Cell<bool> = const { Cell::new(false) };
}

impl ForwardLevel {
    /// Waits for other threads; refused to a model that samples while it is differentiated.
    fn take() -> Result<Self> {
        if HOLDS_LEVEL.get() {
            return Err(Error::ForwardMode("it is being differentiated already, and torch does not nest that".into()));
        }
        let level = Self(LEVEL.lock().unwrap_or_else(PoisonError::into_inner));
        HOLDS_LEVEL.set(true);
        Ok(level)
    }
}

impl Drop for ForwardLevel {
    fn drop(&mut self) {
        HOLDS_LEVEL.set(false);
    }
}

/// Whether every number is finite. Waits for the device.
pub(crate) fn all_finite(tensor: &Tensor) -> Result<bool> {
    Ok(largest(tensor)?.f_double_value(&[0])?.is_finite())
}

/// The largest magnitude, (1,): it passes NaN and infinity on, in one pass over the tensor.
pub(crate) fn largest(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.f_reshape([1, -1])?.f_norm_scalaropt_dim(f64::INFINITY, [1], false)?)
}
