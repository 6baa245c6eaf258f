//! A step of second order for one evaluation, with J from the change of D that trajectories make anyway.
//!
//! Where data is Gaussian with variance λ, the step is exact ([`crate::integrator`]):
//!
//! ```text
//! x_s = D + a(λ) r + N(λ) z,    r = x_t − D(x_t)
//! ```
//!
//! D along an exact reverse trajectory of η = 1 is a martingale whose change is J times the noise of the posterior
//! kernel N(m, ·), m = x_t − (1 − σ_s²/σ_t²) r; for any η, to first order,
//!
//! ```text
//! w = D(x̃, σ_s) − D(x_t, σ_t) = J_s y,    y = x̃ − m,        the secant
//! ```
//!
//! at a predicted point x̃. So in each octave of frequencies ([`crate::linear::octaves`]) two moments of J are known,
//! θ = ⟨y, w⟩/⟨y, y⟩ and ϑ = ⟨w, w⟩/⟨y, w⟩: Rayleigh quotients in the directions of y, which are any, and in those in
//! which D changes. With them a function of J is taken to be
//!
//! ```text
//! f(J) ≈ p f(ρ) + (1 − p) f(0),    ρ = (θ + ϑ)/2,    p = θ/ρ
//! ```
//!
//! a quadrature with a node at 0, like Gauss-Radau's, which has ρ = ϑ and is exact for both moments. A model's J is not
//! symmetric, which ϑ takes for size; of ρ = θ, (θ + ϑ)/2 and ϑ that in the middle is right for models and for exact
//! laws. Where J is one number in an octave all are the same.
//!
//! What D has beyond this, Δ, is integrated as well: in the corrector as it is at x̃, in the predictor as it was in the
//! step before,
//!
//! ```text
//! x_s += weight(e) Δ,    Δ = w − change r − θ N z,    D(x_s) = D(x̃) + θ (x_s − x̃)
//! ```
//!
//! with [`Integrator::weight`] for D that is linear in σ^e. Δ is of the path that is taken, its noise included, and has
//! its full weight for any η: left out for the part that noise makes, samples are farther from exact laws and from
//! pictures. e is the mean of two guesses: of ϑ, since D that follows
//! from x is linear in σ, and D that x leaves open in ln σ; and of the exponent that ‖w‖ of this step and of the last
//! one show. Nothing is learned, nothing is remembered but Δ and ‖w‖; one evaluation a step.
//!
//! The first step begins with J = 0, though a start's prior may know better. With the prior's J there, low-rank, for
//! what is predicted, distances stay as they are (Fréchet, two groups, rank 64): in 5 and 7 evaluations .085 → .089 and
//! .085 → .087 on the law of photographs, after a start .081 → .085 and .075 → .075; in 5 and 10 .162 → .161 and
//! .176 → .176 on the network of digits. What J is at x̃ is told by the same evaluation in any case.
//!
//! Where D does not change at all, as behind a mask that a host keeps, J is 0: with M what does change, it is
//! M J M, so that f(J) = f(0) + M (f(J) − f(0)) M.
//!
//! All is done for x/α, whose noise level is σ/α.

use super::seam::{History, Outcome, Solver, Step};
use crate::{
    checks::{
        finite_and_fetch_all,
        names::{DENOISED, NOISE},
    },
    covariance::Statistics,
    error::Result,
    host::Host,
    integrator::Integrator,
    jacobian::Linearization,
    linear::octaves::Octaves,
    model::Evaluator,
    options::{Covariance, Options},
    process::{ForwardProcess, Process},
    tensor::{Kind, Tensor},
};

/// Largest ρ: its λ has to be finite.
const LARGEST: f64 = 0.9999;

pub struct Secant {
    eta: f64,
    /// Factor on the noise.
    s_noise: f64,
    /// Whether x holds noise alone at the start, where x_t has the mean of data in it.
    pure_noise: bool,
    /// Of the trajectory's x; made in its first step.
    octaves: Option<Octaves>,
    /// What the steps so far have told; `None` before the first.
    known: Option<Known>,
}

/// What a step leaves to the next one.
struct Known {
    jacobian: Jacobian,
    /// M; `None` where all changes.
    free: Option<Tensor>,
    /// Δ at its end, as coefficients (batch, d), and the noise level that it started at.
    beyond: Tensor,
    from: f64,
}

impl Secant {
    pub fn new(options: &Options) -> Self {
        let Options { eta, s_noise, pure_noise, .. } = *options;
        Self { eta, s_noise, pure_noise, octaves: None, known: None }
    }
}

