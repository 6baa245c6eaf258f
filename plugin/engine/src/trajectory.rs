//! A trajectory: from noise to a sample, step by step.

use tch::Tensor;

use crate::{
    checks,
    error::Result,
    host::{Host, Progress},
    layout::Layout,
    model::{Evaluator, Plan},
    options::Options,
    process::ReverseStep,
    solver::{solver, History, Outcome, Past, Solver, Step},
};

/// A trajectory from x (batch, ...) at `sigmas[0]` down to the last of `sigmas`; like x.
///
/// A last σ of 0 gives D(x) of the step before, as every k-diffusion sampler does.
pub fn sample<H: Host + ?Sized>(host: &mut H, options: &Options, x: &Tensor, sigmas: &[f64]) -> Result<Tensor> {
    sample_with(host, solver(options).as_mut(), options, x, sigmas)
}

/// The same with any solver; of the options, the process, η and what is about the model count.
pub fn sample_with<H: Host + ?Sized>(
    host: &mut H,
    solver: &mut dyn Solver<H>,
    options: &Options,
    x: &Tensor,
    sigmas: &[f64],
) -> Result<Tensor> {
    let _no_grad = tch::no_grad_guard();
    let layout = Layout::of("x", x)?;
    checks::sigmas(options.process, sigmas)?;
    solver.check(&layout)?;
    checks::finite("x", x)?;
    let model = &mut Evaluator::new(host, layout, Plan::of(options, solver.products()));
    let (kind, model_kind) = (model.layout.kind, model.layout.model_kind);

    let mut x = x.f_to_kind(kind)?;
    let mut denoised: Option<Tensor> = None;
    let mut history = History::new(solver.memory());
    for (number, levels) in sigmas.windows(2).enumerate() {
        let kernel = ReverseStep::new(options.process, levels[0], levels[1], options.eta);
        let step = Step { kernel: &kernel, x: &x, denoised: denoised.as_ref() };
        let outcome = solver.step(model, &step, &history).map_err(|error| error.at(place(number, sigmas)))?;
        report(model, number, sigmas, &x, &outcome)?;
        history.push(Past { sigma: kernel.sigma, x, denoised: outcome.denoised, covariance: outcome.covariance });
        (x, denoised) = (outcome.x, outcome.denoised_next);
    }
    Ok(x.f_to_kind(model_kind)?)
}

fn report<H: Host + ?Sized>(
    model: &mut Evaluator<'_, H>,
    step: usize,
    sigmas: &[f64],
    x: &Tensor,
    outcome: &Outcome,
) -> Result<()> {
    let kind = model.layout.model_kind;
    let progress = Progress {
        step,
        steps: sigmas.len() - 1,
        sigma: sigmas[step],
        sigma_next: sigmas[step + 1],
        model_evaluations: model.model_evaluations,
        jvps: model.jvps,
        jvp: model.jvp(),
        statistics: &outcome.statistics,
        x: &x.f_to_kind(kind)?,
        denoised: &outcome.denoised.f_to_kind(kind)?,
    };
    model.model().progress(&progress)
}

/// Where a trajectory is, for an error.
fn place(step: usize, sigmas: &[f64]) -> String {
    format!("step {} of {} (sigma {:.6})", step + 1, sigmas.len() - 1, sigmas[step])
}
