//! The operations, each an operator of torch's.

use std::{borrow::Borrow, ffi::CStr, ptr::NonNull};

use super::{
    shim::{shim, Handle, Operator, Shim},
    value::{refused, tensor, tensors, truth, two_tensors, Argument},
    Device, IntList, Kind, Refusal, Result, Tensor,
};

use Argument::{Integer, Integers, Nothing, Number, Tensor as Of, Tensors, Text, Truth};

/// An operator of torch's own, "aten::", by its name and that of its overload.
macro_rules! aten {
    ($name:literal) => {
        aten!($name, "")
    };
    ($name:literal, $overload:literal) => {{
        const NAME: &CStr = match CStr::from_bytes_with_nul(concat!("aten::", $name, "\0").as_bytes()) {
            Ok(name) => name,
            Err(_) => panic!("a name holds no zero"),
        };
        const OVERLOAD: &CStr = match CStr::from_bytes_with_nul(concat!($overload, "\0").as_bytes()) {
            Ok(name) => name,
            Err(_) => panic!("a name holds no zero"),
        };
        Operator { name: NAME, overload: OVERLOAD }
    }};
}

/// Operations of one tensor.
macro_rules! unary {
    ($($function:ident: $name:literal,)*) => {
        impl Tensor {
            $(pub fn $function(&self) -> Result<Tensor> {
                tensor(aten!($name), [Of(self)])
            })*
        }
    };
}

unary! {
    f_abs: "abs",
    f_expm1: "expm1",
    f_isfinite: "isfinite",
    f_log: "log",
    f_max: "max",
    f_min: "min",
    f_neg: "neg",
    f_reciprocal: "reciprocal",
    f_sqrt: "sqrt",
    f_square: "square",
    f_tr: "t",
}

/// Operations of two tensors.
macro_rules! binary {
    ($($function:ident: $name:literal $(, $overload:literal)?;)*) => {
        impl Tensor {
            $(pub fn $function(&self, other: &Tensor) -> Result<Tensor> {
                tensor(aten!($name $(, $overload)?), [Of(self), Of(other)])
            })*
        }
    };
}

binary! {
    f_bmm: "bmm";
    f_div: "div", "Tensor";
    f_eq_tensor: "eq", "Tensor";
    f_expand_as: "expand_as";
    f_kron: "kron";
    f_le_tensor: "le", "Tensor";
    f_matmul: "matmul";
    f_maximum: "maximum";
    f_minimum: "minimum";
    f_mm: "mm";
    f_mul: "mul", "Tensor";
    f_mv: "mv";
    f_ne_tensor: "ne", "Tensor";
    f_pow: "pow", "Tensor_Tensor";
}

/// Numbers.
impl Tensor {
    /// self - alpha other.
    fn subtract(&self, other: &Tensor, alpha: f64) -> Result<Tensor> {
        let largest = if self.numel() > other.numel() { self } else { other };
        // SAFETY: the tensors are alive.
        largest.made("aten::sub", |shim, _, out| unsafe {
            (shim.aoti_torch_aten_subtract_Tensor)(super::lend(self), super::lend(other), alpha, out)
        })
    }

    /// What a function of the interface makes of this tensor.
    fn made(&self, name: &str, function: impl FnOnce(&Shim, Handle, *mut Handle) -> i32) -> Result<Tensor> {
        let mut handle = std::ptr::null_mut();
        match (function(shim()?, super::lend(self), &mut handle), NonNull::new(handle)) {
            // SAFETY: what a function of the interface stores belongs to the caller.
            (0, Some(handle)) => Ok(unsafe { super::owned(handle) }),
            _ => Err(refused(name, Some((self.device(), self.numel() as i64 * 8)))),
        }
    }

    pub fn f_add(&self, other: &Tensor) -> Result<Tensor> {
        self.subtract(other, -1.0)
    }

    pub fn f_sub(&self, other: &Tensor) -> Result<Tensor> {
        self.subtract(other, 1.0)
    }

    pub fn f_add_scalar(&self, number: f64) -> Result<Tensor> {
        self.subtract(&Tensor::of_number(number)?, -1.0)
    }

    pub fn f_sub_scalar(&self, number: f64) -> Result<Tensor> {
        self.subtract(&Tensor::of_number(number)?, 1.0)
    }

    pub fn f_mul_scalar(&self, number: f64) -> Result<Tensor> {
        self.f_mul(&Tensor::of_number(number)?)
    }

