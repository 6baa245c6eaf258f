//! Σ^{1/2} z of one reverse step against dense linear algebra, and a case by hand.

use crate::support::tensor::*;
use lgs_engine::{
    options::{Covariance, Options},
    pointwise::{jvp, reverse_noise},
    process::Process,
};

use crate::support::{
    gaussian::{kernel, Gaussian},
    host::{TestHost, OPTIONS},
    numbers::{distance, finite, function, power_law, relative_error, relative_errors, rows, vec, Rng},
};

const VE: Process = Process::VarianceExploding;

/// The noise on exact Gaussian data, and what it should be.
fn on_gaussian(
    seed: u64,
    eigenvalues: &[f64],
    batch: i64,
    options: &Options,
    sigma: f64,
    sigma_next: f64,
) -> (Tensor, Tensor) {
    let gaussian = Gaussian::new(seed, eigenvalues);
    let mut rng = Rng::new(1000 + seed);
    let (x, z) = (rng.tensor(&[batch, eigenvalues.len() as i64]), rng.tensor(&[batch, eigenvalues.len() as i64]));
    let mut model = TestHost::new(|x, sigma| Ok(gaussian.denoised(options.process, x, sigma)));
    let noise = reverse_noise(&mut model, options, &x, sigma, sigma_next, &z).expect("no error");
    (noise, gaussian.noise(options.process, sigma, sigma_next, options.eta, &z))
}

#[test]
fn as_many_steps_as_dimensions_are_exact() {
    for (seed, (d, process, sigma, sigma_next, eta)) in [
        (1, VE, 1.0, 0.3, 1.0),
        (2, VE, 0.5, 0.2, 0.5),
        (16, VE, 20.0, 3.0, 1.0),
        (16, VE, 0.05, 0.02, 0.0),
        (32, VE, 0.5, 0.2, 1.0),
        (32, VE, 0.5, 0.0, 1.0),
        (16, Process::Flow, 0.6, 0.4, 1.0),
        (16, Process::Flow, 0.99, 0.2, 0.0),
        (16, Process::Flow, 0.3, 0.0, 0.5),
    ]
    .into_iter()
    .enumerate()
    {
        for extended in [false, true] {
            let options = Options { process, eta, extended, lanczos_steps: d as u32, ..*OPTIONS };
            let spectrum = power_law(d, 1.6, 0.25);
            let (noise, expected) = on_gaussian(seed as u64, &spectrum, 3, &options, sigma, sigma_next);
            // What remains is the rounding of the finite difference.
            let error = relative_error(&noise, &expected);
            assert!(error < 1e-7, "case {seed}, extended {extended}: {error}");
        }
    }
}

#[test]
fn a_few_steps_come_as_close_as_they_should() {
    // d = 512, λ_k ∝ k^−1.6 of mean 0.25, mean over five z: the product's own requirement.
    for (process, sigma, sigma_next, bounds) in
        [(VE, 0.5, 0.2, [0.10, 0.010, 0.0022]), (Process::Flow, 0.6, 0.4, [0.09, 0.005, 0.001])]
    {
        for (steps, bound) in (1..).zip(bounds) {
            let options = Options { process, lanczos_steps: steps, ..*OPTIONS };
            let (noise, expected) = on_gaussian(7, &power_law(512, 1.6, 0.25), 5, &options, sigma, sigma_next);
            let errors = relative_errors(&noise, &expected);
            let mean = errors.iter().sum::<f64>() / 5.0;
            assert!(mean <= bound, "{process:?}, K {steps}: {mean}");
        }
    }
}

#[test]
fn one_number_by_hand() {
    // x_0 = ±1 with equal weight, variance exploding: D = tanh(x/σ²), Var[x_0 | x] = 1 − D². A batch of
    // numbers, each an item of one dimension, in shapes (batch,) and (batch, 1).
    let x = [-2.0, -0.3, 0.0, 0.1, 0.9, 1.7];
    let z = [0.5, -1.0, 2.0, -0.1, 1.0, 1.0];
    for shape in [&[6][..], &[6, 1]] {
        for (sigma, sigma_next, eta) in [(0.8, 0.5, 1.0), (0.8, 0.5, 0.0), (1.5, 0.1, 0.5), (0.7, 0.0, 1.0)] {
            let options = Options { eta, lanczos_steps: 1, ..*OPTIONS };
            let mut model = TestHost::new(|x: &Tensor, sigma| Ok((x / (sigma * sigma)).tanh()));
            let [x_t, z_t] = [x, z].map(|numbers| Tensor::from_slice(&numbers).reshape(shape));
            let noise = reverse_noise(&mut model, &options, &x_t, sigma, sigma_next, &z_t).expect("no error");
            assert_eq!(noise.size(), shape);
            let (_, b, v) = kernel(VE, sigma, sigma_next, eta);
            for (i, came) in vec(&noise).into_iter().enumerate() {
                let denoised = (x[i] / (sigma * sigma)).tanh();
                let expected = (eta * eta * v + b * b * (1.0 - denoised * denoised)).sqrt() * z[i];
                assert!((came - expected).abs() < 1e-4, "x {}: {came}, expected {expected}", x[i]);
            }
        }
    }
}

