//! The model, as the mathematics sees it, and the one place where it is called.

use tch::{Kind, Tensor};

use crate::{
    error::{Error, Result},
    jvp::{Jvp, Method},
};

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

    /// What was chosen for this model before, if the host has kept it.
    fn choice(&self) -> Choice {
        Choice::default()
    }

    /// Keep this for the next trajectory through the same model.
    fn choose(&mut self, _choice: Choice) {}
}

/// What was found out about a model, for tensors of one shape and dtype.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// How to differentiate it; `Auto`: not known.
    pub jvp: Jvp,
    /// Whether D(x) and D(x + h v) in one call, on a doubled batch, are right and faster.
    pub doubled_batch: Option<bool>,
    /// It rounds like bfloat16, whatever its dtype.
    pub coarse: bool,
}

/// Whether D(x) and D(x + h v) go through the model together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DoubledBatch {
    /// Where that was found to be right and faster.
    #[default]
    Auto,
    Always,
    Never,
}

/// The shape and the kinds that a trajectory keeps, taken from its first x.
#[derive(Clone, Debug)]
pub struct Layout {
    /// (batch, ...).
    pub shape: Vec<i64>,
    /// What the model takes and gives.
    pub model_kind: Kind,
    /// What the sampler computes in: float64 for float64, else float32.
    pub kind: Kind,
    pub device: tch::Device,
}

impl Layout {
    pub fn of(name: &str, x: &Tensor) -> Result<Self> {
        if !x.defined() {
            return Err(Error::Argument(format!("{name}: expected a tensor, got an undefined one")));
        }
        // A dtype that tch does not know cannot be one that a model computes in.
        let model_kind = x.f_kind().ok();
        let kind = match model_kind {
            Some(Kind::Double) => Kind::Double,
            Some(Kind::Float | Kind::Half | Kind::BFloat16) => Kind::Float,
            other => {
                let came = other.map_or("another".into(), dtype);
                return Err(Error::Type(format!(
                    "{name}: expected a tensor of dtype float16, bfloat16, float32 or float64, got {came}"
                )));
            }
        };
        let shape = x.size();
        if shape.is_empty() || shape.contains(&0) {
            return Err(Error::Argument(format!(
                "{name}: expected a tensor of shape (batch, ...) with at least one item, got shape {shape:?}"
            )));
        }
        Ok(Self { shape, model_kind: model_kind.unwrap_or(kind), kind, device: x.device() })
    }

    pub fn batch(&self) -> i64 {
        self.shape[0]
    }

    /// d, the numbers in one item.
    pub fn dimension(&self) -> i64 {
        self.shape[1..].iter().product()
    }

    /// `tensor` (this shape, any float dtype) in the sampler's dtype.
    ///
    /// `name` says in an error whose tensor it is.
    pub fn working(&self, name: &str, tensor: &Tensor) -> Result<Tensor> {
        self.check(name, tensor, 1, None)?;
        Ok(tensor.f_to_kind(self.kind)?)
    }

    /// That `tensor` is on this device, of this shape with `times` the batch, and of `kind` if given.
    fn check(&self, name: &str, tensor: &Tensor, times: i64, kind: Option<Kind>) -> Result<()> {
        if !tensor.defined() {
            return Err(Error::Output(format!("{name}: expected a tensor, got an undefined one")));
        }
        let mut shape = self.shape.clone();
        shape[0] *= times;
        if tensor.size() != shape {
            return Err(Error::Output(format!(
                "{name}: expected shape {shape:?}, that of x, got shape {:?}",
                tensor.size()
            )));
        }
        if tensor.device() != self.device {
            return Err(Error::Output(format!(
                "{name}: expected device {}, that of x, got {}",
                device(self.device),
                device(tensor.device())
            )));
        }
        let came = tensor.f_kind().ok();
        let fits = match kind {
            Some(kind) => came == Some(kind),
            None => matches!(came, Some(Kind::Double | Kind::Float | Kind::Half | Kind::BFloat16)),
        };
        if !fits {
            let came = came.map_or("another".into(), dtype);
            return Err(Error::Output(match kind {
                Some(kind) => format!(
                    "{name}: expected dtype {0}, that of x, got {came}; have the model return {0}, or begin with an x \
                     of dtype {came}",
                    dtype(kind)
                ),
                None => format!("{name}: expected dtype float16, bfloat16, float32 or float64, got {came}"),
            }));
        }
        Ok(())
    }
}

/// How a model is to be evaluated and differentiated.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub jvp: Jvp,
    pub doubled_batch: DoubledBatch,
    /// What the model computes in, if that is not the dtype of x.
    pub precision: Option<Kind>,
    /// Products that share one D(x): what that costs decides between ways of differentiating.
    pub products: usize,
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
    plan: Plan,
    /// Points at which the model gave a result: a call on a doubled batch counts twice.
    pub model_evaluations: u64,
    /// Jacobian-vector products.
    pub jvps: u64,
}