    pub fn f_div_scalar(&self, number: f64) -> Result<Tensor> {
        self.f_div(&Tensor::of_number(number)?)
    }

    pub fn f_pow_tensor_scalar(&self, exponent: f64) -> Result<Tensor> {
        self.f_pow(&Tensor::of_number(exponent)?)
    }

    pub fn f_le(&self, number: f64) -> Result<Tensor> {
        self.f_le_tensor(&Tensor::of_number(number)?)
    }

    pub fn f_clamp_min(&self, number: f64) -> Result<Tensor> {
        self.f_maximum(&self.like(number)?)
    }

    pub fn f_clamp(&self, low: f64, high: f64) -> Result<Tensor> {
        self.f_maximum(&self.like(low)?)?.f_minimum(&self.like(high)?)
    }

    /// A number in this dtype: where torch does not give a number the other's.
    fn like(&self, number: f64) -> Result<Tensor> {
        match self.f_kind()? {
            // SAFETY: the out parameter is ours.
            Kind::Float => self.made("a number", |shim, _, out| unsafe {
                (shim.aoti_torch_scalar_to_tensor_float32)(number as f32, out)
            }),
            kind => Tensor::of_number(number)?.f_to_kind(kind),
        }
    }

    /// self + one other.
    pub fn f_addcmul(&self, one: &Tensor, other: &Tensor) -> Result<Tensor> {
        self.f_add(&one.f_mul(other)?)
    }

    /// beta self + alpha one other, with beta 1.
    pub fn f_baddbmm(&self, one: &Tensor, other: &Tensor, beta: f64, alpha: f64) -> Result<Tensor> {
        match beta {
            1.0 => self.subtract(&one.f_bmm(other)?, -alpha),
            _ => self.f_mul_scalar(beta)?.subtract(&one.f_bmm(other)?, -alpha),
        }
    }

    pub fn f_masked_fill(&self, mask: &Tensor, number: f64) -> Result<Tensor> {
        tensor(aten!("masked_fill", "Tensor"), [Of(self), Of(mask), Of(&self.like(number)?)])
    }

    pub fn f_mul_out(&self, out: &Tensor, other: &Tensor) -> Result<Tensor> {
        tensor(aten!("mul", "out"), [Of(self), Of(other), Of(out)])
    }
}

/// Forms.
impl Tensor {
    pub fn f_reshape(&self, size: impl IntList) -> Result<Tensor> {
        tensor(aten!("reshape"), [Of(self), Integers(&size.integers())])
    }

    pub fn f_view(&self, size: impl IntList) -> Result<Tensor> {
        tensor(aten!("view"), [Of(self), Integers(&size.integers())])
    }

    pub fn f_flatten(&self, first: i64, last: i64) -> Result<Tensor> {
        tensor(aten!("flatten", "using_ints"), [Of(self), Integer(first), Integer(last)])
    }

    pub fn f_unsqueeze(&self, axis: i64) -> Result<Tensor> {
        tensor(aten!("unsqueeze"), [Of(self), Integer(axis)])
    }

    pub fn f_squeeze_dim(&self, axis: i64) -> Result<Tensor> {
        tensor(aten!("squeeze", "dim"), [Of(self), Integer(axis)])
    }

    pub fn f_select(&self, axis: i64, index: i64) -> Result<Tensor> {
        tensor(aten!("select", "int"), [Of(self), Integer(axis), Integer(index)])
    }

    pub fn f_narrow(&self, axis: i64, start: i64, length: i64) -> Result<Tensor> {
        // SAFETY: the tensor is alive.
        self.made("aten::narrow", |shim, tensor, out| unsafe {
            (shim.aoti_torch_aten_narrow)(tensor, axis, start, length, out)
        })
    }

    pub fn f_transpose(&self, one: i64, other: i64) -> Result<Tensor> {
        tensor(aten!("transpose", "int"), [Of(self), Integer(one), Integer(other)])
    }

    pub fn f_permute(&self, axes: impl IntList) -> Result<Tensor> {
        tensor(aten!("permute"), [Of(self), Integers(&axes.integers())])
    }

    pub fn f_flip(&self, axes: impl IntList) -> Result<Tensor> {
        tensor(aten!("flip"), [Of(self), Integers(&axes.integers())])
    }

    pub fn f_index_select(&self, axis: i64, index: &Tensor) -> Result<Tensor> {
        tensor(aten!("index_select"), [Of(self), Integer(axis), Of(index)])
    }

