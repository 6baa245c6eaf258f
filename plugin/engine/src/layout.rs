//! The shape, dtypes and device that a trajectory keeps, and PyTorch's names for them.

use crate::{
    error::{Error, Result},
    tensor::{Device, Kind, Tensor},
};

/// The shape and the kinds that a trajectory keeps, taken from its first x.
#[derive(Clone, Debug)]
pub struct Layout {
    /// (batch, ...).
    pub shape: Vec<i64>,
    /// What the model takes and gives.
    pub model_kind: Kind,
    /// What the sampler computes in: float64 for float64, else float32.
    pub kind: Kind,
    pub device: Device,
}

impl Layout {
    pub fn of(name: &str, x: &Tensor) -> Result<Self> {
        if !x.defined() {
            return Err(Error::Argument(format!("{name}: expected a tensor, got an undefined one")));
        }
        // A dtype that is not known here cannot be one that a model computes in.
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

    /// A copy of a host's `tensor` (this shape, any float dtype) in the sampler's dtype.
    ///
    /// `name` says in an error whose tensor it is.
    pub fn own(&self, name: &str, tensor: &Tensor) -> Result<Tensor> {
        self.check(name, tensor, 1, None)?;
        self.own_copy(tensor)
    }

    /// A copy in the sampler's dtype. What comes from a host is copied before the host is called again: compiled
    /// models write each answer to the same memory (CUDA graphs, TensorRT).
    pub(crate) fn own_copy(&self, tensor: &Tensor) -> Result<Tensor> {
        Ok(tensor.f_to_dtype(self.kind, false, true)?)
    }

    /// That `tensor` is on this device, of this shape with `times` the batch, and of `kind` if given.
    pub(crate) fn check(&self, name: &str, tensor: &Tensor, times: i64, kind: Option<Kind>) -> Result<()> {
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
        #[cfg_attr(feature = "stable", allow(unreachable_patterns))] // tch has more
        other => format!("{other:?}").to_lowercase(),
    }
}

/// PyTorch's name of a device.
pub(crate) fn device(device: Device) -> String {
    match device {
        Device::Cpu => "cpu".into(),
        Device::Cuda(index) => format!("cuda:{index}"),
        Device::Mps => "mps".into(),
        other => format!("{other:?}").to_lowercase(),
    }
}
