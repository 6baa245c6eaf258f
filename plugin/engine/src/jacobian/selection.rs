//! Which way of differentiating serves a model best: found out once, on its first product.
//!
//! That product is taken in every way that may serve. Forward mode is exact where it works, and
//! finite differences are judged against it. But forward mode too can be silently wrong,
//! where a kernel of the host drops the tangent, or rounds, and has the derivative of a step function: then the
//! two differ by more than rounding, which shows in the second difference, can explain, or two finite
//! differences agree on what is wrong. D(x) is asked twice, as a model may answer at random (dropout left on).

use std::time::Instant;

use super::linearization::{Linearization, Pair};
use crate::{
    checks::all_finite,
    error::Result,
    layout::dtype,
    model::{Denoiser, Method},
    tensor::{Kind, Tensor},
};

/// Relative error of J v up to which a finite difference is as good as forward mode.
///
/// It reaches the noise Σ^{1/2} z damped: by three to a hundred on the bundled model. Computing in
/// float64 is for its precision.
fn accurate(precision: Kind) -> f64 {
    match precision {
        Kind::Double => 1e-12,
        _ => 0.05,
    }
}

/// Relative difference, beyond what rounding explains, at which forward mode is taken to be wrong.
const DOUBTFUL: f64 = 0.05;

/// Second difference, relative to the first, above which rounding drowns the one-sided difference, whose
/// step is shorter.
const DROWNED: f64 = 0.1;

/// What two finite differences may both be off from forward mode, relatively, before it is taken to be wrong: what a
/// long step's truncation, which they share, can come to.
const SHARED: f64 = 0.2;

/// How many standard deviations chance is allowed in what independent errors share.
const CHANCE: f64 = 4.0;

/// Relative error of a product, estimated from rounding, that is worth a warning.
const ROUGH: f64 = 0.3;

/// What a product by forward mode may cost, in evaluations, where nothing else is accurate.
const HIGHEST_PRICE: f64 = 12.0;

/// Part of the time that the usual way takes which another one has to stay below. A margin, so that
/// the choice does not hang on chance: the same seed is to give the same picture on another day.
const FASTER: f64 = 0.9;

/// Below this many seconds an evaluation is the caller's own overhead, and times are uninformative:
/// the exact way is taken, whatever its price.
const SHORT: f64 = 1e-3;

/// An evaluation of more seconds fills the device by itself, and doubling the batch gains nothing.
const LONG: f64 = 0.5;

/// How much an item's D may differ, by rounding, between batches of different size, or from one call to the next.
fn batch_rounding(precision: Kind) -> f64 {
    match precision {
        Kind::Double => 1e-9,
        Kind::Float => 1e-3,
        _ => 0.05,
    }
}

/// A product by forward mode with its price in evaluations, or why there is none.
type Forward = std::result::Result<(Tensor, f64), String>;

/// The way to take, and the first product by it.
struct Judgement {
    method: Method,
    product: Tensor,
}

impl<M: Denoiser + ?Sized> Linearization<'_, '_, M> {
    /// J v, and from here on products in the way that turned out best.
    pub(super) fn select(&mut self, v: &Tensor) -> Result<Tensor> {
        // It is timed: what is known already would take no time at all.
        let mut ask = || {
            self.replace_denoised(None);
            timed(|| {
                let denoised = self.denoised()?;
                wait(&denoised).map(|()| denoised)
            })
        };
        let (before, _) = ask()?;
        let (denoised, first) = ask()?;
        let random = self.randomness(&before, &denoised)?;
        let is_random = random > batch_rounding(self.evaluator.precision());
        let (one_sided, second) = timed(|| {
            let product = self.finite_difference(v, None)?;
            wait(&product).map(|()| product)
        })?;
        let evaluation = first.min(second);
        if !all_finite(&one_sided)? {
            // The caller's own checks will say what is wrong.
            self.evaluator.settle(Method::FiniteDifference, Some(false));
            return Ok(one_sided);
        }
        let pair = self.try_doubled_batch(v, &denoised, random, evaluation)?;

        // Forward mode gives a D(x) of its own, which is kept only together with its product.
        self.replace_denoised(None);
        let mut attempt = || {
            let (found, seconds) = timed(|| {
                let product = self.forward(v)?;
                Ok((all_finite(&product)?, product))
            })?;
            Ok((found, seconds - self.evaluator.waited))
        };
        let forward = match attempt() {
            // Not to be mistaken: the first pass of a process may load and compile what it needs.
            Ok((_, seconds)) if seconds > HIGHEST_PRICE * evaluation => attempt(),
            other => other,
        };
        let forward_denoised = self.replace_denoised(Some(denoised.shallow_clone()));
        let forward = match forward {
            Ok(((true, product), seconds)) => Ok((product, seconds / evaluation)),
            Ok(((false, _), _)) => Err("the derivative that it gives is not finite".into()),
            Err(error) => Err(self.why_not(error)?),
        };

        let Judgement { method, product } = self.judge(v, &denoised, one_sided, forward, is_random, evaluation)?;
        let doubled_batch = self.evaluator.doubled_batch.or(Some(pair.is_some()));
        self.evaluator.settle(method, doubled_batch);
        // D(x) and the product are those that this way will give whenever it is taken again.
        match (method, pair) {
            (Method::Forward { .. }, _) => {
                self.replace_denoised(forward_denoised);
                Ok(product)
            }
            (Method::FiniteDifference, Some(pair)) => {
                self.replace_denoised(Some(pair.denoised));
                Ok(pair.product)
            }
            (Method::CentralDifference, _) if doubled_batch == Some(true) => {
                self.replace_denoised(None);
                self.central_difference(v, None)?.product()
            }
            _ => Ok(product),
        }
    }

