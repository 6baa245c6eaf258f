"""Statistics and files that are no prior are refused by name."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

import lgs

MEAN, BASIS, VARIANCES = torch.zeros(2, 3), torch.eye(6)[:, :2].reshape(2, 3, 2), torch.tensor([2.0, 1.0])


@pytest.mark.parametrize(
    ("mean", "basis", "variances", "rest", "words"),
    [
        (MEAN * torch.nan, BASIS, VARIANCES, 0.1, "mean: expected finite"),
        (MEAN, BASIS + torch.inf, VARIANCES, 0.1, "basis: expected finite"),
        (MEAN, BASIS, VARIANCES * torch.nan, 0.1, "variances: expected finite"),
        (MEAN, BASIS, -VARIANCES, 0.1, "not negative"),
        (MEAN, BASIS, VARIANCES, -0.1, "not negative"),
        (MEAN, BASIS, VARIANCES, float("nan"), "not negative"),
        (MEAN, BASIS, VARIANCES[:1], 0.1, "basis: expected shape"),
        (MEAN[:1], BASIS, VARIANCES, 0.1, "basis: expected shape"),
        (MEAN.long(), BASIS, VARIANCES, 0.1, "mean: expected a floating point tensor"),
    ],
)
def test_numbers_that_are_no_prior(mean, basis, variances, rest, words):
    with pytest.raises(lgs.Error, match=words):
        lgs.GaussianPrior(mean, basis, variances, rest)


@pytest.mark.parametrize(
    ("images", "rank", "words"),
    [
        (torch.randn(1, 2, 3), 0, "at least two pictures, got 1"),
        ([], None, "at least two pictures, got 0"),
        (torch.randn(4, 2, 3), 4, "rank: expected 0 to 3, .* got 4"),
        (torch.randn(4, 2, 3), -1, "rank: expected 0 to 3, .* got -1"),
        (torch.randn(4, 2, 3), None, "rank: expected one to be given .* got 4"),
        ([torch.randn(3, 2, 3), torch.randn(3, 2, 4)], 1, r"pictures of one size, got \(2, 3\) and \(2, 4\)"),
        (torch.full((4, 2, 3), torch.nan), 1, "images: expected finite"),
        (torch.zeros(4, 2, 3, dtype=torch.uint8), 1, "images: expected floating point"),
        (["a picture"], 1, "images: expected a torch.Tensor, got str"),
    ],
)
def test_pictures_that_no_prior_can_be_fitted_to(images, rank, words):
    with pytest.raises(lgs.Error, match=words):
        lgs.GaussianPrior.fit(images, rank)


@pytest.mark.parametrize(
    ("sigma", "sigma_next", "shape", "words"),
    [
        (5.0, 5.0, (1, 2, 3), "sigma_next"),
        (5.0, 6.0, (1, 2, 3), "sigma_next"),
        (5.0, 0.0, (1, 2, 3), "sigma_next"),
        (5.0, -1.0, (1, 2, 3), "sigma_next"),
        (float("inf"), 1.0, (1, 2, 3), "sigma"),
        (5.0, 1.0, (1, 3, 2), r"prior.mean: expected shape \[3, 2\]"),
        (5.0, 1.0, (2, 3), "prior.mean"),
    ],
)
def test_moves_that_are_none(sigma, sigma_next, shape, words):
    prior = lgs.GaussianPrior(MEAN, BASIS, VARIANCES, 0.1)
    with pytest.raises(lgs.InvalidArgument, match=words):
        prior.teleport(torch.randn(shape), sigma, sigma_next)
    assert prior.teleport(torch.randn(1, 2, 3), 5.0, 1.0).isfinite().all()


def test_a_basis_that_is_not_orthonormal_moves_nothing():
    prior = lgs.GaussianPrior(MEAN, BASIS * 2, VARIANCES, 0.1)
    with pytest.raises(lgs.InvalidArgument, match="orthonormal"):
        prior.teleport(torch.randn(1, 2, 3), 5.0, 1.0)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"sigma": 0.0}, "sigma"),
        ({"sigma": 1.0, "process": "flow"}, "sigma: expected a noise level above 0 and below 1"),
        ({"evaluations": 1}, "evaluations"),
        ({"rank": 64}, "rank: expected 0 to 63"),
        ({"process": "backwards"}, "process"),
    ],
)
def test_models_that_are_asked_wrongly(asked, words):
    with pytest.raises(lgs.Error, match=words):
        lgs.GaussianPrior.from_model(lambda x, sigma: x, (2, 3), **({"sigma": 40.0} | asked))


@pytest.mark.parametrize("answer", [lambda x: x * torch.nan, lambda x: x[:, :1], lambda x: None])
def test_models_that_answer_with_nothing_of_use(answer):
    with pytest.raises(lgs.InvalidArgument, match="denoise: expected a finite tensor"):
        lgs.GaussianPrior.from_model(lambda x, sigma: answer(x), (2, 3), 40.0)


def good_file(file):
    lgs.GaussianPrior(MEAN, BASIS, VARIANCES, 0.1).save(file)
    return file


def test_files_that_are_no_prior(tmp_path):
    good = good_file(tmp_path / "good.safetensors")
    cut, text, other = (tmp_path / name for name in ("cut.safetensors", "text.safetensors", "other.safetensors"))
    cut.write_bytes(good.read_bytes()[:-8])
    text.write_text("not a start")
    save_file({"mean": MEAN}, other, metadata={"format": "lgs-diagonal"})
    spoilt = tmp_path / "spoilt.safetensors"
    metadata = {"format": "lgs-start", "version": "1", "family": "gaussian"}
    tensors = {"mean": MEAN, "basis": BASIS.contiguous(), "variances": VARIANCES, "rest": torch.tensor(0.1)}
    save_file(tensors | {"mean": MEAN * torch.nan}, spoilt, metadata=metadata)
    odd = tmp_path / "odd.safetensors"
    save_file(tensors | {"variances": torch.zeros(3)}, odd, metadata=metadata)

    for file, words in [
        (tmp_path / "none.safetensors", "none of this name"),
        (tmp_path, "a folder"),
        (cut, "no start that can be used"),
        (text, "no start that can be used"),
        (other, "expected format 'lgs-start'"),
        (spoilt, "finite numbers in mean"),
        (odd, "basis: expected shape"),
    ]:
        with pytest.raises(lgs.InvalidArgument, match=words):
            lgs.GaussianPrior.load(file)
    assert lgs.GaussianPrior.load(good).variances.equal(VARIANCES)
