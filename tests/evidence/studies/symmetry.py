"""Is J = dD/dx of a trained model symmetric, and what would (J v + J^T v) / 2 change in the samples?

It is for an exact D, and the Lanczos recursion takes it for granted. Here J of the bundled digit model is written
out whole (d = 1024), and digits are drawn from the same noise with J v and with the symmetrised product.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import torch
from matplotlib.figure import Figure as Canvas
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.functional import normalize
from tqdm import tqdm

import lgs
from evidence.demo.job import karras_sigmas, labels
from evidence.models import DIGITS
from evidence.models.distance import HeldOut
from evidence.report.run import Figure, Findings, Numbers, Run, Section, Table
from lgs.digits import SIZE, UNLABELLED, Digits, DigitUNet, load_unet

SIGMAS, QUICK_SIGMAS = (0.05, 0.2, 0.5, 1.0, 3.0, 10.0, 20.0), (0.2, 3.0)
GUIDANCE = (1.0, 3.0, 7.5)
PROBES = 16
"""Random z for each Jacobian, where a figure depends on z."""
STEPS = (1, 2, 3)
"""K, products in each reverse step."""
GROUPS = 5
"""Of digits, equally many: leaving out each in turn gives the standard error of a distance."""
SETTINGS, QUICK_SETTINGS = ((1, 1, 50), (1, 2, 50), (1, 3, 50), (3, 1, 10), (3, 2, 10), (3, 3, 10)), ((1, 1, 10),)
"""Guidance, K, how many of each digit. Guidance doubles the cost, so that there are fewer digits with it."""


def symmetry_study(quick: bool) -> dict:
    """Rows "asymmetry", one for each model and sigma, and "samples", one for each guidance and K."""
    unet, held_out = load_unet(DIGITS), HeldOut()
    asymmetry = _asymmetry(unet, held_out, QUICK_SIGMAS if quick else SIGMAS, items=1 if quick else 2)
    return {"asymmetry": asymmetry, "samples": _samples(unet, held_out, QUICK_SETTINGS if quick else SETTINGS)}


def jacobian(denoise: Callable, x: Tensor, sigma: float, chunk: int = 128) -> Tensor:
    """J = dD/dx (d, d), exactly, of one item x (1, ...): a vector-Jacobian product for each row."""
    # Copies of the item: faster than vmap over one item's backward pass.
    copies = x.detach().expand(chunk, *x.shape[1:]).clone().requires_grad_()
    denoised = denoise(copies, copies.new_full((chunk,), sigma))
    rows = torch.eye(math.ceil(x.numel() / chunk) * chunk, x.numel(), dtype=x.dtype).view(-1, chunk, *x.shape[1:])
    products = [torch.autograd.grad(denoised, copies, row, retain_graph=True)[0] for row in rows]
    return torch.cat(products).flatten(1)[: x.numel()]


def figures(j: Tensor, sigma: float, z: Tensor) -> dict[str, float]:
    """What J (d, d) lacks in symmetry, and what that does to the noise of a step sigma -> sigma / 2 from z (n, d)."""
    j, z = j.double(), z.double()
    symmetric = (j + j.T) / 2
    values, vectors = torch.linalg.eigh(symmetric)
    found = {"asymmetry": ((j - j.T).norm() / j.norm()).item()}
    found["negative"] = (values.clamp_max(0).square().sum() / values.square().sum()).item()
    first = normalize(z)
    image = first @ j.T
    second = normalize(image - (image * first).sum(1, keepdim=True) * first)
    one_way, other_way = (second * image).sum(1), (first * (second @ j.T)).sum(1)
    found["krylov"] = ((one_way - other_way).abs() / one_way.abs()).mean().item()

    _, v, c = kernel(sigma, sigma / 2)
    exact = ((z @ vectors) * (v + c * values.clamp_min(0)).sqrt()) @ vectors.T
    for steps in STEPS:
        plain, symmetrised = (reverse_noise(lambda u, m=m: u @ m.T, z, steps, v, c) for m in (j, symmetric))
        found[f"noise_{steps}"] = relative(plain, symmetrised).mean().item()
        found[f"cut_{steps}"] = relative(symmetrised, exact).mean().item()
    return found


def relative(a: Tensor, b: Tensor) -> Tensor:
    """|a - b| / |b| of each item (n, ...): (n,)."""
    return (a - b).flatten(1).norm(dim=1) / b.flatten(1).norm(dim=1)


def kernel(sigma: float, sigma_next: float) -> tuple[float, float, float]:
    """A, v and c of a variance-exploding step at eta = 1: mean A x + (1 - A) D, covariance v I + c J."""
    a = sigma_next**2 / sigma**2
    return a, a * (sigma**2 - sigma_next**2), (1 - a) ** 2 * sigma**2


def reverse_noise(matvec: Callable[[Tensor], Tensor], z: Tensor, steps: int, v: float, c: float) -> Tensor:
    """(v I + c J)^(1/2) z, (batch, d), as the engine does it, for a Krylov space that is not exhausted."""
    norm = z.norm(dim=1, keepdim=True)
    basis, a, b = [normalize(z)], [], []
    for _ in range(steps):
        w = matvec(basis[-1])
        seen = torch.stack(basis, dim=1)
        a.append((w * basis[-1]).sum(1).double())
        for _ in range(2):
            w = w - ((seen @ w[:, :, None]).mT @ seen)[:, 0]
        b.append(w.norm(dim=1).double())
        basis.append(normalize(w))
    # a_{K+1}: a_K, or the least that a positive semidefinite T allows.
    least = torch.stack(a).abs().amax(dim=0) * torch.finfo(torch.float64).eps ** 0.5
    pivot, definite = a[0], a[0] > least
    for k in range(1, steps):
        pivot = a[k] - b[k - 1] ** 2 / pivot
        definite = definite & (pivot > least)
    a.append(torch.where(definite, torch.maximum(a[-1], b[-1] ** 2 / pivot), a[-1]))
    # Of T, eigh reads what is on and below the diagonal.
    t = torch.diag_embed(torch.stack(a, dim=1)) + torch.diag_embed(torch.stack(b, dim=1), offset=-1)
    theta, vectors = torch.linalg.eigh(t)
    root = (vectors * (v + c * theta.clamp_min(0)).sqrt()[:, None] @ vectors[:, 0, :, None])[:, :, 0]
    return torch.einsum("bk,bkd->bd", root.to(z) * norm, torch.stack(basis, dim=1))


class Linearized:
    """v (batch, d) -> J v or, `symmetrised`, (J v + J^T v) / 2 at x (batch, ...); then `denoised` is D(x)."""

    def __init__(self, denoise: Callable, x: Tensor, sigma: float, symmetrised: bool):
        self.denoise, self.x, self.level = denoise, x, x.new_full((len(x),), sigma)
        self.point = x.detach().clone().requires_grad_()
        self.output = denoise(self.point, self.level) if symmetrised else None

    def __call__(self, v: Tensor) -> Tensor:
        v = v.view_as(self.x)
        with forward_ad.dual_level():
            dual = self.denoise(forward_ad.make_dual(self.x, v), self.level)
            self.denoised, product = forward_ad.unpack_dual(dual)
        if self.output is not None:
            product = (product + torch.autograd.grad(self.output, self.point, v, retain_graph=True)[0]) / 2
        return product.flatten(1)


def sample(denoise: Callable, draws: Tensor, sigmas: list[float], steps: int, symmetrised: bool) -> Tensor:
    """A trajectory, K = `steps`, to sigma = 0; draws z (number of sigmas - 1, batch, ...): at the start and a step."""
    x = draws[0] * sigmas[0]
    for sigma, sigma_next, z in zip(sigmas[:-2], sigmas[1:-1], draws[1:], strict=True):
        a, v, c = kernel(sigma, sigma_next)
        matvec = Linearized(denoise, x, sigma, symmetrised)
        noise = reverse_noise(matvec, z.flatten(1), steps, v, c).view_as(x)
        x = a * x + (1 - a) * matvec.denoised + noise
    return denoise(x, x.new_full((len(x),), sigmas[-2]))


def _asymmetry(unet: DigitUNet, held_out: HeldOut, sigmas: tuple[float, ...], items: int) -> list[dict]:
    rows, generator = [], torch.Generator().manual_seed(0)
    images, digits = (t[3 : 3 + items] for t in held_out.real)
    for sigma in tqdm(sigmas, desc="Jacobians", unit=" sigma"):
        found: dict[tuple[str, float], list[dict]] = {}
        for image, digit in zip(images, digits, strict=True):
            x = image[None] + sigma * torch.randn(1, 1, SIZE, SIZE, generator=generator)
            z = torch.randn(PROBES, x.numel(), generator=generator)
            # Guidance is linear in D, so two Jacobians give them all.
            asked = (torch.full((1,), int(label)) for label in (digit, UNLABELLED))
            told, untold = (jacobian(Digits(unet, label), x, sigma) for label in asked)
            cases = {("labelled", guidance): untold + guidance * (told - untold) for guidance in GUIDANCE}
            cases["any digit", 1.0] = untold
            for case, j in cases.items():
                found.setdefault(case, []).append(figures(j, sigma, z))
        for (asked, guidance), of_items in found.items():
            means = {name: sum(item[name] for item in of_items) / items for name in of_items[0]}
            rows.append({"asked": asked, "guidance": guidance, "sigma": sigma} | means)
    return sorted(rows, key=lambda row: (row["asked"], row["guidance"], row["sigma"]))


def _samples(unet: DigitUNet, held_out: HeldOut, settings: tuple) -> list[dict]:
    rows, sigmas = [], karras_sigmas(10).tolist()
    for guidance, steps, per_digit in settings:
        asked = labels(per_digit // GROUPS)
        denoise = Digits(unet, asked, guidance)
        ways: dict[str, list[Tensor]] = {"plain": [], "symmetrised": [], "isotropic": []}
        for group in tqdm(range(GROUPS), desc=f"samples, guidance {guidance:g}, K = {steps}", unit=" group"):
            generator = torch.Generator().manual_seed(group)
            draws = torch.randn(len(sigmas) - 1, len(asked), 1, SIZE, SIZE, generator=generator)
            for way in ("plain", "symmetrised"):
                ways[way].append(sample(denoise, draws, sigmas, steps, symmetrised=way == "symmetrised"))
            options, left = lgs.Options(covariance="isotropic"), iter(draws[1:])
            images = lgs.sample(denoise, draws[0] * sigmas[0], sigmas, options, noise=lambda *_, n=left: next(n))
            ways["isotropic"].append(images)
        row = {"guidance": guidance, "K": steps, "digits": len(asked) * GROUPS}
        for way in ("symmetrised", "isotropic"):
            row[f"image_{way}"] = relative(torch.cat(ways[way]), torch.cat(ways["plain"])).mean().item()
        rows.append(row | _distances(held_out, ways, asked))
    return rows


def _distances(held_out: HeldOut, ways: dict[str, list[Tensor]], asked: Tensor) -> dict[str, float]:
    """Distances of each way to held-out digits, and what symmetrising changes with its jackknife standard error."""

    def measure(way: str, without: int | None = None) -> Tensor:
        groups = [images for group, images in enumerate(ways[way]) if group != without]
        found = held_out.distances(torch.cat(groups), asked.repeat(len(groups)))
        return torch.tensor([found.frechet, found.kernel], dtype=torch.float64)

    whole = {way: measure(way) for way in ways}
    # Paired: the two ways had the same noise in every group.
    left_out = torch.stack([measure("symmetrised", group) - measure("plain", group) for group in range(GROUPS)])
    error = ((GROUPS - 1) * left_out.var(dim=0, correction=0)).sqrt()
    columns = whole | {"change": whole["symmetrised"] - whole["plain"], "se": error}
    names = ("frechet", "kernel")
    return {f"{name}_{way}": pair[at].item() for at, name in enumerate(names) for way, pair in columns.items()}


def describe(study: dict) -> str:
    """Both tables, aligned."""
    return f"""J at noised real digits. asymmetry: |J - J'| / |J|; negative: share of the negative eigenvalues of
