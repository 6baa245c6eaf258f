"""Classifier guidance of a trained model: the bundled model of any digit, guided to each digit in turn.

The class enters through what a classifier of clean pictures reads in the posterior mean,

    g = grad_x log p(y | D(x, sigma)),

the gradient taken through the denoiser (Chung et al., arXiv 2209.14687; Bansal et al., arXiv 2302.07121). It
stands for grad_x log p(y | x), which it is at small noise levels only: so samples are measured against the
pictures of the digit, and no guided law is exact. Two of the ways of `evidence.report.guidance` are taken:

    denoiser   the chain of D + scale sigma^2 g, through `lgs.sample`; products with its Jacobian have the guidance
               in them, and cost as much as the guided denoiser does
    point      scale Sigma g is added to each step's mean, with the Sigma of its noise, that of the unguided model

and beside them ``labels``: the same network given the label, which guidance tries to replace, and
``unguided``: without labels.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure as Drawing
from torch import Tensor, nn
from tqdm import tqdm

import lgs
from evidence.models import CLASSIFIER, DIGITS
from evidence.models.classifier import Classifier
from evidence.models.distance import features_of, kernel_distance
from lgs.digits import CLASSES, UNLABELLED, Digits, DigitUNet, load_unet

from .metrics import Reference, mean_and_error, sign, sliced_distance
from .mixture import reverse_coefficients
from .run import Figure, Findings, Numbers, Run, Section, Table, Unavailable, digest, libraries
from .samplers import SECANT, sample
from .trained import BATCH, MODELS

MODEL = MODELS["digits"]

GRADIENT_COST = 3
"""Evaluations of the model that D with its gradient by reverse mode takes; 2.8 to 3.2 on one core of a CPU."""

WAYS = {
    "denoiser": "gradient in the denoiser",
    "point": "gradient at xₜ",
    "labels": "labels instead of guidance",
}
OPTIONS: dict[str, dict[str, Any]] = {
    "isotropic": {"covariance": "isotropic"},
    "learned": {"covariance": "diagonal-learned"},
    "probed": {"covariance": "diagonal", "probes": 1},
    "full": {"covariance": "lanczos", "lanczos_steps": 1},
    "secant": dict(SECANT.options) | {"pure_noise": True},
}
"""`lgs.Options` but for how products with J are had: by finite differences, the cheapest way on a CPU."""
COVARIANCES = {
    "denoiser": ("isotropic", "learned", "probed", "full", "secant"),
    "point": ("isotropic", "learned", "full"),
    "labels": ("isotropic", "learned", "full", "secant"),
    "unguided": ("isotropic",),
}
"""A probed diagonal is there where no network has learnt the one that is asked for: that of the guided denoiser. The
secant, the node's defaults, has no noise to shift a mean by."""
STYLES = {
    "isotropic": ("isotropic, v", "#E69F00", "o"),
    "learned": ("diagonal, learned", "#009E73", "^"),
    "probed": ("diagonal, 1 probe", "#767676", "D"),
    "full": ("full, K = 1", "#0072B2", "P"),
    "secant": ("secant, η = 0", "#D55E00", "s"),
}

SHARPNESS = 20.0
"""Of softplus. The classifier reads 99.6 % of the held-out pictures with it, as with ReLU."""

