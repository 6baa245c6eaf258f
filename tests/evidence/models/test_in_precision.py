"""Half precision by rounding after each operation: against torch's own kernels."""

import copy

import pytest
import torch

from evidence.models.in_precision import InPrecision, Rounded
from evidence.report.trained import network_of


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_rounded_is_half_precision(dtype):
    """Of the digit model: as far from float32 as the dtype's own kernels are, and no farther from these than two
    roundings are from each other."""
    generator, labels = torch.Generator().manual_seed(0), torch.arange(4)
    network = network_of("digits")
    x = torch.randn(4, 1, 32, 32, generator=generator)
    sigma = torch.full((4,), 1.5)
    ways = {"single": network, "half": copy.deepcopy(network).to(dtype), "rounded": Rounded(network, dtype)}
    with torch.no_grad():
        found = {name: InPrecision(way, labels)(x.to(dtype), sigma.to(dtype)).float() for name, way in ways.items()}
    off = {name: (found[name] - found["single"]).norm() for name in ("half", "rounded")}
    assert 0.5 < off["rounded"] / off["half"] < 2
    assert (found["rounded"] - found["half"]).norm() < 1.5 * off["half"]


def test_operations_in_place_and_views_are_rounded_once():
    class InPlace(torch.nn.Module):
        def forward(self, x):
            y = x / 3
            y.view(-1)[0] = 1 / 3  # to the memory of y
            y.mul_(3)
            return y

    x = torch.ones(4)
    expected = x.bfloat16() / 3
    expected.view(-1)[0] = 1 / 3
    assert torch.equal(Rounded(InPlace(), torch.bfloat16)(x), expected.mul_(3).float())
