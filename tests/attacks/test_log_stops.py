"""A log handler that raises after the last evaluation of the model: what it raised comes out, and no tensor leaks."""

from __future__ import annotations

import logging

import psutil
import pytest
import torch

import lgs

MEGABYTES = 1


class Interrupting(logging.Filter):
    """Raises at the record that says which way of differentiating was chosen: the model is not called after it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if "Jacobian-vector products" in record.getMessage():
            raise KeyboardInterrupt
        return True


@pytest.fixture
def interrupting():
    logger = logging.getLogger("lgs")
    interrupting, level = Interrupting(), logger.level
    logger.addFilter(interrupting)
    logger.setLevel(logging.DEBUG)
    yield
    logger.removeFilter(interrupting)
    logger.setLevel(level)


CALLS = {
    "reverse_noise": lambda model, x: lgs.reverse_noise(model, x, 1.0, 0.5, x, lgs.Options(lanczos_steps=1)),
    "jvp": lambda model, x: lgs.jvp(model, x, 1.0, x),
    "principal_components": lambda model, x: lgs.principal_components(model, x, 1.0, x, lgs.Options(lanczos_steps=1)),
}


@pytest.mark.parametrize("name", CALLS)
def test_nothing_leaks(name: str, interrupting):
    evaluations = 0

    def call():
        def model(x, sigma):  # a new one each time: what is found out about it is logged each time
            nonlocal evaluations
            evaluations += 1
            return 0.5 * x

        with pytest.raises(KeyboardInterrupt):
            CALLS[name](model, torch.randn(1, MEGABYTES * 2**18))

    for _ in range(5):
        call()
    process = psutil.Process()
    memory = process.memory_info().rss
    for _ in range(40):
        call()
    assert evaluations >= 2 * 45
    # One tensor kept of each call would be 40 MB.
    assert process.memory_info().rss - memory < 15 * 2**20
