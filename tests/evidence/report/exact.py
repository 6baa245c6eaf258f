"""The path-space KL of every covariance, on a mixture of Gaussians of which everything is known.

    KL(path) = sum over the steps of E_{x_t ~ q} KL(q(x_s | x_t) || N(mean, Sigma))

by the chain rule, the first x being exact. The claims are those of arXiv 2605.22723: Omega(1/T) for isotropic
covariances, O(1/T^2) for the full one. The mean is the exact one, so that each term is the negentropy
of q(x_s | x_t), which no Gaussian kernel can avoid, and the KL between two Gaussians (`evidence.report.mixture`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure as Drawing
from tqdm import tqdm

from . import slopes
from .kernels import SIGMA_MAX, SIGMA_MIN
from .paths import path_kl, product_kl, secant_kl
from .run import Figure, Findings, Numbers, Run, Section, Table, digest, libraries

STEPS = (4, 8, 16, 32, 64, 128, 256)
FITTED_FROM = 16
TARGETS = (0.1, 0.01)
SMALLEST, SHARPER = 0.2, 0.05
"""The smallest eigenvalue of the components' covariance: of the mixture, and of one that is further from its limit."""

STYLES = {
    "isotropic": ("isotropic, v", "#E69F00", "o"),
    "isotropic-large": ("isotropic-large, σₜ² − σₛ²", "#CC79A7", "s"),
    "isotropic-optimal": ("isotropic-optimal, tr Σ / d", "#767676", "D"),
    "spectral": ("spectral", "#56B4E9", "v"),
    "diagonal": ("diagonal", "#009E73", "^"),
    "lanczos, K = 1, plain": ("lanczos, K = 1, plain", "#D55E00", "X"),
    "lanczos, K = 1": ("lanczos, K = 1", "#000000", "*"),
    "full": ("full", "#0072B2", "P"),
    "secant": ("secant, η = 1", "#7F3C8D", "p"),
}
"""Name, colour (Okabe and Ito's, which the colour-blind can tell apart) and marker of each covariance in the figure."""

PROBED = ("isotropic-optimal", "spectral", "diagonal")
"""Those that the product estimates from random products with J."""
SIMPLE = tuple(STYLES)[:5]
"""Those that are diagonal in a basis known beforehand."""
LANCZOS = {
    "lanczos, K = 1, plain": {"lanczos_steps": 1, "extended": False},
    "lanczos, K = 1": {"lanczos_steps": 1},
    "lanczos, K = 2": {"lanczos_steps": 2},
    "lanczos, K = 3": {"lanczos_steps": 3},
}
PRODUCT_STEPS = 16
"""Steps of the paths along which the product's other covariances are measured."""


def product_cases(probes: int) -> dict[str, tuple[str, dict]]:
    """Name of each case: arguments ``case`` and ``options`` of `product_kl`."""
    cases = {name: (name, {"covariance": name}) for name in ("isotropic", "isotropic-large")}
    for name in PROBED:
        for count in (1, probes):
            cases[f"{name}, {count} probe{'s' * (count > 1)}"] = name, {"covariance": name, "probes": count}
    return cases | {"lanczos, K = 8 = d": ("full", {"lanczos_steps": 8})}