#[test]
fn items_of_a_batch_are_independent() {
    let gaussian = Gaussian::new(3, &power_law(40, 1.6, 0.25));
    let mut rng = Rng::new(4);
    let z = rng.tensor(&[5, 40]) * Tensor::from_slice(&[1.0, 1e-4, 1e4, 0.0, 1.0]).unsqueeze(1);
    let x = rng.tensor(&[5, 40]) * Tensor::from_slice(&[1.0, 30.0, 0.0, 1.0, 1e-3]).unsqueeze(1);
    for steps in [1, 2, 5] {
        let options = Options { lanczos_steps: steps, ..*OPTIONS };
        let noise = |x: &Tensor, z: &Tensor| {
            let mut model = TestHost::new(|x, sigma| Ok(gaussian.denoised(VE, x, sigma)));
            reverse_noise(&mut model, &options, x, 0.5, 0.2, z).expect("no error")
        };
        let together = noise(&x, &z);
        assert!(finite(&together));
        for item in 0..5 {
            let [x, z, came] = [&x, &z, &together].map(|tensor| tensor.narrow(0, item, 1));
            let scale = z.abs().max().double_value(&[]) + 1e-300;
            assert!(distance(&came, &noise(&x, &z)) < 1e-8 * scale, "K {steps}, item {item}");
        }
    }
}

