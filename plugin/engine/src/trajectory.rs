//! A trajectory: from noise to a sample, step by step.

use crate::{
    checks::{self, finite_and_fetch, names::NOISE},
    covariance::Statistics,
    error::{Error, Result},
    host::{Host, Progress},
    layout::Layout,
    model::{Evaluator, Plan},
    options::{self, covariance_range, Covariance, Options},
    process::{forward_draw, Process, ReverseStep},
    solver::{solver, History, Outcome, Past, Solver, Step},
    tensor::{self, Tensor},
};

/// The estimated relative error of a step's noise from which on it is told, once a trajectory.
const USELESS: f64 = 1.0;

/// A trajectory from x (batch, ...) at `sigmas[0]` down to the last of `sigmas`; like x.
///
/// A last σ of 0 gives D(x) of the step before, as every k-diffusion sampler does. Where σ rises, x is drawn from the
/// forward process (restart sampling, arXiv 2306.14878), at no evaluation.
pub fn sample<H: Host + ?Sized>(host: &mut H, options: &Options, x: &Tensor, sigmas: &[f64]) -> Result<Tensor> {
    let draws = options.solver == options::Solver::Ancestral && options.covariance != Covariance::Isotropic;
    if draws && covariance_range(options).is_empty() {
        log::warn!(
            "the covariance is used at no noise level: covariance_min_sigma, {}, is above covariance_max_sigma, {}; \
             lower the one or raise the other",
            options.covariance_min_sigma,
            options.covariance_max_sigma
        );
    }
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
    let _no_grad = tensor::no_grad_guard();
    let layout = Layout::of("x", x)?;
    let sigmas = &checks::sigmas(options.process, sigmas)?[..];
    solver.check(&layout)?;
    checks::finite("x", x)?;
    let model = &mut Evaluator::new(host, layout, Plan::of(options, solver.products()));
    let (kind, model_kind) = (model.layout.kind, model.layout.model_kind);

    let mut x = x.f_to_kind(kind)?;
    let mut denoised: Option<Tensor> = None;
    let mut history = History::new(solver.memory());
    let mut told = false;
    for (number, levels) in sigmas.windows(2).enumerate() {
        if levels[1] > levels[0] {
            let at = |error: Error| error.at(place(number, sigmas));
            let outcome = rise(model, options.process, levels, &x).map_err(at)?;
            report(model, number, sigmas, &x, &outcome)?;
            (x, denoised) = (outcome.x, None);
            history.clear();
            solver.restart();
            continue;
        }
        let kernel = ReverseStep::new(options.process, levels[0], levels[1], options.eta);
        let step = Step { kernel: &kernel, x: &x, denoised: denoised.as_ref() };
        let outcome = solver.step(model, &step, &history).map_err(|error| error.at(place(number, sigmas)))?;
        if let (Some(error), false) = (outcome.statistics.lanczos_error.filter(|&error| error >= USELESS), told) {
            told = true;
            log::warn!(
                "{}: the estimated error of the noise is {:.0} % of it: the model rounds or answers at random more than \
                 this way of differentiating allows for, or lanczos_steps are too few; jvp=\"auto\" allows for it, \
                 solver=\"secant\" needs no products",
                place(number, sigmas),
                100.0 * error
            );
        }
        report(model, number, sigmas, &x, &outcome)?;
        history.push(Past { sigma: kernel.sigma, x, denoised: outcome.denoised, covariance: outcome.covariance });
        (x, denoised) = (outcome.x, outcome.denoised_next);
    }
    Ok(x.f_to_kind(model_kind)?)
}

/// x drawn anew at a higher noise level. The report has x for D(x): where a schedule rises, little noise is left.
fn rise<H: Host + ?Sized>(
    model: &mut Evaluator<'_, H>,
    process: Process,
    levels: &[f64],
    x: &Tensor,
) -> Result<Outcome> {
    let z = model.noise(levels[0], levels[1])?;
    let [] = finite_and_fetch([(NOISE, &z)], [])?;
    Ok(Outcome {
        x: forward_draw(process, levels[0], levels[1], x, &z)?,
        denoised: x.shallow_clone(),
        denoised_next: None,
        covariance: Covariance::Isotropic,
        statistics: Statistics::default(),
    })
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
