//! Whole trajectories on Gaussian data, step by step against dense linear algebra.

use std::cell::RefCell;

use crate::support::tensor::*;
use lgs_engine::{
    options::{Covariance, Options, OtherSteps, Solver},
    process::{ForwardProcess, Process},
    trajectory::sample,
};

use crate::support::{
    gaussian::{alpha, kernel, Gaussian},
    host::{TestHost, OPTIONS},
    numbers::{distance, finite, function, identity, power_law, relative_error, rows, Rng},
};

const VE: Process = Process::VarianceExploding;
const ETAS: [f64; 3] = [0.0, 0.5, 1.0];

/// The end of the trajectory from x, its noise the rows of `noises` in turn.
fn run(gaussian: &Gaussian, options: &Options, x: &Tensor, sigmas: &[f64], noises: &[Tensor]) -> Tensor {
    let mut left = noises.iter();
    let mut host = TestHost::new(|x, sigma| Ok(gaussian.denoised(options.process, x, sigma)))
        .noise(|_, _| Ok(left.next().expect("no more noise than steps").shallow_clone()));
    sample(&mut host, options, x, sigmas).expect("no error")
}

/// The same, by dense linear algebra.
fn dense(gaussian: &Gaussian, options: &Options, x: &Tensor, sigmas: &[f64], noises: &[Tensor]) -> Tensor {
    let mut x = x.shallow_clone();
    let mut left = noises.iter();
    let mut before: Option<(f64, Tensor, f64)> = None;
    for pair in sigmas.windows(2) {
        let (t, s) = (pair[0], pair[1]);
        let denoised = gaussian.denoised(options.process, &x, t);
        if s == 0.0 {
            return denoised;
        }
        let (a, b, v) = kernel(options.process, t, s, options.eta);
        let ratio = t / alpha(options.process, t);
        let outside = ratio < options.covariance_min_sigma || ratio > options.covariance_max_sigma;
        x = a * x + b * &denoised;
        if let (true, OtherSteps::Multistep, Some((u, denoised_before, share))) = (outside, options.other_steps, before)
        {
            // D where the line through both, in ln(σ/α), is halfway down the step.
            let log = |sigma: f64| (sigma / alpha(options.process, sigma)).ln();
            let slope = (&denoised - denoised_before) / (log(u) - log(t));
            x += share * b * slope * (log(t) - log(s)) / 2.0;
        }
        let had_covariance = !outside && options.covariance == Covariance::Lanczos;
        before = Some((t, denoised, if had_covariance { 0.2 } else { 1.0 }));
        let mut z = || left.next().expect("a noise");
        x = match if outside { Covariance::Isotropic } else { options.covariance } {
            Covariance::Lanczos => x + options.s_noise * gaussian.noise(options.process, t, s, options.eta, z()),
            Covariance::Isotropic if options.eta > 0.0 => x + options.s_noise * options.eta * v.sqrt() * z(),
            _ => x,
        };
    }
    x
}

fn schedules() -> [(Process, Vec<f64>); 4] {
    [
        (VE, vec![10.0, 3.0, 1.0, 0.3, 0.1, 0.0]),
        (VE, vec![2.0, 0.5, 0.1]),
        (Process::Flow, vec![0.95, 0.6, 0.3, 0.1, 0.0]),
        (Process::Flow, vec![0.8, 0.2]),
    ]
}

#[test]
fn each_covariance_and_eta_follows_the_dense_trajectory() {
    let d = 12;
    for (seed, (process, sigmas)) in schedules().into_iter().enumerate() {
        let gaussian = Gaussian::new(seed as u64, &power_law(d, 1.6, 0.25));
        let mut rng = Rng::new(50 + seed as u64);
        let x = rng.tensor(&[3, d as i64]) * sigmas[0];
        let noises: Vec<Tensor> = sigmas.iter().map(|_| rng.tensor(&[3, d as i64])).collect();
        for eta in ETAS {
            for covariance in [Covariance::Isotropic, Covariance::Lanczos] {
                for s_noise in [0.0, 0.7, 1.0] {
                    let options = Options { process, covariance, eta, s_noise, lanczos_steps: d as u32, ..*OPTIONS };
                    let came = run(&gaussian, &options, &x, &sigmas, &noises);
                    let expected = dense(&gaussian, &options, &x, &sigmas, &noises);
                    let error = relative_error(&came, &expected);
                    assert!(error < 1e-6, "schedule {seed}, {covariance:?}, eta {eta}, s_noise {s_noise}: {error}");
                }
            }
        }
    }
}

