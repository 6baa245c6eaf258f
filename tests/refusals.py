"""Asking for something that is refused: by which error, in which words, and that all stays usable."""

import pytest
import torch

import lgs

SIGMAS = [5.0, 2.0, 1.0, 0.0]


def shrink(x, sigma):
    return x / (1 + sigma.reshape(-1, *[1] * (x.ndim - 1)) ** 2)


@pytest.fixture(autouse=True)
def usable_afterwards():
    yield
    assert torch.isfinite(lgs.sample(shrink, torch.randn(2, 8), SIGMAS)).all()


def refused(kind, *parts, denoise=shrink, x=None, sigmas=SIGMAS, **options):
    x = torch.randn(2, 8) if x is None else x
    with pytest.raises(lgs.Error) as caught:
        lgs.sample(denoise, x, sigmas, options)
    assert isinstance(caught.value, kind), repr(caught.value)
    for part in parts:
        assert part in str(caught.value), str(caught.value)
