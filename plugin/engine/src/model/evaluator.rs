//! The one place where the model is called: checks what comes back, and counts.

use super::{denoiser::Denoiser, method::Method};
use crate::{
    checks::names,
    error::{Error, Result},
    layout::{dtype, Layout},
    options::{kind_of, DoubledBatch, Jvp, Options, Precision},
    tensor::{Kind, Tensor},
};

/// How a model is to be evaluated and differentiated.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub jvp: Jvp,
    pub doubled_batch: DoubledBatch,
    /// What the model computes in.
    pub precision: Precision,
    /// Products that share one D(x): what that costs decides between ways of differentiating.
    pub products: usize,
}

impl Plan {
    /// What the options say of it, for `products` that share one D(x).
    pub fn of(options: &Options, products: usize) -> Self {
        let Options { jvp, doubled_batch, precision, .. } = *options;
        Self { jvp, doubled_batch, precision, products }
    }
}

/// Calls the model, checks what comes back, and counts.
pub struct Evaluator<'m, M: Denoiser + ?Sized> {
    model: &'m mut M,
    pub layout: Layout,
    /// How to differentiate: learnt once, kept for the trajectory.
    pub(crate) method: Method,
    /// Whether several points go through the model in one call; `None`: not known, so no.
    pub(crate) doubled_batch: Option<bool>,
    /// The model was found to round like bfloat16, whatever its dtype.
    pub(crate) coarse: bool,
    /// Something has failed that may work another time: decisions are of this trajectory.
    passing: bool,
    /// Seconds until the host had opened forward mode, the last time: it waits for other threads.
    pub(crate) waited: f64,
    plan: Plan,
    /// Points at which the model gave a result: a call on a doubled batch counts twice.
    pub model_evaluations: u64,
    /// Jacobian-vector products.
    pub jvps: u64,
}

impl<'m, M: Denoiser + ?Sized> Evaluator<'m, M> {
    pub fn new(model: &'m mut M, layout: Layout, plan: Plan) -> Self {
        let known = model.calibration();
        let method = match plan.jvp {
            Jvp::Auto => Method::remembered(known.jvp),
            asked => asked.into(),
        };
        let doubled_batch = match plan.doubled_batch {
            DoubledBatch::Always => Some(true),
            DoubledBatch::Never => Some(false),
            DoubledBatch::Auto => known.doubled_batch,
        };
        let coarse = plan.jvp == Jvp::Auto && known.coarse;
        Self {
            model,
            layout,
            method,
            doubled_batch,
            coarse,
            passing: false,
            waited: 0.0,
            plan,
            model_evaluations: 0,
            jvps: 0,
        }
    }

    /// How the model is differentiated: `Auto` as long as that is undecided.
    pub fn jvp(&self) -> Jvp {
        self.method.kind()
    }

    /// Products that share one D(x).
    pub(crate) fn products(&self) -> usize {
        self.plan.products
    }

    /// The coarser of what the model takes and what it computes in.
    pub(crate) fn precision(&self) -> Kind {
        match self.coarse {
            true => Kind::BFloat16,
            false => coarser(kind_of(self.plan.precision).unwrap_or(self.layout.model_kind), self.layout.model_kind),
        }
    }

    /// The model itself, for what is not an evaluation.
    pub fn model(&mut self) -> &mut M {
        self.model
    }

    /// A way of asking the model has failed: decisions that follow are not kept where it may work another time.
    pub(crate) fn failed(&mut self, error: &Error) {
        self.passing |= error.passes();
    }

    /// Takes a decision, and has the host keep what of it was not the caller's own.
    pub(crate) fn settle(&mut self, method: Method, doubled_batch: Option<bool>) {
        (self.method, self.doubled_batch) = (method, doubled_batch);
        if self.passing {
            return;
        }
        let mut calibration = self.model.calibration();
        if self.plan.jvp == Jvp::Auto {
            (calibration.jvp, calibration.coarse) = (method.kind(), self.coarse);
        }
        if self.plan.doubled_batch == DoubledBatch::Auto {
            calibration.doubled_batch = doubled_batch;
        }
        self.model.keep(calibration);
    }

    /// D(x, σ) for x (batch, ...) in the sampler's dtype; the result likewise.
    pub fn denoised(&mut self, x: &Tensor, sigma: f64) -> Result<Tensor> {
        let x = x.f_to_kind(self.layout.model_kind)?;
        self.call(&x, sigma, 1)
    }

