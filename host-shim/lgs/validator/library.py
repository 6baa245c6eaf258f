"""The functions that need no model: the table, texts, options, opening an engine."""

from __future__ import annotations

import json
from typing import Any

import torch

from .._ffi import header
from .._ffi.raw import UNTOUCHED, byref, engine_config, offers, raw_call, sizeof, with_size
from .check import Checks, expect
from .refusals import accepted, refused
from .subject import Installation

checks = Checks()


@checks("library.table", "There is a whole table for this version of the interface, and none for another.")
def table(subject: Installation) -> None:
    api = subject.library.api
    for version in (0, header.ABI_VERSION + 1, 2**32 - 1):
        expect(not offers(subject.library, version), f"version {version}: expected no table")
    expect(
        api.struct_size >= sizeof(header.Api),
        f"struct_size: expected at least {sizeof(header.Api)}, got {api.struct_size}",
    )
    expect(api.abi_version == header.ABI_VERSION, f"abi_version: expected {header.ABI_VERSION}, got {api.abi_version}")
    for name, _ in header.Api._fields_[3:]:
        expect(getattr(api, name), f"{name}: expected a function, got null")
    expect(subject.library.version[:1].isdigit(), f"version: expected a number, got {subject.library.version!r}")


@checks("library.layout", "The library lays its structs out as the header says.")
def layout(subject: Installation) -> None:
    said = json.loads(subject.library.api.layout())
    for name, struct in said.items():
        ours = getattr(header, "".join(part.title() for part in name.removeprefix("lgs_").split("_")))
        expect(struct["size"] == sizeof(ours), f"{name}: expected {sizeof(ours)} bytes, got {struct['size']}")
        offsets = {field: getattr(ours, field).offset for field, _ in ours._fields_}
        expect(struct["fields"] == offsets, f"{name}: expected fields at {offsets}, got {struct['fields']}")
    expect(len(said) >= 6, f"expected six structs, got {', '.join(said)}")


@checks("library.null", "What gives something back takes null and does nothing.")
def null(subject: Installation) -> None:
    api = subject.library.api
    api.string_delete(None)
    api.error_delete(None)
    api.engine_close(None)
    api.tensor_delete(None, None)
    expect(api.error_status(None) == 0, "error_status of null: expected 0")
    expect(api.error_message(None) == b"", "error_message of null: expected an empty text")


def _check(subject: Installation, options: Any) -> Any:
    text = options if isinstance(options, bytes | None) else json.dumps(options).encode()
    return raw_call(subject.library, "options_check", text)


def _beyond(option: dict) -> list[tuple[Any, int]]:
    """Values that an option does not take, each with the status that it is refused with."""
    wrong_type: list[tuple[Any, int]] = [(value, header.ERROR_INVALID_TYPE) for value in (None, [], {})]
    invalid = header.ERROR_INVALID_ARGUMENT
    match option["type"]:
        case "COMBO":
            return [("nonesuch", invalid), ("", invalid), (1, header.ERROR_INVALID_TYPE), *wrong_type]
        case "BOOLEAN":
            return [(0, header.ERROR_INVALID_TYPE), ("true", header.ERROR_INVALID_TYPE), *wrong_type]
        case "INT":
            return [
                (option["min"] - 1, invalid),
                (option["max"] + 1, invalid),
                (option["min"] + 0.5, header.ERROR_INVALID_TYPE),
                ("1", header.ERROR_INVALID_TYPE),
                *wrong_type,
            ]
        case _:
            beyond = [(option["min"] - 1e-9, invalid), (option["max"] * (1 + 1e-9) + 1e-9, invalid)]
            return [*beyond, ("1", header.ERROR_INVALID_TYPE), *wrong_type]


def _within(option: dict) -> list[Any]:
    """Values that an option takes."""
    match option["type"]:
        case "COMBO":
            return option["choices"]
        case "BOOLEAN":
            return [True, False]
        case _:
            return [option["min"], option["max"], option["default"]]


@checks("options.every_option", "Every option takes what the manifest says, and refuses anything else by its name.")
def every_option(subject: Installation) -> None:
    defaults = json.loads(subject.library.text(subject.library.api.options_check, None))
    for option in subject.library.options:
        name = option["id"]
        expect(name in defaults, f"{name}: expected it among the options, got {', '.join(defaults)}")
        for value in _within(option):
            accepted(_check(subject, {name: value}), f"{name} {value!r}", subject.library, text=True)
        for value, status in _beyond(option):
            refused(_check(subject, {name: value}), status, name, f"{name} {value!r}")


@checks("options.round_trip", "Options that were checked pass again and do not change.")
def round_trip(subject: Installation) -> None:
    for options in (None, b"", b"{}", b'{"eta": 0.25, "process": "flow"}'):
        once = subject.library.text(subject.library.api.options_check, options)
        again = subject.library.text(subject.library.api.options_check, once.encode())
        expect(once == again, f"{options}: expected {once} again, got {again}")