    /// By how much the model's answers to one question differ, relatively; what that means is told.
    fn randomness(&mut self, one: &Tensor, other: &Tensor) -> Result<f64> {
        let random = distance(one, other)?;
        if random > batch_rounding(self.evaluator.precision()) {
            log::warn!(
                "the model is random: two answers to the same question differ by {:.1} %. Finite differences reach far \
                 then, and are still rough; if dropout or the like was left on, turn it off (in PyTorch: model.eval())",
                100.0 * random
            );
        }
        Ok(random)
    }

    /// D(x) and the product from one call, where that is right and faster than two.
    fn try_doubled_batch(
        &mut self,
        v: &Tensor,
        denoised: &Tensor,
        random: f64,
        evaluation: f64,
    ) -> Result<Option<Pair>> {
        let asked_for = self.evaluator.doubled_batch == Some(true);
        if self.evaluator.doubled_batch == Some(false) || (!(SHORT..LONG).contains(&evaluation) && !asked_for) {
            return Ok(None);
        }
        // Twice: the first call with another batch size may be slow.
        let mut fastest = f64::INFINITY;
        let mut last = None;
        for _ in 0..2 {
            let attempt = timed(|| {
                let pair = self.pair(v)?;
                wait(&pair.product).map(|()| pair)
            });
            match attempt {
                Ok((pair, seconds)) => (fastest, last) = (seconds.min(fastest), Some(pair)),
                Err(error) => {
                    let reason = self.why_not(error)?;
                    log::info!(
                        "the model is called for one point at a time; it does not take a doubled batch: {reason}"
                    );
                    self.evaluator.doubled_batch = Some(false);
                    return Ok(None);
                }
            }
        }
        let Some(pair) = last else { return Ok(None) };
        if asked_for {
            return Ok(Some(pair));
        }
        let off = distance(&pair.denoised, denoised)?;
        if off.is_nan() || off > batch_rounding(self.evaluator.precision()) + 2.0 * random {
            log::info!(
                "the model is called for one point at a time: in a doubled batch its answer for the same item is {:.1} % \
                 off, so that items cannot be independent",
                100.0 * off
            );
            self.evaluator.doubled_batch = Some(false);
            return Ok(None);
        }
        Ok((fastest < FASTER * 2.0 * evaluation).then_some(pair))
    }

    /// Weighs forward mode against finite differences, on error and on price.
    fn judge(
        &mut self,
        v: &Tensor,
        denoised: &Tensor,
        mut one_sided: Tensor,
        forward: Forward,
        is_random: bool,
        evaluation: f64,
    ) -> Result<Judgement> {
        let products = self.evaluator.products() as f64;
        let accurate = accurate(self.evaluator.precision());
        let (forward, price) = match forward {
            Ok(forward) => forward,
            Err(reason) => {
                self.reach_further(v)?;
                return self.without_forward_mode(v, one_sided, &reason);
            }
        };
        let off = distance(&one_sided, &forward)?;
        if off <= accurate && evaluation >= SHORT && price * products >= FASTER * (products + 1.0) {
            log::info!(
                "Jacobian-vector products: finite differences, one model evaluation each and {:.1} % from forward mode, \
                 which costs {price:.1}",
                100.0 * off
            );
            return Ok(Judgement { method: Method::FiniteDifference, product: one_sided });
        }
        let exact = |why: String| {
            log::info!("Jacobian-vector products: forward mode, {price:.1} model evaluations each; {why}");
            Judgement { method: Method::Forward { fallback: true }, product: forward.shallow_clone() }
        };
        if off <= accurate {
            let why = if evaluation < SHORT { "which is exact" } else { "finite differences would cost more" };
            return Ok(exact(why.into()));
        }

        if self.reach_further(v)? {
            one_sided = self.finite_difference(v, None)?;
        }
        let differences = self.central_difference(v, None)?;
        let central = differences.product()?;
        let central_off = distance(&central, &forward)?;
        let unexplained = norm(&central.f_sub(&forward)?)? - 2.0 * norm(&differences.spread(denoised)?)?;
        // Where the model is random, forward mode is too, and its own error is what the others share.
        let doubtful =
            unexplained > DOUBTFUL * norm(&central)? || (!is_random && agree(&one_sided, &central, &forward)?);
        if central_off > accurate && doubtful {
            let reason = format!(
                "the derivative that it gives is {:.0} % off; some operation in it drops the tangent, or rounds",
                100.0 * distance(&forward, &central)?
            );
            return self.without_forward_mode(v, one_sided, &reason);
        }
        let figures = format!(
            "finite differences are {:.0} % off, central ones {:.0} %, with a model that computes in {}",
            100.0 * off,
            100.0 * central_off,
            dtype(self.evaluator.precision())
        );
        if central_off <= accurate && price * products >= FASTER * (2.0 * products + 1.0) {
            log::info!(
                "Jacobian-vector products: central differences, two model evaluations each, where forward mode costs \
                 {price:.1}; {figures}"
            );
            return Ok(Judgement { method: Method::CentralDifference, product: central });
        }
        if central_off > accurate && price > HIGHEST_PRICE {
            log::warn!(
                "Jacobian-vector products: central differences, two model evaluations each, because forward mode, which \
                 is exact, costs {price:.1}; {figures}. jvp=\"forward\" takes it all the same"
            );
            return Ok(Judgement { method: Method::CentralDifference, product: central });
        }
        Ok(exact(figures))
    }

