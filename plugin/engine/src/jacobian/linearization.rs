//! D linearized at one point: D(x), and J v in each of the ways there are.
//!
//! *Forward mode* carries v through the model as the tangent of a dual number: exact, and D(x) comes with
//! it, but every operation of the model must have a forward formula, and one pass costs several
//! evaluations. A *finite difference* costs one evaluation, a central one two, and works with every model;
//! its step trades truncation against rounding ([`super::difference`]).

use std::time::Instant;

use super::{
    difference::{step, Difference},
    forward::ForwardLevel,
};
use crate::{
    error::{Error, Result},
    model::{Denoiser, Evaluator},
    tensor::{make_dual, unpack_dual, Tensor},
};

/// D linearized at one (x, σ): D(x) and J v, each evaluated when first asked for.
pub struct Linearization<'e, 'm, M: Denoiser + ?Sized> {
    pub(super) evaluator: &'e mut Evaluator<'m, M>,
    x: Tensor,
    sigma: f64,
    denoised: Option<Tensor>,
}

impl<'e, 'm, M: Denoiser + ?Sized> Linearization<'e, 'm, M> {
    /// x (batch, ...) in the sampler's dtype.
    pub fn new(evaluator: &'e mut Evaluator<'m, M>, x: &Tensor, sigma: f64) -> Self {
        Self { evaluator, x: x.shallow_clone(), sigma, denoised: None }
    }

    /// The same where D(x), in the sampler's dtype, may be known already.
    pub fn knowing(self, denoised: Option<&Tensor>) -> Self {
        Self { denoised: denoised.map(Tensor::shallow_clone), ..self }
    }

    /// D(x) of this linearization, where J is taken at another noise level: a host may know no other levels than its
    /// schedule's. `None`: J is taken here, and the linearization for it has D(x).
    pub fn denoised_apart_from(mut self, jacobian_sigma: f64) -> Result<Option<Tensor>> {
        match jacobian_sigma == self.sigma {
            true => Ok(None),
            false => self.denoised().map(Some),
        }
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

    /// J v as the tangent of D at the dual number x + v ε; gives D(x) too.
    pub(super) fn forward(&mut self, v: &Tensor) -> Result<Tensor> {
        let (_level, asked) = (ForwardLevel::take()?, Instant::now());
        match self.evaluator.model().forward_ad(true) {
            None => return Err(Error::ForwardMode("this host has no forward-mode differentiation".into())),
            Some(opened) => opened?,
        }
        self.evaluator.waited = asked.elapsed().as_secs_f64();
        let dual = self.dual_evaluation(v);
        let closed = self.evaluator.model().forward_ad(false).unwrap_or(Ok(()));
        let (denoised, tangent) = dual?;
        closed?;
        if !tangent.defined() {
            return self.without_tangent(v, &denoised);
        }
        if self.denoised.is_none() {
            self.denoised = Some(self.evaluator.layout.own_copy(&denoised)?);
        }
        self.evaluator.layout.own_copy(&tangent)
    }

    fn dual_evaluation(&mut self, v: &Tensor) -> Result<(Tensor, Tensor)> {
        // Copies, made now that inference mode is off: a dual number cannot be made of a tensor
        // that was made in inference mode.
        let kind = self.evaluator.layout.model_kind;
        let x = self.x.f_to_dtype(kind, false, true)?;
        let v = v.f_to_dtype(kind, false, true)?;
        let dual = make_dual(&x, &v)?;
        let output = self.evaluator.answer(&dual, self.sigma, 1)?;
        let (denoised, tangent) = unpack_dual(&output)?;
        Ok((denoised, tangent))
    }

    /// J v where the model's result carries no tangent: 0 where the result does not depend on x, which is asked.
    fn without_tangent(&mut self, v: &Tensor, denoised: &Tensor) -> Result<Tensor> {
        let denoised = self.evaluator.layout.own_copy(denoised)?;
        let h = self.step(v, None, Difference::Central)?;
        if !self.evaluator.denoised(&self.x.f_addcmul(v, &h)?, self.sigma)?.f_equal(&denoised)? {
            return Err(Error::ForwardMode(
                "the model's result depends on x and carries no derivative: some operation in it drops the tangent; \
                 jvp=\"finite-difference\" works with every model"
                    .into(),
            ));
        }
        self.denoised.get_or_insert(denoised);
        Ok(v.f_zeros_like()?)
    }

    /// (D(x + h v) − D(x)) / h, h for each item of the batch.
    pub(super) fn finite_difference(&mut self, v: &Tensor, reach: Option<&Tensor>) -> Result<Tensor> {
        let h = self.step(v, reach, Difference::OneSided)?;
        let (denoised, mut moved) = self.with_denoised(vec![self.x.f_addcmul(v, &h)?])?;
        Ok(moved.remove(0).f_sub(&denoised)?.f_div(&h)?)
    }

    /// D at x + h v and at x − h v, and with them (D(x + h v) − D(x − h v)) / 2h.
    pub(super) fn central_difference(&mut self, v: &Tensor, reach: Option<&Tensor>) -> Result<Central> {
        let h = self.step(v, reach, Difference::Central)?;
        let points = vec![self.x.f_addcmul(v, &h)?, self.x.f_addcmul(v, &h.f_neg()?)?];
        let (_, mut moved) = self.with_denoised(points)?;
        let (behind, ahead) = (moved.remove(1), moved.remove(0));
        Ok(Central { ahead, behind, h })
    }

    /// D(x) and J v by a one-sided difference, from one call on a doubled batch.
    pub(super) fn pair(&mut self, v: &Tensor) -> Result<Pair> {
        let h = self.step(v, None, Difference::OneSided)?;
        let points = [self.copy_of_x()?, self.x.f_addcmul(v, &h)?];
        let mut both = self.evaluator.denoised_together(&points, self.sigma)?;
        let (ahead, denoised) = (both.remove(1), both.remove(0));
        let product = ahead.f_sub(&denoised)?.f_div(&h)?;
        Ok(Pair { denoised, product })
    }

    /// Sets what is known of D(x), and gives what was.
    pub(super) fn replace_denoised(&mut self, denoised: Option<Tensor>) -> Option<Tensor> {
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
pub(super) struct Pair {
    pub denoised: Tensor,
    pub product: Tensor,
}

/// D at x + h v and at x − h v.
pub(super) struct Central {
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
