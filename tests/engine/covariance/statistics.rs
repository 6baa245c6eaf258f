//! What a step reports of J and of its noise: Ritz values and the share of the covariance, against dense
//! linear algebra.

use crate::support::tensor::*;
use lgs_engine::{
    options::{Covariance, Options},
    process::Process,
    trajectory::sample,
};

use crate::support::{
    gaussian::{kernel, Gaussian},
    host::{Report, TestHost, OPTIONS},
    numbers::{power_law, rows, vec, Rng},
};

const VE: Process = Process::VarianceExploding;
const D: i64 = 24;
const BATCH: i64 = 3;

fn gaussian() -> Gaussian {
    Gaussian::new(1, &power_law(D as usize, 1.6, 0.25))
}

/// x and z.
fn start() -> (Tensor, Tensor) {
    let mut rng = Rng::new(2);
    (rng.tensor(&[BATCH, D]), rng.tensor(&[BATCH, D]))
}

/// The report of the one step t → s at x with the noise z.
fn report(options: &Options, t: f64, s: f64, x: &Tensor, z: &Tensor) -> Report {
    let gaussian = gaussian();
    let diagonal = gaussian.jacobian(options.process, t).diagonal(0, 0, 1);
    let mut host = TestHost::new(|x, sigma| Ok(gaussian.denoised(options.process, x, sigma)))
        .noise(|_, _| Ok(z.shallow_clone()))
        .diagonal(move |x, _| Ok(diagonal.expand_as(x).contiguous()));
    let _ = sample(&mut host, options, x, &[t, s]).expect("no error");
    host.reports.remove(0)
}

/// The eigenvalues of Qᵀ J Q, Q an orthonormal basis of z, J z, ..., for each item.
fn ritz_values(jacobian: &Tensor, z: &Tensor, steps: usize) -> Vec<f64> {
    let mut values = Vec::new();
    for item in 0..BATCH {
        let mut v = z.narrow(0, item, 1);
        let mut space = vec![v.shallow_clone()];
        for _ in 1..steps {
            v = rows(jacobian, &v);
            v = &v / v.norm();
            space.push(v.shallow_clone());
        }
        let (q, _) = Tensor::linalg_qr(&Tensor::cat(&space, 0).tr(), "reduced");
        values.extend(vec(&q.tr().matmul(jacobian).matmul(&q).linalg_eigvalsh("L")));
    }
    values
}

fn close(came: &[f64], expected: &[f64], bound: f64) {
    assert_eq!(came.len(), expected.len());
    for (came, expected) in came.iter().zip(expected) {
        assert!((came - expected).abs() <= bound, "expected {expected}, got {came}");
    }
}

#[test]
fn ritz_values_are_those_of_the_krylov_space() {
    let (x, z) = start();
    for (process, sigma) in [(VE, 3.0), (VE, 0.5), (Process::Flow, 0.6)] {
        let jacobian = gaussian().jacobian(process, sigma);
        for lanczos_steps in [1, 2, 3, 4] {
            let expected = ritz_values(&jacobian, &z, lanczos_steps as usize);
            for extended in [false, true] {
                let options = Options { process, lanczos_steps, extended, ..*OPTIONS };
                let came = report(&options, sigma, 0.4 * sigma, &x, &z).statistics.ritz_values;
                close(&came, &expected, 1e-7);
            }
        }
    }
    // All of them where K is the dimension.
    let options = Options { lanczos_steps: D as u32, ..*OPTIONS };
    let spectrum = vec(&gaussian().jacobian(VE, 0.5).linalg_eigvalsh("L"));
    close(&report(&options, 0.5, 0.2, &x, &z).statistics.ritz_values, &spectrum.repeat(BATCH as usize), 1e-6);
}

#[test]
fn ritz_values_below_zero_are_told() {
    let (x, z) = start();
    let mut host = TestHost::new(|x: &Tensor, _| Ok(x * -0.5)).noise(|_, _| Ok(z.shallow_clone()));
    let _ = sample(&mut host, &Options { lanczos_steps: 1, ..*OPTIONS }, &x, &[0.5, 0.2]).expect("no error");
    close(&host.reports[0].statistics.ritz_values, &[-0.5; BATCH as usize], 1e-8);
    // The noise has nothing of them.
    assert!(host.reports[0].statistics.covariance_share.expect("a share") < 1e-12);
}

#[test]
fn a_tolerance_leaves_the_ritz_values_of_the_products_made() {
    let (x, z) = start();
    let options = Options { tolerance: 1e-2, lanczos_steps: 12, ..*OPTIONS };
    let report = report(&options, 0.5, 0.2, &x, &z);
    assert!((2..12).contains(&report.jvps), "or nothing is tested: {}", report.jvps);
    close(&report.statistics.ritz_values, &ritz_values(&gaussian().jacobian(VE, 0.5), &z, report.jvps as usize), 1e-6);
}