    /// With zeros before and after the last axis.
    pub fn f_constant_pad_nd(&self, pad: impl IntList) -> Result<Tensor> {
        let (pad, mut zero) = (pad.integers(), 0.0);
        // SAFETY: the tensor is alive, and the list as long as said.
        self.made("aten::pad", |shim, tensor, out| unsafe {
            let (list, length) = (pad.as_ptr(), pad.len() as i64);
            (shim.aoti_torch_aten_pad)(tensor, list, length, c"constant".as_ptr(), &mut zero, out)
        })
    }

    pub fn f_unbind(&self, axis: i64) -> Result<Vec<Tensor>> {
        tensors(aten!("unbind", "int"), [Of(self), Integer(axis)])
    }

    pub fn f_chunk(&self, chunks: i64, axis: i64) -> Result<Vec<Tensor>> {
        tensors(aten!("chunk"), [Of(self), Integer(chunks), Integer(axis)])
    }

    pub fn f_cat<T: Borrow<Tensor>>(all: &[T], axis: i64) -> Result<Tensor> {
        tensor(aten!("cat"), [Tensors(&borrowed(all)), Integer(axis)])
    }

    pub fn f_stack<T: Borrow<Tensor>>(all: &[T], axis: i64) -> Result<Tensor> {
        tensor(aten!("stack"), [Tensors(&borrowed(all)), Integer(axis)])
    }

    /// A copy whose numbers lie behind each other.
    pub(super) fn joined(&self) -> Result<Tensor> {
        Tensor::f_cat(&[self], 0)
    }

    pub fn f_copy_(&mut self, source: &Tensor) -> Result<Tensor> {
        tensor(aten!("copy_"), [Of(self), Of(source), Truth(false)])
    }

    pub fn f_equal(&self, other: &Tensor) -> Result<bool> {
        truth(aten!("equal"), [Of(self), Of(other)])
    }
}

/// dtypes and devices.
impl Tensor {
    pub fn f_to_dtype(&self, kind: Kind, non_blocking: bool, copy: bool) -> Result<Tensor> {
        let arguments = [Of(self), Number(kind.number()?), Truth(non_blocking), Truth(copy), Nothing];
        tensor(aten!("to", "dtype"), arguments)
    }

    pub fn f_to_kind(&self, kind: Kind) -> Result<Tensor> {
        match self.f_kind()? == kind {
            true => self.second_owner(), // what the operator would give, without the way there
            false => self.f_to_dtype(kind, false, false),
        }
    }

    pub fn f_to_device(&self, device: Device) -> Result<Tensor> {
        match self.device() == device {
            true => self.second_owner(),
            false => self.moved((self.f_kind()?, device), false, false),
        }
    }

    pub fn f_internal_to_copy(&self, options: (Kind, Device), non_blocking: bool) -> Result<Tensor> {
        self.moved(options, non_blocking, true)
    }

    fn moved(&self, (kind, device): (Kind, Device), non_blocking: bool, copy: bool) -> Result<Tensor> {
        let (device_type, index) = device.numbers()?;
        let device = Argument::Device(index, device_type);
        let arguments = [Of(self), device, Number(kind.number()?), Truth(non_blocking), Truth(copy), Nothing];
        tensor(aten!("to", "device"), arguments)
    }

    pub fn f_zeros_like(&self) -> Result<Tensor> {
        tensor(aten!("zeros_like"), [Of(self), Nothing, Nothing, Nothing, Nothing, Nothing])
    }

    pub fn f_full(size: impl IntList, number: f64, options: (Kind, Device)) -> Result<Tensor> {
        let full = Tensor::f_empty(size, options)?;
        // SAFETY: the tensor is alive.
        match unsafe { (shim()?.aoti_torch_aten_fill__Scalar)(super::lend(&full), number) } {
            0 => Ok(full),
            _ => Err(refused("aten::fill_", None)),
        }
    }

    pub fn f_ones(size: impl IntList, options: (Kind, Device)) -> Result<Tensor> {
        Tensor::f_full(size, 1.0, options)
    }

    pub fn f_eye(size: i64, (kind, device): (Kind, Device)) -> Result<Tensor> {
        let numbers: Vec<f64> = (0..size * size).map(|i| f64::from(i / size == i % size)).collect();
        Tensor::f_from_slice(&numbers)?.f_reshape([size, size])?.moved((kind, device), false, false)
    }
}

