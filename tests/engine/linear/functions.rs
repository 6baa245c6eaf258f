//! Σ^{1/2} z from a Krylov space, against dense square roots and small ones by hand.

use crate::support::tensor::*;
use lgs_engine::{
    covariance::SquareRoot,
    linear::functions::{Coefficients, Projected},
    linear::{lanczos, Krylov},
};

use crate::support::numbers::{
    distance, finite, function, identity, power_law, relative_error, relative_errors, rows, vec, Rng,
};

fn krylov(matrix: &Tensor, z: &Tensor, steps: usize) -> Krylov {
    lanczos(|v, _| Ok(rows(matrix, v)), z, steps, |_| Ok(false)).expect("no error")
}

fn coefficients(krylov: &Krylov, covariance: SquareRoot, extended: bool) -> Coefficients {
    let (t, _) = Projected::fetch(krylov, &krylov.norm).expect("no error");
    t.function(|theta| covariance.of(theta), extended).expect("no error")
}

fn square_root(matrix: &Tensor, z: &Tensor, steps: usize, covariance: SquareRoot, extended: bool) -> Tensor {
    let krylov = krylov(matrix, z, steps);
    coefficients(&krylov, covariance, extended).combine(&krylov).expect("no error")
}

/// (s I + c J₊)^{1/2} z, J₊ the part of J with eigenvalues above zero.
fn dense(matrix: &Tensor, z: &Tensor, covariance: SquareRoot) -> Tensor {
    rows(&function(matrix, |theta| (covariance.isotropic + covariance.factor * theta.max(0.0)).sqrt()), z)
}

/// Pairs (s, c) as steps have them: none of both, one of both, and of different sizes.
const COVARIANCES: [SquareRoot; 5] = [
    SquareRoot { isotropic: 0.04, factor: 0.25 },
    SquareRoot { isotropic: 0.0, factor: 1.0 },
    SquareRoot { isotropic: 1.0, factor: 0.0 },
    SquareRoot { isotropic: 1e-6, factor: 400.0 },
    SquareRoot { isotropic: 0.0, factor: 0.0 },
];

#[test]
fn all_steps_are_exact() {
    let mut rng = Rng::new(1);
    for d in [1usize, 2, 6, 32] {
        for covariance in COVARIANCES {
            // Also with negative eigenvalues, which are taken for zero.
            for low in [0.05, -0.5] {
                let spectrum: Vec<f64> = (0..d).map(|_| rng.uniform(low, 1.0)).collect();
                let (matrix, z) = (rng.symmetric(&spectrum), rng.tensor(&[2, d as i64]));
                let reference = dense(&matrix, &z, covariance);
                for extended in [false, true] {
                    let value = square_root(&matrix, &z, d, covariance, extended);
                    let scale = 1.0 + covariance.factor.sqrt();
                    assert!(distance(&value, &reference) < 1e-10 * scale, "d {d}, {covariance:?}, extended {extended}");
                }
            }
        }
    }
}

#[test]
fn more_steps_are_better_and_the_free_vector_is_nearly_one_more() {
    for seed in 0..4 {
        let mut rng = Rng::new(10 + seed);
        let d = 256;
        let matrix = rng.symmetric(&power_law(d, 1.6, 0.25));
        let matrix = function(&matrix, |lambda| lambda / (lambda + 0.25));
        let z = rng.tensor(&[4, d as i64]);
        let covariance = SquareRoot { isotropic: 0.0336, factor: 0.1764 };
        let reference = dense(&matrix, &z, covariance);
        let error =
            |steps, extended| relative_error(&square_root(&matrix, &z, steps, covariance, extended), &reference);
        for steps in 1..8 {
            let (plain, extended) = (error(steps, false), error(steps, true));
            assert!(error(steps + 1, false) < 0.6 * plain, "K {steps}");
            assert!(extended < 0.6 * plain, "K {steps}: {extended}, plain {plain}");
            assert!(extended < 3.0 * error(steps + 1, false), "K {steps}: {extended}");
        }
        assert!(error(16, true) < 1e-7);
    }
}

/// A step of a random Gaussian problem: J, z and Σ; often of few directions above the noise.
fn problem(seed: u64) -> (Tensor, Tensor, SquareRoot) {
    let mut rng = Rng::new(100 + seed);
    let d = 128;
    let (power, level) = (rng.uniform(1.0, 2.0), 10f64.powf(rng.uniform(-1.5, 1.5)));
    let matrix = function(&rng.symmetric(&power_law(d, power, 0.25)), |lambda| lambda / (lambda + level * level));
    let next = rng.uniform(0.05, 0.9);
    let (square, gain) = (level * level, 1.0 - next * next);
    let covariance = SquareRoot { isotropic: next * next * gain * square, factor: gain * gain * square };
    (matrix, rng.tensor(&[4, d as i64]), covariance)
}

