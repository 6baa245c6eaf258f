"""A `Record` in words: a table, and what to do about it. `lgs.plot` draws it."""

from __future__ import annotations

import math
from statistics import median

from .record import Record, Step

LITTLE = 0.05
"""Share of what the covariance adds over a whole run that counts as little."""

WORTH_SAVING = 0.1
"""Share of the cost of a run below which a setting is not worth changing."""

SMALL_ERROR, LARGE_ERROR = 0.005, 0.2
"""Estimated relative errors of a step's noise. The first is about that of K = 3 on pictures."""

FREE = 4
"""What the free extra vector divides that error by, about: see the table of it in tests/evidence/README.md."""

DIFFERENT = 0.25
"""Relative difference of times that is more than chance."""

NEGATIVE = -0.05
"""A Ritz value below this is more than rounding: the largest of an exact model are about 1."""


def table(record: Record) -> str:
    """The steps, a line each, with a heading and what to do: text for a font of equal widths."""
    record.expect_steps()
    steps = record.steps
    about = "".join(f", {name} {value}" for name, value in record.about.items())
    lines = [
        f"{_count(len(steps), 'step')}, {_count(record.model_evaluations, 'model evaluation')}{_as_plain(record)}, "
        f"{record.seconds:.3g} s, batch of {record.batch}{about}",
        "",
        "step    sigma  evaluations  products   Ritz values from      to     error  covariance  seconds",
    ]
    lines += [_line(number, step) for number, step in enumerate(steps, 1)]
    lines += ["", *advice(record)]
    lines += [
        "",
        "Ritz values approach the eigenvalues of the model's Jacobian; the smallest and the largest of the batch.",
    ]
    if _is_secant(record):
        lines.append(
            "They are the secants': one for each octave of frequencies, at the noise level that the step ends at."
        )
    else:
        error = (
            "as it would be without the free extra vector, which makes it about a quarter" if record.extended else ""
        )
        lines.append(f"Error: estimated, of the step's noise{error and ', ' + error}.")
    lines.append("Covariance: the share of the variance of the step's noise that it added.")
    if any(step.jvp == "forward" and step.jvps for step in steps):
        lines.append("An evaluation in forward mode gives a product as well, and takes three to six times as long.")
    return "\n".join(lines)


def _as_plain(record: Record) -> str:
    """In the time of how many plain evaluations, where that is another number: one in forward mode takes as long as
    several."""
    without = [step for step in record.steps if not step.jvps]
    plain = [step.seconds / step.model_evaluations for step in without if step.model_evaluations]
    if not plain or all(step.jvp != "forward" for step in record.steps if step.jvps):
        return ""
    usual = [record.usual_seconds(step) for step in record.steps]
    as_many = round(math.fsum(usual) / max(median(plain), 1e-9))
    apart = abs(as_many - record.model_evaluations) / record.model_evaluations
    return f" in the time of {as_many} plain ones" if apart > DIFFERENT else ""


def advice(record: Record) -> list[str]:
    """Sentences about the run: what cost much for little, and what went wrong."""
    if _is_secant(record):
        return []
    lanczos = [step for step in record.steps if step.ritz_values.numel()]
    if not lanczos:
        return [_without_lanczos(record)]
    return [sentence for rule in (_useless_steps, _error, _negative) if (sentence := rule(record, lanczos))]


def _is_secant(record: Record) -> bool:
    return record.options is not None and record.options.solver == "secant"


def _without_lanczos(record: Record) -> str:
    plain = "No step used Lanczos"
    options, levels = record.options, [_level(record, step) for step in record.steps if step.sigma_next > 0]
    if options is None or options.covariance != "lanczos" or not levels:
        return f"{plain}."
    low, high = options.covariance_min_sigma, options.covariance_max_sigma
    if any(low <= level <= high for level in levels):
        return f"{plain}: no step added noise."
    found = f"the steps start at {max(levels):.3g} to {min(levels):.3g}, outside the settings, {low:g} to {high:g}"
    changes = ["lower covariance from sigma"] * (min(levels) < low) + ["raise covariance up to sigma"] * (
        max(levels) > high
    )
    return f"{plain}: {found}. To use it, {' or '.join(changes)}."


