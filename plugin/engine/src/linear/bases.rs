//! f(J) z where J is taken to be diagonal in a basis known beforehand.
//!
//! ```text
//! f(J) z ≈ Bᵀ diag(f(λ)) B z,    λ = E[u ⊙ B J Bᵀ u],    u a Rademacher vector (±1 with equal chance)
//! ```
//!
//! B is orthogonal. The products u ⊙ B J Bᵀ u estimate the diagonal of B J Bᵀ without bias (Bekas,
//! Kokiopoulou and Saad, "An estimator for the diagonal of a matrix", 2007), their mean over an item
//! its trace (Hutchinson 1990). A few of them are noisy: what else is known of λ, that it is the same
//! for all pixels or for neighbouring frequencies, is worth more than further ones.

use super::cosines::{cosines, edge, octave};
use crate::{
    error::Result,
    memory::table,
    tensor::{Device, Kind, Tensor},
};

/// What a matrix is taken to be diagonal in, and where its eigenvalues are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Structure {
    /// One eigenvalue for all of an item: tr J / d, as Analytic-DPM (arXiv 2201.06503) has it for all
    /// data at once.
    Isotropic,
    /// B = I, one for each number of an item: diag J, OCM's optimum (arXiv 2406.10808).
    Pixels,
    /// B the discrete cosine transform of each tile of a picture, one for each octave of frequencies
    /// of each tile and channel.
    ///
    /// After "Covariance-aware sampling for Diffusion Models" (Schioppa and Salimans, arXiv
    /// 2605.13910): a covariance structured in Fourier space, from one product for each step and
    /// sample. Of that paper only the abstract was available; tiles and octaves are ours. A posterior
    /// is not stationary, least of all near edges, and single coefficients are as noisy as a pixel's:
    /// on the bundled digits, from one probe, a step's Kullback-Leibler divergence from the full
    /// covariance is 20 (σ = 0.5), 11 (1) and 4.2 (3) nats with each coefficient of a tile by itself,
    /// 14, 9.1 and 3.6 with octaves, and 27, 15 and 5.2 with the transform of the whole picture.
    Frequencies,
}

/// An orthogonal basis for tensors of one shape.
pub struct Basis {
    structure: Structure,
    shape: Vec<i64>,
    tiles: Option<Tiles>,
}

impl Basis {
    /// For tensors like z, (batch, ...).
    pub fn of(structure: Structure, z: &Tensor) -> Result<Self> {
        let tiles = match structure {
            Structure::Frequencies => Some(Tiles::of(z)?),
            Structure::Isotropic | Structure::Pixels => None,
        };
        Ok(Self { structure, shape: z.size(), tiles })
    }

    /// B x for x (batch, ...); in a shape of its own, items first.
    pub fn coefficients(&self, x: &Tensor) -> Result<Tensor> {
        match &self.tiles {
            Some(tiles) => Ok(tiles.split(x)?.f_matmul(&tiles.transform.f_tr()?)?),
            None => Ok(x.shallow_clone()),
        }
    }

    /// Bᵀ y, (batch, ...), for y as [`Basis::coefficients`] gives it.
    pub fn vector(&self, y: &Tensor) -> Result<Tensor> {
        match &self.tiles {
            Some(tiles) => tiles.join(&y.f_matmul(&tiles.transform)?, &self.shape),
            None => Ok(y.shallow_clone()),
        }
    }

    /// The mean of coefficients whose eigenvalues are alike, for each of them.
    fn averaged(&self, y: &Tensor) -> Result<Tensor> {
        match (&self.tiles, self.structure) {
            (Some(tiles), _) => Ok(y.f_matmul(&tiles.octaves)?),
            (None, Structure::Isotropic) => {
                let axes: Vec<i64> = (1..y.dim() as i64).collect();
                match axes.is_empty() {
                    true => Ok(y.shallow_clone()),
                    false => Ok(y.f_mean_dim(&axes[..], true, None::<Kind>)?.f_expand_as(y)?),
                }
            }
            (None, _) => Ok(y.shallow_clone()),
        }
    }
}

/// λ, in the shape of [`Basis::coefficients`], from `probes` products J v.
///
/// The probes of an item are drawn by a generator that its z seeds: the same noise gives the same
/// picture, in whatever batch, and the host's noise is the same with every covariance.
pub fn eigenvalues(
    mut product: impl FnMut(&Tensor) -> Result<Tensor>,
    basis: &Basis,
    z: &Tensor,
    probes: usize,
) -> Result<Tensor> {
    let mut probe = Rademacher::seeded_by(z)?;
    let mut sum: Option<Tensor> = None;
    for _ in 0..probes {
        let u = probe.draw()?;
        let u = match &basis.tiles {
            Some(tiles) => u.f_reshape([-1, tiles.volume()])?,
            None => u,
        };
        let shown = u.f_mul(&basis.coefficients(&product(&basis.vector(&u)?)?)?)?;
        sum = Some(match sum {
            Some(sum) => sum.f_add(&shown)?,
            None => shown,
        });
    }
    let sum = match sum {
        Some(sum) => sum,
        None => basis.coefficients(&z.f_zeros_like()?)?,
    };
    basis.averaged(&sum.f_div_scalar(probes.max(1) as f64)?)
}

/// f(J) z, (batch, ...): `f` maps eigenvalues one by one.
pub fn function(
    f: impl Fn(&Tensor) -> Result<Tensor>,
    basis: &Basis,
    eigenvalues: &Tensor,
    z: &Tensor,
) -> Result<Tensor> {
    basis.vector(&basis.coefficients(z)?.f_mul(&f(eigenvalues)?)?)
}