impl<H: Host + ?Sized> Solver<H> for Secant {
    fn step(&mut self, model: &mut Evaluator<'_, H>, step: &Step<'_>, _: &History) -> Result<Outcome> {
        let Step { kernel, x, denoised } = *step;
        let denoised = match denoised {
            Some(denoised) => denoised.shallow_clone(),
            None => Linearization::new(model, x, kernel.sigma).denoised()?,
        };
        if step.is_last() || kernel.sigma_next == kernel.sigma {
            finite_and_fetch_all(&[(DENOISED, &denoised)], &[])?;
            let (x, denoised_next) = match step.is_last() {
                true => (denoised.shallow_clone(), None),
                false => (x.shallow_clone(), Some(denoised.shallow_clone())),
            };
            return Ok(outcome(x, denoised, denoised_next, Statistics::default()));
        }
        let noise = match self.eta * self.s_noise > 0.0 {
            true => Some(model.noise(kernel.sigma, kernel.sigma_next)?),
            false => None,
        };
        let octaves = match self.octaves.take() {
            Some(octaves) => octaves,
            None => Octaves::of(&model.layout)?,
        };
        let [t, s] = [kernel.sigma, kernel.sigma_next].map(|sigma| kernel.process.noise_to_signal(sigma));

        let d = octaves.coefficients(&denoised)?;
        let x_t = octaves.coefficients(&x.f_mul_scalar(t / kernel.sigma)?)?;
        // Noise alone, σ z, stands for μ + σ z; at the highest noise level D is nearly μ.
        let r = match self.pure_noise && self.known.is_none() {
            true => x_t,
            false => x_t.f_sub(&d)?,
        };
        let z = match &noise {
            Some(noise) => Some(octaves.coefficients(noise)?.f_mul_scalar(self.s_noise)?),
            None => None,
        };
        let known = self.known.take();
        let free = known.as_ref().and_then(|known| known.free.as_ref().map(Tensor::shallow_clone));
        let mut from = From { octaves: &octaves, t, s, eta: self.eta, d: &d, r: &r, z: z.as_ref(), free };

        let predicted = match &known {
            None => from.without_jacobian()?,
            Some(Known { jacobian, beyond, from: before, .. }) => {
                let weight = from.weight(jacobian, *before)?.f_neg()?;
                let gaussian = from.gaussian(jacobian, from.noise(jacobian)?.as_ref())?;
                gaussian.f_add(&from.function(&weight, 0.0, beyond)?)?
            }
        };
        let to_x = |y: &Tensor| -> Result<Tensor> { Ok(octaves.vector(y)?.f_mul_scalar(kernel.sigma_next / s)?) };
        let at_predicted = Linearization::new(model, &to_x(&predicted)?, kernel.sigma_next).denoised()?;

        let d_predicted = octaves.coefficients(&at_predicted)?;
        let posterior_mean = d.f_add(&r.f_mul_scalar((s / t).powi(2))?)?;
        // A host may let go of a mask, and takes no more: where all of D changes, it goes on to.
        from.free = match &known {
            Some(Known { free: None, .. }) => None,
            _ => Some(changing(&denoised, &at_predicted)?),
        };
        let (y, w) = (from.within(&predicted.f_sub(&posterior_mean)?)?, d_predicted.f_sub(&d)?);
        let jacobian = Jacobian::of(&octaves, &y, &w, s, (t / s).ln(), known.as_ref().map(|known| &known.jacobian))?;

        let (theta, weight) = (jacobian.at(s)?, from.weight(&jacobian, s)?);
        let added = from.noise(&jacobian)?;
        let gaussian = from.gaussian(&jacobian, added.as_ref())?;
        let mut beyond = w.f_sub(&from.change(&jacobian, added.as_ref())?)?;
        if known.is_none() {
            // Predicted with J = 0, x̃ may be far off: D is taken along J to where the step really leads.
            let gain = theta.f_mul(&weight)?.f_neg()?.f_add_scalar(1.0)?.f_reciprocal()?;
            let away = from.function(&theta, 0.0, &gaussian.f_sub(&predicted)?)?;
            beyond = from.function(&gain, 1.0, &beyond.f_add(&away)?)?;
        }
        let corrected = gaussian.f_add(&from.function(&weight, 0.0, &beyond)?)?;
        let moved = octaves.vector(&octaves.scaled(&theta, &from.within(&corrected.f_sub(&predicted)?)?)?)?;
        let denoised_next = match &from.free {
            // To the last bit what the model said where it always says the same.
            Some(free) => at_predicted.f_add(&moved.f_mul(free)?)?,
            None => at_predicted.f_add(&moved)?,
        };

        let finite = [(DENOISED, &denoised), (DENOISED, &at_predicted)];
        let drawn = noise.as_ref().zip(added.as_ref());
        let (mut statistics, all_free) = from.statistics(&theta, &finite, drawn)?;
        if drawn.is_some() {
            // Of x, and without the factor of the noise.
            statistics.noise_variance *= (kernel.sigma_next / s / self.s_noise).powi(2);
        }
        let x = to_x(&corrected)?;
        let free = from.free.filter(|_| !all_free);
        (self.octaves, self.known) = (Some(octaves), Some(Known { jacobian, free, beyond, from: t }));
        Ok(outcome(x, denoised, Some(denoised_next), statistics))
    }

