"""The Ray cluster: one that runs, or one for this batch alone."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import ray
from ray.job_config import JobConfig

import lgs

from ..errors import BatchError
from .shares import Node

EMBEDDED = "local"
"""As an address: start a cluster on this machine that ends with this process."""

CONNECT_SECONDS = 20


@contextlib.contextmanager
def connected(address: str, *code: Path) -> Iterator[list[Node]]:
    """Connects to the cluster at an address, "auto" for the one that this machine is part of, or starts one; gives its
    nodes. Raises BatchError.

    Workers import this package from where it is here, on every node, and further modules from the folders ``code``.
    """
    if address.startswith("ray://"):
        raise BatchError(
            f"--ray {address}: expected the address of a cluster that this machine is part of, host:port or auto, got "
            "one of a Ray Client. Run the command on a node of the cluster."
        )
    _require_listener(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to Ray's makers
    own = {"include_dashboard": False} if address == EMBEDDED else {}
    places = JobConfig(code_search_path=[str(folder) for folder in (Path(lgs.__file__).parents[1], *code)])
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", job_config=places, **own)
    except (OSError, RuntimeError, ValueError) as error:
        raise _no_cluster(address, error) from error
    try:
        yield [
            Node(node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0))
            for node in ray.nodes()
            if node["Alive"]
        ]
    finally:
        ray.shutdown()


def _require_listener(address: str) -> None:
    """Raises BatchError where nothing listens at ``host:port``: Ray would wait for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> BatchError:
    return BatchError(
        f"--ray {address}: expected a Ray cluster, of Ray {ray.__version__} and this Python, got: {error}. Start one "
        "with `ray start --head`, or leave the address out: then one starts on this machine for this batch. For one "
        "that asks for a token set RAY_AUTH_MODE=token."
    )
