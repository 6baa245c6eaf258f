"""What a model is taken to compute in. There is no GPU needed: its answers are stood in for."""

import pytest
import torch

import lgs
from lgs._arguments import as_computed


class OnGPU:
    """As much of a tensor on a GPU as is looked at."""

    def __init__(self, dtype):
        self.dtype, self.device = dtype, torch.device("cuda", 0)


@pytest.fixture
def settings():
    """torch's, to be changed and put back."""
    holders = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [holder.allow_tf32 for holder in holders]
    yield holders
    for holder, allowed in zip(holders, before, strict=True):
        holder.allow_tf32 = allowed


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (9, 0)])
@pytest.mark.parametrize("convolutions", [True, False])
@pytest.mark.parametrize("products", [True, False])
def test_tensor_float_32_is_float16(monkeypatch, settings, capability, convolutions, products):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    settings[0].allow_tf32, settings[1].allow_tf32 = convolutions, products
    rounds = capability >= (8, 0) and (convolutions or products)
    for precision, dtype, expected in [
        ("auto", torch.float32, "float16" if rounds else "auto"),
        ("float32", torch.float32, "float16" if rounds else "float32"),
        ("bfloat16", torch.float32, "bfloat16"),
        ("float64", torch.float32, "float64"),
        ("auto", torch.float64, "auto"),
        ("auto", torch.bfloat16, "auto"),
        ("float32", torch.float64, "float32"),
    ]:
        options = lgs.Options(precision=precision, eta=0.5)
        computed = as_computed(options, OnGPU(dtype))
        assert computed.precision == expected and computed.eta == 0.5


def test_a_cpu_computes_in_what_it_says():
    options = lgs.Options()
    assert as_computed(options, torch.zeros(1)) is options
