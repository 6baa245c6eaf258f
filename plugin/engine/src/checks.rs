//! What is checked: arguments before the first evaluation, and numbers that have to be finite.

use crate::{
    error::{Error, Result},
    layout::Layout,
    process::{ForwardProcess, Process},
    tensor::{Device, Kind, Tensor},
};

/// Whether every number is finite. Waits for the device.
pub(crate) fn all_finite(tensor: &Tensor) -> Result<bool> {
    Ok(largest(tensor)?.f_double_value(&[0])?.is_finite())
}

/// The largest magnitude, (1,): it passes NaN and infinity on, in one pass over the tensor.
pub(crate) fn largest(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.f_reshape([1, -1])?.f_norm_scalaropt_dim(f64::INFINITY, [1], false)?)
}

/// That an argument of the caller's is finite.
pub(crate) fn finite(name: &str, tensor: &Tensor) -> Result<()> {
    match all_finite(tensor)? {
        true => Ok(()),
        false => Err(Error::Argument(format!("{name}: expected finite numbers, got NaN or infinity"))),
    }
}

/// A tensor that the caller gave beside x, in the sampler's dtype.
pub(crate) fn argument(name: &str, layout: &Layout, tensor: &Tensor) -> Result<Tensor> {
    Layout::of(name, tensor)?;
    let tensor = layout.working(name, tensor).map_err(|error| match error {
        Error::Output(message) => Error::Argument(message),
        other => other,
    })?;
    finite(name, &tensor)?;
    Ok(tensor)
}

/// The noise levels as the process has them, where they can be a trajectory's: they may rise on the way (restarts),
/// but not at the end.
pub(crate) fn sigmas(process: Process, levels: &[f64]) -> Result<Vec<f64>> {
    let wrong = |what: String| Err(Error::Argument(format!("sigmas: {what}")));
    if levels.len() < 2 {
        return wrong(format!("expected at least two noise levels, got {}", levels.len()));
    }
    let levels: Vec<f64> = levels.iter().map(|&sigma| process.level(sigma)).collect();
    for (i, &sigma) in levels.iter().enumerate() {
        if !sigma.is_finite() || sigma < 0.0 {
            return wrong(format!("expected finite numbers that are not negative, got {sigma} at index {i}"));
        }
        if sigma == 0.0 && levels.get(i + 1) == Some(&0.0) {
            return wrong(format!("expected a noise level above 0 after 0, got 0 at index {i} and again"));
        }
        if sigma > process.max_sigma() {
            return wrong(format!("expected at most {} for a flow, got {sigma} at index {i}", process.max_sigma()));
        }
    }
    if let [.., before, last] = levels[..] {
        if last > before {
            return wrong(format!(
                "expected noise levels that end in a fall, got {last} after {before} at the end; turning pictures back \
                 into noise (unsampling, a flipped schedule) is not supported"
            ));
        }
    }
    Ok(levels)
}

/// The denoised image, the noise, ...: what a tensor that has to be finite is called.
pub(crate) mod names {
    pub(crate) const DENOISED: &str = "the denoised image that the model returned";
    pub(crate) const NOISE: &str = "the noise";
    pub(crate) const DIAGONAL: &str = "the diagonal that the network for it returned";
    pub(crate) const PRODUCT: &str = "the model's Jacobian-vector product";
}

/// That each of these tensors is finite, else the first that is not is named; and the numbers of further
/// tensors of one each. Waits for the device once.
pub(crate) fn finite_and_fetch<const N: usize, const M: usize>(
    tensors: [(&str, &Tensor); N],
    also: [&Tensor; M],
) -> Result<[f64; M]> {
    let numbers = finite_and_fetch_all(&tensors, &also)?;
    Ok(std::array::from_fn(|i| numbers[i]))
}

/// The same for further tensors of any size: their numbers, one tensor's after the other's.
pub(crate) fn finite_and_fetch_all(tensors: &[(&str, &Tensor)], also: &[&Tensor]) -> Result<Vec<f64>> {
    let mut all = Vec::with_capacity(tensors.len() + also.len());
    for (_, tensor) in tensors {
        all.push(largest(tensor)?.f_to_kind(Kind::Double)?);
    }
    for numbers in also {
        all.push(numbers.f_reshape([-1])?.f_to_kind(Kind::Double)?);
    }
    let mut numbers = Vec::<f64>::try_from(Tensor::f_cat(&all, 0)?.f_to_device(Device::Cpu)?)?;
    match tensors.iter().zip(&numbers).find(|(_, number)| !number.is_finite()) {
        Some(((what, _), _)) => Err(not_finite(what)),
        None => Ok(numbers.split_off(tensors.len())),
    }
}

pub(crate) fn not_finite(what: &str) -> Error {
    Error::Output(format!("{what} holds NaN or infinity"))
}
