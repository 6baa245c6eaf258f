//! Solvers: how a trajectory gets from one noise level to the next.
//!
//! [`seam`]: what a solver is given, and what it gives. [`ancestral`] draws from the reverse kernel,
//! [`multistep`] adds a mean of second order, [`ranged`] takes one of two by the noise level; [`secant`] is of second
//! order with J from D's own change.

pub mod ancestral;
pub mod multistep;
pub mod ranged;
pub mod seam;
pub mod secant;

pub use self::seam::{History, Outcome, Past, Solver, Step};
use self::{ancestral::Ancestral, multistep::Multistep, ranged::Ranged, secant::Secant};
use crate::{
    host::Host,
    options::{self, covariance_range, Covariance, Options, OtherSteps},
};

/// The solver that the options ask for.
pub fn solver<'h, H: Host + ?Sized + 'h>(options: &Options) -> Box<dyn Solver<H> + 'h> {
    if options.solver == options::Solver::Secant {
        return Box::new(Secant::new(options));
    }
    let isotropic = Options { covariance: Covariance::Isotropic, ..*options };
    Box::new(Ranged {
        range: covariance_range(options),
        inside: Box::new(Ancestral::new(options)),
        outside: match options.other_steps {
            OtherSteps::Isotropic => Box::new(Ancestral::new(&isotropic)),
            OtherSteps::Multistep => Box::new(Multistep { isotropic: Ancestral::new(&isotropic) }),
        },
    })
}
