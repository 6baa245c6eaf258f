"""Structs of every size: what an older host has is taken, what a newer one has besides is left alone."""

from __future__ import annotations

import torch

from .._ffi import STOP
from .._ffi.header import ERROR_HOST_STOPPED, ERROR_INVALID_ARGUMENT, Choice, Gaussian, Host
from .._ffi.raw import BEYOND, Odd, byref, bytes_of, levels, pointer, prior, raw_call, sizeof, tensor_of, with_size
from .._torch.handles import Lent
from .check import Checks, expect
from .engine import call, sampled, scripted
from .gaussian import BATCH, SIGMAS, D, normal
from .refusals import accepted, refused
from .subject import Installation

checks = Checks()


@checks(
    "structs.host", "Every size of lgs_host is taken for what it holds, or refused by name; nothing beyond is read."
)
def hosts(subject: Installation) -> None:
    x, options = normal(BATCH, D), {"jvp": "finite-difference", "doubled_batch": "never"}
    needed, noise = Host.denoise.offset + 8, Host.noise.offset + 8
    for size in range(0, sizeof(Host) + 64, 4):
        host, place = scripted(subject), f"struct_size {size}"
        struct = with_size(host.struct(), size)
        came = call(subject, "jvp", host, options, x, 0.7, x, struct=struct, outs=2)
        if size < needed:
            refused(came, ERROR_INVALID_ARGUMENT, "host.", place)
            continue
        accepted(came, place)
        for out in came.outs:
            tensor_of(out)
        if size >= noise:
            sampled(subject, host, options, x, struct=struct)
            expect(
                ("progress" in host.calls) == (size >= Host.progress.offset + 8), f"{place}: expected what it has alone"
            )
    for size in (1 << 20, 1 << 40, (1 << 64) - 1):
        host = scripted(subject)
        struct = with_size(host.struct(), sizeof(Host))
        struct.contents.struct_size = size
        came = call(subject, "jvp", host, options, x, 0.7, x, struct=struct, outs=2)
        refused(came, ERROR_INVALID_ARGUMENT, "host.struct_size", f"struct_size {size}")


@checks(
    "structs.choice", "What auto finds out is written within the choice's size, used the next time, and not beyond."
)
def choices(subject: Installation) -> None:
    x = normal(BATCH, D)
    for size in range(0, sizeof(Choice) + 32, 4):
        host, place = scripted(subject), f"struct_size {size}"
        struct, kept = host.struct(), with_size(Choice.sized(), size)
        struct.choice = kept
        if size < Choice.doubled_batch.offset:
            came = call(subject, "jvp", host, {}, x, 0.7, x, struct=pointer(struct), outs=2)
            refused(came, ERROR_INVALID_ARGUMENT, "choice", place)
            continue
        first = sampled(subject, host, {"lanczos_steps": 2}, x, struct=pointer(struct))
        asked, written = host.calls["denoise"], bytes_of(kept)
        expect(set(written[size:]) == {BEYOND}, f"{place}: expected nothing to be written beyond it")
        expect(1 <= kept.contents.jvp <= 3, f"{place}: expected a way to be chosen, got {kept.contents.jvp}")
        again = scripted(subject)
        struct = again.struct()
        struct.choice = kept
        second = sampled(subject, again, {"lanczos_steps": 2}, x, struct=pointer(struct))
        expect(again.calls["denoise"] <= asked, f"{place}: expected the way not to be looked for again")
        expect(float((first - second).norm() / first.norm()) < 0.1, f"{place}: expected about the same result")


@checks("structs.choice_after_failure", "What was found out is kept also where the call then fails.")
def choice_of_a_failed_call(subject: Installation) -> None:
    host = scripted(subject, odd=Odd("noise", 2, STOP))
    came = call(subject, "sample", host, {"lanczos_steps": 2}, normal(BATCH, D), *levels(*SIGMAS))
    refused(came, ERROR_HOST_STOPPED, "callback", "a call that is stopped")
    expect(host.choice.jvp != 0, "expected the way that was found to be kept")


@checks("structs.gaussian", "Every size of lgs_gaussian is taken for what it holds, or refused by name.")
def gaussians(subject: Installation) -> None:
    x, engine = normal(BATCH, D), subject.engine
    whole = prior(engine, normal(D), torch.eye(D, 1, dtype=torch.float64), normal(1).abs(), 0.5)
    options = b"{}"
    with Lent(engine, x) as handle:
        for size in range(0, sizeof(Gaussian) + 64, 4):
            struct = with_size(whole, size)
            came = raw_call(subject.library, "teleport", engine.handle, options, struct, handle, 2.0, 1.0)
            if size < sizeof(Gaussian):
                refused(came, ERROR_INVALID_ARGUMENT, "prior.", f"struct_size {size}")
            else:
                accepted(came, f"struct_size {size}")
                tensor_of(came.outs[0])
        for name in ("mean", "basis", "variances"):
            without = prior(engine, normal(D), torch.eye(D, 1, dtype=torch.float64), normal(1).abs(), 0.5)
            lent = getattr(without, name)
            setattr(without, name, None)
            came = raw_call(subject.library, "teleport", engine.handle, options, byref(without), handle, 2.0, 1.0)
            refused(came, ERROR_INVALID_ARGUMENT, f"prior.{name}", f"no {name}")
            setattr(without, name, lent)
