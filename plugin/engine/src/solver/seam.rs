//! What a solver is given, and what it gives.

use std::collections::VecDeque;

use crate::{
    covariance::Statistics, error::Result, host::Host, layout::Layout, model::Evaluator, options::Covariance,
    process::ReverseStep, tensor::Tensor,
};

/// A way from x at σ to x at σ'. What it has to remember beyond the [`History`] is its own.
pub trait Solver<H: Host + ?Sized> {
    fn step(&mut self, model: &mut Evaluator<'_, H>, step: &Step<'_>, history: &History) -> Result<Outcome>;

    /// Whether it can be used for items of this layout.
    fn check(&self, _layout: &Layout) -> Result<()> {
        Ok(())
    }

    /// Forgets what it remembers: x has been drawn anew, at a higher noise level.
    fn restart(&mut self) {}

    /// How many steps of the past it looks at.
    fn memory(&self) -> usize {
        0
    }

    /// Jacobian-vector products in a step that takes them: they share one D(x).
    fn products(&self) -> usize {
        0
    }
}

/// One step of a trajectory, as the numbers of the reverse kernel, and where it starts.
pub struct Step<'s> {
    pub kernel: &'s ReverseStep,
    /// (batch, ...), at σ.
    pub x: &'s Tensor,
    /// D(x, σ), where the step before has left it.
    pub denoised: Option<&'s Tensor>,
}

impl Step<'_> {
    /// Whether it leads to σ' = 0, where x is D(x): no noise is wanted there.
    pub fn is_last(&self) -> bool {
        self.kernel.sigma_next == 0.0
    }

    /// The kernel's mean A x + B D(x); D(x) itself on the last step.
    pub fn mean(&self, denoised: &Tensor) -> Result<Tensor> {
        match self.is_last() {
            true => Ok(denoised.shallow_clone()),
            false => self.kernel.mean(self.x, denoised),
        }
    }
}

/// Where a step has led to.
pub struct Outcome {
    /// (batch, ...), at σ'.
    pub x: Tensor,
    /// D(x, σ) of where it started.
    pub denoised: Tensor,
    /// D(x, σ') of where it has led to, where that is known.
    pub denoised_next: Option<Tensor>,
    /// The covariance of the noise that was added.
    pub covariance: Covariance,
    pub statistics: Statistics,
}

/// A step that is done.
pub struct Past {
    pub sigma: f64,
    /// (batch, ...), at σ, and D there.
    pub x: Tensor,
    pub denoised: Tensor,
    pub covariance: Covariance,
}

/// The last steps of a trajectory, as many as its solver looks at.
pub struct History {
    steps: VecDeque<Past>,
    memory: usize,
}

impl History {
    pub fn new(memory: usize) -> Self {
        Self { steps: VecDeque::with_capacity(memory), memory }
    }

    /// The step before this one; `None` at the start.
    pub fn last(&self) -> Option<&Past> {
        self.steps.back()
    }

    /// The steps, the last one first.
    pub fn iter(&self) -> impl Iterator<Item = &Past> {
        self.steps.iter().rev()
    }

    pub fn clear(&mut self) {
        self.steps.clear();
    }

    pub fn push(&mut self, past: Past) {
        self.steps.push_back(past);
        while self.steps.len() > self.memory {
            self.steps.pop_front();
        }
    }
}
