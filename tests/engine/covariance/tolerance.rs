//! A tolerance: it is kept, it saves products, and each item settles by itself.

use std::sync::LazyLock;

use crate::support::tensor::*;
use lgs_engine::{options::Options, process::Process, trajectory::sample};

use crate::support::{
    gaussian::{kernel, Gaussian},
    host::{Report, TestHost, OPTIONS},
    numbers::{distance, power_law, relative_errors, rows, vec, Rng},
};

const VE: Process = Process::VarianceExploding;
const D: usize = 64;
static EXHAUSTIVE: LazyLock<Options> = LazyLock::new(|| Options { lanczos_steps: D as u32, ..*OPTIONS });

/// What part of each item of x at σ' the noise is: ‖noise‖ / √(‖mean‖² + ‖noise‖²), as for orthogonal ones.
fn parts(gaussian: &Gaussian, options: &Options, t: f64, s: f64, x: &Tensor, noise: &Tensor) -> Vec<f64> {
    let (a, b, _) = kernel(VE, t, s, options.eta);
    let norms = |tensor: &Tensor| vec(&tensor.norm_scalaropt_dim(2.0, [1i64].as_slice(), false));
    let (mean, noise) = (norms(&(a * x + b * gaussian.denoised(VE, x, t))), norms(noise));
    noise.iter().zip(mean).map(|(noise, mean)| noise / noise.hypot(mean)).collect()
}

/// The noise of one step t → s at x, from the difference to its mean; and the report of the step.
fn noise(gaussian: &Gaussian, options: &Options, t: f64, s: f64, x: &Tensor, z: &Tensor) -> (Tensor, Report) {
    let mut host = TestHost::new(|x, sigma| Ok(gaussian.denoised(VE, x, sigma))).noise(|_, _| Ok(z.shallow_clone()));
    let result = sample(&mut host, options, x, &[t, s]).expect("no error");
    let (a, b, _) = kernel(VE, t, s, options.eta);
    (result - a * x - b * gaussian.denoised(VE, x, t), host.reports.remove(0))
}

#[test]
fn the_error_is_below_the_tolerance_and_products_are_saved() {
    for seed in 0..4 {
        let mut rng = Rng::new(seed);
        let power = rng.uniform(1.2, 2.0);
        let gaussian = Gaussian::new(seed, &power_law(D, power, 0.25));
        let x = rng.tensor(&[4, D as i64]);
        let z = rng.tensor(&[4, D as i64]);
        for (t, s) in [(10.0, 4.0), (0.5, 0.2), (0.1, 0.03)] {
            let expected = gaussian.noise(VE, t, s, 1.0, &z);
            let parts = parts(&gaussian, &EXHAUSTIVE, t, s, &x, &expected);
            let mut products = u64::MAX;
            for tolerance in [1e-5, 1e-3, 1e-2, 0.1] {
                for extended in [true, false] {
                    let options = Options { tolerance, extended, ..*EXHAUSTIVE };
                    let (came, report) = noise(&gaussian, &options, t, s, &x, &z);
                    let estimate = report.statistics.lanczos_error.expect("an estimate");
                    let least = parts.iter().copied().fold(f64::INFINITY, f64::min);
                    assert!(estimate * least <= 1.01 * tolerance, "seed {seed}: {estimate}");
                    // The estimate is of the plain answer, and near its error; the extended one is better.
                    let bound = if extended { tolerance } else { 1.5 * tolerance };
                    for (error, part) in relative_errors(&came, &expected).into_iter().zip(&parts) {
                        assert!(error * part <= bound, "seed {seed}, {t} → {s}, tolerance {tolerance}: {error}");
                    }
                    assert!(report.jvps <= products && report.jvps < D as u64 / 2);
                    products = report.jvps;
                }
            }
        }
    }
}

