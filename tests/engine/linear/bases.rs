//! Probed eigenvalues and the square roots made of them, against dense matrices and by hand.

use std::f64::consts::PI;

use crate::support::tensor::*;
use lgs_engine::{
    covariance::SquareRoot,
    error::Result,
    linear::bases::{eigenvalues, function as function_in_basis, Basis, Structure},
};

use crate::support::numbers::{distance, identity, power_law, relative_error, rows, vec, Rng};

const STRUCTURES: [Structure; 3] = [Structure::Isotropic, Structure::Pixels, Structure::Frequencies];

const SHAPES: [&[i64]; 10] = [
    &[3],
    &[3, 1],
    &[2, 24],
    &[2, 7, 5],
    &[2, 3, 16, 8],
    &[2, 1, 8, 8],
    &[1, 2, 13, 90],
    &[2, 4, 3, 16, 10],
    &[1, 2, 2, 3, 8, 4],
    &[2, 3, 1, 1],
];

/// λ as B sees it: the same J for each item, given by what it does to (batch, ...).
fn seen(structure: Structure, z: &Tensor, probes: usize, matvec: impl Fn(&Tensor) -> Tensor) -> (Basis, Tensor) {
    let basis = Basis::of(structure, z).expect("no error");
    let product = |v: &Tensor| -> Result<Tensor> { Ok(matvec(v)) };
    let eigenvalues = eigenvalues(product, &basis, z, probes).expect("no error");
    (basis, eigenvalues)
}

fn noise(structure: Structure, covariance: SquareRoot, z: &Tensor, matvec: impl Fn(&Tensor) -> Tensor) -> Tensor {
    let (basis, eigenvalues) = seen(structure, z, 1, matvec);
    function_in_basis(|theta| covariance.of(theta), &basis, &eigenvalues, z).expect("no error")
}

/// M x for each item of x (batch, ...).
fn applied(matrix: &Tensor, x: &Tensor) -> Tensor {
    rows(matrix, &x.reshape([x.size()[0], -1])).reshape(x.size())
}

#[test]
fn a_basis_is_orthogonal_for_every_shape() {
    let mut rng = Rng::new(1);
    for shape in SHAPES {
        let x = rng.tensor(shape);
        for structure in STRUCTURES {
            let basis = Basis::of(structure, &x).expect("no error");
            let y = basis.coefficients(&x).expect("no error");
            assert!(distance(&y.square().sum(Kind::Double), &x.square().sum(Kind::Double)) < 1e-10);
            assert_eq!(basis.vector(&y).expect("no error").size(), shape);
            assert!(distance(&basis.vector(&y).expect("no error"), &x) < 1e-13, "{structure:?} {shape:?}");
        }
    }
}

#[test]
fn a_jacobian_that_is_diagonal_in_the_basis_needs_one_probe() {
    let mut rng = Rng::new(2);
    let (s, c) = (0.3, 1.7);
    let covariance = SquareRoot { isotropic: s, factor: c };

    let z = rng.tensor(&[3, 2, 8, 8]);
    let scaled = noise(Structure::Isotropic, covariance, &z, |v| v * 0.6);
    assert!(distance(&scaled, &(&z * (s + c * 0.6).sqrt())) < 1e-12);

    let diagonal = rng.tensor(&[1, 2, 8, 8]).abs();
    let by_pixel = noise(Structure::Pixels, covariance, &z, |v| v * &diagonal);
    assert!(distance(&by_pixel, &(&z * (&diagonal * c + s).sqrt())) < 1e-12);

    // The projection on the mean of each tile: eigenvalue 1 at frequency 0, and 0 elsewhere.
    let z = rng.tensor(&[2, 3, 16, 8]);
    let means = |v: &Tensor| {
        let tiles = v.reshape([2, 3, 2, 8, 8]).mean_dim(&[3i64, 4][..], true, None::<Kind>);
        tiles.expand([2, 3, 2, 8, 8], false).reshape([2, 3, 16, 8])
    };
    let mean = means(&z);
    let of_tiles = noise(Structure::Frequencies, covariance, &z, means);
    let expected = (&z - &mean) * s.sqrt() + &mean * (s + c).sqrt();
    assert!(distance(&of_tiles, &expected) < 1e-12);
}

#[test]
fn frequencies_are_those_of_the_cosine_transform_and_octaves_are_means_of_them() {
    // Second differences of a row of eight with reflecting ends have the eigenvalues 2 − 2 cos(πk/8), and
    // the cosine transform (type II) for their eigenvectors.
    let laplacian = Tensor::from_slice(&[2.0f64; 8]).diag(0);
    for i in 0..7 {
        let _ = laplacian.get(i).get(i + 1).fill_(-1.0);
        let _ = laplacian.get(i + 1).get(i).fill_(-1.0);
    }
    for end in [0, 7] {
        let _ = laplacian.get(end).get(end).fill_(1.0);
    }
    let z = Rng::new(3).tensor(&[5, 8]);
    let (_, found) = seen(Structure::Frequencies, &z, 1, |v| applied(&laplacian, v));
    let exact: Vec<f64> = (0..8).map(|k| 2.0 - 2.0 * (PI * f64::from(k) / 8.0).cos()).collect();
    let mean = |range: std::ops::Range<usize>| exact[range.clone()].iter().sum::<f64>() / range.len() as f64;
    let octaves = [mean(0..1), mean(1..3), mean(1..3), mean(3..7), mean(3..7), mean(3..7), mean(3..7), mean(7..8)];
    for item in vec(&found).chunks(8) {
        for (value, expected) in item.iter().zip(octaves) {
            assert!((value - expected).abs() < 1e-12, "{item:?}");
        }
    }
}