J's symmetric part in their sum of squares; krylov: |v2'J v1 - v1'J v2| / |v2'J v1|; noise K: relative difference of
Sigma^(1/2) z with J v and with (J v + J'v) / 2, sigma to sigma / 2; cut K: error of the latter, K being finite.

{_table(study["asymmetry"])}

10 steps, same noise. image: relative difference from J v's images; change: symmetrised less plain; se: its error.

{_table(study["samples"])}"""


def _table(rows: list[dict]) -> str:
    text = [[f"{value:.4f}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    lines = [*zip(*(name.split("_") if "_" in name else ("", name) for name in rows[0]), strict=True), *text]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.rjust, line, widths)) for line in lines)


def plot(study: dict, file: Path) -> None:
    """Asymmetry and noise over sigma, and what symmetrising changes in the distances to real digits, as a PNG."""
    figure = Canvas(figsize=(11, 8), layout="constrained")
    *over_sigma, change = figure.subplots(2, 2).flat
    panels = (
        ("asymmetry", "asymmetry", "Asymmetry of J", "‖J − Jᵀ‖ / ‖J‖"),
        ("negative", "negative", "Negative eigenvalues of (J + Jᵀ) / 2", "share of the sum of squares"),
        ("noise_2", "cut_2", "Noise, K = 2: plain to symmetrised (dashed: to K = d)", "relative difference"),
    )
    for axes, (key, dashed, title, label) in zip(over_sigma, panels, strict=True):
        for name, rows in groupby(study["asymmetry"], lambda row: f"{row['asked']}, guidance {row['guidance']:g}"):
            sigmas, values, others = zip(*((row["sigma"], row[key], row[dashed]) for row in rows), strict=True)
            (line,) = axes.plot(sigmas, values, "o-", label=name)
            axes.plot(sigmas, others, "--", color=line.get_color())
        axes.set(title=title, ylabel=label, xscale="log", xlabel="σ", ylim=0)
    ticks = [f"guidance {row['guidance']:g}\nK = {row['K']}" for row in study["samples"]]
    for name, label, scale, aside in (("frechet", "Fréchet", 1, 0.0), ("kernel", "10 × kernel", 10, 0.2)):
        places = [at + aside for at in range(len(ticks))]
        values, bars = ([scale * row[f"{name}_{which}"] for row in study["samples"]] for which in ("change", "se"))
        change.errorbar(places, values, [2 * bar for bar in bars], fmt="o", capsize=4, label=label)
    change.set_xticks(range(len(ticks)), ticks, fontsize=8)
    change.axhline(0, color="gray", linewidth=0.8)
    change.set(title="Distance to real digits: symmetrised less plain", ylabel="change, ± 2 standard errors")
    for axes in (*over_sigma, change):
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    figure.savefig(file, dpi=110)


MEASURES = (
    "asymmetry: ‖J − Jᵀ‖ / ‖J‖; negative: share of the negative eigenvalues of J's symmetric part in their sum of "
    "squares; krylov: |v₂ᵀ J v₁ − v₁ᵀ J v₂| / |v₂ᵀ J v₁|; noise K: change of Σ^½ z by symmetrising; cut K: its error "
    "because K is finite"
)


def measure(run: Run) -> Numbers:
    return symmetry_study(run.quick)


def show(numbers: Numbers, folder: Path) -> Findings:
    file = folder / "symmetry.png"
    plot(numbers, file)
    asymmetry, samples = (
        Table(title, *_cells(numbers[rows]))
        for rows, title in (
            ("asymmetry", f"J written out at noised real digits. {MEASURES}"),
            ("samples", "Digits in ten steps: symmetrised products less plain ones"),
        )
    )
    caption = (
        "Dashed: in the first two panels the same in other measures, in the third the error of a finite K. The last "
        "panel: change of the distance to real digits, with bars of two standard errors."
    )
    return Findings([], [Figure(file, "Symmetry of J, and what it matters", caption)], [asymmetry, samples])


def _cells(rows: list[dict]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    cells = [
        tuple(f"{value:.4f}" if isinstance(value, float) else str(value) for value in row.values()) for row in rows
    ]
    return tuple(name.replace("_", " ") for name in rows[0]), cells


SECTION = Section(
    "symmetry",
    "Is the Jacobian symmetric?",
    "That of an exact D is. That of a trained network is not: does this change the samples?",
    measure,
    show,
    remarks=(
        "Symmetrised products, (J v + Jᵀ v) / 2, change the noise of a step and the final digits much less than the "
        "covariance itself does, and bring them no closer to real ones. They need a reverse pass beside the forward "
        "one, so they are not offered.",
    ),
)