    fn restart(&mut self) {
        (self.known, self.pure_noise) = (None, false);
    }
}

fn outcome(x: Tensor, denoised: Tensor, denoised_next: Option<Tensor>, statistics: Statistics) -> Outcome {
    Outcome { x, denoised, denoised_next, covariance: Covariance::Spectral, statistics }
}

/// 1 where D is another at x̃ than at x_t, in any channel; 0 elsewhere; like x.
fn changing(denoised: &Tensor, at_predicted: &Tensor) -> Result<Tensor> {
    let mut changing = at_predicted.f_ne_tensor(denoised)?;
    if changing.dim() > 2 {
        changing = changing.f_any_dim(1, true)?;
    }
    Ok(changing.f_to_kind(denoised.f_kind()?)?)
}

/// J of each octave of each item, (batch, octaves) in float64: λ in a share of it, 0 in the rest.
struct Jacobian {
    /// λ of ρ, as of Gaussian data.
    variance: Tensor,
    /// p.
    share: Tensor,
    /// e.
    exponent: Tensor,
    /// ‖w‖² and the step's length ln(σ_t/σ_s): how fast D changed.
    changed: Tensor,
    length: f64,
}

impl Jacobian {
    /// From the secant J y = w of a step of this length to noise level s, and what the step before told.
    fn of(octaves: &Octaves, y: &Tensor, w: &Tensor, s: f64, length: f64, before: Option<&Self>) -> Result<Self> {
        let [yy, yw, ww] = [octaves.inner(y, y)?, octaves.inner(y, w)?, octaves.inner(w, w)?];
        // Where y or w is nothing, J is taken for 0.
        let positive = |x: &Tensor| x.f_clamp_min(f64::MIN_POSITIVE);
        let theta = yw.f_div(&positive(&yy)?)?.f_clamp(0.0, LARGEST)?;
        // At most 1, and 1 where ⟨y, w⟩ is not positive.
        let changing = ww.f_div(&positive(&yw.f_maximum(&ww)?)?)?;
        let node = theta.f_add(&changing)?.f_mul_scalar(0.5)?.f_maximum(&theta)?.f_clamp(0.0, LARGEST)?;
        let share = theta.f_div(&positive(&node)?)?;
        let variance = node.f_div(&node.f_neg()?.f_add_scalar(1.0)?)?.f_mul_scalar(s * s)?;
        let shown = match before {
            // ‖w‖ by length is about σ^e at the middle of a step in ln σ.
            Some(before) => {
                let faster = positive(&before.changed)?.f_div(&positive(&ww)?)?.f_log()?.f_mul_scalar(0.5)?;
                let exponent = faster.f_add_scalar((length / before.length).ln())?;
                exponent.f_mul_scalar(2.0 / (length + before.length))?.f_clamp(0.0, 1.0)?
            }
            None => theta,
        };
        let exponent = shown.f_add(&changing)?.f_mul_scalar(0.5)?;
        Ok(Self { variance, share, exponent, changed: ww, length })
    }

    /// f(J), f given as a function of λ.
    fn function(&self, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let rest = self.share.f_neg()?.f_add_scalar(1.0)?;
        let at_zero = f(&self.variance.f_zeros_like()?)?;
        Ok(self.share.f_mul(&f(&self.variance)?)?.f_add(&rest.f_mul(&at_zero)?)?)
    }

    /// θ at a noise level.
    fn at(&self, sigma: f64) -> Result<Tensor> {
        self.function(|variance| Ok(variance.f_div(&variance.f_add_scalar(sigma * sigma)?)?))
    }
}

/// Where a step starts, as coefficients (batch, d) of x/α, t > s its levels.
struct From<'s> {
    octaves: &'s Octaves,
    t: f64,
    s: f64,
    eta: f64,
    /// D(x_t).
    d: &'s Tensor,
    /// x_t − D(x_t).
    r: &'s Tensor,
    /// The noise times its factor, where there is any.
    z: Option<&'s Tensor>,
    /// M, like x; `None` where all changes.
    free: Option<Tensor>,
}

