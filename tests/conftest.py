"""The order of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent

LONGEST = (
    "evidence/report/test_report.py",
    "validator/test_in_python.py",
    "shim/test_jvp_auto.py",
    "evidence/studies/test_products.py",
    "evidence/gpu/test_gpu.py",
)
"""Each takes minutes. They go first, so that no process waits for another at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    first = {TESTS / file: place for place, file in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path, len(first)))
