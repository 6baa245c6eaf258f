//! The Krylov space: what defines it, what happens where it ends, and what rounding does to it.

use crate::support::tensor::*;
use lgs_engine::{
    error::{Error, Result},
    linear::{lanczos, Krylov},
};

use crate::support::numbers::{
    distance, finite, function, identity, number, power_law, relative_error, rows, vec, Rng,
};

/// K steps on one matrix for all items.
fn krylov(matrix: &Tensor, z: &Tensor, steps: usize) -> Krylov {
    lanczos(|v, _| Ok(rows(matrix, v)), z, steps, |_| Ok(false)).expect("no error")
}

/// T of an item, (K, K).
fn t(krylov: &Krylov, item: i64) -> Tensor {
    let k = krylov.steps() as i64;
    let t = Tensor::zeros([k, k], (Kind::Double, Device::Cpu));
    for i in 0..k {
        let put = |row: i64, column: i64, value: &Tensor| t.get(row).get(column).copy_(&value.get(item));
        put(i, i, &krylov.a[i as usize]);
        if i + 1 < k {
            put(i, i + 1, &krylov.b[i as usize]);
            put(i + 1, i, &krylov.b[i as usize]);
        }
    }
    t
}

/// The largest entry of V Vᵀ − I for an item.
fn departure(krylov: &Krylov, item: i64, vectors: i64) -> f64 {
    let v = krylov.basis.get(item).narrow(0, 0, vectors).to_kind(Kind::Double);
    distance(&v.matmul(&v.tr()), &identity(vectors))
}

#[test]
fn the_basis_is_orthonormal_and_the_matrix_in_it_tridiagonal() {
    let mut rng = Rng::new(1);
    for (d, steps) in [(1, 1), (2, 1), (5, 3), (24, 24), (40, 12), (300, 20)] {
        for power in [0.0, 1.0, 3.0] {
            let spectrum: Vec<f64> =
                power_law(d, power, 1.0).into_iter().map(|value| value * rng.uniform(0.5, 1.5)).collect();
            let matrix = rng.symmetric(&spectrum);
            let z = rng.tensor(&[3, d as i64]);
            let krylov = krylov(&matrix, &z, steps);
            assert_eq!(krylov.steps(), steps);
            assert_eq!(krylov.basis.size(), [3, steps as i64 + 1, d as i64]);
            assert_eq!((krylov.a.len(), krylov.b.len()), (steps, steps));
            let scale = number(&matrix.abs().max());
            for item in 0..3 {
                let what = format!("d {d}, K {steps}, power {power}, item {item}");
                let vectors = if d > steps { steps + 1 } else { steps } as i64;
                assert!(departure(&krylov, item, vectors) < 1e-12, "{what}");
                let v = krylov.basis.get(item).narrow(0, 0, steps as i64);
                let projected = v.matmul(&matrix).matmul(&v.tr());
                assert!(distance(&projected, &t(&krylov, item)) < 1e-12 * (1.0 + scale), "{what}");
                assert!(relative_error(&v.narrow(0, 0, 1), &(z.get(item) / z.get(item).norm()).unsqueeze(0)) < 1e-14);
            }
        }
    }
}

#[test]
fn the_recurrence_holds_up_to_the_free_vector() {
    let mut rng = Rng::new(2);
    let (d, steps) = (60, 9);
    let matrix = rng.symmetric(&power_law(d, 1.6, 0.25));
    let krylov = krylov(&matrix, &rng.tensor(&[2, d as i64]), steps);
    for item in 0..2 {
        let v = |k: usize| krylov.basis.get(item).get(k as i64);
        let of = |numbers: &[Tensor], k: usize| number(&numbers[k].get(item));
        for k in 0..steps {
            // J v_k = b_{k−1} v_{k−1} + a_k v_k + b_k v_{k+1}.
            let mut sum = of(&krylov.a, k) * v(k) + of(&krylov.b, k) * v(k + 1);
            if k > 0 {
                sum += of(&krylov.b, k - 1) * v(k - 1);
            }
            assert!(distance(&matrix.mv(&v(k)), &sum) < 1e-13);
        }
    }
}

#[test]
fn all_steps_give_all_eigenvalues() {
    let mut rng = Rng::new(3);
    for d in [1, 2, 7, 32] {
        let mut spectrum: Vec<f64> = (0..d).map(|_| rng.uniform(-1.0, 2.0)).collect();
        let krylov = krylov(&rng.symmetric(&spectrum), &rng.tensor(&[1, d as i64]), d);
        spectrum.sort_by(f64::total_cmp);
        let ritz = t(&krylov, 0).linalg_eigh("L").0;
        assert!(distance(&ritz, &Tensor::from_slice(&spectrum)) < 1e-10, "d {d}");
        assert!(number(&krylov.b[d - 1]) < 1e-9, "nothing is left after d steps");
    }
}