impl From<'_> {
    fn integrator(&self) -> Integrator {
        Integrator { process: Process::VarianceExploding, sigma_t: self.t, sigma_s: self.s, eta: self.eta }
    }

    /// f(J) y, given f of the octaves and f(0).
    fn function(&self, factors: &Tensor, at_zero: f64, y: &Tensor) -> Result<Tensor> {
        if self.free.is_none() {
            return self.octaves.scaled(factors, y);
        }
        let more = self.octaves.scaled(&factors.f_sub_scalar(at_zero)?, &self.within(y)?)?;
        Ok(y.f_mul_scalar(at_zero)?.f_add(&self.within(&more)?)?)
    }

    /// M y.
    fn within(&self, y: &Tensor) -> Result<Tensor> {
        match &self.free {
            Some(free) => self.octaves.coefficients(&self.octaves.vector(y)?.f_mul(free)?),
            None => Ok(y.shallow_clone()),
        }
    }

    /// D + a r + N z, N z as [`From::noise`] gives it.
    fn gaussian(&self, jacobian: &Jacobian, noise: Option<&Tensor>) -> Result<Tensor> {
        let gain = jacobian.function(|variance| self.integrator().residual_gain(variance))?;
        let mean = self.d.f_add(&self.function(&gain, self.integrator().residual_gain_at_zero(), self.r)?)?;
        match noise {
            Some(noise) => Ok(mean.f_add(noise)?),
            None => Ok(mean),
        }
    }

    /// The same for J = 0.
    fn without_jacobian(&self) -> Result<Tensor> {
        let mean = self.d.f_add(&self.r.f_mul_scalar(self.integrator().residual_gain_at_zero())?)?;
        match self.z {
            Some(z) => Ok(mean.f_add(&z.f_mul_scalar(self.integrator().noise_at_zero())?)?),
            None => Ok(mean),
        }
    }

    /// N z. Of N², not of N, the quadrature is taken: the variance is to be right.
    fn noise(&self, jacobian: &Jacobian) -> Result<Option<Tensor>> {
        match self.z {
            Some(z) => {
                let squared = jacobian.function(|variance| Ok(self.integrator().noise(variance)?.f_square()?))?;
                Ok(Some(self.function(&squared.f_sqrt()?, self.integrator().noise_at_zero(), z)?))
            }
            None => Ok(None),
        }
    }

    /// How D changes to the step's end as a Gaussian's does, its noise included.
    fn change(&self, jacobian: &Jacobian, noise: Option<&Tensor>) -> Result<Tensor> {
        let change = jacobian.function(|variance| self.integrator().change(variance, self.s))?;
        let mean = self.function(&change, 0.0, self.r)?;
        match noise {
            Some(noise) => Ok(mean.f_add(&self.function(&jacobian.at(self.s)?, 0.0, noise)?)?),
            None => Ok(mean),
        }
    }

    /// weight(e) of a Δ that is known at noise level `sigma`.
    fn weight(&self, jacobian: &Jacobian, sigma: f64) -> Result<Tensor> {
        self.integrator().weight(&jacobian.exponent, sigma)
    }

    /// What the step was like, its noise as that of x/α, and whether all of D changed; that all is finite. With the one
    /// wait for the device. `drawn`: the host's noise, and what became of it.
    fn statistics(
        &self,
        theta: &Tensor,
        finite: &[(&str, &Tensor)],
        drawn: Option<(&Tensor, &Tensor)>,
    ) -> Result<(Statistics, bool)> {
        let least_free = match &self.free {
            Some(free) => free.f_min()?,
            None => Tensor::f_ones([1], (Kind::Double, theta.device()))?,
        };
        let mut finite = finite.to_vec();
        let mut also = vec![theta, &least_free];
        let lengths = match (self.z, drawn) {
            (Some(z), Some((host, noise))) => {
                finite.push((NOISE, host));
                Some([z.f_norm()?, noise.f_norm()?])
            }
            _ => None,
        };
        also.extend(lengths.iter().flatten());
        let mut numbers = finite_and_fetch_all(&finite, &also)?;
        let mut statistics = Statistics::default();
        if lengths.is_some() {
            let [drawn, unit] = [numbers.pop(), numbers.pop()].map(|length| length.unwrap_or(0.0).powi(2));
            statistics.noise_variance = drawn / self.r.numel() as f64;
            let isotropic = self.integrator().noise_at_zero().powi(2);
            statistics.covariance_share = (drawn > 0.0).then(|| (1.0 - isotropic * unit / drawn).max(0.0));
        }
        let all_free = numbers.pop() == Some(1.0);
        statistics.ritz_values = rising(numbers, self.octaves.count());
        Ok((statistics, all_free))
    }
}

/// Numbers item by item, each item's rising.
fn rising(mut numbers: Vec<f64>, each: usize) -> Vec<f64> {
    for item in numbers.chunks_mut(each) {
        item.sort_by(f64::total_cmp);
    }
    numbers
}