    /// diag J by the host's network for it, for x (batch, ...) in the sampler's dtype; the result likewise.
    pub(crate) fn diagonal(&mut self, x: &Tensor, sigma: f64) -> Result<Tensor> {
        let x = x.f_to_kind(self.layout.model_kind)?;
        let sigma = self.levels(sigma, 1)?;
        let diagonal = self.model.diagonal(&x, &sigma).unwrap_or_else(|| {
            Err(Error::Argument(
                "covariance: expected a network for the diagonal beside \"diagonal-learned\", got none; give one, or \
                 take \"diagonal\", which needs none"
                    .into(),
            ))
        })?;
        self.layout.own(names::DIAGONAL, &diagonal)
    }

    /// D at each of several points: in one call where that is known to be right, else one by one.
    pub(crate) fn denoised_at(&mut self, points: &[Tensor], sigma: f64) -> Result<Vec<Tensor>> {
        if points.len() > 1 && self.doubled_batch == Some(true) {
            match self.denoised_together(points, sigma) {
                // A model that is made for one batch size, or a device without the memory.
                Err(error @ (Error::Failed | Error::Output(_) | Error::Torch(_) | Error::OutOfMemory(_))) => {
                    log::warn!(
                        "the model is called once for each point from here on, because it does not take a batch of {} \
                         items where x has {}: {error}",
                        points.len() as i64 * self.layout.batch(),
                        self.layout.batch()
                    );
                    self.failed(&error);
                    self.settle(self.method, Some(false));
                }
                outcome => return outcome,
            }
        }
        points.iter().map(|x| self.denoised(x, sigma)).collect()
    }

    /// D at each of several points, in one call.
    pub(crate) fn denoised_together(&mut self, points: &[Tensor], sigma: f64) -> Result<Vec<Tensor>> {
        let x = Tensor::f_cat(points, 0)?.f_to_kind(self.layout.model_kind)?;
        let denoised = self.call(&x, sigma, points.len() as i64)?;
        Ok(denoised.f_chunk(points.len() as i64, 0)?)
    }

    /// D(x, σ) for x in the model's dtype with `times` the batch; the result in the sampler's, and ours.
    fn call(&mut self, x: &Tensor, sigma: f64, times: i64) -> Result<Tensor> {
        let answer = self.answer(x, sigma, times)?;
        self.layout.own_copy(&answer)
    }

    /// The model's own answer to x in the model's dtype, with `times` the batch: not to be kept beyond the next
    /// call, as a model may write each answer to the same memory.
    pub(crate) fn answer(&mut self, x: &Tensor, sigma: f64, times: i64) -> Result<Tensor> {
        let sigma = self.levels(sigma, times)?;
        let denoised = self.model.denoise(x, &sigma)?;
        let layout = &self.layout;
        layout.check(names::DENOISED, &denoised, times, Some(layout.model_kind))?;
        self.model_evaluations += times as u64;
        Ok(denoised)
    }

    /// σ for each item of `times` the batch, as the model takes it.
    fn levels(&self, sigma: f64, times: i64) -> Result<Tensor> {
        let layout = &self.layout;
        let largest = largest_level(layout.model_kind);
        if sigma > largest {
            return Err(Error::Argument(format!(
                "sigma: expected at most {} for a model that takes {}, got {}; lower the noise levels, or give x in another \
                 dtype",
                short(largest),
                dtype(layout.model_kind),
                short(sigma)
            )));
        }
        Ok(Tensor::f_full([times * layout.batch()], sigma, (layout.model_kind, layout.device))?)
    }
}

/// A number without a row of zeros.
fn short(number: f64) -> String {
    match number < 1e6 {
        true => number.to_string(),
        false => format!("{number:e}"),
    }
}

/// The largest noise level in a dtype: one that it holds, and whose square the sampler's own dtype holds.
fn largest_level(kind: Kind) -> f64 {
    match kind {
        Kind::Half => 65504.0,
        Kind::Double => 1e150,
        _ => 1e18,
    }
}

/// The one of two dtypes that rounds more.
fn coarser(one: Kind, other: Kind) -> Kind {
    let coarseness = |kind: Kind| match kind {
        Kind::Double => 0,
        Kind::Float => 1,
        Kind::Half => 2,
        _ => 3,
    };
    if coarseness(other) > coarseness(one) {
        other
    } else {
        one
    }
}