#[test]
fn steps_outside_the_range_follow_it_too() {
    let d = 12;
    for (seed, (process, sigmas)) in schedules().into_iter().enumerate() {
        let gaussian = Gaussian::new(seed as u64, &power_law(d, 1.6, 0.25));
        let mut rng = Rng::new(70 + seed as u64);
        let x = rng.tensor(&[3, d as i64]) * sigmas[0];
        let noises: Vec<Tensor> = sigmas.iter().map(|_| rng.tensor(&[3, d as i64])).collect();
        // All steps, all but the first, all but the last ones, the first, and none of them are Lanczos steps.
        let ratio = |i: usize| sigmas[i] / alpha(process, sigmas[i]);
        for (low, high) in [(0.0, 100.0), (0.0, ratio(1)), (0.25, 100.0), (ratio(0), 100.0), (100.0, 100.0)] {
            for other_steps in [OtherSteps::Isotropic, OtherSteps::Multistep] {
                let kinds = [(0.0, Covariance::Lanczos), (0.5, Covariance::Lanczos), (1.0, Covariance::Lanczos)];
                for (eta, covariance) in kinds.into_iter().chain([(0.5, Covariance::Isotropic)]) {
                    let range =
                        Options { covariance_min_sigma: low, covariance_max_sigma: high, other_steps, ..*OPTIONS };
                    let options = Options { process, covariance, eta, lanczos_steps: d as u32, ..range };
                    let came = run(&gaussian, &options, &x, &sigmas, &noises);
                    let expected = dense(&gaussian, &options, &x, &sigmas, &noises);
                    let error = relative_error(&came, &expected);
                    let case = format!("{covariance:?}, {other_steps:?}, {low} to {high}, eta {eta}");
                    assert!(error < 1e-6, "schedule {seed}, {case}: {error}");
                }
            }
        }
    }
}

/// Of samples from an exact start, for data of variance λ in one dimension: each is linear in x and the noises.
fn variance_of_samples(lambda: f64, options: &Options, sigmas: &[f64]) -> f64 {
    let gaussian = Gaussian::new(1, &[lambda]);
    let (zero, one) = (Tensor::zeros([1, 1], (Kind::Double, Device::Cpu)), identity(1));
    let steps = sigmas.len() - 1;
    let response = |which: usize| {
        let input = |i: usize| if i == which { one.shallow_clone() } else { zero.shallow_clone() };
        let noises: Vec<Tensor> = (1..=steps).map(input).collect();
        run(&gaussian, options, &input(0), sigmas, &noises).double_value(&[0, 0]).powi(2)
    };
    response(0) * (lambda + sigmas[0].powi(2)) + (1..=steps).map(response).sum::<f64>()
}

#[test]
fn many_multisteps_leave_the_law_of_the_data_with_an_error_of_second_order() {
    // One dimension of variance λ is all of a Gaussian: x_s is linear in x_t, the x before it and z.
    let lambda = 0.25;
    let mut errors = Vec::new();
    for (steps, other_steps) in [
        (20, OtherSteps::Isotropic),
        (40, OtherSteps::Isotropic),
        (20, OtherSteps::Multistep),
        (40, OtherSteps::Multistep),
    ] {
        let sigmas: Vec<f64> = (0..=steps).map(|i| 10.0 * 0.002f64.powf(i as f64 / steps as f64)).collect();
        let options =
            Options { covariance: Covariance::Isotropic, covariance_min_sigma: 100.0, other_steps, ..*OPTIONS };
        let variance = variance_of_samples(lambda, &options, &sigmas);
        errors.push((variance - lambda - sigmas[steps].powi(2)).abs());
    }
    assert!((1.6..2.6).contains(&(errors[0] / errors[1])), "isotropic steps are of first order: {errors:?}");
    assert!((3.2..5.5).contains(&(errors[2] / errors[3])), "multisteps of second: {errors:?}");
    assert!(errors[2] < 0.3 * errors[0], "{errors:?}");
}

