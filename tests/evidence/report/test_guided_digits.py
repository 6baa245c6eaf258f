"""Guidance of the bundled model: gradient, steps, costs, and what the section says. 15 seconds on a free core."""

import copy
import math

import pytest
import torch

import lgs
from evidence.models import DIGITS
from evidence.models.classifier import accuracy, load_classifier
from evidence.report import guided_digits, metrics
from evidence.report.guided_digits import COVARIANCES, OPTIONS, WAYS, class_gradient, evaluations_of, guided_sample
from evidence.report.mixture import reverse_coefficients
from evidence.report.page import plain
from evidence.report.run import Run, Unavailable
from lgs.digits import UNLABELLED, Digits, load_unet

PLAN = guided_digits.Plan((3,), (2.0,), groups=2, size=20)
CASES = [(way, covariance) for way in COVARIANCES for covariance in COVARIANCES[way]]


@pytest.fixture(scope="module", autouse=True)
def few_directions():
    """A third of the time goes into the sliced distance."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "PROJECTIONS", 20)
        yield


@pytest.fixture(scope="module")
def guide():
    return guided_digits.smooth_classifier(load_classifier())


@pytest.fixture(scope="module")
def exact(guide):
    """The model of any digit and the classifier in float64, points of theirs and the label to guide to."""
    label, sigma = torch.tensor([3, 8]), torch.tensor([2.0, 0.5], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 1, 32, 32, generator=generator, dtype=torch.float64) * (1 + sigma[:, None, None, None])
    denoise = Digits(load_unet(DIGITS, torch.float64), torch.full_like(label, UNLABELLED))
    return denoise, copy.deepcopy(guide).double(), x, sigma, label


@pytest.fixture(scope="module")
def numbers(tmp_path_factory, few_directions):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guided_digits, "FULL", PLAN)
        return guided_digits.measure(Run(tmp_path_factory.mktemp("report")))


def drawn(guide, way, scale, covariance, label, steps, denoise=None):
    """Samples, from the same noise for all."""
    generator = torch.Generator().manual_seed(1)
    told = label if way == "labels" else torch.full_like(label, UNLABELLED)
    diagonal = lgs.load_diagonal(guided_digits.MODEL.diagonal, told) if covariance == "learned" else None
    return guided_sample(
        way,
        scale,
        covariance,
        denoise or Digits(load_unet(DIGITS), told),
        guide,
        label,
        guided_digits.MODEL.sigmas(steps),
        lambda *_: torch.randn(len(label), 1, 32, 32, generator=generator),
        diagonal,
    )


def share(images, label):
    return accuracy(load_classifier(), images.clamp(-1, 1), label)


def test_the_gradient_is_that_of_finite_differences(exact):
    denoise, classifier, x, sigma, label = exact

    def chance(x):
        return classifier(denoise(x, sigma)).log_softmax(dim=1)[torch.arange(2), label]

    denoised, found = class_gradient(denoise, classifier, x, sigma, label)

    assert denoised.equal(denoise(x, sigma))
    for seed in range(3):
        v = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        slope = (chance(x + 1e-5 * v) - chance(x - 1e-5 * v)) / 2e-5
        torch.testing.assert_close((found * v).sum(dim=(1, 2, 3)), slope, rtol=1e-5, atol=1e-7)


def test_the_guided_denoiser_adds_sigma_squared_times_the_gradient(exact):
    denoise, classifier, x, sigma, label = exact

    found = guided_digits.guided_denoiser(denoise, classifier, label, 3.0)(x, sigma)

    for item in range(2):
        _, gradient = class_gradient(denoise, classifier, x, sigma, label)
        torch.testing.assert_close(found[item], denoise(x, sigma)[item] + 3 * sigma[item] ** 2 * gradient[item])


def test_products_with_the_guided_jacobian_hold_with_the_smooth_classifier_only(guide, exact):
    """By finite differences in float32, as they are measured, against automatic differentiation twice in float64."""
    denoise64, _, _, _, label = exact
    clean = guided_digits._reference().others[0][:2]
    generator = torch.Generator().manual_seed(0)
    noise, z = torch.randn(2, *clean.shape, generator=generator)
    x, sigma = clean + 5 * noise, torch.full((2,), 5.0)

    def error(classifier):
        classifier64 = copy.deepcopy(classifier).double()

        def guided(x):
            chance = lambda x: (  # noqa: E731
                classifier64(denoise64(x, sigma.double())).log_softmax(dim=1).gather(1, label[:, None]).sum()
            )
            return denoise64(x, sigma.double()) + 25 * torch.func.grad(chance)(x)

        _, expected = torch.func.jvp(guided, (x.double(),), (z.double(),))
        denoise = Digits(load_unet(DIGITS), torch.full_like(label, UNLABELLED))
        measured = guided_digits.guided_denoiser(denoise, classifier, label, 1.0)
        _, found = lgs.jvp(measured, x, 5.0, z, {"jvp": "finite-difference"})
        return (found - expected).norm() / expected.norm()

    assert error(guide) < 0.1
    assert error(load_classifier()) > 1


def test_the_smooth_classifier_reads_as_well_as_its_own_self(guide):
    images, labels = (part[:1000] for part in guided_digits._reference().others)

    assert abs(accuracy(guide, images, labels) - accuracy(load_classifier(), images, labels)) < 0.001


@pytest.mark.parametrize("covariance", COVARIANCES["point"])
def test_a_step_moves_the_mean_by_sigma_times_the_gradient(exact, covariance):
    denoise, _, x, _, _ = exact
    v, b = reverse_coefficients(2.0, 0.8)
    level = torch.full((2,), 2.0, dtype=torch.float64)
    push = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    known = torch.rand(x.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    denoised, product = torch.func.jvp(lambda x: denoise(x, level), (x,), (push,))
    options = OPTIONS[covariance] | {"jvp": "central-difference"}

    found = guided_digits.guided_step(
        denoise, x, 2.0, 0.8, torch.zeros_like(x), denoised, push, options, lambda *_: known
    )

    spread = {"isotropic": 0 * push, "learned": known * push, "full": product}[covariance]
    expected = x + b * (denoised - x) + v * push + b**2 * 4 * spread
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("covariance", ["isotropic", "learned", "full"])
@pytest.mark.parametrize("way", ["denoiser", "point"])
def test_without_a_scale_it_is_the_unguided_model(guide, way, covariance):
    label = torch.tensor([3, 8])
    any_digit = Digits(load_unet(DIGITS), torch.full_like(label, UNLABELLED))

    found = drawn(guide, way, 0.0, covariance, label, 4)
    unguided = drawn(guide, "labels", 0.0, covariance, torch.full_like(label, UNLABELLED), 4, any_digit)

    # Of finite differences in float32 rounding is left, which depends on the number of threads.
    assert (found - unguided).norm() < 1e-3 * unguided.norm()


@pytest.mark.parametrize(("way", "covariance"), [("denoiser", "isotropic"), ("point", "full")])
def test_guidance_raises_the_share_that_is_as_requested(guide, way, covariance):
    """Of 40 unguided samples more than 15 would be by a chance of one in a million."""
    label = torch.arange(40) % 10

    unguided = share(drawn(guide, "unguided", 0.0, "isotropic", label, 6), label)
    guided = share(drawn(guide, way, 3.0, covariance, label, 6), label)

    assert unguided < 0.3 and guided > 0.4


@pytest.mark.parametrize(("way", "covariance"), CASES)
def test_evaluations_are_those_that_were_made(guide, way, covariance):
    label, made = torch.tensor([3, 8]), []
    told = label if way == "labels" else torch.full_like(label, UNLABELLED)
    digits = Digits(load_unet(DIGITS), told)

    def denoise(x, sigma):
        made.append(guided_digits.GRADIENT_COST if x.requires_grad else 1)
        return digits(x, sigma)

    drawn(guide, way, 1.0, covariance, label, 4, denoise)

    assert sum(made) == evaluations_of(way, covariance, 4)


def test_as_many_steps_as_cost_no_more():
    assert [guided_digits.steps_within(way, "full", 10) for way in WAYS] == [5, 6, 5]
    assert guided_digits.steps_within("denoiser", "learned", 10) == 10


@pytest.mark.parametrize(("way", "covariance"), [("point", "probed"), ("mean", "full"), ("denoiser", "lanczos")])
def test_what_is_not_measured_is_refused(guide, way, covariance):
    with pytest.raises(ValueError, match="expected a way and a covariance of"):
        drawn(guide, way, 1.0, covariance, torch.tensor([3]), 3)


@pytest.mark.parametrize("label", [UNLABELLED, -1])
def test_what_is_no_digit_is_refused(exact, label):
    denoise, classifier, x, sigma, _ = exact
    with pytest.raises(ValueError, match="expected digits from 0 to 9 to guide to"):
        class_gradient(denoise, classifier, x, sigma, torch.tensor([3, label]))


def test_real_pictures_are_near_and_others_are_not():
    images, label = (part[:100] for part in guided_digits._reference().real)

    real, mixed_up = (guided_digits.figures_of(images, asked) for asked in (label, (label + 1) % 10))

    assert real["share"] > 0.95 and mixed_up["share"] < 0.05
    assert mixed_up["kernel"] > 10 * abs(real["kernel"]) and mixed_up["sliced"] > 1.5 * real["sliced"]
    assert mixed_up["frechet"] == pytest.approx(real["frechet"]), "of all digits at once"


def test_numbers_are_plain_and_for_every_group(numbers):
    assert plain(numbers) == numbers
    assert {(row["way"], row["covariance"]) for row in numbers["rows"]} == set(CASES)
    for row in numbers["rows"]:
        for values in row["groups"].values():
            assert len(values) == 2 and all(math.isfinite(value) for value in values)
        assert len(set(row["groups"]["sliced"])) == 2, "groups are different samples"


def test_a_run_that_broke_off_goes_on_and_ends_in_the_same_numbers(tmp_path, numbers, monkeypatch):
    done, whole = [], guided_digits.guided_sample

    def breaks(*arguments):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(arguments[:3])
        return whole(*arguments)

    monkeypatch.setattr(guided_digits, "FULL", PLAN)
    monkeypatch.setattr(guided_digits, "WAYS", {"labels": WAYS["labels"]})
    monkeypatch.setattr(guided_digits, "guided_sample", breaks)
    with pytest.raises(KeyboardInterrupt):
        guided_digits.measure(Run(tmp_path))
    monkeypatch.setattr(guided_digits, "guided_sample", lambda *given: done.append(given[:3]) or whole(*given))

    again = guided_digits.measure(Run(tmp_path))

    assert again["rows"] == [row for row in numbers["rows"] if row["way"] in ("labels", "unguided")]
    assert again["real"] == numbers["real"]
    assert len(done) == PLAN.groups * len(PLAN.cases()), "none twice"


def test_without_pictures_nothing_but_the_reason_comes(tmp_path, monkeypatch):
    def none():
        raise RuntimeError("npm: expected it on the PATH")

    monkeypatch.setattr(guided_digits, "_reference", none)

    with pytest.raises(Unavailable, match="the digits' pictures are not available: npm: expected it on the PATH"):
        guided_digits.measure(Run(tmp_path))


def test_the_section_says_what_it_measured(numbers, tmp_path):
    findings = guided_digits.SECTION.show(plain(numbers), tmp_path)

    assert all(figure.file.read_bytes().startswith(b"\x89PNG") for figure in findings.figures)
    assert all(len(row) == len(table.head) for table in findings.tables for row in table.rows)
    assert [len(table.rows) for table in findings.tables] == [len(CASES) + 1] * 2, "one for real pictures"
    for number, way in enumerate(WAYS):
        assert all(guided_digits.STYLES[name][0] in findings.sentences[number] for name in COVARIANCES[way])


def test_the_tally_counts_for_and_against():
    def row(covariance, steps, values):
        about = {"way": "point", "scale": 1.0, "covariance": covariance, "steps": steps}
        return about | {"groups": {"kernel": values}}

    rows = [
        row("full", 10, [1.0, 1.1, 1.2]),
        row("full", 6, [3.0, 3.1, 3.2]),
        row("isotropic", 10, [2.0, 2.1, 2.21]),
        row("learned", 10, [1.0, 1.2, 1.1]),
    ]

    said = guided_digits.tally({"steps": [10], "rows": rows}, "kernel")

    assert "at equal steps nearer than the isotropic in 1 and further in 0 of 1 cases" in said
    assert "at equal steps nearer than the learned diagonal in 0 and further in 0 of 1" in said
    assert "at equal evaluations nearer than the isotropic in 0 and further in 1 of 1" in said