    /// The second difference relative to the first, over the step of a central difference.
    fn second_difference(&mut self, v: &Tensor) -> Result<f64> {
        let differences = self.central_difference(v, None)?;
        let (first, second) = (differences.product()?, differences.spread(&self.denoised()?)?);
        Ok(norm(&second)? / norm(&first)?.max(f64::MIN_POSITIVE))
    }

    /// Whether finite differences have to reach further than the model's dtype asks for: it can round inside (autocast,
    /// quantised weights or activations) or answer at random without its dtype telling so.
    fn reach_further(&mut self, v: &Tensor) -> Result<bool> {
        if !matches!(self.evaluator.precision(), Kind::Double | Kind::Float) {
            return Ok(false);
        }
        let fine = self.second_difference(v)?;
        self.evaluator.coarse = fine > DROWNED;
        // A longer step makes less of rounding, but more of a model that is curved.
        if self.evaluator.coarse && self.second_difference(v)? > fine {
            self.evaluator.coarse = false;
        }
        if self.evaluator.coarse {
            log::info!(
                "the model rounds more than {} does: finite differences reach as far as for bfloat16",
                dtype(self.evaluator.layout.model_kind)
            );
        }
        Ok(self.evaluator.coarse)
    }

    fn without_forward_mode(&mut self, v: &Tensor, one_sided: Tensor, reason: &str) -> Result<Judgement> {
        let method = Method::without_forward_mode(self.evaluator.precision());
        let (price, product) = match method {
            Method::CentralDifference => {
                let differences = self.central_difference(v, None)?;
                let product = differences.product()?;
                // What rounding makes of the product's error: see `Central::spread`.
                let rough = norm(&differences.spread(&self.denoised()?)?)? / 3f64.sqrt() / norm(&product)?;
                if rough > ROUGH {
                    log::warn!(
                        "Jacobian-vector products are about {:.0} % off at this noise level, by what the model rounds or \
                         varies at random; the solver \"secant\" and the covariance \"isotropic\" need none",
                        100.0 * rough
                    );
                }
                ("two model evaluations", product)
            }
            _ => ("one model evaluation", one_sided),
        };
        log::warn!(
            "Jacobian-vector products: finite differences, {price} each, because forward mode does not work with this \
             model: {reason}"
        );
        Ok(Judgement { method, product })
    }
}

/// Whether two finite differences are off from `forward` by the same thing. Rounding and randomness are others in each,
/// and what they share by chance is 1/√n of them, of n numbers.
fn agree(one: &Tensor, other: &Tensor, forward: &Tensor) -> Result<bool> {
    let (one, other) = (one.f_sub(forward)?, other.f_sub(forward)?);
    let together = one.f_mul(&other)?.f_sum(Kind::Double)?.f_double_value(&[])?;
    let chance = CHANCE * norm(&one)? * norm(&other)? / (forward.numel() as f64).sqrt();
    Ok(together > chance + (SHARED * norm(forward)?).powi(2))
}

/// What was done, and the seconds that it took.
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let start = Instant::now();
    let done = work()?;
    Ok((done, start.elapsed().as_secs_f64()))
}

/// Until the device has come to this tensor.
fn wait(tensor: &Tensor) -> Result<()> {
    tensor.f_reshape([-1])?.f_select(0, 0)?.f_double_value(&[])?;
    Ok(())
}

fn norm(tensor: &Tensor) -> Result<f64> {
    Ok(tensor.f_norm()?.f_double_value(&[])?)
}

/// ‖came − expected‖ / ‖expected‖.
fn distance(came: &Tensor, expected: &Tensor) -> Result<f64> {
    Ok(norm(&came.f_sub(expected)?)? / norm(expected)?.max(f64::MIN_POSITIVE))
}
