"""Tensors that a C library cannot read, given or returned: refused by name before a pointer is taken. Most of them were
a segmentation fault or a SystemError."""

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

import lgs
from lgs._torch.kinds import odd_tensors
from refusals import SIGMAS, shrink, usable_afterwards  # noqa: F401

OPTIONS = {"lanczos_steps": 1, "jvp": "finite-difference"}
X = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))


def run(x):
    return lgs.sample(shrink, x, SIGMAS, OPTIONS, noise=lambda *_: torch.zeros(x.shape))


def in_fake_mode(function):
    with FakeTensorMode():
        return function()


KINDS = odd_tensors()
ODD = {
    "wrapper": (KINDS["a wrapper"], "a Wrapper, whose numbers a Python class has"),
    "fake": (KINDS["a FakeTensor"], "a FakeTensor"),
    "freed": (KINDS["one whose storage was freed"], "one without memory"),
    "nested": (KINDS["a nested one"], "a nested one"),
    "jagged": (KINDS["a jagged one"], "NestedTensor"),
    "sparse": (KINDS["a sparse one"], "torch.sparse_coo"),
    "mkldnn": (lambda x: x.to_mkldnn(), "torch._mkldnn"),
    "meta": (KINDS["one on meta"], "meta"),
}


@pytest.mark.parametrize("odd", ODD)
def test_as_x_and_as_what_else_is_given(odd):
    make, words = ODD[odd]
    with pytest.raises(lgs.InvalidArgument, match=f"x: expected .*{words}"):
        run(make(X))
    for function in (lgs.jvp, lgs.principal_components):
        with pytest.raises(lgs.InvalidArgument, match=f"[vz]: expected .*{words}"):
            function(shrink, X, 1.0, make(X), OPTIONS) if function is lgs.jvp else function(shrink, X, 1.0, make(X))
    with pytest.raises(lgs.InvalidArgument, match=f"z: expected .*{words}"):
        lgs.reverse_noise(shrink, X, 1.0, 0.5, make(X), OPTIONS)


@pytest.mark.parametrize("odd", ODD)
def test_as_what_a_model_a_noise_or_a_diagonal_returns(odd):
    make, words = ODD[odd]
    spoilt = lambda x, sigma: make(shrink(x, sigma))  # noqa: E731
    with pytest.raises(lgs.ModelOutputError, match=f"denoise: expected .*{words}"):
        lgs.sample(spoilt, X, SIGMAS, OPTIONS)
    with pytest.raises(lgs.ModelOutputError, match=f"noise: expected .*{words}"):
        lgs.sample(shrink, X, SIGMAS, OPTIONS, noise=lambda *_: make(X))
    with pytest.raises(lgs.ModelOutputError, match=f"diagonal: expected .*{words}"):
        lgs.sample(shrink, X, SIGMAS, {"covariance": "diagonal-learned"}, diagonal=spoilt)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: torch.func.functionalize(run)(X), "inside a transform of torch.func"),
        (lambda: torch.func.vmap(run, in_dims=1)(X), "inside a transform of torch.func"),
        (lambda: torch.func.jvp(run, (X,), (X,)), "inside a transform of torch.func"),
        (lambda: torch.func.grad(lambda x: run(x).sum())(X), "inside a transform of torch.func"),
        (lambda: make_fx(run)(X), "being traced .PROXY"),
        (lambda: make_fx(run, tracing_mode="fake")(X), "a FakeTensor"),
        (lambda: in_fake_mode(lambda: run(X)), "being traced .FAKE"),
    ],
)
def test_in_a_transform_or_a_trace(call, words):
    with pytest.raises(lgs.InvalidArgument, match=f"x: expected a dense tensor, got .*{words}"):
        call()


def test_what_a_c_library_can_read_is_taken():
    expected = run(X)
    for x in (torch.nn.Parameter(X), X.t().contiguous().t(), torch._neg_view(-X), X.clone().requires_grad_()):
        torch.testing.assert_close(run(x), expected)
    torch.testing.assert_close(run(X[:1].expand(2, 8)), run(X[:1].repeat(2, 1)))
    zeros = torch._efficientzerotensor((2, 8))
    torch.testing.assert_close(run(zeros), torch.zeros(2, 8))
    with FlopCounterMode(display=False):
        torch.testing.assert_close(run(X), expected)
    torch.testing.assert_close(torch.compile(run, backend="eager")(X), expected)
