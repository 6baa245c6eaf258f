"""The engine on PyTorch's stable C interface: which engine is taken, and that the two come to the same."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch

import lgs
from engine_folders import BIN, folder_with, of_this_system
from engine_folders import stable as stable_build
from lgs import _ffi
from lgs._ffi import engine as engines
from lgs._ffi.engine import Engine

BUILDS = of_this_system()
STABLE = stable_build()
RELEASE = ".".join(torch.__version__.split(".")[:2])
OWN = [build for build in BUILDS if build["torch"] == RELEASE and not build.get("and_newer")]

pytestmark = pytest.mark.skipif(
    tuple(map(int, RELEASE.split("."))) < (2, 10),
    reason=f"torch {RELEASE} has not all of PyTorch's stable C interface: run this with torch 2.10 or newer",
)


def opened(folder, builds) -> dict:
    return Engine(_ffi.library(), folder_with(Path(tempfile.mkdtemp(dir=folder)), builds), torch.__version__).info()


@pytest.fixture
def stable(tmp_path, monkeypatch):
    """The stable engine, in use."""
    manifest = folder_with(tmp_path, [STABLE])
    native = Engine(_ffi.library(), manifest, torch.__version__)
    monkeypatch.setitem(engines._engines, BIN / "engines.json", native)
    return native


def test_an_engine_for_this_torch_alone_is_taken_before_one_for_all(tmp_path):
    for builds in ([*OWN, STABLE], [STABLE, *OWN]):
        assert opened(tmp_path, builds)["engine"] == (OWN or [STABLE])[0]["file"]


def test_without_one_it_is_the_newest_that_begins_before(tmp_path):
    later = STABLE | {"torch": "99.0"}
    info = opened(tmp_path, [later, STABLE])
    assert info["engine"] == STABLE["file"] and info["torch"] == RELEASE
    assert info["interface"] == f"PyTorch's stable C interface, for torch {STABLE['torch']} and newer"


def test_an_older_torch_is_told_what_to_do(tmp_path):
    later = STABLE | {"torch": "99.0"}
    with pytest.raises(lgs.EngineError, match="torch 99.0 and newer on .*Install torch 99.0 or newer in the host's"):
        opened(tmp_path, [later])


def test_neither_or_both_is_no_entry(tmp_path):
    for build in (STABLE | {"tch": "0.24"}, {name: value for name, value in STABLE.items() if name != "and_newer"}):
        with pytest.raises(lgs.EngineError, match="to have either `tch` or"):
            opened(tmp_path, [build])


SETTINGS = [
    *(
        {"covariance": covariance, "jvp": jvp, "lanczos_steps": 3, "other_steps": "multistep"}
        for covariance in ("lanczos", "isotropic", "isotropic-large", "isotropic-optimal", "diagonal", "spectral")
        for jvp in ("forward", "finite-difference", "central-difference")
    ),
    {"lanczos_steps": 4, "tolerance": 0.05, "jvp": "forward"},
    {"lanczos_steps": 2, "doubled_batch": "always", "jvp": "finite-difference"},
    {"solver": "secant", "eta": 0.0},
    {"solver": "secant", "eta": 0.4},
]
"""Every solver and covariance with every kind of product."""


def model(x, sigma):
    return torch.tanh(x / (1 + sigma.view(-1, 1, 1, 1) ** 2)) * 1.3


def everything(dtype: torch.dtype, options: dict) -> list[torch.Tensor]:
    """What all functions give of one seed."""
    x, z, v, *noises = torch.randn(8, 3, 2, 8, 8, generator=torch.Generator().manual_seed(5)).to(dtype)
    drawn = iter(noises)
    given = [lgs.sample(model, 4 * x, [4.0, 2.0, 1.0, 0.3, 0.0], options, noise=lambda *_: next(drawn))]
    way = {"jvp": options.get("jvp", "forward")}
    given += [*lgs.jvp(model, x, 0.7, v, way), *lgs.principal_components(model, x, 0.7, z, way)]
    if "solver" not in options:
        given.append(lgs.reverse_noise(model, x, 0.7, 0.4, z, options))
    return given


@pytest.mark.skipif(not OWN, reason="this torch has no engine of its own to compare with: see make engines")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 5e-3), (torch.bfloat16, 0.2)])
@pytest.mark.parametrize("options", SETTINGS, ids=lambda options: "-".join(map(str, options.values())))
def test_it_comes_to_the_same_as_tch(options, dtype, tolerance, request):
    """To rounding, which small differences enlarge. Bit for bit where the operators are the same: without products."""
    expected = everything(dtype, options)
    request.getfixturevalue("stable")
    came = everything(dtype, options)
    alike = options.get("covariance") in ("isotropic", "isotropic-large") or "solver" in options
    assert not alike or torch.equal(came[0], expected[0])
    for ours, theirs in zip(came, expected, strict=True):
        assert ours.dtype == dtype and ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def test_starts(stable):
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    prior = lgs.GaussianPrior.fit(torch.randn(40, 1, 8, 8, dtype=torch.float64), 5)
    came = prior.teleport(x, 3.0, 0.5)
    flat = (x - prior.mean.double()).reshape(2, -1)
    basis, variances = prior.basis.double().reshape(64, -1), prior.variances.double()
    gain = ((variances + 0.25) / (variances + 9)).sqrt()
    rest = ((prior.rest + 0.25) / (prior.rest + 9)) ** 0.5
    along = flat @ basis
    expected = prior.mean.double().reshape(-1) + rest * (flat - along @ basis.mT) + (along * gain) @ basis.mT
    torch.testing.assert_close(came.reshape(2, -1), expected, rtol=1e-6, atol=1e-6)


def test_what_libtorch_refuses_is_an_error_and_everything_is_usable_after(stable, capfd):
    with pytest.raises(lgs.ModelOutputError, match="dtype"):
        lgs.sample(lambda x, sigma: x.to(torch.complex64), torch.randn(2, 3), [1.0, 0.0])
    with pytest.raises(lgs.InvalidArgument, match="shape"):
        lgs.jvp(lambda x, sigma: x, torch.randn(2, 3), 1.0, torch.randn(2, 4))
    x = torch.randn(2, 3)
    assert torch.isfinite(lgs.sample(lambda x, sigma: x / 2, x, [1.0, 0.5, 0.0])).all()
    assert "aoti" not in capfd.readouterr().err


def test_what_libtorch_says_is_handed_on_where_the_interface_has_it(stable, capfd):
    x = torch.empty(1, 4096, 4096).expand(200_000, -1, -1)  # 64 MB, but whatever is computed of it has 13 TB
    with pytest.raises(lgs.OutOfMemory) as raised:
        lgs.sample(lambda x, sigma: x, x, [1.0, 0.0])
    says = tuple(map(int, RELEASE.split("."))) >= (2, 13)
    assert ("you tried to allocate" if says else "printed the reason to standard error") in str(raised.value)
    assert ("you tried to allocate" in capfd.readouterr().err) is not says


def test_threads_and_inference_mode(stable):
    x = torch.randn(2, 1, 8, 8)
    with torch.inference_mode():
        came = lgs.sample(model, x, [2.0, 1.0, 0.0], {"jvp": "forward"}, noise=lambda *_: torch.ones_like(x))
        assert torch.is_inference_mode_enabled()
    expected = lgs.sample(model, x, [2.0, 1.0, 0.0], {"jvp": "forward"}, noise=lambda *_: torch.ones_like(x))
    assert torch.equal(came, expected)
    assert torch.is_grad_enabled()
