//! The principal components of the posterior, against dense eigenvectors.

use crate::support::tensor::*;
use lgs_engine::{
    covariance::principal_components::PrincipalComponents,
    error::Error,
    options::{Covariance, Options},
    pointwise::principal_components,
    process::Process,
};

use crate::support::{
    gaussian::{alpha, Gaussian},
    host::{message, says, TestHost, OPTIONS},
    numbers::{distance, identity, power_law, vec, Rng},
};

const VE: Process = Process::VarianceExploding;

/// λ of Cov[x_0 | x], falling, and its eigenvectors, as rows.
fn dense(gaussian: &Gaussian, process: Process, sigma: f64) -> (Vec<f64>, Tensor) {
    let (values, vectors) = gaussian.covariance.linalg_eigh("L");
    let alpha = alpha(process, sigma);
    let values =
        vec(&values.flip([0])).into_iter().map(|l| 1.0 / (1.0 / l + alpha * alpha / (sigma * sigma))).collect();
    (values, vectors.flip([1]).tr())
}

fn found(gaussian: &Gaussian, options: &Options, sigma: f64, x: &Tensor, z: &Tensor) -> (PrincipalComponents, usize) {
    let mut model = TestHost::new(|x, sigma| Ok(gaussian.denoised(options.process, x, sigma)));
    let found = principal_components(&mut model, options, x, sigma, z).expect("no error");
    (found, model.evaluations)
}

#[test]
fn all_of_the_spectrum_with_as_many_products_as_dimensions() {
    let d = 12;
    for (seed, process, sigma) in [(1, VE, 0.5), (2, VE, 3.0), (3, Process::Flow, 0.6)] {
        let gaussian = Gaussian::new(seed, &power_law(d, 1.0, 0.25));
        let mut rng = Rng::new(seed);
        let (x, z) = (rng.tensor(&[2, d as i64]), rng.tensor(&[2, d as i64]));
        let options = Options { process, lanczos_steps: d as u32, ..*OPTIONS };
        let (found, evaluations) = found(&gaussian, &options, sigma, &x, &z);
        let (values, vectors) = dense(&gaussian, process, sigma);
        assert_eq!(evaluations, 1 + d);
        assert!(distance(&found.denoised, &gaussian.denoised(process, &x, sigma)) < 1e-12);
        for item in 0..2 {
            assert!(distance(&found.variances.get(item), &Tensor::from_slice(&values)) < 1e-6);
            // Up to their signs.
            let overlaps = found.components.get(item).matmul(&vectors.tr()).abs();
            assert!(distance(&overlaps, &identity(d as i64)) < 1e-3, "seed {seed}");
        }
    }
}

#[test]
fn the_leading_ones_come_first_and_all_are_orthonormal() {
    let d = 200;
    let gaussian = Gaussian::new(4, &power_law(d, 1.6, 0.25));
    let mut rng = Rng::new(4);
    let (x, z) = (rng.tensor(&[2, d as i64]), rng.tensor(&[2, d as i64]));
    let (values, vectors) = dense(&gaussian, VE, 2.0);
    let options = Options { lanczos_steps: 12, ..*OPTIONS };
    let (found, _) = found(&gaussian, &options, 2.0, &x, &z);
    assert_eq!(found.components.size(), [2, 12, d as i64]);
    for item in 0..2 {
        let (variances, components) = (vec(&found.variances.get(item)), found.components.get(item));
        assert!(variances.windows(2).all(|pair| pair[0] >= pair[1]));
        assert!(distance(&components.matmul(&components.tr()), &identity(12)) < 1e-8);
        for k in 0..3i64 {
            assert!((variances[k as usize] / values[k as usize] - 1.0).abs() < 1e-3);
            assert!(components.get(k).dot(&vectors.get(k)).abs().double_value(&[]) > 0.99, "component {k}");
        }
        // Ritz values never leave the spectrum.
        assert!(variances[0] <= values[0] + 1e-6 && variances[11] >= values[d - 1] - 1e-6);
    }
}