#[test]
fn probes_are_unbiased() {
    // 4,096 items of the same J, each with coins of its own: their mean is the closed form, up to chance.
    let d = 16;
    let jacobian = Rng::new(4).symmetric(&power_law(d, 1.6, 0.25));
    let z = Rng::new(5).tensor(&[4096, 4, 4]);
    let diagonal = jacobian.diagonal(0, 0, 1);
    for structure in STRUCTURES {
        let (basis, found) = seen(structure, &z, 4, |v| applied(&jacobian, v));
        let found = found.reshape([4096, -1]);
        let mean = found.mean_dim(&[0i64][..], false, None::<Kind>);
        let stderr = found.std_dim(&[0i64][..], true, false) / 64.0;
        let expected = match structure {
            Structure::Isotropic => diagonal.mean(None::<Kind>).expand([d as i64], false),
            Structure::Pixels => diagonal.shallow_clone(),
            // The mean over octaves of diag(B J B^T), B from what it makes of the unit vectors. Tiles here are
            // rows of four: frequencies 0 | 2 | 4 and 6 half waves per eight pixels, octaves 0 | 1 | 2, 2.
            Structure::Frequencies => {
                let units = identity(d as i64).reshape([-1, 4, 4]);
                let b = Basis::of(structure, &units).expect("no error").coefficients(&units).expect("no error");
                let b = b.reshape([d as i64, d as i64]).tr();
                let spectrum = b.matmul(&jacobian).matmul(&b.tr()).diagonal(0, 0, 1).reshape([4, 4]);
                let high = spectrum.narrow(1, 2, 2).mean_dim(&[1i64][..], true, None::<Kind>);
                Tensor::cat(&[&spectrum.narrow(1, 0, 2), &high, &high], 1).reshape([-1])
            }
        };
        let standard = ((mean - &expected) / (stderr + 1e-12)).abs().max().double_value(&[]);
        // Of 16 deviations that are normal, one in 10^5 times is the largest beyond 5.
        assert!(standard < 5.0, "{structure:?}: off by {standard} standard errors");
        assert!(basis.vector(&basis.coefficients(&z).expect("no error")).is_ok());
    }
}

#[test]
fn many_probes_are_exact() {
    let d = 8;
    let jacobian = Rng::new(6).symmetric(&power_law(d, 0.4, 0.25));
    let (s, c) = (0.2, 0.9);
    let covariance = SquareRoot { isotropic: s, factor: c };
    let z = Rng::new(7).tensor(&[2, d as i64]);
    let diagonal = jacobian.diagonal(0, 0, 1);
    for (structure, variance) in
        [(Structure::Isotropic, diagonal.mean(None::<Kind>).expand([d as i64], false)), (Structure::Pixels, diagonal)]
    {
        let (basis, found) = seen(structure, &z, 100_000, |v| applied(&jacobian, v));
        let noise = function_in_basis(|theta| covariance.of(theta), &basis, &found, &z).expect("no error");
        let error = relative_error(&noise, &(&z * (variance * c + s).sqrt()));

        // The standard error of 100,000 probes of this matrix is about 2e-4.
        assert!(error < 1e-3, "{structure:?}: {error}");
    }
}

#[test]
fn an_items_coins_are_its_own_whatever_the_batch() {
    let jacobian = Rng::new(8).symmetric(&power_law(24, 1.6, 0.25));
    let z = Rng::new(9).tensor(&[4, 24]);
    let covariance = SquareRoot { isotropic: 0.1, factor: 1.0 };
    for structure in STRUCTURES {
        let all = noise(structure, covariance, &z, |v| applied(&jacobian, v));
        for item in 0..4 {
            let alone = noise(structure, covariance, &z.narrow(0, item, 1), |v| applied(&jacobian, v));
            assert!(distance(&alone, &all.narrow(0, item, 1)) < 1e-12, "{structure:?}");
        }
        let again = noise(structure, covariance, &z, |v| applied(&jacobian, v));
        assert_eq!(distance(&again, &all), 0.0, "the same noise, the same result");
    }
    // Other noise, other coins: the estimates differ, though J is the same.
    let (_, found) = seen(Structure::Pixels, &z, 1, |v| applied(&jacobian, v));
    assert!(distance(&found.narrow(0, 0, 1), &found.narrow(0, 1, 1)) > 1e-3);
}

#[test]
fn eigenvalues_below_zero_count_as_zero() {
    let z = Rng::new(10).tensor(&[2, 2, 8, 8]);
    for structure in STRUCTURES {
        let noise = noise(structure, SquareRoot { isotropic: 0.25, factor: 3.0 }, &z, |v| v * -1.0);
        assert!(distance(&noise, &(&z * 0.5)) < 1e-12, "{structure:?}");
    }
}

#[test]
fn in_float32_as_in_float64() {
    let z = Rng::new(11).tensor(&[2, 3, 8, 8]).to_kind(Kind::Float);
    let covariance = SquareRoot { isotropic: 0.3, factor: 1.7 };
    for structure in STRUCTURES {
        let single = noise(structure, covariance, &z, |v| v * 0.6);
        assert_eq!(single.kind(), Kind::Float);
        let double = noise(structure, covariance, &z.to_kind(Kind::Double), |v| v * 0.6);
        assert!(relative_error(&single, &double) < 1e-6, "{structure:?}");
    }
}