#[test]
fn multisteps_below_lanczos_steps_bring_the_law_nearer_to_that_of_the_data() {
    for lambda in [0.01, 0.1, 0.25, 1.0] {
        for (eta, steps) in [(0.5, 8), (1.0, 8), (0.5, 16), (1.0, 16)] {
            let sigmas: Vec<f64> = (0..=steps).map(|i| 10.0 * 0.002f64.powf(i as f64 / steps as f64)).collect();
            let error = |other_steps| {
                let options = Options { lanczos_steps: 1, covariance_min_sigma: 1.0, eta, other_steps, ..*OPTIONS };
                (variance_of_samples(lambda, &options, &sigmas) - lambda - sigmas[steps].powi(2)).abs()
            };
            let (isotropic, multistep) = (error(OtherSteps::Isotropic), error(OtherSteps::Multistep));
            assert!(multistep < 0.8 * isotropic, "{lambda}, {eta}, {steps} steps: {multistep} against {isotropic}");
        }
    }
}

#[test]
fn the_law_of_the_samples_is_that_of_the_data() {
    // Not one trajectory but all at once: every step is linear in x and z, so unit vectors in place of x
    // and of each z in turn give the whole linear map, and with it the covariance of what comes out.
    let d = 6i64;
    let spectrum = [2.0, 1.0, 0.5, 0.25, 0.1, 0.01];
    for (process, sigmas) in [(VE, vec![8.0, 2.0, 0.6, 0.2]), (Process::Flow, vec![0.97, 0.7, 0.4, 0.15])] {
        let gaussian = Gaussian::new(9, &spectrum);
        let marginal = |sigma: f64| {
            let alpha = process.alpha(sigma);
            alpha * alpha * &gaussian.covariance + sigma * sigma * identity(d)
        };
        for eta in ETAS {
            let options = Options { process, eta, lanczos_steps: d as u32, ..*OPTIONS };
            let (zero, one) = (Tensor::zeros([d, d], (Kind::Double, Device::Cpu)), identity(d));
            let steps = sigmas.len() - 1;
            // Row i of the result is the image of the i-th unit vector.
            let response = |which: usize| {
                let input = |i: usize| if i == which { one.shallow_clone() } else { zero.shallow_clone() };
                let noises: Vec<Tensor> = (1..=steps).map(input).collect();
                run(&gaussian, &options, &input(0), &sigmas, &noises)
            };
            let first = response(0);
            let mut covariance = first.tr().matmul(&marginal(sigmas[0])).matmul(&first);
            for step in 1..=steps {
                let map = response(step);
                covariance += map.tr().matmul(&map);
            }
            let error = distance(&covariance, &marginal(sigmas[steps]));
            assert!(error < 1e-6, "{process:?}, eta {eta}: {error}");
        }
    }
}

#[test]
fn items_of_a_batch_are_independent() {
    let gaussian = Gaussian::new(1, &power_law(20, 1.6, 0.25));
    let mut rng = Rng::new(60);
    let sigmas = [3.0, 0.8, 0.2, 0.0];
    let x = rng.tensor(&[4, 20]) * Tensor::from_slice(&[3.0, 0.0, 300.0, 1e-3]).unsqueeze(1);
    let noises: Vec<Tensor> = (0..2).map(|_| rng.tensor(&[4, 20])).collect();
    let options = Options { lanczos_steps: 2, eta: 0.5, ..*OPTIONS };
    let together = run(&gaussian, &options, &x, &sigmas, &noises);
    for item in 0..4 {
        let of = |tensor: &Tensor| tensor.narrow(0, item, 1);
        let alone = run(&gaussian, &options, &of(&x), &sigmas, &noises.iter().map(of).collect::<Vec<_>>());
        assert!(relative_error(&of(&together), &alone) < 1e-7, "item {item}");
    }
}

