//! How often a trajectory calls the model and the noise, and what it reports.

use crate::support::tensor::*;
use lgs_engine::{
    error::Error,
    options::{Covariance, DoubledBatch, Jvp, Options, OtherSteps},
    process::Process,
    trajectory::sample,
};

use crate::support::{
    host::{TestHost, OPTIONS},
    log::recorded,
    numbers::Rng,
};

const SIGMAS: [f64; 5] = [4.0, 2.0, 1.0, 0.5, 0.0];
const STEPS: u64 = 4;

fn host<'f>() -> TestHost<'f> {
    let mut rng = Rng::new(2);
    TestHost::new(|x: &Tensor, sigma| Ok((x / (1.0 + sigma * sigma)).tanh())).noise(move |_, _| Ok(rng.tensor(&[2, 9])))
}

fn run(host: &mut TestHost<'_>, options: &Options, sigmas: &[f64]) {
    let _ = sample(host, options, &Rng::new(1).tensor(&[2, 9]), sigmas).expect("no error");
}

#[test]
fn one_evaluation_a_step_and_one_for_each_product() {
    for k in [1, 2, 3, 9] {
        for eta in [0.0, 1.0] {
            let mut host = host();
            run(&mut host, &Options { lanczos_steps: k, eta, ..*OPTIONS }, &SIGMAS);
            let k = k as u64;
            assert_eq!(host.evaluations as u64, STEPS + (STEPS - 1) * k);
            for (i, report) in host.reports.iter().enumerate() {
                let steps = i as u64 + 1;
                let products = steps.min(STEPS - 1) * k;
                assert_eq!((report.model_evaluations, report.jvps), (steps + products, products));
                assert_eq!((report.step, report.steps), (i, STEPS as usize));
                assert_eq!((report.sigma, report.sigma_next), (SIGMAS[i], SIGMAS[i + 1]));
                assert_eq!(report.jvp, Jvp::FiniteDifference);
                assert_eq!(report.statistics.lanczos_error.is_some(), report.sigma_next > 0.0);
            }
            assert_eq!(host.reports.len() as u64, STEPS);
            let levels: Vec<(f64, f64)> = SIGMAS.windows(2).take(3).map(|pair| (pair[0], pair[1])).collect();
            assert_eq!(host.noises, levels, "one noise a step, and none for the last");
        }
    }
}

#[test]
fn a_last_level_above_zero_is_a_step_like_the_others() {
    let mut host = host();
    run(&mut host, &OPTIONS, &SIGMAS[..4]);
    assert_eq!((host.evaluations, host.noises.len()), (3 + 3 * 3, 3));
    assert!(host.reports.iter().all(|report| report.statistics.lanczos_error.is_some()));
}

#[test]
fn outside_its_range_of_sigma_lanczos_costs_nothing() {
    for (low, high, products) in [(2.0, f64::MAX, [3, 6, 6]), (0.0, 1.0, [0, 0, 3]), (1.5, 2.0, [0, 3, 3])] {
        for other_steps in [OtherSteps::Isotropic, OtherSteps::Multistep] {
            let mut host = host();
            let range = Options { covariance_min_sigma: low, covariance_max_sigma: high, other_steps, ..*OPTIONS };
            run(&mut host, &range, &SIGMAS);
            let came: Vec<u64> = host.reports.iter().map(|report| report.jvps).take(3).collect();
            assert_eq!(came, products, "from {low} to {high}, {other_steps:?}");
            assert_eq!(host.evaluations as u64, STEPS + products[2]);
        }
    }
}

#[test]
fn the_range_of_a_flow_is_of_noise_to_signal() {
    // σ/(1 − σ) is above 100, 3, 1 and 1/3.
    let sigmas = [1.0, 0.75, 0.5, 0.25, 0.0];
    for (low, high, products) in [(0.5, 10000.0, 9), (0.5, 5.0, 6), (2.0, 5.0, 3), (0.0, 1.0, 3)] {
        let mut host = host();
        let range =
            Options { covariance_min_sigma: low, covariance_max_sigma: high, process: Process::Flow, ..*OPTIONS };
        run(&mut host, &range, &sigmas);
        assert_eq!(host.reports[3].jvps, products, "from {low} to {high}");
    }
}

#[test]
fn isotropic_costs_one_evaluation_a_step() {
    let mut host = host();
    run(&mut host, &Options { covariance: Covariance::Isotropic, ..*OPTIONS }, &SIGMAS);
    assert_eq!((host.evaluations, host.noises.len()), (4, 3));
    assert!(host.reports.iter().all(|report| report.jvps == 0 && report.statistics.lanczos_error.is_none()));
}

#[test]
fn no_noise_is_drawn_that_is_not_used() {
    for options in [
        Options { covariance: Covariance::Isotropic, eta: 0.0, ..*OPTIONS },
        Options { covariance: Covariance::Isotropic, s_noise: 0.0, ..*OPTIONS },
        Options { s_noise: 0.0, ..*OPTIONS },
    ] {
        let mut host = host();
        run(&mut host, &options, &SIGMAS);
        assert_eq!((host.evaluations, host.noises.len()), (4, 0), "{options:?}");
    }
}

#[test]
fn auto_tries_forward_mode_once_a_trajectory() {
    for (mut host, levels) in [
        (host(), vec![]),
        (host().forward_ad(|_| Err(Error::Failed)), vec![true]),
        (host().forward_ad(|_| Ok(())), vec![true, false]),
    ] {
        let options = Options { jvp: Jvp::Auto, doubled_batch: DoubledBatch::Never, ..*OPTIONS };
        let (_, records) = recorded(|| run(&mut host, &options, &SIGMAS));
        assert_eq!(host.levels, levels);
        // D(x) a second time, to see whether the model is random, and two more, whether it rounds.
        assert_eq!(host.evaluations as u64, STEPS + (STEPS - 1) * 3 + 3);
        assert!(host.reports.iter().all(|report| report.jvp == Jvp::FiniteDifference));
        assert_eq!(records.len(), 1, "{records:?}");
    }
}

#[test]
fn auto_is_undecided_as_long_as_there_is_no_product() {
    let mut host = host();
    run(&mut host, &Options { jvp: Jvp::Auto, covariance: Covariance::Isotropic, ..*OPTIONS }, &SIGMAS);
    assert!(host.reports.iter().all(|report| report.jvp == Jvp::Auto));
}

#[test]
fn forward_ends_the_trajectory_where_it_does_not_work() {
    let mut host = host();
    let x = Rng::new(1).tensor(&[2, 9]);
    let outcome = sample(&mut host, &Options { jvp: Jvp::Forward, ..*OPTIONS }, &x, &SIGMAS);
    let Err(Error::ForwardMode(message)) = outcome else { panic!("expected an error of forward mode") };
    assert!(message.starts_with("step 1 of 4 (sigma 4.000000): "), "{message}");
    assert_eq!((host.evaluations, host.reports.len()), (0, 0));
}