#[test]
fn the_extended_answer_is_the_better_one() {
    // Also where the plain one is nearly exact by luck: the guess of a_{K+1} keeps T_{K+1} ⪰ 0.
    let mut gains = Vec::new();
    for seed in 0..40 {
        let (matrix, z, covariance) = problem(seed);
        let reference = dense(&matrix, &z, covariance);
        for steps in 1..6 {
            let krylov = krylov(&matrix, &z, steps);
            let [plain, extended] = [false, true].map(|extended| {
                let value = coefficients(&krylov, covariance, extended).combine(&krylov).expect("no error");
                relative_errors(&value, &reference)
            });
            for (plain, extended) in plain.into_iter().zip(extended) {
                // Below that there is only rounding.
                if plain > 1e-10 {
                    assert!(extended < plain, "seed {seed}, K {steps}: {extended}, plain {plain}");
                    gains.push((steps, plain / extended));
                }
            }
        }
    }
    for steps in 1..6 {
        let of_steps: Vec<f64> = gains.iter().filter(|gain| gain.0 == steps).map(|gain| gain.1.ln()).collect();
        let mean = (of_steps.iter().sum::<f64>() / of_steps.len() as f64).exp();
        assert!(mean > if steps == 1 { 10.0 } else { 3.0 }, "K {steps}: {mean} times better");
    }
}

#[test]
fn the_estimate_tells_the_error_of_the_plain_answer() {
    for seed in 0..20 {
        let (matrix, z, covariance) = problem(seed);
        let reference = dense(&matrix, &z, covariance);
        for steps in 1..6 {
            let krylov = krylov(&matrix, &z, steps);
            let [plain, extended] = [false, true].map(|extended| coefficients(&krylov, covariance, extended));
            assert_eq!(plain.error, extended.error, "one estimate for both");
            let errors = |c: &Coefficients| relative_errors(&c.combine(&krylov).expect("no error"), &reference);
            let (plain_errors, extended_errors) = (errors(&plain), errors(&extended));
            for (item, &estimate) in plain.error.iter().enumerate() {
                if plain_errors[item] > 1e-10 {
                    let ratio = estimate / plain_errors[item];
                    assert!((0.3..3.0).contains(&ratio), "seed {seed}, K {steps}: {ratio}");
                    // It is no bound: where the spectrum falls slowly it can be half of what is left.
                    assert!(extended_errors[item] < 3.0 * estimate, "seed {seed}, K {steps}, extended");
                }
            }
        }
    }
}

#[test]
fn spaces_that_end_early_are_exact() {
    let mut rng = Rng::new(30);
    let d = 10;
    let mut rank_2 = vec![0.0; d];
    rank_2[..2].copy_from_slice(&[0.9, 0.3]);
    for (matrix, needed) in [
        (Tensor::zeros([d as i64, d as i64], (Kind::Double, Device::Cpu)), 1),
        (identity(d as i64), 1),
        (rng.symmetric(&rank_2), 3),
    ] {
        let z = rng.tensor(&[3, d as i64]);
        for covariance in COVARIANCES {
            for steps in [needed, needed + 1, 7] {
                for extended in [false, true] {
                    let krylov = krylov(&matrix, &z, steps);
                    let coefficients = coefficients(&krylov, covariance, extended);
                    let value = coefficients.combine(&krylov).expect("no error");
                    let reference = dense(&matrix, &z, covariance);
                    assert!(distance(&value, &reference) < 1e-7 * (1.0 + reference.abs().max().double_value(&[])));
                    assert!(coefficients.error.iter().all(|error| *error < 1e-6), "{:?}", coefficients.error);
                }
            }
        }
    }
}

#[test]
fn z_of_zero_gives_zero() {
    let matrix = Rng::new(31).symmetric(&power_law(6, 1.0, 0.25));
    let z = Tensor::zeros([2, 6], (Kind::Double, Device::Cpu));
    let value = square_root(&matrix, &z, 3, COVARIANCES[0], true);
    assert!(finite(&value) && vec(&value).iter().all(|&number| number == 0.0));
}