def measure(run: Run) -> Numbers:
    blocks, size, probes, counts = (1, 60, 4, STEPS[::2]) if run.quick else (20, 250, 256, STEPS)
    lanczos = {name: options for name, options in LANCZOS.items() if name in STYLES or not run.quick}
    formulas = [Path(__file__).with_name(f"{name}.py") for name in ("kernels", "laws", "mixture", "paths")]
    version, of_product = digest(*formulas), digest(*formulas, *libraries())
    paths: dict[str, list[np.ndarray]] = {}
    added: dict[str, list[np.ndarray]] = {name: [] for name in lanczos}
    sharper, cases = [], {}
    secant = []
    with tqdm(total=sum(counts) * (blocks + 2 + len(lanczos)), desc="path KL", unit=" steps") as bar:
        for steps in counts:
            parts = []
            for block in range(blocks):
                parts.append(run.cached(path_kl)(SMALLEST, steps, size, block, version))
                bar.update(steps)
            for name in parts[0]:
                paths.setdefault(name, []).append(np.concatenate([part[name] for part in parts]))
            sharper.append(run.cached(path_kl)(SHARPER, steps, size, 0, version)["full"])
            bar.update(steps)
            secant.append(run.cached(secant_kl)(steps, size, of_product)["kl"])
            bar.update(steps)
            for name, options in lanczos.items():
                found = run.cached(product_kl)("lanczos", options, steps, size, of_product)
                added[name].append(found["kl"])
                if steps == PRODUCT_STEPS:
                    cases[name] = product_case(found)
                bar.update(steps)
    for name, (case, options) in tqdm(product_cases(probes).items(), desc="product"):
        cases[name] = product_case(run.cached(product_kl)(case, options, PRODUCT_STEPS, size, of_product))
    # The parts of each KL, (steps, paths): a Lanczos sampler's own comes on top of the full covariance's.
    parts = {name: [np.array(rows)] for name, rows in (paths | {"secant": secant}).items()}
    parts |= {name: [np.array(paths["full"]), np.array(rows)] for name, rows in added.items()}
    kl = {name: [slopes.mean_and_error(*rows) for rows in zip(*of, strict=True)] for name, of in parts.items()}
    means = {name: [point["value"] for point in points] for name, points in kl.items()}
    first = counts.index(FITTED_FROM)
    return {
        "sigma_max": SIGMA_MAX,
        "sigma_min": SIGMA_MIN,
        "paths": blocks * size,
        "paths_of_the_product": size,
        "steps": counts,
        "kl": kl,
        "fitted": counts[first:],
        "slopes": {
            name: slopes.fitted_slope(counts[first:], *(part[first:] for part in of)) for name, of in parts.items()
        },
        "local_slopes": {name: slopes.local_slopes(counts, mean) for name, mean in means.items()},
        "sharper": slopes.fitted_slope(counts[first:], np.array(sharper[first:])),
        "steps_needed": {
            name: {f"{target:g}": slopes.steps_needed(counts, mean, target) for target in TARGETS}
            for name, mean in means.items()
        },
        "product": {"steps": PRODUCT_STEPS, "cases": cases},
    }


def product_case(found: dict[str, np.ndarray]) -> dict:
    return {"added": slopes.mean_and_error(found["kl"]), "largest_error": float(found["error"].max())}