#[test]
fn a_flow_from_pure_noise_is_finite_and_close_to_the_prior_s_step() {
    let gaussian = Gaussian::new(2, &power_law(16, 1.6, 0.25));
    let mut rng = Rng::new(61);
    let (x, z) = (rng.tensor(&[3, 16]), rng.tensor(&[3, 16]));
    for eta in ETAS {
        let options = Options { process: Process::Flow, eta, lanczos_steps: 16, ..*OPTIONS };
        let came = run(&gaussian, &options, &x, &[1.0, 0.6], &[z.shallow_clone()]);
        assert!(finite(&came));
        // x is independent of x_0, so that x_s = A x + √(η² v) z' + α_s x_0 with x_0 from the prior.
        let a = (0.36 - eta * eta * 0.36f64).sqrt();
        let root = |lambda: f64| (eta * eta * 0.36 + 0.16 * lambda).sqrt();
        let noise = rows(&function(&gaussian.covariance, root), &z);
        let error = distance(&came, &(a * &x + noise));
        assert!(error < 0.03, "eta {eta}: {error}");
        // And on to the end.
        let noises: Vec<Tensor> = (0..3).map(|_| rng.tensor(&[3, 16])).collect();
        assert!(finite(&run(&gaussian, &options, &x, &[1.0, 0.999, 0.5, 0.0], &noises)));
    }
}

#[test]
fn a_flow_asks_for_d_at_the_schedules_levels_and_takes_j_below_pure_noise() {
    let gaussian = Gaussian::new(2, &power_law(16, 1.6, 0.25));
    let mut rng = Rng::new(63);
    let (x, z) = (rng.tensor(&[3, 16]), rng.tensor(&[3, 16]));
    for covariance in [Covariance::Lanczos, Covariance::Diagonal, Covariance::DiagonalLearned, Covariance::Isotropic] {
        let options = Options { process: Process::Flow, covariance, lanczos_steps: 2, ..*OPTIONS };
        // One unit of float32 above 1, as a shifted schedule has it, is 1.
        for first in [1.0, 1.0 + 1.2e-7] {
            let (asked, reports) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
            let mut host = TestHost::new(|x, sigma| {
                asked.borrow_mut().push(sigma);
                Ok(gaussian.denoised(Process::Flow, x, sigma))
            })
            .noise(|_, _| Ok(z.shallow_clone()))
            .diagonal(|x, _| Ok(x * 0.5))
            .watch(|progress| {
                reports.borrow_mut().push(progress.denoised.copy());
                Ok(())
            });
            let _ = sample(&mut host, &options, &x, &[first, 0.6, 0.0]).expect("no error");
            let asked = asked.borrow();
            assert_eq!(asked[0], 1.0, "{covariance:?}");
            let products = matches!(covariance, Covariance::Lanczos | Covariance::Diagonal);
            assert_eq!(asked.iter().any(|&sigma| sigma < 1.0 && sigma > 0.99), products, "{covariance:?}");
            // Of data without a mean: at pure noise D(x) = 0, just below it is not.
            assert_eq!(reports.borrow()[0].abs().max().double_value(&[]), 0.0, "{covariance:?}");
        }
    }
}

#[test]
fn a_rise_is_a_draw_of_the_forward_process_from_which_sampling_begins_anew() {
    let gaussian = Gaussian::new(5, &power_law(12, 1.0, 0.25));
    let mut rng = Rng::new(64);
    let x = 4.0 * rng.tensor(&[2, 12]);
    let noises: Vec<Tensor> = (0..8).map(|_| rng.tensor(&[2, 12])).collect();
    let secant = Options { solver: Solver::Secant, eta: 0.3, ..*OPTIONS };
    for process in [VE, Process::Flow] {
        let levels = [4.0, 2.0, 1.0, 3.0, 1.5, 0.5, 0.0].map(|ratio: f64| match process {
            VE => ratio,
            _ => ratio / (1.0 + ratio),
        });
        let scaled = &x * alpha(process, levels[0]);
        for options in [
            Options { lanczos_steps: 2, ..*OPTIONS },
            Options { covariance_min_sigma: 1e3, other_steps: OtherSteps::Multistep, eta: 0.5, ..*OPTIONS },
            Options { pure_noise: true, ..secant },
        ] {
            let options = Options { process, ..options };
            let came = run(&gaussian, &options, &scaled, &levels, &noises);
            let below = run(&gaussian, &options, &scaled, &levels[..3], &noises[..2]);
            let ratio = alpha(process, levels[3]) / alpha(process, levels[2]);
            let variance = levels[3].powi(2) - (ratio * levels[2]).powi(2);
            let above = ratio * below + variance.sqrt() * &noises[2];
            let again = Options { pure_noise: false, ..options };
            let expected = run(&gaussian, &again, &above, &levels[3..], &noises[3..]);
            assert!(relative_error(&came, &expected) < 1e-6, "{process:?} {options:?}");
        }
    }
}

