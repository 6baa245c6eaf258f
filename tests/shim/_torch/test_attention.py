"""Forward mode through fused attention, against torch.func's derivative of the formula in float64."""

import threading
from itertools import product
from math import inf

import pytest
import torch
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

import lgs
from lgs._torch import attention
from lgs._torch.attention import DifferentiableAttention


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def plain(q, k, v, attn_mask=None, is_causal=False, scale=None, enable_gqa=False):
    """Attention as it is defined, with all scores at once."""
    if enable_gqa:
        k, v = (t.repeat_interleave(q.shape[-3] // t.shape[-3], dim=-3) for t in (k, v))
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros(attn_mask.shape, dtype=q.dtype).masked_fill(~attn_mask, -inf)
    return torch.softmax(scores if attn_mask is None else scores + attn_mask, dim=-1) @ v


def expected_tangent(values, tangents, **options):
    """By torch.func, in float64; a tangent may be None."""
    dual = [i for i, tangent in enumerate(tangents) if tangent is not None]

    def of_dual(*changed):
        inputs = list(values)
        for i, value in zip(dual, changed, strict=True):
            inputs[i] = value
        return plain(*(t.double() if t.is_floating_point() else t for t in inputs), **options)

    return torch.func.jvp(of_dual, tuple(values[i].double() for i in dual), tuple(tangents[i].double() for i in dual))[
        1
    ]


def ours(values, tangents, function=F.scaled_dot_product_attention, **options):
    """Output and tangent with the mode on."""
    with forward_ad.dual_level(), DifferentiableAttention():
        inputs = [
            value if tangent is None else forward_ad.make_dual(value, tangent)
            for value, tangent in zip(values, tangents, strict=True)
        ]
        return forward_ad.unpack_dual(function(*inputs, **options))


def random(*shapes, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def error(value, reference):
    return float((value.double() - reference).norm() / reference.norm())


def mask_of(*shape):
    """Boolean, and every query keeps a key."""
    mask = random(shape, seed=2)[0] > 0
    mask[..., 0] = True
    return mask


SELF = ((2, 3, 10, 8),) * 3
CROSS = (2, 3, 10, 8), (2, 3, 7, 8), (2, 3, 7, 5)
CASES = {
    "self": (SELF, {}),
    "cross": (CROSS, {}),
    "no batch": (((10, 8), (7, 8), (7, 5)), {}),
    "one batch axis": (((4, 10, 8), (4, 7, 8), (4, 7, 5)), {}),
    "three batch axes": (((2, 1, 3, 10, 8), (2, 1, 3, 7, 8), (2, 1, 3, 7, 5)), {}),
    "broadcast": (((2, 3, 10, 8), (1, 3, 7, 8), (2, 1, 7, 5)), {}),
    "scale": (CROSS, {"scale": 0.7}),
    "causal": (SELF, {"is_causal": True}),
    "causal, fewer keys": (CROSS, {"is_causal": True}),
    "causal, fewer queries": (((2, 3, 6, 8), (2, 3, 9, 8), (2, 3, 9, 8)), {"is_causal": True}),
    "boolean mask": (CROSS, {"attn_mask": mask_of(2, 3, 10, 7)}),
    "boolean mask of keys": (CROSS, {"attn_mask": mask_of(2, 1, 1, 7)}),
    "float mask": (CROSS, {"attn_mask": random((10, 7))[0]}),
    "float mask of heads": (CROSS, {"attn_mask": random((1, 3, 10, 7))[0]}),
    "float mask that hides": (CROSS, {"attn_mask": torch.zeros(2, 1, 10, 7).masked_fill(~mask_of(2, 1, 10, 7), -inf)}),
    "grouped queries": (((2, 6, 10, 8), (2, 2, 7, 8), (2, 2, 7, 5)), {"enable_gqa": True}),
    "one query": (((2, 3, 1, 8), (2, 3, 7, 8), (2, 3, 7, 8)), {}),
    "one key": (((2, 3, 10, 8), (2, 3, 1, 8), (2, 3, 1, 8)), {}),
}
EACH_CASE = pytest.mark.parametrize("case", CASES)


def inputs_of(case, dtype=torch.float64):
    shapes, options = CASES[case]
    mask = options.get("attn_mask")
    if mask is not None and mask.is_floating_point():
        options = options | {"attn_mask": mask.to(dtype)}
    return random(*shapes, dtype=dtype), random(*shapes, dtype=dtype, seed=1), options


@EACH_CASE
def test_the_derivative(case):
    values, tangents, options = inputs_of(case)
    out, tangent = ours(values, tangents, **options)
    assert error(tangent, expected_tangent(values, tangents, **options)) < 1e-12
    assert out.equal(F.scaled_dot_product_attention(*values, **options)), "the kernel's own output"


@EACH_CASE
@pytest.mark.parametrize("scores", [1, 7, 25, 100])
def test_the_derivative_in_blocks(case, scores, monkeypatch):
    monkeypatch.setitem(attention.SCORES, "cpu", scores)
    test_the_derivative(case)


@pytest.mark.parametrize("dual", [d for d in product([True, False], repeat=3) if any(d)])
def test_constant_inputs(dual):
    """As in cross-attention, where k and v come from the prompt."""
    values, tangents, _ = inputs_of("cross")
    tangents = [tangent if is_dual else None for tangent, is_dual in zip(tangents, dual, strict=True)]
    assert error(ours(values, tangents)[1], expected_tangent(values, tangents)) < 1e-12


@pytest.mark.parametrize("shape", [(2, 3, 10, 7), (10, 7), (2, 1, 1, 7)])
@pytest.mark.parametrize("alone", [True, False])
def test_a_mask_with_a_tangent(shape, alone):
    values, tangents, _ = inputs_of("cross")
    values, tangents = [*values, *random(shape, seed=3)], [*tangents, *random(shape, seed=4)]
    if alone:
        tangents[:3] = [None] * 3
    assert error(ours(values, tangents)[1], expected_tangent(values, tangents)) < 1e-12


def test_without_tangents_it_is_the_kernel():
    values, _, _ = inputs_of("cross")
    out, tangent = ours(values, [None] * 3)
    assert tangent is None and out.equal(F.scaled_dot_product_attention(*values))


@pytest.mark.parametrize("shape", [(2, 3, 0, 8), (0, 3, 10, 8)])
def test_nothing_to_attend(shape):
    values, tangents = random(*[shape] * 3), random(*[shape] * 3, seed=1)
    assert ours(values, tangents)[1].shape == shape


@pytest.mark.parametrize("kind", [torch.bool, torch.float64])
@pytest.mark.parametrize("scores", [2**20, 7])
def test_queries_without_a_key(kind, scores, monkeypatch):
    """Where everything is masked the kernels give 0, and a tangent of NaN would spread from there."""
    monkeypatch.setitem(attention.SCORES, "cpu", scores)
    values, tangents, _ = inputs_of("cross")
    mask = mask_of(10, 7)
    mask[4] = False
    if kind != torch.bool:
        mask = torch.zeros(10, 7, dtype=kind).masked_fill(~mask, -inf)
    out, tangent = ours(values, tangents, attn_mask=mask)
    assert (out[..., 4, :] == 0).all() and (tangent[..., 4, :] == 0).all()
    others = [0, 1, 2, 3, 5, 6, 7, 8, 9]
    expected = expected_tangent(values, tangents, attn_mask=mask)[..., others, :]
    assert error(tangent[..., others, :], expected) < 1e-12


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float16, 4e-4), (torch.bfloat16, 3e-3)])
@EACH_CASE
def test_lower_precision(case, dtype, bound):
    """What is lost is the rounding of the result, and no more: the scores of half precision are float32."""
    values, tangents, options = inputs_of(case, dtype)
    out, tangent = ours(values, tangents, **options)
    assert out.dtype == tangent.dtype == dtype
    assert error(tangent, expected_tangent(values, tangents, **options)) < bound


