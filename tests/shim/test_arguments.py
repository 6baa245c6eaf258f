"""Bad input: an error that names the argument, what was expected and what came; all stays usable."""

import pytest
import torch

import lgs
from refusals import SIGMAS, refused, shrink, usable_afterwards  # noqa: F401


@pytest.mark.parametrize(
    ("options", "kind", "parts"),
    [
        ({"lanczos_stepz": 3}, TypeError, ["lanczos_stepz", "lanczos_steps, "]),
        ({"lanczos_steps": 0}, ValueError, ["lanczos_steps", "1 to 64", "0"]),
        ({"lanczos_steps": -1}, ValueError, ["lanczos_steps", "1 to 64", "-1"]),
        ({"lanczos_steps": 9}, ValueError, ["lanczos_steps", "1 to 8", "9"]),
        ({"lanczos_steps": 10**30}, ValueError, ["lanczos_steps"]),
        ({"lanczos_steps": 2.0}, TypeError, ["lanczos_steps", "integer", "2.0"]),
        ({"lanczos_steps": "3"}, TypeError, ["lanczos_steps", "integer", '"3"']),
        ({"lanczos_steps": True}, TypeError, ["lanczos_steps", "integer", "true"]),
        ({"lanczos_steps": None}, TypeError, ["lanczos_steps", "integer", "null"]),
        ({"lanczos_steps": [3]}, TypeError, ["lanczos_steps", "list"]),
        ({"eta": 1.5}, ValueError, ["eta", "0 to 1", "1.5"]),
        ({"eta": float("nan")}, ValueError, ["eta", "finite", "nan"]),
        ({"s_noise": float("inf")}, ValueError, ["s_noise", "finite", "inf"]),
        ({"s_noise": -1}, ValueError, ["s_noise", "-1"]),
        ({"covariance": "full"}, ValueError, ["covariance", '"lanczos", "isotropic"', "full"]),
        ({"jvp": 1}, TypeError, ["jvp", '"auto"', "1"]),
        ({"process": "vp"}, ValueError, ["process", '"ve", "flow"', "vp"]),
        ({"extended": "yes"}, TypeError, ["extended", "true or false", "yes"]),
        ({"tolerance": torch.ones(2)}, TypeError, ["tolerance", "Tensor"]),
        ({"denoise\0": 1}, TypeError, ["no such option"]),
        ({"éta": 1}, TypeError, ["éta"]),
    ],
)
def test_options(options, kind, parts):
    with pytest.raises(lgs.Error) as caught:
        lgs.sample(shrink, torch.randn(2, 8), SIGMAS, options)
    assert isinstance(caught.value, kind), repr(caught.value)
    for part in parts:
        assert part in str(caught.value), str(caught.value)


def test_options_of_another_kind():
    for options in (3, "eta=1", [("eta", 1)], {3: 4}):
        with pytest.raises(lgs.InvalidType, match="options: expected"):
            lgs.sample(shrink, torch.randn(2, 8), SIGMAS, options)


@pytest.mark.parametrize(
    ("sigmas", "kind", "parts"),
    [
        ([1.0, 0.5, 2.0], ValueError, ["sigmas", "end in a fall", "got 2 after 0.5", "unsampling"]),
        ([1.0, float("nan"), 0.0], ValueError, ["sigmas", "finite", "NaN at index 1"]),
        ([float("inf"), 1.0], ValueError, ["sigmas", "finite", "inf at index 0"]),
        ([1.0, -0.5], ValueError, ["sigmas", "negative", "-0.5 at index 1"]),
        ([1.0, 0.0, 0.0], ValueError, ["sigmas", "above 0 after 0", "index 1"]),
        ([0.0, 0.0], ValueError, ["sigmas", "above 0 after 0", "index 0"]),
        ([1.0], ValueError, ["sigmas", "at least two", "1"]),
        ([], ValueError, ["sigmas", "at least two", "0"]),
        (torch.ones(2, 2), TypeError, ["sigmas", "one-dimensional", "(2, 2)"]),
        (["a"], TypeError, ["sigmas", "list"]),
        (None, TypeError, ["sigmas", "NoneType"]),
        (1.0, TypeError, ["sigmas", "float"]),
        (torch.tensor([True, False]), TypeError, ["sigmas", "bool"]),
    ],
)
def test_sigmas(sigmas, kind, parts):
    refused(kind, *parts, sigmas=sigmas)


def test_sigmas_of_a_flow():
    refused(ValueError, "sigmas", "at most 1", "1.5 at index 0", sigmas=[1.5, 0.5, 0.0], process="flow")


@pytest.mark.parametrize(
    ("x", "kind", "parts"),
    [
        (torch.ones(2, 8, dtype=torch.int32), TypeError, ["x:", "float32", "int32"]),
        (torch.ones(2, 8, dtype=torch.bool), TypeError, ["x:", "bool"]),
        (torch.ones(2, 8, dtype=torch.complex64), TypeError, ["x:", "complex64"]),
        (torch.ones(2, 8).to(torch.float8_e4m3fn), TypeError, ["x:", "float16"]),
        (torch.ones(0, 8), ValueError, ["x:", "at least one item", "[0, 8]"]),
        (torch.ones(2, 0, 3), ValueError, ["x:", "[2, 0, 3]"]),
        (torch.ones(()), ValueError, ["x:", "(batch, ...)", "[]"]),
        (torch.full((2, 8), float("nan")), ValueError, ["x:", "finite"]),
        (torch.ones(2, 8).to_sparse(), ValueError, ["x:", "dense"]),
        (torch.ones(2, 8, device="meta"), ValueError, ["x:", "cpu", "meta"]),
        ([[1.0]], TypeError, ["x:", "torch.Tensor", "list"]),
        (None, TypeError, ["x:", "torch.Tensor", "NoneType"]),
    ],
)
def test_x(x, kind, parts):
    with pytest.raises(lgs.Error) as caught:
        lgs.sample(shrink, x, SIGMAS)
    assert isinstance(caught.value, kind), repr(caught.value)
    for part in parts:
        assert part in str(caught.value), str(caught.value)


def test_arguments_of_the_single_step():
    x = torch.randn(2, 8)
    with pytest.raises(lgs.InvalidArgument, match=r"z: expected shape \[2, 8\], that of x, got shape \[2, 7\]"):
        lgs.reverse_noise(shrink, x, 1.0, 0.5, torch.randn(2, 7))
    with pytest.raises(lgs.InvalidType, match="z: expected a tensor of dtype"):
        lgs.reverse_noise(shrink, x, 1.0, 0.5, torch.ones(2, 8, dtype=torch.int32))
    with pytest.raises(lgs.InvalidArgument, match="sigma_next: expected at most the sigma of x, 0.5, got 1"):
        lgs.reverse_noise(shrink, x, 0.5, 1.0, x)
    with pytest.raises(lgs.InvalidType, match="sigma: expected a number"):
        lgs.reverse_noise(shrink, x, "high", 1.0, x)
    with pytest.raises(lgs.InvalidArgument, match=r"v: expected shape"):
        lgs.jvp(shrink, x, 0.5, torch.randn(3, 8))
