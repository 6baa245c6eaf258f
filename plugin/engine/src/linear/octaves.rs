//! A symmetric matrix that is one number for each octave of frequencies.
//!
//! ```text
//! A ≈ Bᵀ diag(θ) B,    B the orthonormal cosine transform, θ the same for all frequencies of an octave
//! ```
//!
//! What is known of A from one product y → A y is then ⟨y, A y⟩ / ⟨y, y⟩ octave by octave: a number for each from
//! hundreds, where a direction by itself has one number for all. The posterior covariance of pictures is close to
//! this: what is undecided is decided for long waves first.

use super::cosines::{cosines, edge, octave};
use crate::{
    error::Result,
    layout::Layout,
    memory::table,
    tensor::{Kind, Tensor},
};

/// The longest transform along an axis; a longer one is cut into equal parts.
const LONGEST: i64 = 1024;

/// The cosine transform of tensors of one shape, its coefficients ordered by octave.
///
/// Of (batch, channels, ...) the last three axes after the channels are transformed, channels of one octave are taken
/// together; vectors (batch, d) have no frequencies and are one octave.
pub struct Octaves {
    shape: Vec<i64>,
    kind: Kind,
    /// Each axis that is transformed, and its cosines, a row for each frequency.
    axes: Vec<(Axis, Tensor)>,
    /// The coefficients of an item by rising octave, and the way back; `None`: as they are.
    order: Option<(Tensor, Tensor)>,
    /// How many coefficients each octave has.
    sizes: Vec<i64>,
    /// The octave of each coefficient.
    octave: Tensor,
}

/// An axis of `size` in parts of `edge`.
struct Axis {
    number: usize,
    size: i64,
    edge: i64,
}

impl Octaves {
    pub fn of(layout: &Layout) -> Result<Self> {
        let shape = layout.shape.clone();
        let first = 2.max(shape.len().saturating_sub(3));
        let mut axes = Vec::new();
        for (number, &size) in shape.iter().enumerate().skip(first) {
            let axis = Axis { number, size, edge: edge(size, LONGEST) };
            let transform = cosines(axis.edge)?.f_to_device(layout.device)?.f_to_kind(layout.kind)?;
            axes.push((axis, transform));
        }
        let octave = octaves(&shape, &axes)?;
        let count = octave.iter().max().map_or(1, |&last| last + 1);
        let all_sizes = (0..count).map(|one| octave.iter().filter(|&&it| it == one).count() as i64);
        // An octave may be empty where axes are short.
        let kept: Vec<(usize, i64)> = all_sizes.enumerate().filter(|&(_, size)| size > 0).collect();
        let sizes: Vec<i64> = kept.iter().map(|&(_, size)| size).collect();
        let labels =
            sizes.iter().enumerate().flat_map(|(number, &size)| std::iter::repeat_n(number as i64, size as usize));
        let order = match axes.is_empty() {
            true => None,
            false => {
                let mut order = table(octave.len(), 0i64..)?;
                order.sort_unstable_by_key(|&place| (octave[place as usize], place));
                let mut back = table(order.len(), std::iter::repeat(0))?;
                for (to, &from) in order.iter().enumerate() {
                    back[from as usize] = to as i64;
                }
                let on_device = |places: &[i64]| Tensor::f_from_slice(places)?.f_to_device(layout.device);
                Some((on_device(&order)?, on_device(&back)?))
            }
        };
        let octave = Tensor::f_from_slice(&table(octave.len(), labels)?)?.f_to_device(layout.device)?;
        Ok(Self { shape, kind: layout.kind, axes, order, sizes, octave })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.sizes.len()
    }

    /// B x, (batch, d), by rising octave, for x (batch, ...).
    pub fn coefficients(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.shallow_clone();
        for (axis, transform) in &self.axes {
            x = axis.times(&x, &transform.f_tr()?)?;
        }
        let x = x.f_reshape([self.shape[0], -1])?;
        match &self.order {
            Some((order, _)) => Ok(x.f_index_select(1, order)?),
            None => Ok(x),
        }
    }

    /// Bᵀ y, (batch, ...), for y as [`Octaves::coefficients`] gives it.
    pub fn vector(&self, y: &Tensor) -> Result<Tensor> {
        let mut y = match &self.order {
            Some((_, back)) => y.f_index_select(1, back)?,
            None => y.shallow_clone(),
        }
        .f_reshape(&self.shape[..])?;
        for (axis, transform) in &self.axes {
            y = axis.times(&y, transform)?;
        }
        Ok(y)
    }

    /// ⟨y, w⟩ in each octave, (batch, octaves) in float64, for coefficients (batch, d).
    pub fn inner(&self, y: &Tensor, w: &Tensor) -> Result<Tensor> {
        let products = y.f_mul(w)?;
        let mut first = 0;
        let mut sums = Vec::with_capacity(self.sizes.len());
        for &size in &self.sizes {
            let octave = products.f_narrow(1, first, size)?;
            sums.push(octave.f_sum_dim_intlist(1, true, Some(Kind::Double))?);
            first += size;
        }
        Ok(Tensor::f_cat(&sums, 1)?)
    }

    /// Coefficients (batch, d), each times the factor of its octave, (batch, octaves) in float64.
    pub fn scaled(&self, factors: &Tensor, y: &Tensor) -> Result<Tensor> {
        Ok(factors.f_to_kind(self.kind)?.f_index_select(1, &self.octave)?.f_mul(y)?)
    }
}

impl Axis {
    /// x with each part along this axis times `matrix`, (edge, edge), from the right.
    fn times(&self, x: &Tensor, matrix: &Tensor) -> Result<Tensor> {
        let (shape, last) = (x.size(), self.number as i64);
        let turned = x.f_transpose(last, -1)?;
        let parts = turned.f_reshape([-1, self.edge])?.f_matmul(matrix)?;
        let mut whole = shape;
        let end = whole.len() - 1;
        whole.swap(self.number, end);
        Ok(parts.f_reshape(&whole[..])?.f_transpose(last, -1)?)
    }
}

/// The octave of each number of an item: 0 for the mean; then 1, 2; 3 to 6; 7 to 14; ... half waves along its longest
/// axis, the length of the frequency's vector over all axes.
fn octaves(shape: &[i64], axes: &[(Axis, Tensor)]) -> Result<Vec<i64>> {
    let longest = axes.iter().map(|(axis, _)| axis.size).max().unwrap_or(1) as f64;
    let mut squared = vec![0.0];
    for (number, &size) in shape.iter().enumerate().skip(1) {
        let axis = axes.iter().map(|(axis, _)| axis).find(|axis| axis.number == number);
        let along =
            |place: i64| axis.map_or(0.0, |axis| ((place % axis.edge) as f64 * longest / axis.edge as f64).powi(2));
        let frequencies = squared
            .iter()
            .flat_map(|before| (0..size).map(move |place| (before, place)))
            .map(|(before, place)| before + along(place));
        squared = table(squared.len() * size as usize, frequencies)?;
    }
    table(squared.len(), squared.iter().map(|&squared| octave(squared)))
}