def test_large_scores_in_bfloat16():
    """Scores near 100: their rounding to bfloat16 would be as large as what they differ by."""
    shape = (1, 2, 64, 16)
    values, tangents = random(*[shape] * 3, dtype=torch.bfloat16), random(*[shape] * 3, dtype=torch.bfloat16, seed=1)
    values[0] *= 20
    expected = expected_tangent(values, tangents)
    assert error(ours(values, tangents)[1], expected) < 3e-3
    assert error(torch.func.jvp(plain, tuple(values), tuple(tangents))[1], expected) > 3e-3


def test_under_autocast():
    values, tangents, _ = inputs_of("cross", torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out, tangent = ours(values, tangents)
    assert out.dtype == tangent.dtype == torch.bfloat16
    assert error(tangent, expected_tangent(values, tangents)) < 3e-3


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation returns."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        numels = [t.untyped_storage().nbytes() // t.itemsize for t in tree_iter(result) if isinstance(t, torch.Tensor)]
        self.numel = max(self.numel, *numels, 0)
        return result


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"attn_mask": mask_of(1, 1, 1, 512)}])
def test_the_scores_are_never_held(options, monkeypatch):
    monkeypatch.setitem(attention.SCORES, "cpu", 2**14)
    shape = (2, 3, 512, 8)
    values, tangents = random(*[shape] * 3), random(*[shape] * 3, seed=1)
    with Largest() as largest:
        ours(values, tangents, **options)
    assert largest.numel <= max(2**14, 2 * 3 * 512 * 8) < 512 * 512


