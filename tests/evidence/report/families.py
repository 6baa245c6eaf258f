"""Learned initialisation (arXiv 2603.00772): how near each family of starts comes to the law of noised data.

    student   each of four numbers from Student's t with three degrees of freedom, scaled to a standard deviation of 1/2
    mixture   `mixture.separated_mixture`, four Gaussians in eight dimensions

A family is fitted to 4,000 items and asked for the law at sigma_T. What that costs is KL(p_sigma || p_theta), the bound
of arXiv 2603.00772 on what a trajectory that begins there can reach: the probability flow is one to one, and keeps it.
Beside it, what such a trajectory ends with: from points of the start's own, sixty Heun steps with the exact D, how
far its numbers are from the data's. Pure noise at sigma_T is what one begins with where nothing is known.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure as Canvas
from scipy.stats import t as student_t
from torch import Tensor
from tqdm import tqdm

import lgs
from lgs.starts import FlowPrior, MixturePrior, Start, em

from .compared import with_error
from .metrics import mean_and_error, sign
from .mixture import separated_mixture
from .run import Figure, Findings, Numbers, Run, Section, Table, digest, libraries
from .samplers import k_diffusion, karras_sigmas

FREEDOM, NUMBERS = 3, 4
SCALE = 0.5 / math.sqrt(FREEDOM / (FREEDOM - 2))

SIGMAS = (0.5, 1.0, 2.0, 7.0, 80.0)
LAWS = ("student", "mixture")
FAMILIES = ("pure noise", "gaussian", "mixture", "flow")
FITTED, TESTED = 4000, 4000
BINS = 64
"""Of equal probability, in which a number's law is compared with the data's."""

COLOURS = dict(zip(FAMILIES, ("#767676", "#0072b2", "#d55e00", "#009e73"), strict=True))


class Student:
    """Independent numbers of Student's law, with noise: by quadrature, kept on a grid of x, in float64.

    Over x_0 where the noise is wide, over the noise (Gauss and Hermite's rule) where it is narrow.
    """

    NARROW = 0.3 * SCALE

    def __init__(self) -> None:
        half = 10.0 ** torch.linspace(-3.5, 3.5, 1500, dtype=torch.float64)
        self.nodes = torch.cat([-half.flip(0), half])
        self.logs = self._log(self.nodes) + torch.gradient(self.nodes)[0].log()
        places, weights = np.polynomial.hermite_e.hermegauss(48)
        self.places, self.weights = torch.from_numpy(places), torch.from_numpy(weights / weights.sum())

    @staticmethod
    def _log(x: Tensor) -> Tensor:
        return torch.from_numpy(student_t.logpdf((x / SCALE).numpy(), FREEDOM)) - math.log(SCALE)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        uniform = torch.rand(n, NUMBERS, generator=generator, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
        return torch.from_numpy(student_t.ppf(uniform.numpy(), FREEDOM) * SCALE)

    @functools.lru_cache(maxsize=512)  # noqa: B019
    def _table(self, sigma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, log density and posterior mean of one number on a grid."""
        half = np.concatenate([[0.0], np.geomspace(1e-3, 1e4, 1000)])
        x = torch.from_numpy(np.concatenate([-half[:0:-1], half]))
        logs, means = [], []
        for part in x.split(100):
            if sigma < self.NARROW:
                points = part[:, None] + sigma * self.places
                joint = self._log(points) + self.weights.log()
                logs.append(joint.logsumexp(dim=1))
                means.append((joint.softmax(dim=1) * points).sum(dim=1))
            else:
                joint = self.logs - 0.5 * ((part[:, None] - self.nodes) / sigma).square()
                logs.append(joint.logsumexp(dim=1) - math.log(sigma * math.sqrt(2 * math.pi)))
                means.append(joint.softmax(dim=1) @ self.nodes)
        return x.numpy(), torch.cat(logs).numpy(), torch.cat(means).numpy()

    def denoised(self, x: Tensor, sigma: Tensor) -> Tensor:
        grid, _, means = self._table(float(sigma[0]))
        return torch.from_numpy(np.interp(x.double().numpy(), grid, means)).to(x)

    def log_density(self, x: Tensor, sigma: float) -> Tensor:
        grid, logs, _ = self._table(sigma)
        return torch.from_numpy(np.interp(x.double().numpy(), grid, logs)).sum(dim=1)

    def shares(self, samples: Tensor) -> Tensor:
        """Of samples in each of `BINS` bins of equal probability, by number, (numbers, bins)."""
        place = student_t.cdf((samples / SCALE).double().numpy(), FREEDOM)
        return _histograms(torch.from_numpy(place))


class Four:
    """The mixture of four, in eight dimensions."""

    def __init__(self) -> None:
        self.law = separated_mixture()
        reference, _ = self.law.draw(200_000, torch.Generator().manual_seed(3))
        self.reference = reference.sort(dim=0).values

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return self.law.draw(n, generator)[0].double()

    def denoised(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.law.denoised(x.to(self.reference), sigma.to(self.reference)).to(x)

    def log_density(self, x: Tensor, sigma: float) -> Tensor:
        return self.law.log_density(x.to(self.reference), sigma)

    def shares(self, samples: Tensor) -> Tensor:
        place = torch.searchsorted(self.reference.T.contiguous(), samples.to(self.reference).T.contiguous())
        return _histograms((place / len(self.reference)).T.double())


def _histograms(place: Tensor) -> Tensor:
    bins = (place.clamp(0, 1 - 1e-9) * BINS).long()
    return torch.stack([torch.bincount(column, minlength=BINS) for column in bins.unbind(1)]).double() / len(place)


@functools.cache
def law_of(name: str) -> Student | Four:
    return {"student": Student, "mixture": Four}[name]()


def begin(family: str, items: Tensor, seed: int) -> Start | None:
    """The family fitted to items (n, d)."""
    d = items.shape[1]
    if family == "gaussian":
        return lgs.GaussianPrior.fit(items, d - 1)
    if family == "mixture":
        return MixturePrior.fit(items, 8, min(d - 1, 4), rounds=200, seed=seed)
    if family == "flow":
        return FlowPrior.fit(items, d, levels=(SIGMAS[0], SIGMAS[-1]), seed=seed, steps=6000)
    return None


def measured(law: str, family: str, group: int, ends: int, version: str) -> dict[str, Any]:
    """For each of `SIGMAS`: nats of the start by its own density, and of so many trajectories' ends by their
    numbers."""
    of = law_of(law)
    generator = torch.Generator().manual_seed(group)
    items, tested = of.sample(FITTED, generator), of.sample(TESTED, generator)
    start = begin(family, items.float(), group)
    found: dict[str, Any] = {"bound": [], "ends": []}
    for sigma in SIGMAS:
        noise = torch.randn(tested.shape, generator=generator, dtype=torch.float64)
        noisy = tested + sigma * noise
        exact = of.log_density(noisy, sigma)
        fresh = torch.randn(tested[:ends].shape, generator=generator, dtype=torch.float64)
        if start is None:
            own = torch.distributions.Normal(0.0, sigma).log_prob(noisy).sum(dim=1)
            begun = sigma * fresh
        else:
            own = start.log_likelihood(noisy.float(), sigma).double()
            begun = torch.cat([start.begin(part.float(), sigma).double() for part in fresh.split(500)])
        found["bound"].append((exact - own).mean().item())
        sigmas = karras_sigmas(60, sigma, 0.01)
        samples = k_diffusion().sample_heun(of.denoised, begun, sigmas, disable=True)
        found["ends"].append(_divergence(of.shares(samples), ends))
    return found


def _divergence(shares: Tensor, count: int) -> float:
    """KL of uniform bins from the shares, sum over numbers; one count is added to each bin, less chance's own share."""
    counts = shares * count + 1
    shares = counts / counts.sum(dim=1, keepdim=True)
    chance = (BINS - 1) / (2 * count)
    return ((-(shares * BINS).log()).mean(dim=1) - chance).sum().item()


def measure(run: Run) -> Numbers:
    groups, ends, laws = (1, 50, LAWS[1:]) if run.quick else (5, 1000, LAWS)
    families = FAMILIES[:3] if run.quick else FAMILIES
    version = digest(*libraries(), Path(__file__), *sorted(Path(em.__file__).parent.glob("*.py")))
    numbers: Numbers = {"sigmas": SIGMAS, "rows": []}
    cases = [(law, family) for law in laws for family in families]
    with tqdm(total=groups * len(cases), desc="families", unit=" fits") as bar:
        for law, family in cases:
            row: dict[str, Any] = {"law": law, "family": family, "bound": [], "ends": []}
            for group in range(groups):
                found = run.cached(measured)(law, family, group, ends, version)
                row["bound"].append(found["bound"])
                row["ends"].append(found["ends"])
                bar.update()
            numbers["rows"].append(row)
    return numbers


TITLES = {"student": "Student's t, 3 degrees of freedom", "mixture": "a mixture of four"}


def show(numbers: Numbers, folder: Path) -> Findings:
    sentences = []
    known = {(row["law"], row["family"]): row for row in numbers["rows"]}
    for law in LAWS:
        if (law, "gaussian") not in known:
            continue
        for family in ("mixture", "flow"):
            if (law, family) not in known:
                continue
            judged: dict[str, list[str]] = {}
            for number, sigma in enumerate(numbers["sigmas"]):
                pairs = zip(known[law, "gaussian"]["bound"], known[law, family]["bound"], strict=True)
                outcome = sign([gaussian[number] - learned[number] for gaussian, learned in pairs])
                judged.setdefault({1: "ahead", 0: "level", -1: "behind"}[outcome], []).append(f"{sigma:g}")
            told = "; ".join(f"{words} at σ = {', '.join(at)}" for words, at in judged.items())
            sentences.append(f"{TITLES[law]}: the {family} against the Gaussian, by the bound: {told}.")
    file = folder / "families.png"
    _draw(numbers, file)
    caption = (
        "KL of the law of data noised to σ from the start's (filled), and of the data from what exact trajectories "
        "that begin there end with, by single numbers (hollow), mean and standard error. What is below 0.0001 is drawn "
        "there; of a thousand ends, which are counted in bins, less than about 0.03 cannot be told from none."
    )
    return Findings(sentences, [Figure(file, "Families of starts", caption)], [_table(numbers)])


def _draw(numbers: Numbers, file: Path) -> None:
    laws = [law for law in LAWS if any(row["law"] == law for row in numbers["rows"])]
    canvas = Canvas(figsize=(5.2 * len(laws), 4), layout="constrained")
    for panel, law in zip(canvas.subplots(1, len(laws), squeeze=False)[0], laws, strict=True):
        for row in (row for row in numbers["rows"] if row["law"] == law):
            for what, line in (("bound", "-"), ("ends", ":")):
                columns = [mean_and_error(list(column)) for column in zip(*row[what], strict=True)]
                means, errors = zip(*columns, strict=True)
                panel.errorbar(
                    numbers["sigmas"],
                    [max(mean, 1e-4) for mean in means],
                    yerr=[error or 0 for error in errors],
                    color=COLOURS[row["family"]],
                    linestyle=line,
                    marker="o",
                    markerfacecolor=COLOURS[row["family"]] if what == "bound" else "white",
                    capsize=2,
                    label=row["family"] if what == "bound" else None,
                )
        panel.set(xscale="log", yscale="log", xlabel="σ where the trajectory begins", title=TITLES[law])
        panel.set_xticks(numbers["sigmas"], [f"{sigma:g}" for sigma in numbers["sigmas"]])
        panel.minorticks_off()
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_ylabel("nats")
        panel.legend(frameon=False, fontsize=9)
    canvas.savefig(file, dpi=130)


def _table(numbers: Numbers) -> Table:
    head = ("data", "start", "", *(f"σ = {sigma:g}" for sigma in numbers["sigmas"]))
    rows = []
    for row in numbers["rows"]:
        for what, words in (("bound", "KL at σ, nats"), ("ends", "KL at the end, nats")):
            cells = [mean_and_error(list(column)) for column in zip(*row[what], strict=True)]
            rows.append(
                (TITLES[row["law"]], row["family"], words, *(with_error(mean, error or 0.0) for mean, error in cells))
            )
    return Table("What each family costs, by the level at which it begins", head, rows)


SECTION = Section(
    id="families",
    title="Learned initialisation: which law to begin with",
    question="Where data are no Gaussian, does a learned law of the noised data cost less than a Gaussian at the same "
    "level, and is that what trajectories which begin there lose?",
    measure=measure,
    show=show,
    remarks=(
        "The mixture costs least at low levels, where a Gaussian costs something. The flow is between the two there, "
        "and behind the Gaussian where that is right: its training leaves it slightly off.",
        "The ends are compared number by number, which does not see how numbers hang together: they tell pure noise "
        "from a start, and hardly one start from another, which the bound does.",
    ),
)