METRICS = {
    "kernel": "kernel distance to the digit",
    "sliced": "sliced Wasserstein to the digit",
    "share": "classified as requested",
    "frechet": "Fréchet distance, all digits",
    "variety": "variety",
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is measured."""

    steps: tuple[int, ...]
    scales: tuple[float, ...]
    groups: int
    size: int
    """Samples in a group, the same number of each digit."""

    def cases(self) -> list[tuple[str, float, str, int]]:
        """Way, scale, covariance and steps: as many as of the others, and as many as cost no more."""
        guided = [
            (way, scale, covariance, steps)
            for way in WAYS
            for scale in (self.scales if way != "labels" else (0.0,))
            for covariance in COVARIANCES[way]
            for steps in sorted({*self.steps, *(steps_within(way, covariance, steps) for steps in self.steps)})
        ]
        return [*guided, ("unguided", 0.0, "isotropic", self.steps[-1])]


FULL = Plan((5, 10, 20), (1.0, 3.0), groups=4, size=200)
QUICK = Plan((3,), (1.0,), groups=2, size=20)


def smooth_classifier(classifier: Classifier) -> Classifier:
    """The same weights with log(1 + exp(s u)) / s, s = `SHARPNESS`, in place of max(u, 0).

    The gradient of a ReLU network jumps, so that D + sigma^2 g has no Jacobian worth the name: at sigma = 5 its
    difference quotient is 9 times its derivative off. With this it is 3 %.
    """
    smooth = copy.deepcopy(classifier)
    smooth.body = nn.Sequential(
        *(nn.Softplus(SHARPNESS) if isinstance(part, nn.ReLU) else part for part in smooth.body)
    )
    return smooth


def class_gradient(
    denoise: Callable[[Tensor, Tensor], Tensor], classifier: Classifier, x: Tensor, sigma: Tensor, label: Tensor
) -> tuple[Tensor, Tensor]:
    """D(x, sigma) and the gradient of log p(label | D(x, sigma)) in x, both like x (batch, 1, 32, 32).

    sigma and label (batch,); reverse mode, through the classifier and the denoiser. Raises ValueError for a label
    that the classifier does not know.
    """
    if not ((label >= 0) & (label < CLASSES)).all():
        raise ValueError(f"label: expected digits from 0 to {CLASSES - 1} to guide to, got {label.unique().tolist()}")
    with torch.enable_grad():
        at = x.detach().requires_grad_()
        denoised = denoise(at, sigma)
        chances = classifier(denoised).log_softmax(dim=1)
        # Items are independent: the gradient of the sum holds each item's own.
        [gradient] = torch.autograd.grad(chances.gather(1, label[:, None]).sum(), at)
    return denoised.detach(), gradient


def guided_denoiser(
    denoise: Callable[[Tensor, Tensor], Tensor], classifier: Classifier, label: Tensor, scale: float
) -> Callable[[Tensor, Tensor], Tensor]:
    """D + scale sigma^2 g: by Tweedie's formula E[x_0 | x, y] at scale 1, were g the gradient of log p(y | x)."""

    def guided(x: Tensor, sigma: Tensor) -> Tensor:
        denoised, gradient = class_gradient(denoise, classifier, x, sigma, label)
        return denoised + scale * sigma[:, None, None, None] ** 2 * gradient

    return guided


def guided_step(
    denoise: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    sigma: float,
    sigma_next: float,
    z: Tensor,
    denoised: Tensor,
    push: Tensor,
    options: Mapping[str, Any],
    diagonal: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """A draw of x at ``sigma_next`` from N(mean + Sigma push, Sigma) by standard normal z, all like x.

    ``denoised`` is D(x, sigma), ``push`` the gradient times its scale (Dhariwal and Nichol, arXiv 2105.05233,
    algorithm 1). ``denoise`` is asked for D(x, sigma) again where products with J are taken.
    """
    v, b = reverse_coefficients(sigma, sigma_next)

    def noise(z: Tensor) -> Tensor:
        return lgs.reverse_noise(denoise, x, sigma, sigma_next, z, options, diagonal=diagonal)

    if options["covariance"] == "lanczos":
        _, product = lgs.jvp(denoise, x, sigma, push, options)
        shift = v * push + b**2 * sigma**2 * product
    else:
        # The square root is diagonal and does not depend on z: twice the root is the whole.
        shift = noise(noise(push))
    return x + b * (denoised - x) + shift + noise(z)


def guided_sample(
    way: str,
    scale: float,
    covariance: str,
    denoise: Callable[[Tensor, Tensor], Tensor],
    classifier: Classifier,
    label: Tensor,
    sigmas: Tensor,
    noise: Callable[..., Tensor],
    diagonal: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Samples (batch, 1, 32, 32), for label (batch,), in `evaluations_of` the model's evaluations.

    ``denoise`` is the model's of any digit, or for the way ``labels`` that of the labelled ones; ``sigmas`` fall, and
    end in 0. ``noise(*_)`` gives standard normal noise, first that of the start. Raises ValueError for a way or
    covariance that is not among `COVARIANCES`.
    """
    if covariance not in COVARIANCES.get(way, ()):
        raise ValueError(f"expected a way and a covariance of {COVARIANCES}, got {way!r} and {covariance!r}")
    options = OPTIONS[covariance] | {"jvp": "finite-difference"}
    if way != "point":
        chosen = guided_denoiser(denoise, classifier, label, scale) if way == "denoiser" else denoise
        samples, _ = sample("lgs", options, chosen, sigmas, noise, diagonal)
        return samples
    x = noise() * sigmas[0]
    for sigma, sigma_next in itertools.pairwise(sigmas[:-1].tolist()):
        denoised, gradient = class_gradient(denoise, classifier, x, torch.full((len(x),), sigma), label)
        known = known_at(x, denoised, denoise)
        x = guided_step(known, x, sigma, sigma_next, noise(), denoised, scale * gradient, options, diagonal)
    # As every chain's last step: next to nothing is left for the guidance to move.
    return denoise(x, sigmas[-2].expand(len(x)))


def known_at(
    x: Tensor, denoised: Tensor, denoise: Callable[[Tensor, Tensor], Tensor]
) -> Callable[[Tensor, Tensor], Tensor]:
    """``denoise`` where D(x) is known: for the differences of `guided_step`, of which each starts there."""
    return lambda at, sigma: denoised if torch.equal(at, x) else denoise(at, sigma)


def evaluations_of(way: str, covariance: str, steps: int) -> int:
    """Of the model, for a trajectory; a gradient counts as `GRADIENT_COST`, whatever the covariance.

    The last step adds no noise. A learned diagonal counts as known, the classifier is a hundredth of the model.
    """
    product = covariance in ("probed", "full")
    if way == "point":
        # A product for the noise and one for the shift, both with the model's own J.
        return (steps - 1) * (GRADIENT_COST + 2 * product) + 1
    return (GRADIENT_COST if way == "denoiser" else 1) * (steps + (steps - 1) * product)


def steps_within(way: str, covariance: str, isotropic: int) -> int:
    """The most steps for the evaluations of so many isotropic ones, of which there are at least 3."""
    budget = evaluations_of(way, "isotropic", isotropic)
    return max(steps for steps in range(2, isotropic + 1) if evaluations_of(way, covariance, steps) <= budget)


def guided_group(
    way: str, scale: float, covariance: str, steps: int, group: int, size: int, fingerprint: str
) -> dict[str, float]:
    """`METRICS` of a group of samples, the same number of each digit, from the same noise whatever the sampler."""
    label, seed = torch.arange(size) % CLASSES, int(np.random.SeedSequence([group, size]).generate_state(1)[0])
    generator, images = torch.Generator().manual_seed(seed), []

    def noise(*_) -> Tensor:
        return torch.randn(len(part), 1, 32, 32, generator=generator)

    for part in label.split(BATCH):
        told = part if way == "labels" else torch.full_like(part, UNLABELLED)
        diagonal = lgs.load_diagonal(MODEL.diagonal, told) if covariance == "learned" else None
        images.append(
            guided_sample(
                way,
                scale,
                covariance,
                Digits(_network(), told),
                _guide(),
                part,
                MODEL.sigmas(steps),
                noise,
                diagonal,
            )
        )
    return figures_of(torch.cat(images), label)


def real_groups(size: int, most: int, fingerprint: str) -> list[dict[str, float]]:
    """`METRICS` of up to ``most`` groups of real pictures, as a perfect sampler would get them."""
    parts = zip(*(part.split(size)[:most] for part in _reference().real), strict=True)
    return [figures_of(images, label) for images, label in parts if len(label) == size]


def figures_of(images: Tensor, label: Tensor) -> dict[str, float]:
    """`METRICS` of images (n, 1, 32, 32) that were asked for as label (n,), at least two of each digit.

    Kernel and sliced distances are to the held-out pictures of the digit that was asked for, means over digits.
    The Fréchet distance is of all digits at once: of one there are fewer samples than features.
    """
    reference, images = _reference(), images.clamp(-1, 1)
    whole, features = reference.distances(images, label), features_of(reference.classifier, images)
    pictures, kinds = reference.others
    kernel, sliced = [], []
    for digit in range(CLASSES):
        real, found = kinds == digit, label == digit
        kernel.append(kernel_distance(reference.reference[real], features[found]))
        sliced.append(sliced_distance(pictures[real].flatten(1), images[found].flatten(1)))
    return {
        "kernel": float(np.mean(kernel)),
        "sliced": float(np.mean(sliced)),
        "share": whole.as_requested,
        "frechet": whole.frechet,
        "variety": whole.variety,
    }


@functools.cache
def _reference() -> Reference:
    return Reference("digits")


@functools.cache
def _guide() -> Classifier:
    return smooth_classifier(_reference().classifier)


@functools.cache
def _network() -> DigitUNet:
    return load_unet(DIGITS)


def measure(run: Run) -> Numbers:
    """Each of `METRICS` for each way, scale, covariance and number of steps, a value for each group."""
    plan = QUICK if run.quick else FULL
    try:
        _reference()
    except (OSError, RuntimeError, subprocess.CalledProcessError) as problem:
        raise Unavailable(f"the digits' pictures are not available: {problem}") from problem
    formulas = [Path(__file__), Path(__file__).with_name("mixture.py")]
    fingerprint = digest(DIGITS, MODEL.diagonal, CLASSIFIER, *formulas, *libraries())
    cases, rows = plan.cases(), {}
    total = sum(evaluations_of(way, covariance, steps) for way, _, covariance, steps in cases)
    with tqdm(total=total * plan.groups, desc="guidance of digits", unit=" evaluations") as bar:
        for group, case in itertools.product(range(plan.groups), cases):
            way, scale, covariance, steps = case
            found = run.cached(guided_group)(*case, group, plan.size, fingerprint)
            evaluations = evaluations_of(way, covariance, steps)
            about = {"way": way, "scale": scale, "covariance": covariance, "steps": steps, "evaluations": evaluations}
            row = rows.setdefault(case, about | {"groups": {metric: [] for metric in METRICS}})
            for metric, value in found.items():
                row["groups"][metric].append(value)
            bar.update(evaluations)
    real = run.cached(real_groups)(plan.size, plan.groups, fingerprint)
    return {
        "size": plan.size,
        "steps": list(plan.steps),
        "scales": list(plan.scales),
        "rows": list(rows.values()),
        "real": {metric: [one[metric] for one in real] for metric in METRICS},
    }


def show(numbers: Numbers, folder: Path) -> Findings:
    size, steps = numbers["size"], numbers["steps"]
    unguided = row_of(numbers, "unguided", 0.0, "isotropic", steps[-1])["groups"]
    by_steps, by_evaluations = folder / "guidance_digits.png", folder / "guidance_digits_evaluations.png"
    draw(numbers, "steps", by_steps)
    draw(numbers, "evaluations", by_evaluations)
    caption = (
        f"The bundled model, {len(numbers['real']['kernel'])} groups of {size} samples from one noise for all, σ from "
        f"{MODEL.sigma_max:g} to {MODEL.sigma_min:g} (Karras), η = 1 but for the secant. Distances are to the "
        "held-out pictures of the digit that was requested, means over digits and groups, in the classifier's features "
        "and of the pixels; error "
        "bars of two standard errors over groups. Dotted: real pictures in groups as large. Dashed: no guidance. "
    )
    cost = (
        f"An evaluation with the classifier's gradient counts as {GRADIENT_COST}, for every covariance; so do products "
        "with the Jacobian in the denoiser, which the guidance is part of. At xₜ they are the model's own, and count "
        "as one each. A learned diagonal counts as known."
    )
    return Findings(
        [
            *(sentence(numbers, *guide) for guide in guides(numbers)),
            *(tally(numbers, metric) for metric in ("kernel", "sliced")),
            against_lanczos(numbers),
            "A few outliers make the kernel distance, whose kernel is cubic, large. The sliced distance "
            "separates digits "
            f"less well: unguided samples, {100 * np.mean(unguided['share']):.0f} % of them classified as "
            "requested, have "
            f"{np.mean(unguided['sliced']):.3f}, real ones {np.mean(numbers['real']['sliced']):.3f}.",
            "The classifier that guides also judges, apart from smoothed corners, without which the guided denoiser "
            "would have no Jacobian: the share that it classifies as requested, and distances in its features, "
            "flatter guidance. Sliced distances and variety are of pixels and independent of it.",
            "The classifier has seen clean pictures alone and reads the posterior mean: its gradient is that of "
            "log p(y | xₜ) at small noise levels only, and products with the Jacobian in the denoiser take its error "
            "with them.",
            "In the denoiser the learned diagonal is the unguided model's, the probed one and the full covariance are "
            "the guided one's. At xₜ all are the unguided model's.",
        ],
        [
            Figure(by_steps, "Guided digits, at equal steps", caption),
            Figure(by_evaluations, "Guided digits, at equal evaluations", caption + cost),
        ],
        [
            table(numbers, f"Equal steps: {steps[-1]}", lambda way, covariance: steps[-1]),
            table(
                numbers,
                f"As many evaluations as {steps[-1]} isotropic steps take, or a few less",
                lambda way, covariance: steps_within(way, covariance, steps[-1]),
            ),
        ],
    )


def guides(numbers: Numbers) -> list[tuple[str, float]]:
    """Ways with their scales, in the order in which they were measured."""
    return list(dict.fromkeys((row["way"], row["scale"]) for row in numbers["rows"] if row["way"] in WAYS))


def title(way: str, scale: float) -> str:
    return WAYS[way] + (f", scale {scale:g}" if scale else "")


def row_of(numbers: Numbers, way: str, scale: float, covariance: str, steps: int) -> dict[str, Any]:
    wanted = (way, scale, covariance, steps)
    return next(row for row in numbers["rows"] if (row["way"], row["scale"], row["covariance"], row["steps"]) == wanted)


def sentence(numbers: Numbers, way: str, scale: float) -> str:
    """What each covariance comes to at equal steps and at equal evaluations, the best first."""
    steps = numbers["steps"][len(numbers["steps"]) // 2]
    words = f"{title(way, scale).capitalize()}: kernel distance to the digit, and classified as requested."
    for within, head in ((False, f"{steps} steps"), (True, f"As many evaluations as {steps} isotropic steps")):
        rows = [
            row_of(numbers, way, scale, covariance, steps_within(way, covariance, steps) if within else steps)
            for covariance in COVARIANCES[way]
        ]
        rows.sort(key=lambda row: np.mean(row["groups"]["kernel"]))
        found = ", ".join(
            f"{np.mean(row['groups']['kernel']):.3g} and {100 * np.mean(row['groups']['share']):.0f} % "
            f"({STYLES[row['covariance']][0]}{within * ', {} steps'.format(row['steps'])})"
            for row in rows
        )
        words += f" {head}: {found}."
    return words


def tally(numbers: Numbers, metric: str) -> str:
    """How often the full covariance is nearer than another, and how often further.

    Groups are of the same noise: differences are taken group by group, and count where their `sign` is certain.
    """
    words = []
    for within, head in ((False, "at equal steps"), (True, "at equal evaluations")):
        for name, label in (("isotropic", "the isotropic"), ("learned", "the learned diagonal")):
            found = []
            for (way, scale), steps in itertools.product(guides(numbers), numbers["steps"]):
                if way != "labels":
                    full = row_of(numbers, way, scale, "full", steps_within(way, "full", steps) if within else steps)
                    cheap = row_of(numbers, way, scale, name, steps)
                    found.append(np.subtract(full["groups"][metric], cheap["groups"][metric]).tolist())
            signs = [sign(differences) for differences in found]
            words.append(
                f"{head} nearer than {label} in {signs.count(-1)} and further in {signs.count(1)} of {len(found)} cases"
            )
    found = "; ".join(words)
    return f"By {METRICS[metric]}, guided, the full covariance is {found}; each with 95 % confidence."


def against_lanczos(numbers: Numbers) -> str:
    """How often the secant is nearer than the full covariance at equal evaluations, and how often further."""
    words = []
    for metric in ("kernel", "sliced", "frechet"):
        signs = []
        for (way, scale), steps in itertools.product(guides(numbers), numbers["steps"]):
            if "secant" in COVARIANCES[way]:
                secant = row_of(numbers, way, scale, "secant", steps)
                full = row_of(numbers, way, scale, "full", steps_within(way, "full", steps))
                differences = np.subtract(secant["groups"][metric], full["groups"][metric])
                signs.append(sign(differences.tolist()))
        words.append(f"{METRICS[metric]}, nearer in {signs.count(-1)} and further in {signs.count(1)} of {len(signs)}")
    return f"The secant beside one Lanczos step, at equal evaluations: by {'; by '.join(words)} cases."


def table(numbers: Numbers, head: str, steps_of: Callable[[str, str], int]) -> Table:
    shown = [
        (title(way, scale), row_of(numbers, way, scale, covariance, steps_of(way, covariance)))
        for way, scale in guides(numbers)
        for covariance in COVARIANCES[way]
    ]
    shown.append(("no guidance", row_of(numbers, "unguided", 0.0, "isotropic", numbers["steps"][-1])))
    rows = [
        (name, STYLES[row["covariance"]][0], str(row["steps"]), str(row["evaluations"]), *cells(row["groups"]))
        for name, row in shown
    ]
    rows.append(("real pictures", "", "", "", *cells(numbers["real"])))
    return Table(head, ("guidance", "covariance", "steps", "evaluations", *METRICS.values()), rows)


def cells(groups: dict[str, list[float]]) -> list[str]:
    return [f"{mean:.3g} ± {error:.1g}" for mean, error in (mean_and_error(groups[metric]) for metric in METRICS)]


def draw(numbers: Numbers, axis: str, file: Path) -> None:
    metrics, columns = ("kernel", "sliced", "share"), guides(numbers)
    unguided = row_of(numbers, "unguided", 0.0, "isotropic", numbers["steps"][-1])
    figure = Drawing(figsize=(3.3 * len(columns), 8.4), layout="constrained")
    grid = figure.subplots(len(metrics), len(columns), sharey="row", sharex="col", squeeze=False)
    for (row, metric), (column, (way, scale)) in itertools.product(enumerate(metrics), enumerate(columns)):
        axes, drawn = grid[row, column], [one for one in numbers["rows"] if (one["way"], one["scale"]) == (way, scale)]
        for number, name in enumerate(COVARIANCES[way]):
            label, color, marker = STYLES[name]
            points = [one for one in drawn if one["covariance"] == name]
            if axis == "steps":
                points = [one for one in points if one["steps"] in numbers["steps"]]
            means, errors = zip(*(mean_and_error(one["groups"][metric]) for one in points), strict=True)
            axes.errorbar(
                [one[axis] for one in points],
                means,
                2 * np.array(errors),
                fmt=f"{marker}-",
                color=color,
                capsize=3,
                # Where points coincide, those beneath are to be seen.
                markersize=9 - 1.5 * number,
                label=label,
            )
        axes.axhline(np.mean(unguided["groups"][metric]), color="black", linestyle="--", linewidth=1, label="unguided")
        axes.axhline(np.mean(numbers["real"][metric]), color="black", linestyle=":", label="real pictures")
        at = [one[axis] for one in drawn if axis == "evaluations" or one["steps"] in numbers["steps"]]
        ticks = [tick for tick in (2, 3, 5, 10, 20, 50, 100) if min(at) <= tick <= max(at)]
        axes.set_xscale("log")
        # Of its own accord a logarithmic axis with a single point begins or ends at it.
        axes.set_xlim(min(at) / 1.2, max(at) * 1.2)
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        if metric == "kernel":
            # Unbiased, so that it may be negative; and a few samples far off make it large.
            axes.set_yscale("symlog", linthresh=1)
            axes.set_yticks([0, 0.5, 1, 10, 100], ["0", "0.5", "1", "10", "100"])
        axes.minorticks_off()
        axes.grid(alpha=0.25)
        if row == 0:
            axes.set_title(
                title(way, scale).replace(", scale", ",\nscale").replace(" instead", "\ninstead"), fontsize=11
            )
        if row == len(metrics) - 1:
            axes.set_xlabel("steps" if axis == "steps" else "model evaluations")
        if column == 0:
            axes.set_ylabel(METRICS[metric])
    grid[0, 0].set_ylim(bottom=-0.4)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    figure.savefig(file, dpi=110)


SECTION = Section(
    "guidance_digits",
    "Classifier guidance of a trained model",
    "With a trained model, guided by a classifier of pictures: does the whole covariance bring samples "
    "nearer to the digit that was requested?",
    measure,
    show,
    remarks=(
        "What holds for exact models does not carry over. At equal steps the full covariance is ahead of "
        "isotropic noise with the gradient at xₜ, and behind with it in the denoiser, where a product contains "
        "the error of the classifier.",
        "With a large scale at xₜ and very few steps it overshoots.",
        "At equal evaluations it is behind isotropic noise in most cases, by the kernel distance and by the "
        "sliced distance.",
    ),
)