#[test]
fn the_basis_stays_orthogonal_in_float32() {
    let mut rng = Rng::new(4);
    for power in [1.0, 2.0, 4.0] {
        let matrix = rng.symmetric(&power_law(256, power, 0.25)).to_kind(Kind::Float);
        let z = rng.tensor(&[2, 256]).to_kind(Kind::Float);
        let krylov = krylov(&matrix, &z, 64);
        assert!(finite(&krylov.basis));
        assert_eq!(krylov.basis.kind(), Kind::Float);
        for item in 0..2 {
            // Where the space has ended the vectors are zero, not noise.
            let v = krylov.basis.get(item).to_kind(Kind::Double);
            let lengths = vec(&v.norm_scalaropt_dim(2.0, [1i64], false));
            let vectors = lengths.iter().take_while(|&&length| length > 0.5).count() as i64;
            assert!(lengths[vectors as usize..].iter().all(|&length| length == 0.0), "{lengths:?}");
            assert!(departure(&krylov, item, vectors) < 2e-6, "power {power}: {}", departure(&krylov, item, vectors));
        }
    }
}

#[test]
fn a_space_that_ends_leaves_zeros_and_no_nan() {
    let mut rng = Rng::new(5);
    let d = 12;
    for kind in [Kind::Double, Kind::Float] {
        let zero = Tensor::zeros([d, d], (kind, Device::Cpu));
        let one = identity(d).to_kind(kind);
        let mut rank_2 = vec![0.0; d as usize];
        rank_2[..2].copy_from_slice(&[2.0, 0.5]);
        let rank_2 = rng.symmetric(&rank_2).to_kind(kind);
        let tolerance = if kind == Kind::Double { 1e-13 } else { 1e-5 };
        // (matrix, size of the space, eigenvalues seen in it).
        for (matrix, size, spectrum) in [(&zero, 1, vec![0.0]), (&one, 1, vec![1.0]), (&rank_2, 3, vec![0.0, 0.5, 2.0])]
        {
            let krylov = krylov(matrix, &rng.tensor(&[2, d]).to_kind(kind), 6);
            assert_eq!(krylov.steps(), 6);
            for tensor in krylov.a.iter().chain(&krylov.b).chain([&krylov.basis, &krylov.norm]) {
                assert!(finite(tensor));
            }
            for item in 0..2 {
                assert!(departure(&krylov, item, size) < tolerance);
                let ritz = t(&krylov, item).narrow(0, 0, size).narrow(1, 0, size).linalg_eigh("L").0;
                assert!(distance(&ritz, &Tensor::from_slice(&spectrum)) < tolerance);
                assert_eq!(number(&krylov.b[size as usize - 1].get(item)), 0.0);
                let rest = krylov.basis.get(item).narrow(0, size, 7 - size);
                assert_eq!(number(&rest.abs().max()), 0.0);
            }
        }
    }
}

#[test]
fn z_in_an_invariant_subspace_ends_the_space_there() {
    let mut rng = Rng::new(6);
    let matrix = rng.symmetric(&power_law(20, 1.0, 1.0));
    let vectors = matrix.linalg_eigh("L").1;
    // A sum of two eigenvectors.
    let z = (vectors.select(1, 3) + vectors.select(1, 11) * 2.0).unsqueeze(0);
    let krylov = krylov(&matrix, &z, 5);
    assert!(number(&krylov.b[0]) > 1e-3 && number(&krylov.b[1]) < 1e-13);
    assert!(finite(&krylov.basis));
}

#[test]
fn z_of_zero_gives_zeros() {
    let mut rng = Rng::new(7);
    let matrix = rng.symmetric(&power_law(8, 1.0, 1.0));
    let z = Tensor::cat(&[rng.tensor(&[1, 8]), Tensor::zeros([1, 8], (Kind::Double, Device::Cpu))], 0);
    let krylov = krylov(&matrix, &z, 4);
    assert_eq!(number(&krylov.norm.get(1)), 0.0);
    assert_eq!(number(&krylov.basis.get(1).abs().max()), 0.0);
    assert!(finite(&krylov.basis) && krylov.a.iter().chain(&krylov.b).all(finite));
    assert!(departure(&krylov, 0, 5) < 1e-13);
}

