"""Circles in a graph of who uses whom."""

from __future__ import annotations

from collections.abc import Mapping, Set

import networkx


def circles(uses: Mapping[str, Set[str]]) -> list[list[str]]:
    """The groups of nodes each of which can be reached from each other, sorted."""
    graph = networkx.DiGraph({node: sorted(used) for node, used in uses.items()})
    groups = networkx.strongly_connected_components(graph)
    return sorted(sorted(group) for group in groups if len(group) > 1)
