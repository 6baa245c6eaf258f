//! The model, as the mathematics sees it, and the one place where it is called.

use tch::{Kind, Tensor};

use crate::{
    error::{Error, Result},
    jvp::Method,
};

/// A model that gives the posterior mean D(x, σ) = E[x_0 | x_t = x].
pub trait Denoiser {
    /// D(x, σ): x (batch, ...), σ (batch,), both in the model's dtype on the model's device.
    fn denoise(&mut self, x: &Tensor, sigma: &Tensor) -> Result<Tensor>;

    /// Opens or closes forward-mode AD level 0 on this thread. `None`: there is no such thing.
    fn forward_ad(&mut self, open: bool) -> Option<Result<()>>;
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
        self.check(name, tensor, None)?;
        Ok(tensor.f_to_kind(self.kind)?)
    }

    /// That `tensor` has this shape and device, and `kind` if given.
    fn check(&self, name: &str, tensor: &Tensor, kind: Option<Kind>) -> Result<()> {
        if !tensor.defined() {
            return Err(Error::Output(format!("{name}: expected a tensor, got an undefined one")));
        }
        if tensor.size() != self.shape {
            return Err(Error::Output(format!(
                "{name}: expected shape {:?}, that of x, got shape {:?}",
                self.shape,
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
            return Err(Error::Output(format!(
                "{name}: expected dtype {}, got {}",
                kind.map_or("float16, bfloat16, float32 or float64".into(), |kind| format!(
                    "{}, that of x",
                    dtype(kind)
                )),
                came.map_or("another".into(), dtype)
            )));
        }
        Ok(())
    }
}

/// Calls the model, checks what comes back, and counts.
pub struct Evaluator<'m, M: Denoiser + ?Sized> {
    model: &'m mut M,
    pub layout: Layout,
    /// How to differentiate: learnt once, kept for the trajectory.
    pub(crate) method: Method,
    /// What the model computes in, if that is not the dtype of x.
    precision: Option<Kind>,
    /// Calls of the model that gave a result.
    pub model_evaluations: u64,
    /// Jacobian-vector products.
    pub jvps: u64,
}

impl<'m, M: Denoiser + ?Sized> Evaluator<'m, M> {
    pub fn new(model: &'m mut M, layout: Layout, method: Method, precision: Option<Kind>) -> Self {
        Self { model, layout, method, precision, model_evaluations: 0, jvps: 0 }
    }

    /// The coarser of what the model takes and what it computes in.
    pub(crate) fn precision(&self) -> Kind {
        let coarseness = |kind: &Kind| match kind {
            Kind::Double => 0,
            Kind::Float => 1,
            Kind::Half => 2,
            _ => 3,
        };
        let taken = self.layout.model_kind;
        self.precision.into_iter().chain([taken]).max_by_key(coarseness).unwrap_or(taken)
    }

    /// The model itself, for what is not an evaluation.
    pub fn model(&mut self) -> &mut M {
        self.model
    }

    /// D(x, σ) for x (batch, ...) in the sampler's dtype; the result likewise.
    pub fn denoised(&mut self, x: &Tensor, sigma: f64) -> Result<Tensor> {
        let x = x.f_to_kind(self.layout.model_kind)?;
        let denoised = self.call(&x, sigma)?;
        Ok(denoised.f_to_kind(self.layout.kind)?)
    }

    /// The model's own answer to x in the model's dtype.
    pub(crate) fn call(&mut self, x: &Tensor, sigma: f64) -> Result<Tensor> {
        let layout = &self.layout;
        let sigma = Tensor::f_full([layout.batch()], sigma, (layout.model_kind, layout.device))?;
        let denoised = self.model.denoise(x, &sigma)?;
        layout.check("the denoised image that the model returned", &denoised, Some(layout.model_kind))?;
        self.model_evaluations += 1;
        Ok(denoised)
    }
}

/// PyTorch's name of a dtype.
fn dtype(kind: Kind) -> String {
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
