//! Tensors as the tests use them: tch's forms that do not fail. With the engine on the stable interface they go through
//! tch all the same, handle by handle, so that what is compared with is not made by what is tested; but for the operators
//! +, -, * and /, which are the engine's own and are compared with tch's below.

#[cfg(not(feature = "stable"))]
pub use tch::{Device, Kind, Tensor};

#[cfg(feature = "stable")]
pub use by_tch::*;

#[cfg(feature = "stable")]
mod by_tch {
    use std::{borrow::Borrow, mem::ManuallyDrop, ptr::NonNull};

    use lgs_engine::tensor::{into_handle, owned, IntList};
    pub use lgs_engine::tensor::{Device, Kind, Tensor};

    /// tch's, of the same tensor.
    fn of(tensor: &Tensor) -> tch::Tensor {
        let handle = into_handle(tensor.shallow_clone()).expect("a handle");
        // SAFETY: a handle of ours, to an at::Tensor.
        unsafe { tch::Tensor::from_ptr(handle.as_ptr().cast()) }
    }

    /// The engine's, of the same tensor.
    fn from(tensor: tch::Tensor) -> Tensor {
        let handle = NonNull::new(ManuallyDrop::new(tensor).as_mut_ptr().cast()).expect("a handle");
        // SAFETY: as above.
        unsafe { owned(handle) }
    }

    fn kind(kind: Kind) -> tch::Kind {
        match kind {
            Kind::Uint8 => tch::Kind::Uint8,
            Kind::Int8 => tch::Kind::Int8,
            Kind::Int16 => tch::Kind::Int16,
            Kind::Int => tch::Kind::Int,
            Kind::Int64 => tch::Kind::Int64,
            Kind::Half => tch::Kind::Half,
            Kind::Float => tch::Kind::Float,
            Kind::Double => tch::Kind::Double,
            Kind::ComplexHalf => tch::Kind::ComplexHalf,
            Kind::ComplexFloat => tch::Kind::ComplexFloat,
            Kind::ComplexDouble => tch::Kind::ComplexDouble,
            Kind::Bool => tch::Kind::Bool,
            Kind::BFloat16 => tch::Kind::BFloat16,
        }
    }

    fn all<T: Borrow<Tensor>>(tensors: &[T]) -> Vec<tch::Tensor> {
        tensors.iter().map(|tensor| of(tensor.borrow())).collect()
    }

    fn options((of_kind, device): (Kind, Device)) -> (tch::Kind, tch::Device) {
        assert_eq!(device, Device::Cpu, "the tests' tensors are on the processor");
        (kind(of_kind), tch::Device::Cpu)
    }

    fn maybe(asked: impl Into<Option<Kind>>) -> Option<tch::Kind> {
        asked.into().map(kind)
    }

