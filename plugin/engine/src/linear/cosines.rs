//! The cosine transform along an axis, and the octaves of its frequencies.

use std::f64::consts::PI;

use crate::{error::Result, memory::table, tensor::Tensor};

/// The orthonormal cosine transform of `size` numbers (type II), a row for each frequency.
pub(super) fn cosines(size: i64) -> Result<Tensor> {
    let n = size as f64;
    let entries = (0..size).flat_map(|k| {
        let length = if k == 0 { 1.0 / n } else { 2.0 / n };
        (0..size).map(move |i| length.sqrt() * (PI * (i as f64 + 0.5) * k as f64 / n).cos())
    });
    Ok(Tensor::f_from_slice(&table((size * size) as usize, entries)?)?.f_reshape([size, size])?)
}

/// The largest length, at most `longest`, of which an axis of `size` holds a whole number.
pub(super) fn edge(size: i64, longest: i64) -> i64 {
    (1..=longest.min(size)).rev().find(|edge| size % edge == 0).unwrap_or(1)
}

/// The octave of a squared frequency in half waves: 0; 1 and 2; 3 to 6; 7 to 14; ...
pub(super) fn octave(squared: f64) -> i64 {
    (squared.sqrt() + 1.0).log2() as i64
}
