"""``lgs fit``: files in, a start out."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import lgs
from lgs.starts import FlowPrior, GaussianPrior, MixturePrior, load
from lgs.starts.command import main


@pytest.fixture
def latents() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    basis, along = torch.randn(48, 3, generator=generator), torch.randn(60, 3, generator=generator)
    return (1 + along @ basis.T + 0.1 * torch.randn(60, 48, generator=generator)).reshape(60, 3, 4, 4)


def fit(*arguments: object) -> int:
    return main([str(argument) for argument in arguments], "lgs fit")


def same(one: GaussianPrior, other: GaussianPrior) -> None:
    assert torch.allclose(one.mean, other.mean, atol=1e-5) and one.rest == pytest.approx(other.rest, rel=1e-4)
    assert torch.allclose(one.variances, other.variances, rtol=1e-4)
    assert torch.allclose((one.basis.flatten(0, 2).T @ other.basis.flatten(0, 2)).abs(), torch.eye(3), atol=1e-3)


def in_a_file(folder: Path, ending: str, latents: torch.Tensor) -> Path:
    file = folder / f"latents{ending}"
    if ending == ".npy":
        numpy.save(file, latents.numpy())
    else:
        save_file({"anything": latents}, file)
    return file


@pytest.mark.parametrize("ending", [".safetensors", ".npy"])
def test_latents_of_a_file(ending: str, latents: torch.Tensor, tmp_path: Path, capsys: pytest.CaptureFixture):
    file, out = in_a_file(tmp_path, ending, latents), tmp_path / "start.safetensors"
    assert fit(file, "--out", out, "--rank", 3, "--scale", 0.5, "--shift", 0.25, "--process", "flow") == 0
    same(load(out), GaussianPrior.fit((latents - 0.25) * 0.5, 3))
    assert load(out).about["process"] == "flow"
    assert f"{out}: a start of the family gaussian for items (3, 4, 4), of 60; 3 components" in capsys.readouterr().out


def test_a_folder_of_comfyui_s_latents(latents: torch.Tensor, tmp_path: Path):
    """As SaveLatent writes them now, and as it did at first, scaled."""
    for number, latent in enumerate(latents.split(1)):
        if number % 2:
            tensors = {"latent_tensor": latent, "latent_format_version_0": torch.tensor([])}
        else:
            tensors = {"latent_tensor": latent * 0.18215}
        save_file(tensors, tmp_path / f"{number:03}.latent")
    (tmp_path / "notes.txt").write_text("none of them")
    out = tmp_path / "start.safetensors"
    assert fit(tmp_path, "--out", out, "--rank", 3) == 0
    same(load(out), GaussianPrior.fit(latents, 3))


def test_pictures(tmp_path: Path):
    generator = numpy.random.default_rng(0)
    pictures = generator.integers(0, 256, (12, 6, 5, 3), dtype=numpy.uint8)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{number:02}.png")
    out = tmp_path / "start.safetensors"
    assert fit(*sorted(tmp_path.glob("*.png")), "--out", out, "--rank", 2) == 0
    values = torch.from_numpy(pictures).movedim(-1, 1).float() / 127.5 - 1
    start = load(out)
    assert start.shape == (3, 6, 5) and torch.allclose(start.mean, values.mean(dim=0), atol=1e-5)


def test_the_other_families(latents: torch.Tensor, tmp_path: Path):
    file, out = in_a_file(tmp_path, ".npy", latents), tmp_path / "start.safetensors"
    assert fit(file, "--out", out, "--family", "mixture", "--components", 2, "--rank", 2) == 0
    mixture = load(out)
    assert isinstance(mixture, MixturePrior) and mixture.bases.shape == (2, 3, 4, 4, 2)
    pytest.importorskip("zuko")
    assert fit(file, "--out", out, "--family", "flow", "--rank", 2, "--levels", 1, 20) == 0
    assert isinstance(load(out), FlowPrior)


def test_a_fit_that_was_stopped_goes_on(
    latents: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    folder = tmp_path / "latents"
    folder.mkdir()
    for number, latent in enumerate(latents.split(6)):
        numpy.save(folder / f"{number}.npy", latent.numpy())
    whole, out = tmp_path / "whole.safetensors", tmp_path / "start.safetensors"
    assert fit(folder, "--out", whole, "--rank", 3) == 0
    read = numpy.load

    def stopped(file: Path, **options) -> numpy.ndarray:
        if Path(file).name == "7.npy" and (tmp_path / "counted").exists():
            raise KeyboardInterrupt
        if Path(file).name == "9.npy":  # the number of items is known: the fit begins
            (tmp_path / "counted").touch()
        return read(file, **options)

    monkeypatch.setattr(numpy, "load", stopped)
    assert fit(folder, "--out", out, "--rank", 3) == 130
    assert "run the same command again to go on" in capsys.readouterr().err
    assert not out.exists() and out.with_suffix(".unfinished").exists()
    monkeypatch.undo()
    assert fit(folder, "--out", out, "--rank", 3) == 0
    same(load(out), load(whole))
    assert not out.with_suffix(".unfinished").exists()


def test_what_cannot_be_read_is_named(latents: torch.Tensor, tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / "start.safetensors"

    def refused(*arguments: object) -> str:
        assert fit(*arguments, "--out", out) == 1
        assert not out.exists()
        return capsys.readouterr().err

    assert "none.npy: expected a file that ends in" in refused(tmp_path / "none.npy")
    (tmp_path / "empty").mkdir()
    assert "got none of them" in refused(tmp_path / "empty")
    text = tmp_path / "text.png"
    text.write_text("no picture")
    assert "text.png: expected pictures or latents that can be read, got" in refused(text)
    several = tmp_path / "several.safetensors"
    save_file({"a": latents, "b": 2 * latents}, several)
    assert "the tensors a, b where one alone" in refused(several)
    whole = tmp_path / "whole.npy"
    numpy.save(whole, numpy.arange(6).reshape(2, 3))
    assert "in floating point, got torch.int64 (2, 3)" in refused(whole)
    pickled = tmp_path / "pickled.npy"
    numpy.save(pickled, numpy.array([{}]), allow_pickle=True)
    assert "pickled.npy: expected" in refused(pickled)
    broken = in_a_file(tmp_path, ".npy", torch.full_like(latents, torch.nan))
    assert "finite numbers" in refused(broken)
    other = tmp_path / "other.npy"
    numpy.save(other, latents[:, :2].numpy())
    good = in_a_file(tmp_path, ".safetensors", latents)
    assert "pictures of one size" in refused(good, other)
    assert fit(good, "--out", tmp_path / "start.pt") == 1
    assert "expected a name that ends in .safetensors" in capsys.readouterr().err


def test_levels_go_with_a_flow(tmp_path: Path, capsys: pytest.CaptureFixture):
    for arguments in (["--family", "flow"], ["--levels", 1, 20]):
        with pytest.raises(SystemExit):
            fit(tmp_path, "--out", tmp_path / "start.safetensors", *arguments)
        assert "--levels goes with --family flow" in capsys.readouterr().err


def test_what_it_made_begins_a_trajectory(latents: torch.Tensor, tmp_path: Path):
    out = tmp_path / "start.safetensors"
    assert fit(in_a_file(tmp_path, ".npy", latents), "--out", out, "--rank", 3) == 0
    x = lgs.starts.load(out).begin(torch.randn(500, 3, 4, 4, generator=torch.Generator().manual_seed(1)), 5.0)
    assert torch.allclose(x.mean(dim=0), latents.mean(dim=0), atol=1.2)