#[test]
fn shapes_and_dtypes_are_those_of_x() {
    let mut rng = Rng::new(5);
    for kind in [Kind::Double, Kind::Float, Kind::BFloat16] {
        let (x, z) = (rng.tensor(&[3, 2, 4, 5]).to_kind(kind), rng.tensor(&[3, 2, 4, 5]).to_kind(kind));
        let mut model = TestHost::new(|x: &Tensor, _| Ok(x * 0.5));
        // Whatever the covariance, the Krylov space is asked for.
        let options = Options { lanczos_steps: 2, covariance: Covariance::Isotropic, ..*OPTIONS };
        let found = principal_components(&mut model, &options, &x, 0.5, &z).expect("no error");
        assert_eq!((found.denoised.size(), found.denoised.kind()), (x.size(), kind));
        assert_eq!((found.variances.size(), found.variances.kind()), (vec![3, 2], kind));
        assert_eq!((found.components.size(), found.components.kind()), (vec![3, 2, 2, 4, 5], kind));
    }
}

#[test]
fn where_nothing_is_left_to_find_all_is_still_finite() {
    // J = I / 2: one product finds all that z's Krylov space has, and what follows is rounding.
    let mut rng = Rng::new(6);
    let (x, z) = (rng.tensor(&[2, 6]), rng.tensor(&[2, 6]));
    let mut model = TestHost::new(|x: &Tensor, _| Ok(x * 0.5));
    let found = principal_components(&mut model, &OPTIONS, &x, 2.0, &z).expect("no error");
    for item in 0..2 {
        let lengths = vec(&found.components.get(item).norm_scalaropt_dim(2.0, [1i64].as_slice(), false));
        assert!((vec(&found.variances.get(item))[0] - 2.0).abs() < 1e-6);
        assert!(lengths.iter().all(|length| *length < 1e-6 || (length - 1.0).abs() < 1e-6), "{lengths:?}");
    }
}

#[test]
fn negative_variances_count_as_zero() {
    let mut rng = Rng::new(7);
    let (x, z) = (rng.tensor(&[2, 6]), rng.tensor(&[2, 6]));
    let mut model = TestHost::new(|x: &Tensor, _| Ok(x * -0.5));
    let found = principal_components(&mut model, &OPTIONS, &x, 2.0, &z).expect("no error");
    assert_eq!(vec(&found.variances), [0.0; 6]);
}

#[test]
fn what_cannot_be_used_is_named() {
    let mut rng = Rng::new(8);
    let (x, z) = (rng.tensor(&[2, 6]), rng.tensor(&[2, 6]));
    let ask = |options: &Options, x: &Tensor, sigma, z: &Tensor| {
        principal_components(&mut TestHost::new(|x: &Tensor, _| Ok(x * 0.5)), options, x, sigma, z)
    };
    for (outcome, words) in [
        (ask(&Options { lanczos_steps: 7, ..*OPTIONS }, &x, 0.5, &z), ["lanczos_steps", "1 to 6", "got 7"]),
        (ask(&OPTIONS, &x, -0.5, &z), ["sigma", "not negative", "-0.5"]),
        (ask(&Options { process: Process::Flow, ..*OPTIONS }, &x, 1.5, &z), ["at most 1", "flow", "1.5"]),
        (ask(&OPTIONS, &x, 0.5, &z.narrow(1, 0, 5)), ["z: ", "[2, 6]", "[2, 5]"]),
        (ask(&OPTIONS, &(&x * f64::NAN), 0.5, &z), ["x: ", "finite", "NaN"]),
    ] {
        says(&message(outcome), &words);
    }
    let mut calls = 0;
    let mut model = TestHost::new(|x: &Tensor, _| {
        calls += 1;
        Ok(if calls == 2 { x * f64::NAN } else { x * 0.5 })
    });
    let outcome = principal_components(&mut model, &OPTIONS, &x, 0.5, &z);
    assert!(matches!(outcome, Err(Error::Output(_))));
    says(&message(outcome), &["sigma 0.500000", "Jacobian-vector product", "NaN"]);
}
