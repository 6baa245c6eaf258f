//! What a solver is given, and what becomes of what it gives: seen by solvers of the tests' own.

mod secant;

use crate::support::tensor::*;
use lgs_engine::{
    error::Result,
    host::Host,
    layout::Layout,
    model::Evaluator,
    options::{Covariance, Options},
    process::Process,
    solver::{History, Outcome, Solver, Step},
    trajectory::{sample, sample_with},
};

use crate::support::{
    gaussian::Gaussian,
    host::{message, TestHost, OPTIONS},
    numbers::{distance, power_law, Rng},
};

const VE: Process = Process::VarianceExploding;
const SIGMAS: [f64; 5] = [4.0, 2.0, 1.0, 0.5, 0.0];

fn ddim() -> Options {
    Options { covariance: Covariance::Isotropic, eta: 0.0, ..*OPTIONS }
}

fn gaussian() -> Gaussian {
    Gaussian::new(1, &power_law(8, 1.0, 0.25))
}

fn start() -> Tensor {
    Rng::new(2).tensor(&[2, 8]) * SIGMAS[0]
}

/// DDIM, which evaluates D where a step ends, and keeps what it was given.
#[derive(Default)]
struct Foreseeing {
    memory: usize,
    /// Whether D was known, and the σ of the steps that were remembered, the last one first.
    given: Vec<(bool, Vec<f64>)>,
    refuse: Option<usize>,
}

impl<H: Host + ?Sized> Solver<H> for Foreseeing {
    fn step(&mut self, model: &mut Evaluator<'_, H>, step: &Step<'_>, history: &History) -> Result<Outcome> {
        self.given.push((step.denoised.is_some(), history.iter().map(|past| past.sigma).collect()));
        for past in history.iter() {
            let again = model.denoised(&past.x, past.sigma)?;
            assert_eq!(distance(&past.denoised, &again), 0.0, "x, sigma and D belong together");
        }
        if self.refuse == Some(self.given.len()) {
            return Err(lgs_engine::error::Error::Output("a result that is of no use".into()));
        }
        let denoised = match step.denoised {
            Some(denoised) => denoised.shallow_clone(),
            None => model.denoised(step.x, step.kernel.sigma)?,
        };
        let x = step.mean(&denoised)?;
        let denoised_next = match step.is_last() {
            true => None,
            false => Some(model.denoised(&x, step.kernel.sigma_next)?),
        };
        let statistics = Default::default();
        Ok(Outcome { x, denoised, denoised_next, covariance: Covariance::Isotropic, statistics })
    }

    fn memory(&self) -> usize {
        self.memory
    }
}

#[test]
fn d_that_a_step_leaves_is_that_of_the_next_one() {
    let gaussian = gaussian();
    let host = || TestHost::new(|x, sigma| Ok(gaussian.denoised(VE, x, sigma)));
    let (mut plain, mut foreseeing) = (host(), host());
    let expected = sample(&mut plain, &ddim(), &start(), &SIGMAS).expect("no error");
    let mut solver = Foreseeing::default();
    let came = sample_with(&mut foreseeing, &mut solver, &ddim(), &start(), &SIGMAS).expect("no error");
    assert_eq!(distance(&came, &expected), 0.0);
    assert_eq!(foreseeing.evaluations, plain.evaluations, "each D is evaluated once");
    let known: Vec<bool> = solver.given.iter().map(|given| given.0).collect();
    assert_eq!(known, [false, true, true, true]);
    let counts: Vec<u64> = foreseeing.reports.iter().map(|report| report.model_evaluations).collect();
    assert_eq!(counts, [2, 3, 4, 4]);
}

#[test]
fn the_ancestral_solver_uses_d_where_it_is_known() {
    /// A first step that leaves D, then the solver of the options.
    struct First<'h, H: Host + ?Sized>(Foreseeing, Box<dyn Solver<H> + 'h>);

    impl<H: Host + ?Sized> Solver<H> for First<'_, H> {
        fn step(&mut self, model: &mut Evaluator<'_, H>, step: &Step<'_>, history: &History) -> Result<Outcome> {
            match self.0.given.is_empty() {
                true => self.0.step(model, step, history),
                false => self.1.step(model, step, history),
            }
        }
    }

    let gaussian = gaussian();
    for covariance in [Covariance::Isotropic, Covariance::Lanczos] {
        let options = Options { covariance, eta: 0.0, ..*OPTIONS };
        let run = |known: bool| {
            let mut rng = Rng::new(3);
            let mut host = TestHost::new(|x, sigma| Ok(gaussian.denoised(VE, x, sigma)))
                .noise(move |_, _| Ok(rng.tensor(&[2, 8])));
            let mut solver = First(Foreseeing::default(), lgs_engine::solver::solver(&options));
            if !known {
                solver.0.given.push((false, vec![]));
            }
            let result = sample_with(&mut host, &mut solver, &options, &start(), &SIGMAS).expect("no error");
            (result, host.evaluations)
        };
        let (_, without) = run(false);
        let (result, with) = run(true);
        // Lanczos: the first step takes no products then, and the second has its D already.
        let products = if covariance == Covariance::Lanczos { options.lanczos_steps as usize } else { 0 };
        assert_eq!(with, without - products, "{covariance:?}");
        assert!(result.isfinite().all().int64_value(&[]) == 1);
    }
}

#[test]
fn history_is_as_long_as_the_solver_asks_and_holds_what_was() {
    let gaussian = gaussian();
    for (memory, remembered) in [
        (0, vec![vec![], vec![], vec![], vec![]]),
        (1, vec![vec![], vec![4.0], vec![2.0], vec![1.0]]),
        (3, vec![vec![], vec![4.0], vec![2.0, 4.0], vec![1.0, 2.0, 4.0]]),
    ] {
        let mut host = TestHost::new(|x, sigma| Ok(gaussian.denoised(VE, x, sigma)));
        let mut solver = Foreseeing { memory, ..Foreseeing::default() };
        let _ = sample_with(&mut host, &mut solver, &ddim(), &start(), &SIGMAS).expect("no error");
        assert_eq!(solver.given.into_iter().map(|given| given.1).collect::<Vec<_>>(), remembered);
    }
}

#[test]
fn an_error_of_a_solver_says_at_which_step() {
    let mut host = TestHost::new(|x, _| Ok(x * 0.5));
    let mut solver = Foreseeing { refuse: Some(3), ..Foreseeing::default() };
    let text = message(sample_with(&mut host, &mut solver, &ddim(), &start(), &SIGMAS));
    assert_eq!(text, "step 3 of 4 (sigma 1.000000): a result that is of no use");
    assert_eq!(host.reports.len(), 2);
}

#[test]
fn a_solver_can_refuse_a_layout_before_the_model_is_called() {
    struct Refusing;

    impl<H: Host + ?Sized> Solver<H> for Refusing {
        fn step(&mut self, _: &mut Evaluator<'_, H>, _: &Step<'_>, _: &History) -> Result<Outcome> {
            unreachable!("it was refused")
        }

        fn check(&self, layout: &Layout) -> Result<()> {
            Err(lgs_engine::error::Error::Argument(format!("expected 9 numbers, got {}", layout.dimension())))
        }
    }

    let mut host = TestHost::new(|x, _| Ok(x * 0.5));
    let text = message(sample_with(&mut host, &mut Refusing, &ddim(), &start(), &SIGMAS));
    assert_eq!((text.as_str(), host.evaluations), ("expected 9 numbers, got 8", 0));
}