/// Sums.
impl Tensor {
    pub fn f_sum(&self, kind: impl Into<Option<Kind>>) -> Result<Tensor> {
        tensor(aten!("sum"), [Of(&self.in_kind(kind.into())?), Nothing])
    }

    fn in_kind(&self, kind: Option<Kind>) -> Result<Tensor> {
        kind.map_or_else(|| Ok(self.shallow_clone()), |kind| self.f_to_kind(kind))
    }

    /// The size that is left where these axes are summed over and kept.
    fn reduced(&self, axes: &[i64]) -> Vec<i64> {
        let mut size = self.size();
        let count = size.len() as i64;
        for &axis in axes {
            if let Some(length) = size.get_mut(axis.rem_euclid(count.max(1)) as usize) {
                *length = 1;
            }
        }
        size
    }

    pub fn f_sum_dim_intlist(&self, axes: impl IntList, keep: bool, kind: impl Into<Option<Kind>>) -> Result<Tensor> {
        let axes = axes.integers();
        let sum = tensor(aten!("sum_to_size"), [Of(&self.in_kind(kind.into())?), Integers(&self.reduced(&axes))])?;
        self.with_axes(&sum, &axes, keep)
    }

    pub fn f_mean_dim(&self, axes: impl IntList, keep: bool, kind: impl Into<Option<Kind>>) -> Result<Tensor> {
        let axes = axes.integers();
        let count: i64 = axes.iter().map(|&axis| self.size()[axis.rem_euclid(self.dim() as i64) as usize]).product();
        self.f_sum_dim_intlist(&axes[..], keep, kind)?.f_div_scalar(count as f64)
    }

    /// Without the axes that were reduced, unless they are kept.
    fn with_axes(&self, reduced: &Tensor, axes: &[i64], keep: bool) -> Result<Tensor> {
        if keep {
            return Ok(reduced.shallow_clone());
        }
        let count = self.dim() as i64;
        let gone = |axis: i64| axes.iter().any(|a| a.rem_euclid(count) == axis);
        let size: Vec<i64> = (0..count).filter(|&axis| !gone(axis)).map(|axis| self.size()[axis as usize]).collect();
        reduced.f_reshape(size)
    }

    /// The Euclidean norm (p = 2) or the largest magnitude (p infinite).
    pub fn f_norm_scalaropt_dim(&self, p: f64, axes: impl IntList, keep: bool) -> Result<Tensor> {
        let axes = axes.integers();
        if p.is_infinite() {
            // SAFETY: the tensor is alive, and the list as long as said.
            return self.f_abs()?.made("aten::amax", |shim, magnitudes, out| unsafe {
                (shim.aoti_torch_aten_amax)(magnitudes, axes.as_ptr(), axes.len() as i64, keep.into(), out)
            });
        }
        if p != 2.0 {
            return Err(Refusal::Torch(format!("norm: expected p = 2 or infinity, got {p}")));
        }
        // Without a number it is 2.
        tensor(aten!("norm", "ScalarOpt_dim"), [Of(self), Nothing, Integers(&axes), Truth(keep)])
    }

    pub fn f_norm(&self) -> Result<Tensor> {
        self.f_reshape([-1])?.f_norm_scalaropt_dim(2.0, [0], false)
    }

    pub fn f_any_dim(&self, axis: i64, keep: bool) -> Result<Tensor> {
        tensor(aten!("any", "dim"), [Of(self), Integer(axis), Truth(keep)])
    }

    pub fn f_all_dim(&self, axis: i64, keep: bool) -> Result<Tensor> {
        tensor(aten!("all", "dim"), [Of(self), Integer(axis), Truth(keep)])
    }

    pub fn f_linalg_eigh(&self, triangle: &'static str) -> Result<(Tensor, Tensor)> {
        two_tensors(aten!("linalg_eigh"), [Of(self), Text(triangle)])
    }
}

/// A dual number x + v ε of forward mode's level 0.
pub fn make_dual(x: &Tensor, v: &Tensor) -> Result<Tensor> {
    tensor(aten!("_make_dual"), [Of(x), Of(v), Integer(0)])
}

/// The two parts of a dual number. A tangent that it does not have is undefined.
pub fn unpack_dual(dual: &Tensor) -> Result<(Tensor, Tensor)> {
    two_tensors(aten!("_unpack_dual"), [Of(dual), Integer(0)])
}

fn borrowed<T: Borrow<Tensor>>(all: &[T]) -> Vec<&Tensor> {
    all.iter().map(Borrow::borrow).collect()
}
