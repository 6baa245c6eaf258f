"""What a call came to, against what it should have."""

from __future__ import annotations

from .._ffi import Library
from .._ffi.raw import UNTOUCHED, Outcome
from .check import expect


def refused(came: Outcome, status: int, words: str, what: str) -> None:
    """That a call failed with this status and an error that holds ``words``, and touched no out parameter."""
    expect(came.status == status, f"{what}: expected status {status}, got {came.status}: {came.message}")
    expect(came.error_status == status, f"{what}: expected an error object of status {status}, got {came.error_status}")
    expect(words in came.message, f"{what}: expected {words!r} in: {came.message}")
    expect(" " in came.message, f"{what}: expected a sentence, got {came.message!r}")
    touched = [value for value in came.outs if value != UNTOUCHED]
    expect(not touched, f"{what}: expected out parameters to be left alone where a call fails")


def accepted(came: Outcome, what: str, library: Library | None = None, *, text: bool = False) -> None:
    """That a call succeeded and made no error object; a text that it returned is given back."""
    expect(came.status == 0, f"{what}: expected it to be taken, got status {came.status}: {came.message}")
    expect(came.error_status == 0, f"{what}: expected no error object where a call succeeds")
    expect(all(value not in (0, UNTOUCHED) for value in came.outs), f"{what}: expected a result in each out parameter")
    if text and library is not None:
        library.api.string_delete(came.outs[0])
