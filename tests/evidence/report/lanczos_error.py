"""How fast the Lanczos Gaussian sampler converges with its steps K, and how fast it must at least.

On the Gaussian of the design (d = 1024, eigenvalues like k^-2), where Sigma^(1/2) z is known. arXiv 2605.22723
proves that the error decays exponentially in K; its theorem could not be looked up, so the bound drawn here
is the standard one, for plain Lanczos steps on f(A) z with f the square root:

    |error| <= 2 |z| min over polynomials p of degree < K of max |f - p| on [a, b]
            <= 4 |z| sqrt(a + b) rho^(1 - K) / (rho - 1),    rho = (sqrt(kappa) + 1) / (sqrt(kappa) - 1)

with [a, b] the range of Sigma's eigenvalues and kappa = b / a. First line: Musco, Musco and Sidford, "Stability of
the Lanczos method for matrix function approximation" (SODA 2018, equation 4). Second: Trefethen, Approximation
Theory and Approximation Practice, theorem 8.2, on the largest Bernstein ellipse of [a, b] within which f is
analytic, the one through 0, where |f| <= sqrt(a + b).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure as Drawing
from shim import gaussian
from tqdm import tqdm

import lgs

from .run import Figure, Findings, Numbers, Run, Section, Table, digest, libraries

DIMENSION, POWER = 1024, 2.0
LEVELS = ((5.0, 1.0), (0.5, 0.2), (0.1, 0.07))
"""Steps from a noise level to the next: a large one, one of about ten steps in all, a small one."""
MOST = 12
"""Lanczos steps."""
STYLES = {False: ("plain", "#E69F00", "o"), True: ("extended, the default", "#0072B2", "s")}


def bound(lowest: float, highest: float, steps: int) -> float:
    """The bound above on |error| / |z| for eigenvalues in [lowest, highest], 0 < lowest < highest."""
    ratio = math.sqrt(highest / lowest)
    rho = (ratio + 1) / (ratio - 1)
    return 4 * math.sqrt(lowest + highest) * rho ** (1 - steps) / (rho - 1)


def errors(step: tuple[float, float], extended: bool, most: int, count: int, version: str) -> dict[str, np.ndarray]:
    """``error`` (most, count): |y - Sigma^(1/2) z| / |Sigma^(1/2) z| of `lgs.reverse_noise` for K = 1 to ``most``.

    ``bound`` (most, count) is `bound` as a relative error, too. Eigenvectors are the axes: Lanczos steps from
    a z of no preferred direction do not see which they are.
    """
    model = gaussian.Gaussian(DIMENSION, POWER, rotated=False)
    x, z = torch.randn(2, count, DIMENSION, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = model.reverse_noise("ve", *step, 1.0, z)
    variance = model.reverse_variance("ve", *step, 1.0)
    stretch = z.norm(dim=1) / exact.norm(dim=1)
    found = {"error": [], "bound": []}
    for k in range(1, most + 1):
        options = lgs.Options(lanczos_steps=k, extended=extended, jvp="forward")
        noise = lgs.reverse_noise(model.denoiser(), x, *step, z, options)
        found["error"].append((noise - exact).norm(dim=1) / exact.norm(dim=1))
        found["bound"].append(bound(variance.min().item(), variance.max().item(), k) * stretch)
    return {name: torch.stack(rows).numpy() for name, rows in found.items()}


def decay(values: list[float]) -> float:
    """The factor by which an error falls with each step, least squares on its logarithm."""
    return float(np.exp(-np.polyfit(np.arange(len(values)), np.log(values), 1)[0]))


def measure(run: Run) -> Numbers:
    count, most = (4, 6) if run.quick else (64, MOST)
    version = digest(Path(__file__), Path(gaussian.__file__), *libraries())
    model = gaussian.Gaussian(DIMENSION, POWER, rotated=False)
    cases = []
    with tqdm(total=len(LEVELS) * len(STYLES), desc="Lanczos error", unit=" curves") as bar:
        for step in LEVELS:
            variance = model.reverse_variance("ve", *step, 1.0)
            kappa = (variance.max() / variance.min()).item()
            case = {"sigma": step[0], "sigma_next": step[1], "kappa": kappa}
            for extended in STYLES:
                found = run.cached(errors)(step, extended, most, count, version)
                means = found["error"].mean(axis=1)
                spread = found["error"].std(axis=1, ddof=1) / math.sqrt(count)
                name = "extended" if extended else "plain"
                case[name] = {"value": means.tolist(), "stderr": spread.tolist(), "decay": decay(means.tolist())}
                if not extended:
                    case["bound"] = {"value": found["bound"].mean(axis=1).tolist()}
                    case["bound"]["decay"] = decay(case["bound"]["value"])
                    case["kept"] = bool((found["error"] <= found["bound"]).all())
                bar.update()
            cases.append(case)
    return {"dimension": DIMENSION, "draws": count, "steps": list(range(1, most + 1)), "cases": cases}


def show(numbers: Numbers, folder: Path) -> Findings:
    file = folder / "lanczos_error.png"
    draw(numbers, file)
    cases = numbers["cases"]
    hardest = max(cases, key=lambda case: case["extended"]["value"][0])
    at = f"σ = {hardest['sigma']:g} to {hardest['sigma_next']:g}"
    levels = ", ".join(f"{case['sigma']:g}" for case in cases)
    decays = {name: ", ".join(f"{case[name]['decay']:.2g}" for case in cases) for name in ("plain", "bound")}
    kept = all(case["kept"] for case in cases)

    def percent(name: str, k: int) -> str:
        return f"{100 * hardest[name]['value'][k - 1]:.2g} %"

    return Findings(
        [
            f"The error of plain Lanczos steps {'stays' if kept else 'does NOT stay'} below the bound in every draw. "
            f"Each step reduces it by a factor of {decays['plain']} (from σ = {levels}), the bound by "
            f"{decays['bound']}.",
            "The bound gives an exponential decay and little more: it depends on the smallest and the largest "
            "eigenvalue only, and most of those in between are small.",
            f"On the hardest of these steps, {at}, the product's default, the extended recursion, is off by "
            f"{percent('extended', 1)} with K = 1 and {percent('extended', 3)} with K = 3; the plain one by "
            f"{percent('plain', 1)} and {percent('plain', 3)}.",
        ],
        [
            Figure(
                file,
                "Error of the Lanczos noise against K",
                f"Relative error of Σ^½ z on the exact Gaussian, d = {numbers['dimension']}, η = 1; mean of "
                f"{numbers['draws']} draws with error bars of two standard errors. Dashed: what the "
                "error of the plain recursion cannot exceed, by the best polynomial of degree K − 1 for the square "
                "root, bounded on the Bernstein ellipse through 0.",
            )
        ],
        [table(numbers)],
    )


def table(numbers: Numbers) -> Table:
    shown = [k for k in (1, 2, 3, 5, 8) if k in numbers["steps"]]
    rows = []
    for case in numbers["cases"]:
        for name in ("plain", "extended"):
            curve = case[name]
            cells = (f"{curve['value'][k - 1]:.1e} ± {curve['stderr'][k - 1]:.0e}" for k in shown)
            rows.append((f"{case['sigma']:g} → {case['sigma_next']:g}", f"{case['kappa']:.0f}", name, *cells))
    head = ("step σ", "condition number of Σ", "recursion", *(f"K = {k}" for k in shown))
    return Table("Relative error of the noise, ± one standard error", head, rows)


def draw(numbers: Numbers, file: Path) -> None:
    figure = Drawing(figsize=(11.5, 4.2), layout="constrained")
    panels = figure.subplots(1, len(numbers["cases"]), sharey=True)
    for axes, case in zip(panels, numbers["cases"], strict=True):
        axes.plot(numbers["steps"], case["bound"]["value"], "--", color="#444444", label="bound, plain")
        for extended, (label, color, marker) in STYLES.items():
            curve = case["extended" if extended else "plain"]
            bars = 2 * np.array(curve["stderr"])
            axes.errorbar(
                numbers["steps"],
                curve["value"],
                bars,
                fmt=f"{marker}-",
                color=color,
                capsize=3,
                markersize=5,
                label=label,
            )
        axes.set(
            yscale="log",
            xlabel="Lanczos steps K",
            title=f"σ = {case['sigma']:g} → {case['sigma_next']:g},  κ(Σ) = {case['kappa']:.0f}",
        )
        axes.set_xticks(numbers["steps"])
        axes.grid(alpha=0.25)
    panels[0].set_ylabel("relative error of $\\Sigma^{1/2}z$")
    panels[0].legend(fontsize=9)
    figure.savefig(file, dpi=130)


LANCZOS_ERROR = Section(
    "lanczos_error",
    "Error of the Lanczos steps",
    "How many Jacobian-vector products does a step need until its noise has the full covariance?",
    measure,
    show,
)