def show(numbers: Numbers, folder: Path) -> Findings:
    file = folder / "path_kl.png"
    draw(numbers, file)
    steps, cases, slope = numbers["steps"], numbers["product"]["cases"], numbers["slopes"]
    means = {name: [point["value"] for point in points] for name, points in numbers["kl"].items()}
    at = steps.index(numbers["product"]["steps"])
    best = min(SIMPLE, key=lambda name: means[name][at])
    gains = ", ".join(f"{means[best][i] / means['full'][i]:.1f} (T = {steps[i]})" for i in (0, at, len(steps) - 1))
    local = ", ".join(f"{value:.2f}".replace("-", "−") for value in numbers["local_slopes"]["full"])
    more = ", ".join(f"{added(cases[name])} ({name.removeprefix('lanczos, ')})" for name in LANCZOS if name in cases)
    probes = {name: means["full"][at] + cases[f"{name}, 1 probe"]["added"]["value"] for name in PROBED}
    probed = ", ".join(f"{kl:.3g} ({name})" for name, kl in probes.items())
    exactly = cases["lanczos, K = 8 = d"]["largest_error"]

    def steps_of(name: str) -> str:
        return needed(numbers, numbers["steps_needed"][name][f"{TARGETS[1]:g}"])

    return Findings(
        [
            f"Over T = {numbers['fitted'][0]} to {numbers['fitted'][-1]} the path KL falls like T to the power of "
            f"{text_of(slope['full'])} with the full covariance, "
            + ", ".join(f"{text_of(slope[name])} ({name})" for name in SIMPLE)
            + ". The paper has −2 for the full covariance and no better than −1 for isotropic ones.",
            f"For the full covariance −2 is a limit: between neighbours of T = {', '.join(map(str, steps))} its slope "
            f"is {local}. In a mixture of narrower components, the smallest eigenvalue being {SHARPER:g} in place of "
            f"{SMALLEST:g}, the limit is reached later: {text_of(numbers['sharper'])} over the same T.",
            f"The full covariance is better than the best of the cheaper ones, {best}, by a factor of {gains}. What "
            "remains is what no Gaussian step can avoid.",
            "Most of what the diagonal gains over v is its trace: with one variance for all coordinates, "
            f"isotropic-optimal, the path KL at T = {steps[at]} is {means['isotropic-optimal'][at]:.3g}, with the "
            f"diagonal {means['diagonal'][at]:.3g}, with v {means['isotropic'][at]:.3g}. The axes of this mixture "
            "are those of no basis known beforehand; on data that are nearly diagonal in one the diagonal would do "
            "better.",
            f"The product's own noise with K = d = 8 Lanczos steps equals the exact one to a relative error of "
            f"{exactly:.0e}. Fewer Lanczos steps add to the {means['full'][at]:.3g} nats of the full covariance "
            f"at T = {steps[at]}: "
            f"{more}. With K = 1 the path KL falls like T to the power of {text_of(slope['lanczos, K = 1'])}; without "
            f"the free vector that the product appends, {text_of(slope['lanczos, K = 1, plain'])}.",
            f"At two evaluations a step, T = {steps[at]}: {means['lanczos, K = 1'][at]:.3g} with one Lanczos step, and "
            f"with one probe, the default, at most {probed}. A path KL of {TARGETS[1]:g} takes "
            f"{steps_of('lanczos, K = 1')} such steps with K = 1; with the diagonal, if it were known at no cost, "
            f"{steps_of('diagonal')} of one evaluation.",
            f"The secant takes no products, one evaluation a step. With η = 1 its path KL falls like T to the power of "
            f"{text_of(slope['secant'])}: {means['secant'][at]:.3g} at T = {steps[at]}, where one Lanczos step, which "
            f"takes two, has {means['lanczos, K = 1'][at]:.3g}. Its kernel is no Gaussian, and may be nearer than any.",
            "The noise of a few Lanczos steps is not Gaussian, because the Krylov space depends on z. Its KL is "
            "that of "
            "its true law relative to the exact Gaussian, in the opposite direction to the others; the two agree to "
            "leading order. So is the secant's, all of it and along its own paths.",
        ],
        [
            Figure(
                file,
                "Path KL against the number of steps",
                "Mixture of four Gaussians with one full covariance, d = 8; T log-spaced DDPM steps (η = 1) from "
                f"σ = {numbers['sigma_max']:g}, with the exact law there, to σ = {numbers['sigma_min']:g}; the last "
                f"step, to 0, is not included. {numbers['paths']} paths, the same for every T and covariance. "
                "Lanczos: what "
                f"the product's noise adds to the full covariance's, on {numbers['paths_of_the_product']} paths; K = 1 "
                "is drawn a little to the right of the full covariance, with which it would otherwise coincide. Error "
                "bars of two standard errors, mostly smaller than the markers. Lines: least squares over the filled "
                "markers; ± is one standard error, that of the sampled paths (bootstrap) and that of the fit in "
                "quadrature. Dotted: the path KLs of the table.",
            )
        ],
        [needed_table(numbers), product_table(numbers, means["full"][at])],
    )