#[test]
fn scale_changes_the_coefficients_alone() {
    let mut rng = Rng::new(8);
    let matrix = rng.symmetric(&power_law(30, 1.6, 0.25));
    let z = rng.tensor(&[1, 30]);
    let reference = krylov(&matrix, &z, 6);
    for scale in [1e-12, 1e12] {
        let scaled = krylov(&(&matrix * scale), &(&z * scale), 6);
        assert!(distance(&scaled.basis, &reference.basis) < 1e-9);
        for (b, expected) in scaled.b.iter().zip(&reference.b) {
            assert!((number(b) / scale / number(expected) - 1.0).abs() < 1e-9);
        }
    }
}

#[test]
fn items_are_problems_of_their_own() {
    let mut rng = Rng::new(9);
    let spectra = [vec![0.0; 16], power_law(16, 1.6, 0.25), vec![1.0; 16], power_law(16, 1.0, 1e6)];
    let matrices: Vec<Tensor> = spectra.iter().map(|spectrum| rng.symmetric(spectrum)).collect();
    let z = rng.tensor(&[4, 16]) * Tensor::from_slice(&[1.0, 1e-3, 1.0, 50.0]).unsqueeze(1);
    let all = Tensor::stack(&matrices, 0);
    let batched = |v: &Tensor, _: &Krylov| -> Result<Tensor> { Ok(all.bmm(&v.unsqueeze(2)).squeeze_dim(2)) };
    let together = lanczos(batched, &z, 7, |_| Ok(false)).expect("no error");
    for (item, matrix) in matrices.iter().enumerate() {
        let item = item as i64;
        let alone = krylov(matrix, &z.narrow(0, item, 1), 7);
        assert!(distance(&together.basis.narrow(0, item, 1), &alone.basis) < 1e-9, "item {item}");
        for (a, expected) in together.a.iter().chain(&together.b).zip(alone.a.iter().chain(&alone.b)) {
            assert!((number(&a.get(item)) - number(expected)).abs() < 1e-9 * (1.0 + number(expected).abs()));
        }
    }
}

#[test]
fn it_asks_after_every_step_whether_that_is_enough() {
    let mut rng = Rng::new(10);
    let matrix = rng.symmetric(&power_law(10, 1.0, 1.0));
    let (mut products, mut asked) = (0, Vec::new());
    let krylov = lanczos(
        |v, so_far| {
            assert_eq!(so_far.steps(), products);
            products += 1;
            Ok(rows(&matrix, v))
        },
        &rng.tensor(&[2, 10]),
        8,
        |krylov| {
            asked.push(krylov.steps());
            Ok(krylov.steps() == 3)
        },
    )
    .expect("no error");
    assert_eq!((products, asked), (3, vec![1, 2, 3]));
    assert_eq!((krylov.steps(), krylov.basis.size()), (3, vec![2, 4, 10]));
}

#[test]
fn errors_of_the_product_and_of_the_question_come_out() {
    let z = Rng::new(11).tensor(&[1, 4]);
    let mut left = 2;
    let failing = |v: &Tensor, _: &Krylov| {
        left -= 1;
        if left == 0 {
            Err(Error::Stopped)
        } else {
            Ok(v * 2.0)
        }
    };
    assert!(matches!(lanczos(failing, &z, 3, |_| Ok(false)), Err(Error::Stopped)));
    assert!(matches!(lanczos(|v, _| Ok(v * 2.0), &z, 3, |_| Err(Error::Failed)), Err(Error::Failed)));
    // A product of another shape is libtorch's to refuse, not a panic.
    assert!(matches!(lanczos(|v, _| Ok(v.narrow(1, 0, 3)), &z, 3, |_| Ok(false)), Err(Error::Torch(_))));
}

#[test]
fn a_product_that_is_not_finite_is_seen_in_the_coefficients() {
    let z = Rng::new(12).tensor(&[1, 4]);
    for bad in [f64::NAN, f64::INFINITY] {
        let krylov = lanczos(|v, _| Ok(v * bad), &z, 2, |_| Ok(false)).expect("no error");
        assert!(!krylov.a.iter().chain(&krylov.b).all(finite));
    }
}

#[test]
fn a_function_of_the_matrix_comes_from_the_small_one() {
    // f(J) z = ‖z‖ V f(T) e_1, exact for a polynomial of degree below K.
    let mut rng = Rng::new(13);
    let matrix = rng.symmetric(&power_law(40, 1.0, 1.0));
    let z = rng.tensor(&[1, 40]);
    let krylov = krylov(&matrix, &z, 5);
    let cubic = |x: f64| 1.0 - x + 0.5 * x * x * x;
    let small = function(&t(&krylov, 0), cubic).select(1, 0);
    let value = number(&krylov.norm) * small.unsqueeze(0).matmul(&krylov.basis.get(0).narrow(0, 0, 5));
    assert!(relative_error(&value, &rows(&function(&matrix, cubic), &z)) < 1e-12);
}