@checks("options.texts", "What is no JSON object, too deep or not UTF-8 is refused; nothing is printed or kept.")
def texts(subject: Installation) -> None:
    invalid = header.ERROR_INVALID_ARGUMENT
    for text in (
        b"[]",
        b"1",
        b'"',
        b'{"eta": 1',
        b'{"eta": NaN}',
        b'{"eta": 1e999}',
        b"[" * 200_000,
        b'{"a":' * 200_000,
    ):
        refused(_check(subject, text), invalid, "options", repr(text[:20]))
    refused(_check(subject, b'{"\xff": 1}'), invalid, "UTF-8", "bytes that are no UTF-8")
    refused(_check(subject, {"no_such_option": 1}), header.ERROR_INVALID_TYPE, "no_such_option", "an option of no name")
    came = _check(subject, {"\x1b[2J\x07": 1})
    refused(came, header.ERROR_INVALID_TYPE, "", "control characters")
    expect("\x1b" not in came.message, "control characters: expected a message without them")


def _open(subject: Installation, config: Any) -> Any:
    return raw_call(subject.library, "engine_open", config)


@checks("engine_open.struct_size", "A config of any size is taken for what it holds; nothing beyond is read.")
def config_sizes(subject: Installation) -> None:
    whole = engine_config(str(subject.manifest).encode(), torch.__version__.encode(), None)
    for size in range(0, sizeof(whole) + 64, 4):
        came = _open(subject, with_size(whole, size))
        if size < header.EngineConfig.torch_version.offset:
            refused(came, header.ERROR_INVALID_ARGUMENT, "config.", f"struct_size {size}")
        else:
            accepted(came, f"struct_size {size}")
            subject.library.api.engine_close(came.outs[0])
    for size in (1 << 20, (1 << 64) - 1):
        config = with_size(whole, sizeof(whole))
        config.contents.struct_size = size
        refused(_open(subject, config), header.ERROR_INVALID_ARGUMENT, "config.struct_size", f"struct_size {size}")


@checks("engine_open.arguments", "Null, a wrong version and a manifest that is none are refused by name.")
def config_values(subject: Installation) -> None:
    manifest, invalid = str(subject.manifest).encode(), header.ERROR_INVALID_ARGUMENT
    refused(_open(subject, None), invalid, "config", "no config")
    refused(_open(subject, byref(engine_config(None, None, None))), invalid, "config.manifest", "no manifest")
    refused(_open(subject, byref(engine_config(b"\xff", None, None))), invalid, "UTF-8", "a manifest that is no UTF-8")
    refused(_open(subject, byref(engine_config(manifest, b"newest", None))), invalid, "torch_version", "newest")
    missing = bytes(subject.manifest.with_name("nonesuch.json"))
    refused(
        _open(subject, byref(engine_config(missing, None, None))), header.ERROR_MANIFEST, "nonesuch.json", "no file"
    )
    folder = bytes(subject.manifest.parent)
    refused(_open(subject, byref(engine_config(folder, None, None))), header.ERROR_MANIFEST, "", "a folder")


@checks("engine_open.log", "A log callback that fails or stops ends the opening; afterwards it can be opened.")
def config_log(subject: Installation) -> None:
    manifest, said = str(subject.manifest).encode(), []
    statuses = {
        header.STOP: header.ERROR_HOST_STOPPED,
        header.FAIL: header.ERROR_HOST_FAILED,
        77: header.ERROR_HOST_FAILED,
    }
    for answer, status in statuses.items():
        config = engine_config(manifest, None, lambda _level, _text, answer=answer: answer)
        refused(_open(subject, byref(config)), status, "log callback", f"the answer {answer}")

    def log(level: int, text: bytes) -> int:
        said.append((level, text.decode()))
        return header.CONTINUE

    config = engine_config(manifest, None, log)
    came = _open(subject, byref(config))
    expect(came.status == 0 and came.outs[0] not in (0, UNTOUCHED), f"expected an engine, got {came}")
    expect(said and all(1 <= level <= 4 and text for level, text in said), f"expected levels of 1 to 4, got {said}")
    subject.library.api.engine_close(came.outs[0])


@checks("calls.null", "A null argument is refused by name, in every function, and no out parameter is touched.")
def null_arguments(subject: Installation) -> None:
    invalid = header.ERROR_INVALID_ARGUMENT
    functions = {
        "sample": ((None, None, None, None, None, 0), 1),
        "reverse_noise": ((None, None, None, None, 1.0, 0.5, None), 1),
        "jvp": ((None, None, None, None, 1.0, None), 2),
        "principal_components": ((None, None, None, None, 1.0, None), 3),
        "teleport": ((None, None, None, None, 2.0, 1.0), 1),
        "tensor_clone": ((None, None), 1),
        "engine_info": ((None,), 1),
    }
    for name, (arguments, outs) in functions.items():
        refused(raw_call(subject.library, name, *arguments, outs=outs), invalid, "", name)
        came = raw_call(subject.library, name, *arguments, outs=outs, wants_error=False)
        expect(
            came.status == invalid, f"{name} without an error parameter: expected status {invalid}, got {came.status}"
        )
