"""How many workers there are, and what each gets of the cluster."""

from __future__ import annotations

import dataclasses
import math

from ..errors import BatchError


@dataclasses.dataclass(frozen=True)
class Node:
    """What a machine of the cluster has."""

    cpus: float
    gpus: float


@dataclasses.dataclass(frozen=True)
class Share:
    """Of each worker, in Ray's units."""

    workers: int
    cpus: float
    gpus: int


def shares(nodes: list[Node], workers: int | None) -> Share:
    """A whole GPU for each worker, or where there are none an equal share of the processors.

    ``workers`` is how many were asked for; None: one for each GPU, or a single one. Raises BatchError where there is no
    room for them.
    """
    gpus = sum(int(node.gpus) for node in nodes)
    if gpus:
        if workers is not None and workers > gpus:
            raise BatchError(
                f"expected at most {gpus} --workers, one for each GPU of the cluster, got {workers}: two on one GPU "
                "would hold the model twice. Give fewer."
            )
        # Ray's own default for what is placed by GPU: no processors, so that these never keep a GPU from work.
        return Share(workers or gpus, 0, 1)
    count = workers or 1
    return Share(count, _largest_share([node.cpus for node in nodes], count), 0)


def _largest_share(cpus: list[float], workers: int) -> float:
    """The most processors that each of so many workers can have, on one machine or another. Ray takes whole numbers
    from 1 on, and four digits below."""
    if not any(cpus):
        raise BatchError("expected a cluster with a GPU or a processor, got none. Start its nodes with --num-cpus.")
    possible = {_in_rays_units(of / parts) for of in cpus for parts in range(1, workers + 1)}
    fitting = [share for share in possible if share and sum(math.floor(of / share + 1e-9) for of in cpus) >= workers]
    if not fitting:
        raise BatchError(f"expected a number of --workers for which there is room, got {workers}. Give fewer.")
    return max(fitting)


def _in_rays_units(cpus: float) -> float:
    return float(math.floor(cpus)) if cpus >= 1 else math.floor(cpus * 10_000) / 10_000
