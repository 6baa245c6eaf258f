"""What the package offers, each name loaded when it is first used."""

import subprocess
import sys

import pytest

import lgs

from . import assembled


def test_every_name_is_there():
    for name in lgs.__all__:
        assert getattr(lgs, name).__module__.startswith("lgs."), name
    assert set(lgs.__all__) <= set(dir(lgs)) and set(lgs._MODULE_OF) == set(lgs.__all__)


def test_what_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'lgs' has no attribute 'smaple'"):
        lgs.smaple  # noqa: B018


def test_all_of_it_can_be_imported_in_a_fresh_process():
    code = "from lgs import *; assert Options().covariance == 'lanczos' and callable(sample) and callable(info)"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(assembled.FOLDER)}, capture_output=True)
    assert done.returncode == 0, done.stderr