def text_of(slope: dict[str, float]) -> str:
    return f"{slope['value']:.3f} ± {slope['stderr']:.3f}".replace("-", "−")


def added(case: dict) -> str:
    return f"{case['added']['value']:.2g} ± {case['added']['stderr']:.1g}".replace("-", "−")


def needed(numbers: Numbers, entry: dict) -> str:
    """A number of steps of `slopes.steps_needed`, in words."""
    least, most = numbers["steps"][0], numbers["steps"][-1]
    if not entry["extrapolated"]:
        return f"{entry['steps']:.0f}"
    return f"> {most} (extrapolated: {entry['steps']:.0f})" if entry["steps"] > most else f"< {least}"


def needed_table(numbers: Numbers) -> Table:
    rows = [
        (name, text_of(numbers["slopes"][name]), *(needed(numbers, entry) for entry in entries.values()))
        for name, entries in numbers["steps_needed"].items()
    ]
    head = ("covariance", "slope", *(f"steps to a path KL of {target:g}" for target in TARGETS))
    return Table("How fast the path KL falls, and the steps that it takes", head, rows)


def product_table(numbers: Numbers, negentropy: float) -> Table:
    """With few probes the KL is the mean over the probes, which bounds that of the law from above."""
    product = numbers["product"]
    rows = [
        (
            f"{name}{' (upper bound)' if name.endswith('1 probe') else ''}",
            f"{negentropy + case['added']['value']:.4f}",
            added(case),
            f"{case['largest_error']:.1g}",
        )
        for name, case in product["cases"].items()
    ]
    return Table(
        f"The product's own noise along {product['steps']} steps",
        ("covariance", "path KL", "of which added by the covariance", "largest relative error of a noise"),
        rows,
    )


def draw(numbers: Numbers, file: Path) -> None:
    figure = Drawing(figsize=(8.2, 5.6), layout="constrained")
    axes = figure.subplots()
    steps, fitted = np.array(numbers["steps"]), np.array(numbers["fitted"])
    for name, (label, color, marker) in STYLES.items():
        aside = 1.06 if name == "lanczos, K = 1" else 1.0  # it would lie on the full covariance
        value, error = (np.array([point[key] for point in numbers["kl"][name]]) for key in ("value", "stderr"))
        slope = numbers["slopes"][name]
        used = np.isin(steps, fitted)
        middle = np.log(value[used]).mean() - slope["value"] * np.log(fitted).mean()
        axes.plot(fitted, np.exp(middle + slope["value"] * np.log(fitted)), color=color, linewidth=1.2)
        legend = f"{label}: slope {text_of(slope)}"
        for part, face in ((used, color), (~used, "white")):
            axes.errorbar(
                aside * steps[part],
                value[part],
                2 * error[part],
                fmt=marker,
                color=color,
                markerfacecolor=face,
                capsize=3,
                markersize=6,
                label=legend if face == color else None,
            )
    axes.set(xscale="log", yscale="log", xlabel="steps T", ylabel="path-space KL, nats")
    axes.set_xticks(steps, [str(T) for T in steps])
    axes.minorticks_off()
    for target in TARGETS:
        axes.axhline(target, color="#767676", linewidth=0.8, linestyle=":")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8.5, loc="lower left")
    figure.savefig(file, dpi=130)


PATH_KL = Section(
    "path_kl",
    "Path-space KL of every covariance",
    "How far is the reverse chain from the exact one on data whose law is known, and how fast does the distance "
    "fall with the number of steps?",
    measure,
    show,
    remarks=(
        "For the full covariance: it is of second order in the number of steps, the others are of first. One "
        "product a step is enough for that, but only with the free extra vector.",
        "For the secant: at η = 1 it is of second order, too, with one evaluation a step where one product takes two, "
        "and from T = 16 on nearer to the exact chain than any Gaussian kernel at as many steps.",
    ),
)
