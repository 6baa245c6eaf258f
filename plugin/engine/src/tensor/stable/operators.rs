//! Operators and the forms that do not fail, as tch has them beside its fallible ones: for tests. The engine itself uses
//! none, for where an operation fails they panic.

use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

use super::{Result, Tensor};

/// For tensors and for numbers, owned and borrowed.
macro_rules! operators {
    ($($operator:ident::$function:ident: $of_tensors:expr, $of_number:expr, $to_number:expr;)*) => {$(
        operators!(@tensors $operator $function $of_tensors; Tensor, Tensor; Tensor, &Tensor; &Tensor, Tensor; &Tensor, &Tensor);
        operators!(@number $operator $function $of_number, $to_number; Tensor; &Tensor);
    )*};
    (@tensors $operator:ident $function:ident $how:expr; $($left:ty, $right:ty);*) => {$(
        impl $operator<$right> for $left {
            type Output = Tensor;

            fn $function(self, other: $right) -> Tensor {
                let how: fn(&Tensor, &Tensor) -> Result<Tensor> = $how;
                how(&self, &other).expect(stringify!($function))
            }
        }
    )*};
    (@number $operator:ident $function:ident $of:expr, $to:expr; $($tensor:ty);*) => {$(
        impl $operator<f64> for $tensor {
            type Output = Tensor;

            fn $function(self, number: f64) -> Tensor {
                let how: fn(&Tensor, f64) -> Result<Tensor> = $of;
                how(&self, number).expect(stringify!($function))
            }
        }

        impl $operator<$tensor> for f64 {
            type Output = Tensor;

            fn $function(self, tensor: $tensor) -> Tensor {
                let how: fn(&Tensor, f64) -> Result<Tensor> = $to;
                how(&tensor, self).expect(stringify!($function))
            }
        }
    )*};
}

operators! {
    Add::add: Tensor::f_add, Tensor::f_add_scalar, Tensor::f_add_scalar;
    Sub::sub: Tensor::f_sub, Tensor::f_sub_scalar, |x, number| x.f_neg()?.f_add_scalar(number);
    Mul::mul: Tensor::f_mul, Tensor::f_mul_scalar, Tensor::f_mul_scalar;
    Div::div: Tensor::f_div, Tensor::f_div_scalar, |x, number| x.f_reciprocal()?.f_mul_scalar(number);
}

impl Neg for Tensor {
    type Output = Tensor;

    fn neg(self) -> Tensor {
        self.f_neg().expect("neg")
    }
}

impl Neg for &Tensor {
    type Output = Tensor;

    fn neg(self) -> Tensor {
        self.f_neg().expect("neg")
    }
}

/// Into a new tensor: other owners of the old one keep what they had.
impl AddAssign for Tensor {
    fn add_assign(&mut self, other: Tensor) {
        *self = &*self + other;
    }
}
