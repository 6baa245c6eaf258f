"""The sampler's options, as a field of a scheduler's configuration: a dict of those that differ from the defaults."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidArgument, InvalidType
from ..options import Options
from ..steps_done import evaluations_of
from ..trajectory import check_drivable

DEFAULTS = {"jvp": "finite-difference"}
"""Beside those of the LGS Sampler node: a pipeline calls its model itself."""

LARGEST_OF_FLOW = 199.0
"""sigma / (1 - sigma) of the largest sigma at which a flow's Jacobian is taken (plugin/engine/src/process.rs)."""


def options_of(field: Any, *, is_flow: bool) -> Options:
    """All of the options for such a field. Raises `lgs.InvalidArgument` and `lgs.InvalidType` for what a scheduler, or
    the library, cannot do."""
    given = {} if field is None else field
    if not isinstance(given, dict):
        raise InvalidType(f'options: expected a dict of options, as {{"eta": 0.5}}, got {type(given).__name__}')
    process = "flow" if is_flow else "ve"
    if given.get("process", process) != process:
        raise InvalidArgument(
            f'options: process is what prediction_type says, here "{process}", got "{given["process"]}". Leave it out.'
        )
    options = Options.recommended(**DEFAULTS | given | {"process": process})
    if options.solver == "ancestral" and options.covariance == "diagonal-learned":
        raise InvalidArgument(
            'options: covariance "diagonal-learned" takes a network, which a scheduler has no place for. Take '
            '"diagonal", which needs none.'
        )
    if not options.products:
        return options
    if options.tolerance:
        raise InvalidArgument(
            f"options: expected tolerance 0, as a pipeline has to know beforehand how often its model is needed, got "
            f"{options.tolerance:g}. Leave it out."
        )
    if is_flow and options.covariance_max_sigma >= LARGEST_OF_FLOW:
        raise InvalidArgument(
            f"options: expected covariance_max_sigma below {LARGEST_OF_FLOW:g} for a flow, above which products are "
            f"taken at another noise level than the pipeline's, got {options.covariance_max_sigma:g}. Lower it."
        )
    return check_drivable(options)


def evaluations(options: Options) -> int:
    """Evaluations of the model in a step that takes products."""
    if not options.s_noise:
        return 1  # without noise there is nothing to take them for
    return evaluations_of(options.jvp, options.products)
