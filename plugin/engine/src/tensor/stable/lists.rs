//! Integers in the forms that tch takes them in.

use std::borrow::Cow;

/// A list of integers: sizes or axes.
pub trait IntList {
    fn integers(&self) -> Cow<'_, [i64]>;
}

impl IntList for i64 {
    fn integers(&self) -> Cow<'_, [i64]> {
        Cow::Owned(vec![*self])
    }
}

impl<const N: usize> IntList for [i64; N] {
    fn integers(&self) -> Cow<'_, [i64]> {
        Cow::Borrowed(self)
    }
}

impl IntList for &[i64] {
    fn integers(&self) -> Cow<'_, [i64]> {
        Cow::Borrowed(self)
    }
}

impl IntList for Vec<i64> {
    fn integers(&self) -> Cow<'_, [i64]> {
        Cow::Borrowed(self)
    }
}

impl<T: IntList> IntList for &T {
    fn integers(&self) -> Cow<'_, [i64]> {
        (*self).integers()
    }
}
