//! How far finite differences reach: the length of a step, and how many dimensions take part.

use crate::support::tensor::*;
use lgs_engine::{
    jacobian::difference::{step, Difference},
    linear::lanczos,
};

use crate::support::numbers::{distance, power_law, rows, vec, Rng};

const BOTH: [Difference; 2] = [Difference::OneSided, Difference::Central];

#[test]
fn a_step_is_a_fraction_of_sigma_for_each_number() {
    let mut rng = Rng::new(0);
    for difference in BOTH {
        for shape in [vec![2], vec![2, 5], vec![2, 3, 4, 4], vec![2, 3, 2, 4, 4]] {
            let v = rng.tensor(&shape);
            let dimension: i64 = shape[1..].iter().product();
            let mut fractions = Vec::new();
            for sigma in [0.01, 1.0, 80.0] {
                let moved = step(difference, Kind::Float, sigma, &v, None).expect("no error") * &v;
                let length = moved.reshape([2, dimension]).square().mean_dim([1i64].as_slice(), false, None).sqrt();
                fractions.extend(vec(&length).into_iter().map(|length| length / sigma));
            }
            for fraction in &fractions {
                assert!((fraction / fractions[0] - 1.0).abs() < 1e-12, "{difference:?}, {shape:?}: {fractions:?}");
            }
        }
    }
}

#[test]
fn a_model_that_rounds_more_is_differenced_over_more_and_a_central_difference_reaches_further() {
    let v = Rng::new(1).tensor(&[1, 64]);
    let h = |difference, kind| step(difference, kind, 1.0, &v, None).expect("no error").double_value(&[0, 0]);
    for difference in BOTH {
        let h = [Kind::Double, Kind::Float, Kind::Half, Kind::BFloat16].map(|kind| h(difference, kind));
        assert!(h.windows(2).all(|pair| pair[0] < pair[1]), "{h:?}");
    }
    for kind in [Kind::Double, Kind::Float, Kind::Half, Kind::BFloat16] {
        assert!(h(Difference::OneSided, kind) < h(Difference::Central, kind));
    }
}

#[test]
fn the_reach_of_the_first_vector_is_whole_and_scales_the_others() {
    let mut rng = Rng::new(2);
    let matrix = rng.symmetric(&power_law(32, 1.0, 1.0));
    let mut reaches = Vec::new();
    let v = rng.tensor(&[2, 32]);
    let _ = lanczos(
        |v, krylov| {
            reaches.push(krylov.reach()?);
            Ok(rows(&matrix, v))
        },
        &v,
        3,
        |_| Ok(false),
    )
    .expect("no error");
    assert!(reaches[0].is_none());
    let (second, third) = (reaches[1].as_ref().expect("a reach"), reaches[2].as_ref().expect("a reach"));
    assert_eq!(distance(second, third), 0.0, "it comes from the first product");
    let whole = step(Difference::OneSided, Kind::Float, 0.5, &v, None).expect("no error");
    let scaled = step(Difference::OneSided, Kind::Float, 0.5, &v, Some(second)).expect("no error");
    assert!(distance(&scaled, &(whole * second.unsqueeze(1))) < 1e-15);
}

#[test]
fn the_reach_tells_how_many_dimensions_take_part() {
    // J a projection onto d_eff of d dimensions: d_eff / d is the participation ratio exactly.
    for (seed, part) in [(3, 1usize), (4, 16), (5, 64), (6, 256)] {
        let mut rng = Rng::new(seed);
        let d = 256;
        let spectrum: Vec<f64> = (0..d).map(|k| if k < part { 0.7 } else { 0.0 }).collect();
        let matrix = rng.symmetric(&spectrum);
        let mut found = None;
        let _ = lanczos(
            |v, krylov| {
                found = krylov.reach()?.or(found.take());
                Ok(rows(&matrix, v))
            },
            &rng.tensor(&[8, d as i64]),
            2,
            |_| Ok(false),
        )
        .expect("no error");
        let expected = (part as f64 / d as f64).sqrt();
        for came in vec(&found.expect("a reach")) {
            // One sample of a trace over d_eff dimensions is off by √(2 / d_eff), and its root by half of that.
            let noise = 3.0 * (0.5 / part as f64).sqrt();
            assert!((came / expected - 1.0).abs() < noise.max(1e-6), "{part}: {came}, expected {expected}");
            assert!((0.05..=1.0).contains(&came));
        }
    }
}

#[test]
fn no_reach_is_nan_or_zero() {
    let z = Rng::new(7).tensor(&[2, 6]);
    for scale in [0.0, 1e-30, -1.0, 1e30] {
        let _ = lanczos(
            |v, krylov| {
                if let Some(reach) = krylov.reach()? {
                    assert!(vec(&reach).iter().all(|reach| (0.05..=1.0).contains(reach)), "{scale}");
                }
                Ok(v * scale)
            },
            &z,
            3,
            |_| Ok(false),
        )
        .expect("no error");
    }
}
