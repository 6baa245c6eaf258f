"""``lgs.h`` stands alone, in C and in C++. What it promises is checked by the validator: tests/validator/."""

from __future__ import annotations

import pytest

from .toolchain import compile_c, compile_cpp

INCLUDED_TWICE = '#include "lgs.h"\n#include "lgs.h"\n'


@pytest.mark.parametrize(("compiler", "suffix"), [(compile_c, "c"), (compile_cpp, "cpp")])
def test_the_header_stands_alone(compiler, suffix, tmp_path):
    source = tmp_path / f"source.{suffix}"
    source.write_text(INCLUDED_TWICE + "lgs_get_api_t get(void);\nlgs_get_api_t get(void) { return &lgs_get_api; }\n")
    compiler("-c", "-o", tmp_path / "object", source)


def test_a_mistake_in_a_host_does_not_compile(tmp_path):
    source = tmp_path / "source.c"
    source.write_text(INCLUDED_TWICE + "int main(void) { return (int)lgs_get_api(1)->engine_open(0, 0); }\n")
    with pytest.raises(AssertionError, match="too few arguments"):
        compile_c("-c", "-o", tmp_path / "object", source)
