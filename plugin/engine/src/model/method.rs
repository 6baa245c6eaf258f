//! How a model is differentiated.

use crate::{options::Jvp, tensor::Kind};

/// What is known so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Not tried yet.
    Undecided,
    /// `fallback`: should it fail after all, take finite differences from there on.
    Forward {
        fallback: bool,
    },
    FiniteDifference,
    CentralDifference,
}

impl From<Jvp> for Method {
    fn from(jvp: Jvp) -> Self {
        match jvp {
            Jvp::Auto => Method::Undecided,
            Jvp::Forward => Method::Forward { fallback: false },
            Jvp::FiniteDifference => Method::FiniteDifference,
            Jvp::CentralDifference => Method::CentralDifference,
        }
    }
}

impl Method {
    /// What `Auto` has chosen before; undecided where it has not.
    pub fn remembered(jvp: Jvp) -> Self {
        match jvp {
            Jvp::Forward => Method::Forward { fallback: true },
            other => other.into(),
        }
    }

    /// The best for a model without forward mode that computes in `precision`.
    ///
    /// In half precision a central difference: it halves the error, which is worth more than what
    /// the same evaluation would buy as another Lanczos step.
    pub fn without_forward_mode(precision: Kind) -> Self {
        match precision {
            Kind::Double | Kind::Float => Method::FiniteDifference,
            _ => Method::CentralDifference,
        }
    }

    /// The way as the caller names it.
    pub fn kind(self) -> Jvp {
        match self {
            Method::Undecided => Jvp::Auto,
            Method::Forward { .. } => Jvp::Forward,
            Method::FiniteDifference => Jvp::FiniteDifference,
            Method::CentralDifference => Jvp::CentralDifference,
        }
    }
}
