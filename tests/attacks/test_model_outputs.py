"""What a model or a noise source returns and cannot be used: an error that names the step, what was expected and
what came; all stays usable."""

import pytest
import torch

import lgs
from refusals import SIGMAS, refused, shrink, usable_afterwards  # noqa: F401


def bad_at(step_sigma, spoil):
    """A model that is well behaved until the noise level falls to ``step_sigma``."""

    def denoise(x, sigma):
        denoised = shrink(x, sigma)
        return spoil(denoised) if sigma[0] <= step_sigma else denoised

    return denoise


OUTPUTS = [
    (lambda d: d[:, :4], ["denoised", "[2, 8]", "[2, 4]"]),
    (lambda d: d[0], ["denoised", "[2, 8]", "[8]"]),
    (lambda d: d.double(), ["denoised", "float32", "float64"]),
    (lambda d: d.half(), ["denoised", "float32", "float16"]),
    (lambda d: d.int(), ["denoised", "float32", "int32"]),
    (lambda d: d * float("nan"), ["denoised", "NaN"]),
    (lambda d: torch.where(torch.arange(8) == 3, float("inf"), d), ["denoised", "infinity"]),
]


@pytest.mark.parametrize("options", [{"jvp": "finite-difference"}, {"jvp": "auto"}, {"covariance": "isotropic"}])
@pytest.mark.parametrize(
    ("level", "place"), [(5.0, "step 1 of 3 (sigma 5"), (2.0, "step 2 of 3 (sigma 2"), (1.0, "step 3 of 3 (sigma 1")]
)
@pytest.mark.parametrize(("spoil", "parts"), OUTPUTS)
def test_what_the_model_returns(spoil, parts, level, place, options):
    refused(lgs.ModelOutputError, place, *parts, denoise=bad_at(level, spoil), **options)


def test_a_model_that_is_finite_at_x_alone():
    """NaN only at the displaced point: the image is fine, its derivative is not."""
    calls = 0

    def denoise(x, sigma):
        nonlocal calls
        calls += 1
        return shrink(x, sigma) * (float("nan") if calls == 5 else 1.0)

    options = {"jvp": "finite-difference", "lanczos_steps": 2}
    refused(ValueError, "step 2 of 3", "Jacobian-vector product", "NaN", denoise=denoise, **options)


@pytest.mark.parametrize("value", [None, 3.0, (torch.ones(2, 8),), [1]])
def test_what_is_no_tensor(value):
    refused(TypeError, "denoise", "torch.Tensor", type(value).__name__, denoise=lambda x, sigma: value)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda d: d.to_sparse(), "torch.sparse_coo"),
        (lambda d: torch.nested.as_nested_tensor(list(d)), "nested"),
        (lambda d: d.to("meta"), "meta"),
    ],
)
def test_what_is_an_odd_tensor(spoil, what):
    refused(lgs.ModelOutputError, "denoise", what, denoise=lambda x, sigma: spoil(shrink(x, sigma)))


@pytest.mark.parametrize("options", [{"covariance": "isotropic"}, {"jvp": "finite-difference"}, {"jvp": "forward"}])
def test_a_model_that_writes_to_its_input(options):
    x = torch.randn(2, 8)
    before = x.clone()

    def in_place(x, sigma):
        return x.div_(1 + sigma[:, None] ** 2)

    ours, expected = (
        lgs.sample(model, x, SIGMAS, options, noise=lambda *_: torch.ones(2, 8)) for model in (in_place, shrink)
    )
    assert torch.equal(x, before)
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3)


class SameMemory:
    """Answers as compiled models do (CUDA graphs, TensorRT): each time in the same memory, one for each batch."""

    def __init__(self, function):
        self.function, self.memory = function, {}

    def __call__(self, *arguments):
        answer = self.function(*arguments)
        return self.memory.setdefault(answer.shape, torch.empty_like(answer)).copy_(answer)


WAYS = ["forward", "finite-difference", "central-difference"]
COVARIANCES = ["lanczos", "isotropic", "isotropic-large", "isotropic-optimal", "diagonal", "spectral"]
EVERY_WAY = [{"covariance": c, "jvp": way, "other_steps": "multistep"} for c in COVARIANCES for way in WAYS]
EVERY_WAY += [{"covariance": "lanczos", "jvp": way, "doubled_batch": "always", "tolerance": 0.01} for way in WAYS]
EVERY_WAY += [{"covariance": "diagonal-learned"}, {"solver": "secant"}, {"solver": "secant", "eta": 0.3}]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", EVERY_WAY, ids=lambda options: "-".join(map(str, options.values())))
def test_a_model_and_a_noise_that_answer_in_the_same_memory(options, dtype):
    """Bit for bit what fresh tensors give, of one call after another, of a trajectory and of its reports."""
    x, z, *noises = torch.randn(6, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    shrunk = lambda x, sigma: torch.tanh(x / (1 + sigma.view(-1, 1, 1, 1) ** 2))  # noqa: E731

    def everything(wrap):
        drawn, seen = iter(noises), []
        model, diagonal = wrap(shrunk), wrap(lambda x, _sigma: x.tanh() ** 2)
        noise = wrap(lambda *_sigmas: next(drawn))
        arguments = {"noise": noise, "callback": seen.append, "diagonal": diagonal}
        sample = lgs.sample(model, x, [5.0, 2.0, 1.0, 0.5, 0.0], options, **arguments)
        way = {"jvp": options.get("jvp", "finite-difference")}  # what auto takes goes by time
        pointwise = [lgs.jvp(model, x, 2.0, z, way), lgs.principal_components(model, x, 2.0, z, way)]
        if "solver" not in options:
            pointwise.append([lgs.reverse_noise(model, x, 2.0, 1.0, z, options, diagonal=diagonal)])
        reports = [[step["x"], step["denoised"]] for step in seen]
        return [sample, *(tensor for several in (*pointwise, *reports) for tensor in several)]

    ours, expected = everything(SameMemory), everything(lambda function: function)
    assert len(ours) == len(expected) > 10
    for came, fresh in zip(ours, expected, strict=True):
        assert torch.equal(came, fresh)


@pytest.mark.parametrize(
    ("z", "parts"),
    [
        (torch.ones(2, 4), ["step 1 of 3", "the noise", "[2, 8]", "[2, 4]"]),
        (torch.full((2, 8), float("nan")), ["step 1 of 3", "the noise", "NaN"]),
        (torch.ones(2, 8, dtype=torch.int64), ["step 1 of 3", "the noise", "int64"]),
    ],
)
@pytest.mark.parametrize("covariance", ["lanczos", "isotropic"])
def test_the_noise(z, parts, covariance):
    with pytest.raises(lgs.ModelOutputError) as caught:
        lgs.sample(shrink, torch.randn(2, 8), SIGMAS, {"covariance": covariance}, noise=lambda *_: z)
    for part in parts:
        assert part in str(caught.value), str(caught.value)