def _level(record: Record, step: Step) -> float:
    """The noise level of a step in the unit of the settings: sigma / alpha."""
    flow = record.options is not None and record.options.process == "flow"
    return step.sigma / max(1 - step.sigma, 0.005) if flow else step.sigma


def _useless_steps(record: Record, lanczos: list[Step]) -> str | None:
    """The steps at the low end that together add next to nothing of the covariance."""
    total = math.fsum(step.added_variance for step in lanczos)
    added = cost = 0.0
    first = len(lanczos)
    while first > 0 and added + lanczos[first - 1].added_variance <= LITTLE * total:
        first -= 1
        added += lanczos[first].added_variance
        cost += _cost_of_products(record, lanczos[first])
    if first in (0, len(lanczos)) or cost < WORTH_SAVING:
        return None
    threshold = _between(_level(record, lanczos[first]), _level(record, lanczos[first - 1]))
    what = "time" if lanczos[first].jvp == "forward" else "evaluations"
    return (
        f"The steps from sigma {lanczos[first].sigma:.3g} down added {_percent(added / total)} of the variance that "
        f"the covariance added in all, for {_percent(cost)} of the {what}: set covariance from sigma to {threshold}."
    )


def _cost_of_products(record: Record, step: Step) -> float:
    """Share of the run: of its evaluations, or, in forward mode, where one takes longer than another, of its time."""
    if step.jvp != "forward":
        return step.for_products / record.model_evaluations
    without = [other.seconds for other in record.steps if not other.jvps]
    return max(0.0, step.seconds - median(without)) / record.seconds if without else 0.0


def _error(record: Record, lanczos: list[Step]) -> str | None:
    worst = max(lanczos, key=lambda step: step.lanczos_error)
    error = worst.lanczos_error / (FREE if record.extended else 1)
    if error > LARGE_ERROR:
        return (
            f"The noise of the step at sigma {worst.sigma:.3g} is off by about {_percent(error)}: raise lanczos steps."
        )
    if worst.lanczos_error < SMALL_ERROR and worst.jvps > 1:
        return (
            f"The noise of every step is within an estimated {_percent(worst.lanczos_error)} of exact: fewer lanczos "
            "steps will do."
        )
    return None


def _negative(record: Record, lanczos: list[Step]) -> str | None:
    low = min(lanczos, key=lambda step: step.ritz_values.min().item())
    lowest = low.ritz_values.min().item()
    if lowest > NEGATIVE:
        return None
    return (
        f"Ritz values go down to {lowest:.2g} (at sigma {low.sigma:.3g}), where an exact model has none below 0: "
        "strong guidance does that, or low precision. They count as 0."
    )


def _line(number: int, step: Step) -> str:
    low, high, error, share = "-", "-", "-", "-"
    if step.ritz_values.numel():
        low, high = f"{step.ritz_values.min().item():.2g}", f"{step.ritz_values.max().item():.2g}"
        error = "-" if math.isnan(step.lanczos_error) else _percent(step.lanczos_error)
    if step.noise_variance > 0:
        share = _percent(step.covariance_share)
    return (
        f"{number:4}{step.sigma:9.4g}{step.model_evaluations:13}{step.jvps:10}{low:>19}{high:>8}{error:>10}{share:>12}"
        f"{step.seconds:9.2f}"
    )


def _percent(share: float) -> str:
    """Two significant digits."""
    percent = 100 * share
    if 0 < percent < 0.01:
        return "< 0.01 %"
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _between(low: float, high: float) -> str:
    """The shortest number above ``low``, and at most ``high``."""
    middle = math.sqrt(low * high)
    candidates = (f"{middle:.{digits}g}" for digits in range(1, 17))
    return next(text for text in candidates if low < float(text) <= high)