@pytest.mark.parametrize(
    "call",
    [
        lambda q: F.scaled_dot_product_attention(q, q[..., :4], q),
        lambda q: F.scaled_dot_product_attention(q, q[:, :2], q[:, :2]),
        lambda q: F.scaled_dot_product_attention(q, q, q.float()),
        lambda q: F.scaled_dot_product_attention(q, q, q, torch.ones(3, 3, dtype=torch.bool)),
        lambda q: F.scaled_dot_product_attention(q, q, q, torch.ones(10, 10, dtype=torch.int)),
        lambda q: F.scaled_dot_product_attention(q, q, q, dropout_p=2.0),
        lambda q: F.scaled_dot_product_attention(q, q, q, heads=3),
        lambda q: F.scaled_dot_product_attention(q, q),
    ],
)
def test_wrong_arguments_raise_what_torch_raises(call):
    [q] = random((2, 3, 10, 8))
    with pytest.raises((RuntimeError, TypeError, ValueError)) as by_torch:
        call(q)
    with pytest.raises(by_torch.type):
        ours([q], [q], call)


def test_dropout_is_left_to_torch():
    """It alone knows what it has dropped. On the CPU its math kernel then differentiates."""
    values, tangents, _ = inputs_of("self")
    torch.manual_seed(0)
    out, tangent = ours(values, tangents, dropout_p=0.5)
    torch.manual_seed(0)
    with forward_ad.dual_level():
        expected = F.scaled_dot_product_attention(*map(forward_ad.make_dual, values, tangents), dropout_p=0.5)
        value, by_torch = forward_ad.unpack_dual(expected)
    assert out.equal(value) and tangent.equal(by_torch)


def attention_module(x):
    module = torch.nn.MultiheadAttention(16, 4, batch_first=True, dtype=x.dtype).eval()
    return lambda x, **options: module(x, x, x, need_weights=False, **options)[0]


MODULES = {
    "MultiheadAttention": attention_module,
    "TransformerEncoderLayer": lambda x: torch.nn.TransformerEncoderLayer(
        16, 4, 32, batch_first=True, dtype=x.dtype
    ).eval(),
    "TransformerEncoder": lambda x: torch.nn.TransformerEncoder(
        torch.nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, dtype=x.dtype), 2
    ).eval(),
}


@pytest.mark.parametrize("options", [{}, {"padding": True}, {"mask": True}])
@pytest.mark.parametrize("name", MODULES)
def test_modules_with_a_fast_path(name, options):
    """Without gradients torch's transformer modules take kernels of their own, which refuse dual numbers."""
    x, tangent = random((2, 10, 16), (2, 10, 16))
    torch.manual_seed(0)
    module = MODULES[name](x)
    arguments = {}
    if "padding" in options:
        key = "key_padding_mask" if name == "MultiheadAttention" else "src_key_padding_mask"
        arguments[key] = ~mask_of(2, 10)
    if "mask" in options:
        key = {"MultiheadAttention": "attn_mask", "TransformerEncoder": "mask"}.get(name, "src_mask")
        arguments[key] = ~mask_of(10, 10)
    out, product = ours([x], [tangent], lambda x: module(x, **arguments))
    torch.testing.assert_close(out, module(x, **arguments))
    h = 1e-5
    difference = (module(x + h * tangent, **arguments) - module(x - h * tangent, **arguments)) / (2 * h)
    assert error(product, difference) < 1e-8


class Attending(torch.nn.Module):
    """A denoiser with fused attention between two projections, and a path around it."""

    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.weight = torch.linalg.qr(random((16, 16))[0])[0].to(dtype)

    def forward(self, x, sigma):
        tokens = (x @ self.weight).unflatten(2, (2, 8)).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(tokens, tokens, tokens).transpose(1, 2).flatten(2)
        return (x + mixed @ self.weight.T) / (1 + sigma[:, None, None] ** 2)


def central_difference(denoise, x, v, h=1e-5):
    level = torch.ones(len(x), dtype=x.dtype)
    return (denoise(x + h * v, level) - denoise(x - h * v, level)) / (2 * h)


def test_forward_mode_through_a_model():
    x, v = random((2, 12, 16), (2, 12, 16))
    expected = central_difference(Attending(torch.float64), x, v)
    for dtype, bound in ((torch.float64, 1e-8), (torch.float32, 1e-5)):
        denoise = Attending(dtype)
        denoised, tangent = lgs.jvp(denoise, x.to(dtype), 1.0, v.to(dtype), {"jvp": "forward"})
        assert error(tangent, expected) < bound
        assert denoised.equal(denoise(x.to(dtype), torch.ones(2, dtype=dtype)))


class Other(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def test_the_mode_is_found_wherever_it_is_on_the_stack():
    below, ours, above = Other(), DifferentiableAttention(), Other()
    with below:
        ours.__enter__()
        above.__enter__()
        for _ in range(2):
            ours.leave()
            assert _get_current_function_mode_stack() == [below, above]
        above.__exit__(None, None, None)


def test_the_mode_is_its_threads_own():
    seen = []
    with DifferentiableAttention():
        thread = threading.Thread(target=lambda: seen.append(_get_current_function_mode_stack()))
        thread.start()
        thread.join()
    assert seen == [[]]