#[test]
fn jacobians_on_which_the_recursion_ends_are_exact() {
    let mut rng = Rng::new(5);
    let (x, z) = (rng.tensor(&[2, 20]), rng.tensor(&[2, 20]));
    let mut spectrum = vec![0.0; 20];
    spectrum[..2].copy_from_slice(&[0.7, 0.2]);
    let rank_2 = rng.symmetric(&spectrum);
    let (_, b, v) = kernel(VE, 0.5, 0.2, 1.0);
    // (J, the same as a dense square root of Σ on z).
    let root = |theta: f64| (v + b * b * 0.25 * theta).sqrt();
    let dense = rows(&function(&rank_2, root), &z);
    for steps in [3, 4, 20] {
        let options = Options { lanczos_steps: steps, ..*OPTIONS };
        type Model<'f> = Box<dyn Fn(&Tensor) -> Tensor + 'f>;
        let models: [(Model<'_>, Tensor); 3] = [
            (Box::new(|x| x.zeros_like() + 0.5), &z * root(0.0)),
            (Box::new(|x| x.shallow_clone()), &z * root(1.0)),
            (Box::new(|x| rows(&rank_2, x)), dense.shallow_clone()),
        ];
        for (i, (model, expected)) in models.iter().enumerate() {
            let mut host = TestHost::new(|x: &Tensor, _| Ok(model(x)));
            let noise = reverse_noise(&mut host, &options, &x, 0.5, 0.2, &z).expect("no error");
            assert!(relative_error(&noise, expected) < 1e-8, "model {i}, K {steps}");
        }
    }
}

#[test]
fn a_jacobian_with_negative_eigenvalues_keeps_the_isotropic_part() {
    let mut rng = Rng::new(6);
    let matrix = rng.symmetric(&[-2.0, -0.5, 0.1, 0.4, 0.9, 1.2]);
    let (x, z) = (rng.tensor(&[2, 6]), rng.tensor(&[2, 6]));
    let mut model = TestHost::new(|x: &Tensor, _| Ok(rows(&matrix, x)));
    let options = Options { lanczos_steps: 6, ..*OPTIONS };
    let noise = reverse_noise(&mut model, &options, &x, 0.5, 0.2, &z).expect("no error");
    let (_, b, v) = kernel(VE, 0.5, 0.2, 1.0);
    let expected = rows(&function(&matrix, |theta| (v + b * b * 0.25 * theta.max(0.0)).sqrt()), &z);
    assert!(relative_error(&noise, &expected) < 1e-7);
}

#[test]
fn a_flow_at_pure_noise_has_the_prior_s_covariance() {
    let spectrum = power_law(24, 1.6, 0.25);
    let gaussian = Gaussian::new(8, &spectrum);
    let mut rng = Rng::new(8);
    let (x, z) = (rng.tensor(&[3, 24]), rng.tensor(&[3, 24]));
    for eta in [0.0, 0.5, 1.0] {
        let options = Options { process: Process::Flow, eta, lanczos_steps: 24, ..*OPTIONS };
        let mut model = TestHost::new(|x, sigma| Ok(gaussian.denoised(Process::Flow, x, sigma)));
        let noise = reverse_noise(&mut model, &options, &x, 1.0, 0.7, &z).expect("no error");
        let b: f64 = 0.3;
        let root = |lambda: f64| (eta * eta * 0.49 + b * b * lambda).sqrt();
        let expected = rows(&function(&gaussian.covariance, root), &z);
        let error = relative_error(&noise, &expected);
        assert!(error < 1e-3, "eta {eta}: {error}");
    }
}

#[test]
fn isotropic_is_v_and_asks_the_model_nothing() {
    let mut rng = Rng::new(9);
    let (x, z) = (rng.tensor(&[2, 5]), rng.tensor(&[2, 5]));
    for eta in [0.0, 0.5, 1.0] {
        let options = Options { covariance: Covariance::Isotropic, eta, ..*OPTIONS };
        let mut model = TestHost::new(|x: &Tensor, _| Ok(x.shallow_clone()));
        let noise = reverse_noise(&mut model, &options, &x, 0.5, 0.2, &z).expect("no error");
        let (_, _, v) = kernel(VE, 0.5, 0.2, eta);
        assert!(distance(&noise, &(&z * eta * v.sqrt())) < 1e-14);
        assert_eq!(model.evaluations, 0);
    }
}

#[test]
fn every_dtype_and_any_number_of_axes() {
    let gaussian = Gaussian::new(10, &power_law(24, 1.6, 0.25));
    let mut rng = Rng::new(10);
    for shape in [&[2, 24][..], &[2, 2, 3, 4], &[2, 3, 2, 2, 2]] {
        for (kind, bound) in [(Kind::Double, 1e-7), (Kind::Float, 1e-2), (Kind::Half, 0.1), (Kind::BFloat16, 0.2)] {
            let (x, z) = (rng.tensor(shape).to_kind(kind), rng.tensor(shape).to_kind(kind));
            let options = Options { lanczos_steps: if kind == Kind::Double { 24 } else { 4 }, ..*OPTIONS };
            let mut model =
                TestHost::new(|x, sigma| Ok(gaussian.denoised(VE, &x.reshape([2, 24]), sigma).reshape(shape)));
            let noise = reverse_noise(&mut model, &options, &x, 0.5, 0.2, &z).expect("no error");
            assert_eq!((noise.kind(), noise.size()), (kind, shape.to_vec()));
            let expected = gaussian.noise(VE, 0.5, 0.2, 1.0, &z.to_kind(Kind::Double).reshape([2, 24]));
            let error = relative_error(&noise, &expected.reshape(shape));
            assert!(error < bound, "{kind:?}, {shape:?}: {error}");
        }
    }
}

#[test]
fn jvp_gives_d_and_j_v() {
    for process in [VE, Process::Flow] {
        let gaussian = Gaussian::new(11, &power_law(30, 1.0, 0.25));
        let mut rng = Rng::new(11);
        let (x, v) = (rng.tensor(&[3, 30]), rng.tensor(&[3, 30]));
        let mut model = TestHost::new(|x, sigma| Ok(gaussian.denoised(process, x, sigma)));
        let (denoised, product) = jvp(&mut model, &Options { process, ..*OPTIONS }, &x, 0.4, &v).expect("no error");
        assert!(distance(&denoised, &gaussian.denoised(process, &x, 0.4)) < 1e-14);
        assert!(relative_error(&product, &rows(&gaussian.jacobian(process, 0.4), &v)) < 1e-8);
        assert_eq!(model.evaluations, 2);
    }
}
