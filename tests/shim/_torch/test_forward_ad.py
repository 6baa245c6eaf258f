"""The state of the thread while a model is differentiated: what it does to a model, and that it goes away."""

import contextlib
import logging
import sys
from itertools import count

import pytest
import torch
import torch._dynamo
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.overrides import _get_current_function_mode_stack

import lgs
from lgs._ffi import calls
from lgs._torch import attention
from lgs._torch import forward_ad as forward_level
from lgs._torch.forward_ad import ForwardLevel


def state():
    stance = torch._dynamo.eval_frame._stance.stance
    modes = _get_current_function_mode_stack()
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), forward_ad._current_level, stance, modes


def interrupted(function, at):
    """Calls it, with a KeyboardInterrupt before the line of it that is the ``at``-th to run. Was there one?

    Lines of callbacks before their ``try`` too: those interrupts ctypes cannot hand on.
    """
    files = {forward_level.__file__, attention.__file__, torch.overrides.__file__, contextlib.__file__}
    entries = {function.__code__ for function in calls.FUNCTIONS}
    lines = count()

    def trace(frame, event, _argument):
        if frame.f_code.co_filename not in files and frame.f_code not in entries:
            return None
        if event == "line" and next(lines) == at:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("host", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("during", ["open", "close"])
def test_an_interrupt_between_any_two_lines_leaves_nothing(during, host):
    with host():
        before = state()
        for at in count():
            level = ForwardLevel()
            if during == "close":
                level.open()
                assert state()[:4] == (False, False, 0, "force_eager") and len(state()[4]) == 1
            fired = interrupted(getattr(level, during), at)
            for _ in range(2):
                level.close()
                assert state() == before
            if not fired:
                break
        assert at > 8
        with forward_ad.dual_level():
            pass  # none was left open


def test_an_interrupt_while_torch_has_the_mode_off_its_stack(caplog):
    """As it has for functions that are written in Python; what the traceback holds would put it back."""
    caplog.set_level(logging.INFO, "lgs")
    x, before, kept = torch.ones(1, 4), state(), []

    def product():
        try:
            lgs.jvp(lambda x, sigma: x / len(x), x, 1.0, x, {"jvp": "forward"})
        except KeyboardInterrupt as interrupt:
            kept.append(interrupt)
            raise

    for at in count():
        fired = interrupted(product, at)
        assert state() == before
        kept.clear()
        assert state() == before, "after the traceback is gone, too"
        if not fired:
            break
    assert at > 40
    assert not caplog.messages, "an interrupt is not a failure of forward mode"


def test_a_model_that_fails_leaves_nothing():
    def denoise(x, sigma):
        assert state()[3] == "force_eager"
        raise ValueError("no")

    before = state()
    with pytest.raises(ValueError, match="no"):
        lgs.jvp(denoise, torch.ones(1, 4), 1.0, torch.ones(1, 4), {"jvp": "forward"})
    assert state() == before


def attend(x):
    return F.scaled_dot_product_attention(x, torch.sin(x), x)


@pytest.mark.parametrize("compiled_before", [True, False])
def test_a_compiled_part_of_a_model(compiled_before):
    """Only a part, so that a tangent that is lost in it would not show."""
    graphs = []

    def without_tangents(graph, _inputs):
        """Compiles to code that drops tangents, as inductor's does."""
        graphs.append(graph)
        return lambda *inputs: [t.detach() for t in graph(*inputs)]

    torch.compiler.reset()
    part = torch.compile(attend, backend=without_tangents)
    x, v = torch.randn(2, 2, 3, 12, 8, generator=torch.Generator().manual_seed(0))
    before = part(x) if compiled_before else None
    tangent, expected = (
        lgs.jvp(lambda x, sigma, part=part: x / 2 + part(x), x, 1.0, v, {"jvp": "forward"})[1]
        for part in (part, attend)
    )
    assert tangent.equal(expected) and (tangent - v / 2).norm() > 0.1 * v.norm()
    after = part(x)
    assert before is None or after.equal(before)
    assert len(graphs) == 1, "compiled once, for what is not differentiated"
