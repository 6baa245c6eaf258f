"""What each worker gets: it fits, on one machine or another, and none larger would."""

from __future__ import annotations

import math

import pytest

from lgs.batch.cluster.shares import Node, Share, shares
from lgs.batch.errors import BatchError


@pytest.mark.parametrize(
    ("cpus", "workers", "share"),
    [
        ([2], 1, 2.0),
        ([2], 2, 1.0),
        ([2], 3, 0.6666),
        ([2], 64, 0.0312),
        ([0, 1, 1], 2, 1.0),
        ([3, 3], 3, 1.0),
        ([3, 3], 2, 3.0),
        ([8, 2], 2, 4.0),
        ([8, 2], 5, 2.0),
        ([0.5], 1, 0.5),
        ([64], None, 64.0),
    ],
)
def test_without_gpus_the_processors_are_shared(cpus: list[float], workers: int | None, share: float):
    assert shares([Node(cpu, 0) for cpu in cpus], workers) == Share(workers or 1, share, 0)


@pytest.mark.parametrize("workers", range(1, 41))
@pytest.mark.parametrize("cpus", [(1,), (2, 3), (5, 1, 0.75), (96, 7, 7)])
def test_no_larger_share_would_fit(cpus: tuple[float, ...], workers: int):
    share = shares([Node(cpu, 0) for cpu in cpus], workers).cpus

    def room(for_each: float) -> int:
        return sum(math.floor(cpu / for_each + 1e-9) for cpu in cpus)

    step = 1 if share >= 1 else 1e-4
    assert room(share) >= workers > room(share + step)


def test_with_gpus_each_worker_has_one():
    nodes = [Node(8, 2), Node(8, 0), Node(4, 1)]
    assert shares(nodes, None) == Share(3, 0, 1) and shares(nodes, 2) == Share(2, 0, 1)
    with pytest.raises(BatchError, match="at most 3 --workers.*got 4.*hold the model twice"):
        shares(nodes, 4)


def test_a_cluster_of_nothing():
    with pytest.raises(BatchError, match="expected a cluster with a GPU or a processor"):
        shares([Node(0, 0)], 2)
    with pytest.raises(BatchError, match="for which there is room, got 30000"):
        shares([Node(2, 0)], 30_000)