/// The largest edge of a tile, JPEG's.
const EDGE: i64 = 8;

/// Pictures cut into tiles, and what is done to each.
struct Tiles {
    /// First axis that is cut, and the edges of a tile along it and those that follow.
    first: usize,
    edges: Vec<i64>,
    /// The orthonormal cosine transform, (volume, volume): a row for each frequency.
    transform: Tensor,
    /// Means over octaves of frequencies, (volume, volume).
    octaves: Tensor,
}

impl Tiles {
    /// Axis 1 of (batch, d) is cut; of (batch, channels, ...), what follows, of which the last three.
    fn of(z: &Tensor) -> Result<Self> {
        let shape = z.size();
        let first = match shape.len() {
            0..=2 => 1.min(shape.len()),
            axes => 2.max(axes - 3),
        };
        let edges: Vec<i64> = shape[first..].iter().map(|&size| edge(size, EDGE)).collect();
        let mut transform = Tensor::f_ones([1, 1], (Kind::Double, Device::Cpu))?;
        // Squared frequency of each row of the transform, each axis' highest being near 1/2.
        let mut frequencies = vec![0.0];
        for &edge in &edges {
            transform = transform.f_kron(&cosines(edge)?)?;
            frequencies = frequencies
                .iter()
                .flat_map(|squared| (0..edge).map(move |k| squared + (k as f64 * EDGE as f64 / edge as f64).powi(2)))
                .collect();
        }
        // 0; 1 and 2; 3 to 6; 7 and more, in half waves for EDGE pixels.
        let octave: Vec<i64> = frequencies.iter().map(|&squared| octave(squared)).collect();
        let octave = Tensor::f_from_slice(&octave)?;
        let alike = octave.f_unsqueeze(1)?.f_eq_tensor(&octave.f_unsqueeze(0)?)?.f_to_kind(Kind::Double)?;
        let octaves = alike.f_div(&alike.f_sum_dim_intlist(1, true, None::<Kind>)?)?;
        let like_z = |t: Tensor| t.f_to_device(z.device())?.f_to_kind(z.f_kind()?);
        Ok(Self { first, edges, transform: like_z(transform)?, octaves: like_z(octaves)? })
    }

    fn volume(&self) -> i64 {
        self.edges.iter().product()
    }

    /// (batch, ...) as (tiles, volume), the tiles of an item together.
    fn split(&self, x: &Tensor) -> Result<Tensor> {
        let (grid, order) = self.grid(&x.size());
        Ok(x.f_reshape(grid)?.f_permute(order)?.f_reshape([-1, self.volume()])?)
    }

    /// The inverse of [`Tiles::split`].
    fn join(&self, tiles: &Tensor, shape: &[i64]) -> Result<Tensor> {
        let (grid, order) = self.grid(shape);
        let permuted: Vec<i64> = order.iter().map(|&axis| grid[axis as usize]).collect();
        let mut back = vec![0; order.len()];
        for (to, &from) in order.iter().enumerate() {
            back[from as usize] = to as i64;
        }
        Ok(tiles.f_reshape(permuted)?.f_permute(back)?.f_reshape(shape)?)
    }

    /// The shape with each axis that is cut as (tiles, edge), and the order that brings the edges last.
    fn grid(&self, shape: &[i64]) -> (Vec<i64>, Vec<i64>) {
        let mut grid = shape[..self.first].to_vec();
        let (mut outer, mut inner): (Vec<i64>, Vec<i64>) = ((0..self.first as i64).collect(), Vec::new());
        for (size, edge) in shape[self.first..].iter().zip(&self.edges) {
            outer.push(grid.len() as i64);
            inner.push(grid.len() as i64 + 1);
            grid.extend([size / edge, *edge]);
        }
        outer.extend(inner);
        (grid, outer)
    }
}

/// How many numbers of an item's z seed its probes.
const SEEDING: i64 = 8;

/// A generator of Rademacher vectors for each item of a batch.
struct Rademacher {
    items: Vec<fastrand::Rng>,
    shape: Vec<i64>,
    kind: Kind,
    device: Device,
}

impl Rademacher {
    /// Seeded by z (batch, ...), which is fetched for it in part.
    fn seeded_by(z: &Tensor) -> Result<Self> {
        let shape = z.size();
        let numbers = z.f_reshape([shape[0], -1])?;
        let count = SEEDING.min(numbers.size2()?.1);
        let numbers = numbers.f_narrow(1, 0, count)?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?;
        let seeding = Vec::<f64>::try_from(numbers.f_flatten(0, -1)?)?;
        let seed = |item: &[f64]| item.iter().fold(0u64, |seed, number| seed.rotate_left(23) ^ number.to_bits());
        let items = seeding.chunks(count as usize).map(|item| fastrand::Rng::with_seed(seed(item))).collect();
        Ok(Self { items, shape, kind: z.f_kind()?, device: z.device() })
    }

    /// (batch, ...), like z.
    fn draw(&mut self) -> Result<Tensor> {
        let each = self.shape[1..].iter().product::<i64>() as usize;
        let mut signs = table(each * self.items.len(), std::iter::empty())?;
        for item in &mut self.items {
            let end = signs.len() + each;
            while signs.len() < end {
                let bits = item.u64(..);
                let taken = (end - signs.len()).min(64);
                signs.extend((0..taken).map(|bit| if bits >> bit & 1 == 1 { 1.0f32 } else { -1.0 }));
            }
        }
        let signs = Tensor::f_from_slice(&signs)?.f_reshape(&self.shape[..])?;
        Ok(signs.f_to_device(self.device)?.f_to_kind(self.kind)?)
    }
}