impl<'m, M: Denoiser + ?Sized> Evaluator<'m, M> {
    pub fn new(model: &'m mut M, layout: Layout, plan: Plan) -> Self {
        let known = model.choice();
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
        Self { model, layout, method, doubled_batch, coarse, plan, model_evaluations: 0, jvps: 0 }
    }

    /// Products that share one D(x).
    pub(crate) fn products(&self) -> usize {
        self.plan.products
    }

    /// The coarser of what the model takes and what it computes in.
    pub(crate) fn precision(&self) -> Kind {
        match self.coarse {
            true => Kind::BFloat16,
            false => coarser(self.plan.precision.unwrap_or(self.layout.model_kind), self.layout.model_kind),
        }
    }

    /// The model itself, for what is not an evaluation.
    pub fn model(&mut self) -> &mut M {
        self.model
    }

    /// Takes a decision, and has the host keep what of it was not the caller's own.
    pub(crate) fn settle(&mut self, method: Method, doubled_batch: Option<bool>) {
        (self.method, self.doubled_batch) = (method, doubled_batch);
        let mut choice = self.model.choice();
        if self.plan.jvp == Jvp::Auto {
            (choice.jvp, choice.coarse) = (method.kind(), self.coarse);
        }
        if self.plan.doubled_batch == DoubledBatch::Auto {
            choice.doubled_batch = doubled_batch;
        }
        self.model.choose(choice);
    }

    /// D(x, σ) for x (batch, ...) in the sampler's dtype; the result likewise.
    pub fn denoised(&mut self, x: &Tensor, sigma: f64) -> Result<Tensor> {
        let x = x.f_to_kind(self.layout.model_kind)?;
        let denoised = self.call(&x, sigma, 1)?;
        Ok(denoised.f_to_kind(self.layout.kind)?)
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
        self.layout.working("the diagonal that the network for it returned", &diagonal)
    }

    /// D at each of several points: in one call where that is known to be right, else one by one.
    pub(crate) fn denoised_at(&mut self, points: &[Tensor], sigma: f64) -> Result<Vec<Tensor>> {
        if points.len() > 1 && self.doubled_batch == Some(true) {
            match self.denoised_together(points, sigma) {
                // A model that is made for one batch size, or a device without the memory.
                Err(error @ (Error::Failed | Error::Output(_) | Error::Torch(_))) => {
                    log::warn!(
                        "the model is called once for each point from here on, because it does not take a batch of {} \
                         items where x has {}: {error}",
                        points.len() as i64 * self.layout.batch(),
                        self.layout.batch()
                    );
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
        let denoised = self.call(&x, sigma, points.len() as i64)?.f_to_kind(self.layout.kind)?;
        Ok(denoised.f_chunk(points.len() as i64, 0)?)
    }

    /// The model's own answer to x in the model's dtype, with `times` the batch.
    pub(crate) fn call(&mut self, x: &Tensor, sigma: f64, times: i64) -> Result<Tensor> {
        let sigma = self.levels(sigma, times)?;
        let denoised = self.model.denoise(x, &sigma)?;
        let layout = &self.layout;
        layout.check("the denoised image that the model returned", &denoised, times, Some(layout.model_kind))?;
        self.model_evaluations += times as u64;
        Ok(denoised)
    }

    /// σ for each item of `times` the batch, as the model takes it.
    fn levels(&self, sigma: f64, times: i64) -> Result<Tensor> {
        let layout = &self.layout;
        Ok(Tensor::f_full([times * layout.batch()], sigma, (layout.model_kind, layout.device))?)
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

/// PyTorch's name of a dtype.
pub(crate) fn dtype(kind: Kind) -> String {
    match kind {
        Kind::Uint8 => "uint8".into(),
        Kind::Int8 => "int8".into(),
        Kind::Int16 => "int16".into(),
        Kind::Int => "int32".into(),
        Kind::Int64 => "int64".into(),
        Kind::Half => "float16".into(),
        Kind::Float => "float32".into(),
        Kind::Double => "float64".into(),
        Kind::BFloat16 => "bfloat16".into(),
        Kind::Bool => "bool".into(),
        Kind::ComplexHalf => "complex32".into(),
        Kind::ComplexFloat => "complex64".into(),
        Kind::ComplexDouble => "complex128".into(),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// PyTorch's name of a device.
pub(crate) fn device(device: tch::Device) -> String {
    match device {
        tch::Device::Cpu => "cpu".into(),
        tch::Device::Cuda(index) => format!("cuda:{index}"),
        tch::Device::Mps => "mps".into(),
        tch::Device::Vulkan => "vulkan".into(),
    }
}
