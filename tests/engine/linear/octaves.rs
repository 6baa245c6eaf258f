//! The cosine transform by octaves: against its formula, written out, and what orthogonality asks for.

use std::f64::consts::PI;

use crate::support::tensor::*;
use lgs_engine::{layout::Layout, linear::octaves::Octaves};

use crate::support::numbers::{distance, number, vec, Rng};

const SHAPES: [&[i64]; 8] =
    [&[2, 7], &[3], &[2, 3, 8], &[2, 3, 8, 8], &[1, 4, 6, 10], &[2, 2, 3, 4, 6], &[2, 1, 1, 1], &[1, 2, 5, 1]];

fn of(x: &Tensor) -> Octaves {
    Octaves::of(&Layout::of("x", x).expect("a layout")).expect("octaves")
}

#[test]
fn there_and_back_is_the_same_and_lengths_are_kept() {
    for (seed, shape) in SHAPES.iter().enumerate() {
        let (x, y) = (Rng::new(seed as u64).tensor(shape), Rng::new(100 + seed as u64).tensor(shape));
        let octaves = of(&x);
        let (a, b) = (octaves.coefficients(&x).expect("B x"), octaves.coefficients(&y).expect("B y"));
        assert_eq!(a.size(), [shape[0], shape[1..].iter().product()]);
        assert!(distance(&octaves.vector(&a).expect("x"), &x) < 1e-13, "{shape:?}");
        let inner = octaves.inner(&a, &b).expect("inner products");
        assert_eq!(inner.size(), [shape[0], octaves.count() as i64]);
        let axes: Vec<i64> = (1..shape.len() as i64).collect();
        let expected = match axes.is_empty() {
            true => &x * &y,
            false => (&x * &y).sum_dim_intlist(&axes[..], false, Kind::Double),
        };
        assert!(distance(&inner.sum_dim_intlist(1, false, Kind::Double), &expected) < 1e-12, "{shape:?}");
    }
}

#[test]
fn a_cosine_is_in_the_octave_of_its_frequency() {
    // cos(π (i + ½) k / n) cos(π (j + ½) l / n) in each channel: |(k, l)| half waves.
    let n = 32i64;
    for (k, l, octave) in [
        (0, 0, 0),
        (1, 0, 1),
        (0, 2, 1),
        (2, 2, 1),
        (3, 0, 2),
        (5, 3, 2),
        (7, 0, 3),
        (14, 0, 3),
        (15, 0, 4),
        (20, 20, 4),
        (31, 31, 5),
    ] {
        let wave = |k: i64| {
            let values: Vec<f64> = (0..n).map(|i| (PI * (i as f64 + 0.5) * k as f64 / n as f64).cos()).collect();
            Tensor::from_slice(&values)
        };
        let x = (wave(k).reshape([n, 1]) * wave(l)).reshape([1, 1, n, n]).repeat([1, 3, 1, 1]);
        let octaves = of(&x);
        let coefficients = octaves.coefficients(&x).expect("B x");
        let power = vec(&octaves.inner(&coefficients, &coefficients).expect("power"));
        assert_eq!(power.len(), 6);
        let all: f64 = power.iter().sum();
        assert!((power[octave] / all - 1.0).abs() < 1e-12, "({k}, {l}): {power:?}");
    }
}

#[test]
fn frequencies_of_a_short_axis_count_by_its_own_length() {
    // One half wave along 4 of 16 numbers is as steep as four along 16.
    let x = Tensor::zeros([1, 1, 4, 16], (Kind::Double, Device::Cpu));
    let wave: Vec<f64> = (0..4).map(|i| (PI * (i as f64 + 0.5) / 4.0).cos()).collect();
    let x = x + Tensor::from_slice(&wave).reshape([4, 1]);
    let octaves = of(&x);
    let coefficients = octaves.coefficients(&x).expect("B x");
    let power = vec(&octaves.inner(&coefficients, &coefficients).expect("power"));
    assert!(power[2] > 1.0 && power.iter().sum::<f64>() - power[2] < 1e-20, "{power:?}");
}

#[test]
fn factors_act_on_their_octaves() {
    let x = Rng::new(1).tensor(&[2, 3, 16, 8]);
    let octaves = of(&x);
    let coefficients = octaves.coefficients(&x).expect("B x");
    let factors = Rng::new(2).tensor(&[2, octaves.count() as i64]);
    let scaled = octaves.scaled(&factors, &coefficients).expect("scaled");
    let before = octaves.inner(&coefficients, &coefficients).expect("power");
    let after = octaves.inner(&scaled, &coefficients).expect("power");
    assert!(distance(&after, &(before * factors)) < 1e-11);
}

#[test]
fn what_has_no_frequencies_is_one_octave() {
    assert_eq!(of(&Rng::new(1).tensor(&[2, 9])).count(), 1);
    assert_eq!(of(&Rng::new(1).tensor(&[2])).count(), 1);
    assert_eq!(of(&Rng::new(1).tensor(&[2, 4, 1, 1])).count(), 1);
}

#[test]
fn a_long_axis_is_cut_into_equal_parts() {
    let x = Rng::new(3).tensor(&[1, 1, 3000]);
    let octaves = of(&x);
    let coefficients = octaves.coefficients(&x).expect("B x");
    assert!(distance(&octaves.vector(&coefficients).expect("x"), &x) < 1e-12);
    // The mean of each part is of octave 0: what is constant has nothing else.
    let flat = octaves.coefficients(&x.ones_like()).expect("B 1");
    let power = octaves.inner(&flat, &flat).expect("power");
    assert!((number(&power.get(0).get(0)) - 3000.0).abs() < 1e-9);
    // A prime number of samples has no parts: each sample is a coefficient.
    let prime = Rng::new(4).tensor(&[1, 1, 1031]);
    assert!(distance(&of(&prime).coefficients(&prime).expect("B x"), &prime.reshape([1, 1031])) == 0.0);
}

#[test]
fn float32_stays_float32_and_sums_are_float64() {
    let x = Rng::new(5).tensor(&[1, 2, 8, 8]).to_kind(Kind::Float);
    let octaves = of(&x);
    let coefficients = octaves.coefficients(&x).expect("B x");
    let inner = octaves.inner(&coefficients, &coefficients).expect("power");
    assert_eq!((coefficients.kind(), inner.kind()), (Kind::Float, Kind::Double));
    assert_eq!(octaves.scaled(&inner, &coefficients).expect("scaled").kind(), Kind::Float);
}
