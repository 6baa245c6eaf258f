//! Functions of a matrix that is known along a few directions, against dense ones.

use crate::support::tensor::*;
use lgs_engine::linear::low_rank::{departure, LowRank};

use crate::support::numbers::{distance, function, identity, rows, Rng};

#[test]
fn functions_are_those_of_the_dense_matrix() {
    let mut rng = Rng::new(1);
    for (d, rank) in [(1, 0), (1, 1), (6, 0), (6, 2), (6, 6), (40, 7)] {
        let basis = rng.orthogonal(d).narrow(1, 0, rank);
        let eigenvalues: Vec<f64> = (0..rank).map(|_| rng.uniform(0.0, 5.0)).collect();
        let (eigenvalues, rest) = (Tensor::from_slice(&eigenvalues), rng.uniform(0.1, 1.0));
        let around: Tensor = (identity(d) - basis.matmul(&basis.tr())) * rest;
        let dense = (&basis * &eigenvalues).matmul(&basis.tr()) + around;
        let v = rng.tensor(&[3, d]);
        let low_rank = LowRank { basis, eigenvalues, rest };
        let came = low_rank.function(|theta| Ok((theta + 0.5).sqrt()), &v).expect("no error");
        let expected = rows(&function(&dense, |theta| (theta + 0.5).sqrt()), &v);
        assert!(distance(&came, &expected) < 1e-12, "d {d}, rank {rank}");
        assert!(departure(&low_rank.basis).expect("no error") < 1e-13);
    }
}

#[test]
fn an_item_is_the_same_in_any_batch_to_the_last_bit() {
    let mut rng = Rng::new(2);
    let (d, rank) = (257, 33);
    let basis = rng.orthogonal(d).narrow(1, 0, rank).to_kind(Kind::Float);
    let eigenvalues = Tensor::ones([rank], (Kind::Double, Device::Cpu)) * 3.0;
    let low_rank = LowRank { basis, eigenvalues, rest: 0.1 };
    let v = rng.tensor(&[7, d]).to_kind(Kind::Float);
    let of = |v: &Tensor| low_rank.function(|theta| Ok(theta.sqrt()), v).expect("no error");
    let together = of(&v);
    assert_eq!(together.kind(), Kind::Float);
    for item in 0..7 {
        assert_eq!(distance(&of(&v.narrow(0, item, 1)), &together.narrow(0, item, 1)), 0.0);
    }
}

#[test]
fn a_basis_that_is_not_orthonormal_shows() {
    let basis = Rng::new(3).orthogonal(5).narrow(1, 0, 2);
    assert!((departure(&(&basis * 1.1)).expect("no error") - 0.21).abs() < 1e-12);
    assert!((departure(&Tensor::cat(&[&basis, &basis], 1)).expect("no error") - 1.0).abs() < 1e-12);
}