#[test]
fn one_and_two_rows_by_hand() {
    // f(T) e_1 for T = [a] is sqrt(s + c a); for two rows, sqrt(M) = (M + √det M I) / sqrt(tr M + 2 √det M).
    let t = Projected { batch: 1, steps: 2, norm: vec![1.0], a: vec![0.8, 0.5], b: vec![0.2, 0.1] };
    let covariance = SquareRoot { isotropic: 0.1, factor: 2.0 };
    let (m11, m12, m22): (f64, f64, f64) = (0.1 + 2.0 * 0.8, 2.0 * 0.2, 0.1 + 2.0 * 0.5);
    let root = (m11 * m22 - m12 * m12).sqrt();
    let divisor = (m11 + m22 + 2.0 * root).sqrt();
    let plain = t.function(|theta| covariance.of(theta), false).expect("no error");
    let expected = Tensor::from_slice(&[(m11 + root) / divisor, m12 / divisor, 0.0]);
    assert!(distance(&plain.values, &expected.unsqueeze(0)) < 1e-14);

    // Extended, one row becomes two: the second has a_1 again where that is enough, and b_1 beside.
    let t = Projected { batch: 1, steps: 1, norm: vec![1.0], a: vec![0.8], b: vec![0.2] };
    let plain = t.function(|theta| covariance.of(theta), false).expect("no error");
    assert!(distance(&plain.values, &Tensor::from_slice(&[m11.sqrt(), 0.0]).unsqueeze(0)) < 1e-14);
    let extended = t.function(|theta| covariance.of(theta), true).expect("no error");
    let root = (m11 * m11 - m12 * m12).sqrt();
    let divisor = (2.0 * m11 + 2.0 * root).sqrt();
    let expected = [(m11 + root) / divisor, m12 / divisor];
    assert!(distance(&extended.values, &Tensor::from_slice(&expected).unsqueeze(0)) < 1e-14);
    // The estimate is the distance of the two over the length of the larger one.
    let estimate = (expected[0] - m11.sqrt()).hypot(expected[1]) / expected[0].hypot(expected[1]);
    assert!((extended.error[0] - estimate).abs() < 1e-14);

    // Where a_1 is too little for a matrix ⪰ 0, it is b_1² / a_1: T = [0.2 0.5; 0.5 1.25], of determinant 0.
    let t = Projected { batch: 1, steps: 1, norm: vec![1.0], a: vec![0.2], b: vec![0.5] };
    let (m11, m12, m22): (f64, f64, f64) = (0.1 + 2.0 * 0.2, 2.0 * 0.5, 0.1 + 2.0 * 1.25);
    let root = (m11 * m22 - m12 * m12).sqrt();
    let divisor = (m11 + m22 + 2.0 * root).sqrt();
    let radau = t.function(|theta| covariance.of(theta), true).expect("no error");
    assert!(
        distance(&radau.values, &Tensor::from_slice(&[(m11 + root) / divisor, m12 / divisor]).unsqueeze(0)) < 1e-14
    );
}

#[test]
fn fetch_keeps_items_and_steps_apart() {
    let of = |numbers: [f32; 2]| Tensor::from_slice(&numbers);
    let krylov = Krylov {
        basis: Tensor::zeros([2, 3, 4], (Kind::Float, Device::Cpu)),
        norm: of([5.0, 6.0]),
        a: vec![of([1.0, 10.0]), of([2.0, 20.0])],
        b: vec![of([3.0, 30.0]), of([4.0, 40.0])],
    };
    let (t, also) = Projected::fetch(&krylov, &of([7.0, 8.0])).expect("no error");
    assert_eq!((t.batch, t.steps), (2, 2));
    assert_eq!(t.a, [1.0, 2.0, 10.0, 20.0]);
    assert_eq!(t.b, [3.0, 4.0, 30.0, 40.0]);
    assert_eq!((t.norm, also), (vec![5.0, 6.0], vec![7.0, 8.0]));
}

#[test]
fn numbers_that_are_not_finite_are_told() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let good = Projected { batch: 1, steps: 1, norm: vec![1.0], a: vec![1.0], b: vec![0.0] };
        assert!(good.is_finite());
        assert!(!Projected { a: vec![bad], ..good }.is_finite());
        assert!(!Projected { batch: 1, steps: 1, norm: vec![1.0], a: vec![1.0], b: vec![bad] }.is_finite());
    }
}

#[test]
fn an_item_can_keep_what_fewer_steps_gave_it() {
    let mut rng = Rng::new(40);
    let matrix = rng.symmetric(&power_law(20, 1.6, 0.25));
    let z = rng.tensor(&[3, 20]);
    let (short, long) = (krylov(&matrix, &z, 2), krylov(&matrix, &z, 5));
    let earlier = coefficients(&short, COVARIANCES[0], true);
    let mut kept = coefficients(&long, COVARIANCES[0], true);
    let later = coefficients(&long, COVARIANCES[0], true);
    kept.keep(&[false, true, false], &earlier).expect("no error");
    assert_eq!(kept.error, [later.error[0], earlier.error[1], later.error[2]]);
    let value = kept.combine(&long).expect("no error");
    let [few, many] = [(&earlier, &short), (&later, &long)].map(|(c, krylov)| c.combine(krylov).expect("no error"));
    for (item, expected) in [(0, &many), (1, &few), (2, &many)] {
        assert!(distance(&value.get(item), &expected.get(item)) < 1e-14);
    }
    assert!(distance(&few.get(1), &many.get(1)) > 1e-9, "or nothing was tested");
    assert_eq!(kept.largest_error().expect("an item"), kept.error.iter().copied().fold(0.0, f64::max));
}

#[test]
fn float32_vectors_with_float64_coefficients() {
    let mut rng = Rng::new(41);
    let matrix = rng.symmetric(&power_law(64, 1.6, 0.25));
    let z = rng.tensor(&[2, 64]);
    let value = square_root(&matrix.to_kind(Kind::Float), &z.to_kind(Kind::Float), 24, COVARIANCES[0], true);
    assert_eq!(value.kind(), Kind::Float);
    assert!(relative_error(&value, &dense(&matrix, &z, COVARIANCES[0])) < 1e-5);
}