    /// Each form once, as what is to be done with tch's tensor `this`.
    macro_rules! forms {
        ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty, $this:ident: $made:expr;)*) => {
            /// tch's forms, by their names.
            pub trait Forms {
                fn kind(&self) -> Kind;
                fn copy_(&mut self, other: &Tensor);
                fn fill_(&mut self, number: f64) -> Tensor;
                fn zero_(&mut self) -> Tensor;
                $(fn $name(&self, $($argument: $type),*) -> $result;)*
            }

            impl Forms for Tensor {
                fn kind(&self) -> Kind {
                    self.f_kind().expect("a dtype")
                }

                fn copy_(&mut self, other: &Tensor) {
                    of(self).copy_(&of(other));
                }

                fn fill_(&mut self, number: f64) -> Tensor {
                    from(of(self).fill_(number))
                }

                fn zero_(&mut self) -> Tensor {
                    from(of(self).zero_())
                }
                $(fn $name(&self, $($argument: $type),*) -> $result {
                    let $this = of(self);
                    $made
                })*
            }
        };
    }

    forms! {
        abs() -> Tensor, this: from(this.abs());
        clamp_min(least: f64) -> Tensor, this: from(this.clamp_min(least));
        all() -> Tensor, this: from(this.all());
        bmm(other: &Tensor) -> Tensor, this: from(this.bmm(&of(other)));
        contiguous() -> Tensor, this: from(this.contiguous());
        diag(offset: i64) -> Tensor, this: from(this.diag(offset));
        flip(axes: impl IntList) -> Tensor, this: from(this.flip(&axes.integers()[..]));
        repeat(times: impl IntList) -> Tensor, this: from(this.repeat(&times.integers()[..]));
        squeeze_dim(axis: i64) -> Tensor, this: from(this.squeeze_dim(axis));
        std_dim(axes: impl IntList, unbiased: bool, keep: bool) -> Tensor,
            this: from(this.std_dim(&axes.integers()[..], unbiased, keep));
        copy() -> Tensor, this: from(this.copy());
        detach() -> Tensor, this: from(this.detach());
        diagonal(offset: i64, one: i64, other: i64) -> Tensor, this: from(this.diagonal(offset, one, other));
        dot(other: &Tensor) -> Tensor, this: from(this.dot(&of(other)));
        double_value(index: &[i64]) -> f64, this: this.double_value(index);
        expand(size: impl IntList, implicit: bool) -> Tensor, this: from(this.expand(&size.integers()[..], implicit));
        expand_as(other: &Tensor) -> Tensor, this: from(this.expand_as(&of(other)));
        flatten(first: i64, last: i64) -> Tensor, this: from(this.flatten(first, last));
        get(index: i64) -> Tensor, this: from(this.get(index));
        int64_value(index: &[i64]) -> i64, this: this.int64_value(index);
        isfinite() -> Tensor, this: from(this.isfinite());
        linalg_eigh(triangle: &str) -> (Tensor, Tensor), this: both(this.linalg_eigh(triangle));
        linalg_eigvalsh(triangle: &str) -> Tensor, this: from(this.linalg_eigvalsh(triangle));
        matmul(other: &Tensor) -> Tensor, this: from(this.matmul(&of(other)));
        max() -> Tensor, this: from(this.max());
        mean(as_kind: impl Into<Option<Kind>>) -> Tensor, this: from(this.mean(maybe(as_kind)));
        mean_dim(axes: impl IntList, keep: bool, as_kind: impl Into<Option<Kind>>) -> Tensor,
            this: from(this.mean_dim(&axes.integers()[..], keep, maybe(as_kind)));
        min() -> Tensor, this: from(this.min());
        mv(other: &Tensor) -> Tensor, this: from(this.mv(&of(other)));
        narrow(axis: i64, start: i64, length: i64) -> Tensor, this: from(this.narrow(axis, start, length));
        norm() -> Tensor, this: from(this.norm());
        norm_scalaropt_dim(p: f64, axes: impl IntList, keep: bool) -> Tensor,
            this: from(this.norm_scalaropt_dim(p, &axes.integers()[..], keep));
        ones_like() -> Tensor, this: from(this.ones_like());
        requires_grad() -> bool, this: this.requires_grad();
        reshape(size: impl IntList) -> Tensor, this: from(this.reshape(&size.integers()[..]));
        round() -> Tensor, this: from(this.round());
        select(axis: i64, index: i64) -> Tensor, this: from(this.select(axis, index));
        set_requires_grad(on: bool) -> Tensor, this: from(this.set_requires_grad(on));
        sign() -> Tensor, this: from(this.sign());
        sin() -> Tensor, this: from(this.sin());
        sqrt() -> Tensor, this: from(this.sqrt());
        square() -> Tensor, this: from(this.square());
        sum(as_kind: impl Into<Option<Kind>>) -> Tensor, this: from(this.sum(maybe(as_kind)));
        sum_dim_intlist(axes: impl IntList, keep: bool, as_kind: impl Into<Option<Kind>>) -> Tensor,
            this: from(this.sum_dim_intlist(&axes.integers()[..], keep, maybe(as_kind)));
        tanh() -> Tensor, this: from(this.tanh());
        to_kind(as_kind: Kind) -> Tensor, this: from(this.to_kind(kind(as_kind)));
        tr() -> Tensor, this: from(this.tr());
        unsqueeze(axis: i64) -> Tensor, this: from(this.unsqueeze(axis));
        zeros_like() -> Tensor, this: from(this.zeros_like());
    }

    fn both((one, other): (tch::Tensor, tch::Tensor)) -> (Tensor, Tensor) {
        (from(one), from(other))
    }

    /// tch's functions that make tensors, by their names.
    pub trait Makers {
        #[allow(clippy::new_ret_no_self, reason = "the trait is tch's names, for tensors alone")]
        fn new() -> Tensor {
            from(tch::Tensor::new())
        }

        fn from_slice<T: tch::kind::Element>(numbers: &[T]) -> Tensor {
            from(tch::Tensor::from_slice(numbers))
        }

        fn zeros(size: impl IntList, of: (Kind, Device)) -> Tensor {
            from(tch::Tensor::zeros(&size.integers()[..], options(of)))
        }

        fn ones(size: impl IntList, of: (Kind, Device)) -> Tensor {
            from(tch::Tensor::ones(&size.integers()[..], options(of)))
        }

        fn eye(size: i64, of: (Kind, Device)) -> Tensor {
            from(tch::Tensor::eye(size, options(of)))
        }

        fn cat<T: Borrow<Tensor>>(tensors: &[T], axis: i64) -> Tensor {
            from(tch::Tensor::cat(&all(tensors), axis))
        }

        fn stack<T: Borrow<Tensor>>(tensors: &[T], axis: i64) -> Tensor {
            from(tch::Tensor::stack(&all(tensors), axis))
        }

        fn linalg_qr(matrix: &Tensor, mode: &str) -> (Tensor, Tensor) {
            both(tch::Tensor::linalg_qr(&of(matrix), mode))
        }
    }

    impl Makers for Tensor {}

    #[test]
    fn operators_are_tch_s() {
        let numbers: Vec<f64> = (1..7).map(|i| 0.7 * f64::from(i) - 2.2).collect();
        let a = Tensor::from_slice(&numbers).reshape([2, 3]);
        let b = Tensor::from_slice(&numbers[..3]).square();
        let (x, y) = (of(&a), of(&b));
        let mut sum = a.shallow_clone();
        sum += b.shallow_clone();
        for (ours, tch) in [
            (&a + &b, &x + &y),
            (&a - &b, &x - &y),
            (&a * &b, &x * &y),
            (&a / &b, &x / &y),
            (&a + 1.7, &x + 1.7),
            (&a - 1.7, &x - 1.7),
            (&a * 1.7, &x * 1.7),
            (&a / 1.7, &x / 1.7),
            (1.7 + &a, 1.7 + &x),
            (1.7 - &a, 1.7 - &x),
            (1.7 * &a, 1.7 * &x),
            (1.7 / &a, 1.7 / &x),
            (-&a, -&x),
            (sum, &x + &y),
        ] {
            let difference = (of(&ours) - &tch).abs().max().double_value(&[]);
            assert!(difference <= 1e-15 * tch.abs().max().double_value(&[]), "{ours:?}: {difference}");
            assert_eq!(ours.size(), tch.size());
        }
        let whole: Vec<f64> = Vec::try_from(&a.flatten(0, -1)).expect("numbers");
        assert_eq!(whole, numbers);
    }
}