#[test]
fn from_a_clean_picture_a_rise_adds_noise() {
    let gaussian = Gaussian::new(5, &power_law(12, 1.0, 0.25));
    let mut rng = Rng::new(65);
    let (x, z) = (rng.tensor(&[2, 12]), rng.tensor(&[2, 12]));
    let came = run(&gaussian, &OPTIONS, &x, &[0.0, 2.0, 2.0], std::slice::from_ref(&z));
    assert!(distance(&came, &(&x + 2.0 * &z)) < 1e-12);
    let isotropic = Options { covariance: Covariance::Isotropic, eta: 0.0, ..*OPTIONS };
    let came = run(&gaussian, &isotropic, &x, &[2.0, 0.0, 3.0, 0.0], std::slice::from_ref(&z));
    let clean = gaussian.denoised(VE, &x, 2.0);
    assert!(distance(&came, &gaussian.denoised(VE, &(clean + 3.0 * &z), 3.0)) < 1e-12);
}

#[test]
fn equal_levels_stand_still_and_one_to_zero_is_d() {
    let gaussian = Gaussian::new(3, &power_law(8, 1.0, 0.25));
    let mut rng = Rng::new(62);
    let x = rng.tensor(&[2, 8]);
    let none: [Tensor; 0] = [];
    assert!(distance(&run(&gaussian, &OPTIONS, &x, &[0.5, 0.5, 0.5], &none), &x) < 1e-14);
    let denoised = gaussian.denoised(VE, &x, 0.5);
    assert_eq!(distance(&run(&gaussian, &OPTIONS, &x, &[0.5, 0.0], &none), &denoised), 0.0);
}

#[test]
fn reports_show_x_and_d_of_their_step() {
    let gaussian = Gaussian::new(4, &power_law(8, 1.0, 0.25));
    for kind in [Kind::Double, Kind::Float, Kind::BFloat16] {
        let mut rng = Rng::new(63);
        let x = rng.tensor(&[2, 8]).to_kind(kind);
        let z = rng.tensor(&[2, 8]).to_kind(kind);
        let seen = RefCell::new(Vec::new());
        let mut host = TestHost::new(|x, sigma| Ok(gaussian.denoised(VE, x, sigma)))
            .noise(|_, _| Ok(z.shallow_clone()))
            .watch(|progress| {
                seen.borrow_mut().push((progress.sigma, progress.x.copy(), progress.denoised.copy()));
                Ok(())
            });
        let result = sample(&mut host, &OPTIONS, &x, &[2.0, 0.5, 0.0]).expect("no error");
        drop(host);
        let seen = seen.into_inner();
        assert_eq!(seen.len(), 2);
        assert_eq!(distance(&seen[0].1, &x), 0.0);
        for (sigma, x, denoised) in &seen {
            assert_eq!((x.kind(), denoised.kind()), (kind, kind));
            assert_eq!(distance(denoised, &gaussian.denoised(VE, x, *sigma)), 0.0);
        }
        assert_eq!((result.kind(), distance(&result, &seen[1].2)), (kind, 0.0));
    }
}

#[test]
fn nothing_is_recorded_for_gradients_and_nothing_of_the_caller_s_is_changed() {
    let weight = Tensor::from_slice(&[0.5f64]).set_requires_grad(true);
    let mut rng = Rng::new(64);
    let x = rng.tensor(&[2, 4]).set_requires_grad(true);
    let z = rng.tensor(&[2, 4]);
    let (x_before, z_before) = (x.detach().copy(), z.copy());
    let mut host = TestHost::new(|x: &Tensor, _| {
        let denoised = x * &weight;
        assert!(!denoised.requires_grad());
        Ok(denoised)
    })
    .noise(|_, _| Ok(z.shallow_clone()));
    let result = sample(&mut host, &OPTIONS, &x, &[1.0, 0.5, 0.0]).expect("no error");
    assert!(!result.requires_grad());
    assert_eq!(distance(&x.detach(), &x_before), 0.0);
    assert_eq!(distance(&z, &z_before), 0.0);
    assert!((&weight * 2.0).requires_grad(), "gradients are recorded again afterwards");
}
