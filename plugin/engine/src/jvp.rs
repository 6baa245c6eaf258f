//! Jacobian-vector products J v, J = ∂D/∂x, through the model.
//!
//! Two ways. *Forward mode* carries v through the model as the tangent of a dual number: exact,
//! and D(x) comes with it, but every operation of the model must have a forward formula, which
//! fused attention kernels lack. A *finite difference* (D(x + h v) − D(x)) / h costs one plain
//! evaluation and works with every model; h trades truncation against rounding.

use std::{
    cell::Cell,
    sync::{Mutex, PoisonError},
};

use tch::{Kind, Tensor};

use crate::{
    denoiser::{Denoiser, Evaluator},
    error::{Error, Result},
};

/// What the caller asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jvp {
    /// Forward mode where the model can, finite differences otherwise.
    Auto,
    Forward,
    FiniteDifference,
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
}

impl From<Jvp> for Method {
    fn from(jvp: Jvp) -> Self {
        match jvp {
            Jvp::Auto => Method::Undecided,
            Jvp::Forward => Method::Forward { fallback: false },
            Jvp::FiniteDifference => Method::FiniteDifference,
        }
    }
}

impl Method {
    /// What to tell the caller.
    pub fn kind(self) -> Jvp {
        match self {
            Method::Undecided => Jvp::Auto,
            Method::Forward { .. } => Jvp::Forward,
            Method::FiniteDifference => Jvp::FiniteDifference,
        }
    }
}

/// D linearized at one (x, σ): D(x) and J v, each evaluated when first asked for.
pub struct Linearization<'e, 'm, M: Denoiser + ?Sized> {
    evaluator: &'e mut Evaluator<'m, M>,
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
        // A copy, for a model that writes to what it is given.
        let denoised = self.evaluator.denoised(&self.x.f_to_dtype(self.x.f_kind()?, false, true)?, self.sigma)?;
        self.denoised = Some(denoised.shallow_clone());
        Ok(denoised)
    }

    /// J v for v (batch, ...) in the sampler's dtype; the result is like v.
    pub fn jvp(&mut self, v: &Tensor) -> Result<Tensor> {
        let product = match self.evaluator.method {
            Method::FiniteDifference => self.finite_difference(v)?,
            Method::Forward { fallback: false } => self.forward(v)?,
            Method::Forward { fallback: true } | Method::Undecided => self.forward_or_fall_back(v)?,
        };
        self.evaluator.jvps += 1;
        Ok(product)
    }

    fn forward_or_fall_back(&mut self, v: &Tensor) -> Result<Tensor> {
        let undecided = self.evaluator.method == Method::Undecided;
        let error = match self.forward(v) {
            Ok(product) if !undecided => return Ok(product),
            Ok(product) => match self.reason_for_doubt(v, &product)? {
                None => {
                    log::info!("Jacobian-vector products: forward mode, which this model supports");
                    self.evaluator.method = Method::Forward { fallback: true };
                    return Ok(product);
                }
                Some(reason) => reason,
            },
            Err(Error::Stopped) => return Err(Error::Stopped),
            Err(Error::Failed) => "it raised an error, which is in the log".into(),
            Err(error) => error.to_string(),
        };
        log::warn!(
            "Jacobian-vector products: finite differences, one model evaluation each, because forward mode does not \
             work with this model: {error}"
        );
        self.evaluator.method = Method::FiniteDifference;
        self.finite_difference(v)
    }

    /// Why a first product by forward mode is not to be trusted, if it is not.
    ///
    /// Some kernels take a dual number and lose or spoil its tangent without a word. So the first
    /// product is compared with a finite difference, where that is precise enough to tell.
    fn reason_for_doubt(&mut self, v: &Tensor, product: &Tensor) -> Result<Option<String>> {
        if !all_finite(product)? {
            return Ok(Some("the derivative that it gives is not finite".into()));
        }
        let Some(doubtful) = doubtful_difference(self.evaluator.precision()) else { return Ok(None) };
        let expected = self.finite_difference(v)?;
        let off = product.f_sub(&expected)?.f_norm()?.f_div(&expected.f_norm()?.f_clamp_min(f64::MIN_POSITIVE)?)?;
        let off = off.f_double_value(&[])?;
        Ok((off > doubtful).then(|| {
            format!("the derivative that it gives is {:.0} % off; some operation in it drops the tangent", 100.0 * off)
        }))
    }

    /// J v as the tangent of D at the dual number x + v ε; gives D(x) too.
    fn forward(&mut self, v: &Tensor) -> Result<Tensor> {
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
        let output = self.evaluator.call(&dual, self.sigma)?;
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
    fn finite_difference(&mut self, v: &Tensor) -> Result<Tensor> {
        let denoised = self.denoised()?;
        let h = self.step(v)?;
        let moved = self.x.f_addcmul(v, &h)?;
        let moved = self.evaluator.denoised(&moved, self.sigma)?;
        Ok(moved.f_sub(&denoised)?.f_div(&h)?)
    }

    /// h such that h v is, per number, a fixed small fraction of σ: (batch, 1, ...).
    ///
    /// D(x, σ) varies over distances of σ, so the fraction alone decides the truncation error,
    /// whatever the noise level and the number of pixels; rounding in the model bounds it below.
    fn step(&self, v: &Tensor) -> Result<Tensor> {
        let layout = &self.evaluator.layout;
        let fraction = step_fraction(self.evaluator.precision());
        let axes: Vec<i64> = (1..layout.shape.len() as i64).collect();
        let norm = match axes.is_empty() {
            true => v.f_abs()?,
            false => v.f_norm_scalaropt_dim(2.0, &axes[..], true)?,
        };
        let length = fraction * self.sigma * (layout.dimension() as f64).sqrt();
        // v = 0 (a Krylov space that is exhausted) moves nowhere, whatever h is.
        Ok(norm.f_clamp_min(1e-20)?.f_reciprocal()?.f_mul_scalar(length)?)
    }
}

/// h v per number, in units of σ, for a model that computes in `precision`.
///
/// Measured on the bundled model at σ from 0.05 to 20: in float32 the error of J v is smallest near
/// 3·10⁻³ and within a factor of two of that from 10⁻³ to 5·10⁻³; in float16 it is smallest near 5·10⁻² (7 to 25 %), in bfloat16 near 0.15 (17 to 66 %).
fn step_fraction(precision: Kind) -> f64 {
    match precision {
        Kind::Double => 1e-5,
        Kind::Float => 3e-3,
        Kind::Half => 5e-2,
        _ => 0.15,
    }
}

/// Relative difference between the two ways at which forward mode is taken to be wrong; `None`
/// where rounding leaves the finite difference too little precision to judge.
fn doubtful_difference(precision: Kind) -> Option<f64> {
    match precision {
        Kind::Double | Kind::Float => Some(0.1),
        _ => None,
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
    // The largest magnitude passes NaN and infinity on, in one pass over the tensor.
    let largest = tensor.f_reshape([1, -1])?.f_norm_scalaropt_dim(f64::INFINITY, [1], false)?;
    Ok(largest.f_double_value(&[0])?.is_finite())
}
