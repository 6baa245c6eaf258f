//! One of two solvers, by the noise level that a step starts at.

use std::ops::RangeInclusive;

use super::seam::{History, Outcome, Solver, Step};
use crate::{error::Result, host::Host, layout::Layout, model::Evaluator, process::ForwardProcess};

pub struct Ranged<'h, H: Host + ?Sized> {
    /// Of σ/α.
    pub range: RangeInclusive<f64>,
    pub inside: Box<dyn Solver<H> + 'h>,
    pub outside: Box<dyn Solver<H> + 'h>,
}

impl<H: Host + ?Sized> Solver<H> for Ranged<'_, H> {
    fn step(&mut self, model: &mut Evaluator<'_, H>, step: &Step<'_>, history: &History) -> Result<Outcome> {
        let level = step.kernel.process.noise_to_signal(step.kernel.sigma);
        match self.range.contains(&level) {
            true => self.inside.step(model, step, history),
            false => self.outside.step(model, step, history),
        }
    }

    fn check(&self, layout: &Layout) -> Result<()> {
        self.inside.check(layout)?;
        self.outside.check(layout)
    }

    fn restart(&mut self) {
        self.inside.restart();
        self.outside.restart();
    }

    fn memory(&self) -> usize {
        self.inside.memory().max(self.outside.memory())
    }

    fn products(&self) -> usize {
        self.inside.products().max(self.outside.products())
    }
}