fn mean_square(tensor: &Tensor) -> f64 {
    tensor.square().mean(Kind::Double).double_value(&[])
}

/// 1 − η² v ‖z‖² / ‖noise‖².
fn share(variance: f64, z: &Tensor, noise: &Tensor) -> f64 {
    1.0 - variance * mean_square(z) / mean_square(noise)
}

#[test]
fn the_share_is_that_of_the_noise_and_one_product_tells_it() {
    let (x, z) = start();
    let gaussian = gaussian();
    for (process, t, s, eta) in
        [(VE, 3.0, 0.5, 1.0), (VE, 0.5, 0.2, 0.5), (VE, 0.05, 0.02, 1.0), (Process::Flow, 0.6, 0.3, 1.0)]
    {
        let (_, _, v) = kernel(process, t, s, eta);
        // zᵀ Σ z has but one product in it.
        let noise = gaussian.noise(process, t, s, eta, &z);
        let (expected, variance) = (share(eta * eta * v, &z, &noise), mean_square(&noise));
        assert!((1e-4..0.999).contains(&expected), "or nothing is tested: {expected}");
        for lanczos_steps in [1, 3, D as u32] {
            for extended in [false, true] {
                let options = Options { process, eta, lanczos_steps, extended, ..*OPTIONS };
                let report = report(&options, t, s, &x, &z);
                assert!((report.statistics.noise_variance - variance).abs() < 1e-6 * variance);
                let came = report.statistics.covariance_share.expect("a share");
                assert!((came - expected).abs() < 1e-6, "{process:?} K {lanczos_steps}: {came}, expected {expected}");
            }
        }
    }
}

#[test]
fn the_share_of_every_other_covariance() {
    let (x, z) = start();
    let (t, s) = (1.0, 0.4);
    let (a, b, v) = kernel(VE, t, s, 0.7);
    let mean = a * &x + b * gaussian().denoised(VE, &x, t);
    for covariance in [
        Covariance::Isotropic,
        Covariance::IsotropicLarge,
        Covariance::IsotropicOptimal,
        Covariance::Diagonal,
        Covariance::DiagonalLearned,
        Covariance::Spectral,
    ] {
        let options = Options { covariance, eta: 0.7, ..*OPTIONS };
        let gaussian = gaussian();
        let diagonal = gaussian.jacobian(VE, t).diagonal(0, 0, 1);
        let mut host = TestHost::new(|x, sigma| Ok(gaussian.denoised(VE, x, sigma)))
            .noise(|_, _| Ok(z.shallow_clone()))
            .diagonal(move |x, _| Ok(diagonal.expand_as(x).contiguous()));
        let end = sample(&mut host, &options, &x, &[t, s]).expect("no error");
        let noise = end - &mean;
        let expected = share(0.49 * v, &z, &noise);
        let variance = host.reports[0].statistics.noise_variance;
        assert!((variance / mean_square(&noise) - 1.0).abs() < 1e-9, "{covariance:?}: {variance}");
        let came = host.reports[0].statistics.covariance_share.expect("a share");
        assert!((came - expected).abs() < 1e-9, "{covariance:?}: {came}, expected {expected}");
        assert_eq!(came > 1e-3, covariance != Covariance::Isotropic, "{covariance:?}: {came}");
        assert!(host.reports[0].statistics.ritz_values.is_empty());
    }
}

#[test]
fn all_of_the_noise_is_the_covariances_without_eta_and_none_without_noise() {
    let (x, z) = start();
    let without_eta = Options { eta: 0.0, ..*OPTIONS };
    assert_eq!(report(&without_eta, 0.5, 0.2, &x, &z).statistics.covariance_share, Some(1.0));
    for (options, next) in [
        (*OPTIONS, 0.0),
        (Options { s_noise: 0.0, ..*OPTIONS }, 0.2),
        (Options { covariance: Covariance::Isotropic, eta: 0.0, ..*OPTIONS }, 0.2),
    ] {
        let report = report(&options, 0.5, next, &x, &z);
        assert_eq!((report.statistics.covariance_share, report.statistics.noise_variance), (None, 0.0));
        assert!(report.statistics.ritz_values.is_empty());
    }
    // The factor on the noise changes nothing.
    let stronger = Options { s_noise: 3.0, ..*OPTIONS };
    let [one, three] =
        [*OPTIONS, stronger].map(|options| report(&options, 0.5, 0.2, &x, &z).statistics.covariance_share);
    assert_eq!(one, three);
}