#[test]
fn items_settle_by_themselves() {
    // Vectors with more and more of the spectrum in them settle later and later: each with the answer
    // that it has alone, however long the others go on.
    let gaussian = Gaussian::new(5, &power_law(D, 1.6, 0.25));
    let mut rng = Rng::new(5);
    let vectors = gaussian.covariance.linalg_eigh("L").1;
    let weights: Vec<f64> = [0.02, 0.2, 0.6, 1.0]
        .iter()
        .flat_map(|decay: &f64| (0..D as i32).map(|k| decay.powi(D as i32 - 1 - k)))
        .collect();
    let spread = Tensor::from_slice(&weights).reshape([4, D as i64]) * rng.tensor(&[4, D as i64]);
    let z = rows(&vectors, &spread);
    let x = rng.tensor(&[4, D as i64]);
    for tolerance in [1e-4, 1e-3, 1e-2] {
        let options = Options { tolerance, ..*EXHAUSTIVE };
        let (together, report) = noise(&gaussian, &options, 0.5, 0.2, &x, &z);
        let exact = gaussian.noise(VE, 0.5, 0.2, 1.0, &z);
        let (mut products, mut errors) = (Vec::new(), Vec::new());
        for item in 0..4 {
            let of = |tensor: &Tensor| tensor.narrow(0, item, 1);
            let (alone, report) = noise(&gaussian, &options, 0.5, 0.2, &of(&x), &of(&z));
            let left = distance(&alone, &of(&exact));
            assert!(distance(&of(&together), &alone) < 1e-3 * left, "tolerance {tolerance}, item {item}");
            products.push(report.jvps);
            errors.push(report.statistics.lanczos_error.expect("an estimate"));
        }
        assert!(products[0] < products[3], "or nothing was tested: {products:?}");
        assert_eq!(Some(report.jvps), products.into_iter().max(), "the slowest item decides");
        let largest = errors.into_iter().fold(0.0, f64::max);
        assert!((report.statistics.lanczos_error.expect("an estimate") - largest).abs() < 1e-6);
    }
}

#[test]
fn no_tolerance_takes_all_steps_and_a_wide_one_takes_one() {
    let gaussian = Gaussian::new(6, &power_law(D, 1.6, 0.25));
    let mut rng = Rng::new(6);
    let (x, z) = (rng.tensor(&[2, D as i64]), rng.tensor(&[2, D as i64]));
    for (tolerance, lanczos_steps, products) in [(0.0, 5, 5), (1.0, 5, 1), (1e-12, 5, 5)] {
        let options = Options { tolerance, lanczos_steps, ..*OPTIONS };
        assert_eq!(noise(&gaussian, &options, 0.5, 0.2, &x, &z).1.jvps, products);
    }
}

#[test]
fn the_estimate_is_reported_with_or_without_a_tolerance() {
    let gaussian = Gaussian::new(7, &power_law(D, 1.6, 0.25));
    let mut rng = Rng::new(7);
    let (x, z) = (rng.tensor(&[3, D as i64]), rng.tensor(&[3, D as i64]));
    for lanczos_steps in 1..6 {
        let options = Options { lanczos_steps, extended: false, ..*OPTIONS };
        let (came, report) = noise(&gaussian, &options, 0.5, 0.2, &x, &z);
        let worst = relative_errors(&came, &gaussian.noise(VE, 0.5, 0.2, 1.0, &z)).into_iter().fold(0.0, f64::max);
        let estimate = report.statistics.lanczos_error.expect("an estimate");
        assert!((0.5..2.0).contains(&(estimate / worst)), "K {lanczos_steps}: {estimate}, true {worst}");
    }
}

#[test]
fn constant_and_identity_models_settle_at_once() {
    let mut rng = Rng::new(8);
    let (x, z) = (rng.tensor(&[2, 16]), rng.tensor(&[2, 16]));
    for scale in [0.0, 1.0] {
        for kind in [Kind::Double, Kind::Float] {
            let mut host = TestHost::new(|x: &Tensor, _| Ok(x * scale)).noise(|_, _| Ok(z.to_kind(kind)));
            let options = Options { tolerance: 1e-3, lanczos_steps: 16, ..*OPTIONS };
            let _ = sample(&mut host, &options, &x.to_kind(kind), &[0.5, 0.2]).expect("no error");
            assert_eq!(host.reports[0].jvps, 1);
        }
    }
}
