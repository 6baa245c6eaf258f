"""Threads of the product's, and that none is left."""

import threading
import time


def none_left() -> None:
    """Waits for those that are on their way to their end: an abandoned trajectory's is, and nobody waits for it."""
    until = time.monotonic() + 10
    while any(thread.name == "lgs.Trajectory" for thread in threading.enumerate()):
        assert time.monotonic() < until, "a thread of a trajectory that nobody drives is still there"
        time.sleep(0.01)
