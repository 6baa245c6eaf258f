"""A picture for each workflow, which its own graph draws with the bundled digit model in place of the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from .declared import (
    DEVIATION,
    REPORT,
    SAVE,
    compare_samplers,
    covariance,
    img2img,
    inpaint,
    report,
    start_load,
    txt2img,
    with_digits,
)
from .declared import start as start_
from .server import PackServer

THUMBNAIL = 400
"""Pixels, the longer side, about."""


def put_input(server: PackServer, picture: Tensor, mask: Tensor | None = None) -> None:
    """Puts grey levels (height, width), 0..255, where LoadImage finds them; transparent where ``mask`` is true."""
    alpha = torch.full_like(picture, 255) if mask is None else torch.where(mask, 0, 255)
    levels = torch.stack([picture, picture, picture, alpha], dim=-1).byte().numpy()
    Image.fromarray(levels, "RGBA").save(server.folder / "input" / "example.png")


def right_half(picture: Tensor) -> Tensor:
    """The mask of the right half of a picture (height, width)."""
    mask = torch.zeros_like(picture, dtype=torch.bool)
    mask[:, picture.shape[1] // 2 :] = True
    return mask


def _sheet(pictures: Tensor, columns: int) -> Image.Image:
    """Grey levels (n, height, width) in rows, each pixel a square."""
    rows = [torch.cat(list(row), dim=1) for row in pictures.split(columns)]
    sheet = Image.fromarray(torch.cat(rows).byte().numpy()).convert("RGB")
    scale = max(1, THUMBNAIL // max(sheet.size))
    return sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.NEAREST)


async def thumbnails(
    server: PackServer,
    run: Callable[[dict], Awaitable[dict[str, list[Image.Image]]]],
    complete: Callable[[dict], dict],
    pack: Path,
) -> dict[str, Image.Image]:
    """By workflow. ``run`` gives the pictures of each node of a graph, ``complete`` a graph with all inputs of ours."""

    async def drawn(declared: Callable[[], dict], digits: str) -> dict[str, list[Image.Image]]:
        return await run(with_digits(complete(declared()), digits))

    digits = json.loads((pack / "example_workflows" / "api" / "lgs_demo_digits.json").read_text(encoding="utf-8"))
    made = {"lgs_demo_digits": _sheet(_saved(await run(digits)), 5)}
    made["lgs_txt2img"] = _sheet(_saved(await drawn(txt2img, "2684")), 2)
    start = _saved(await drawn(txt2img, "7"))[0]
    put_input(server, start)
    made["lgs_img2img"] = _sheet(torch.stack([start, _saved(await drawn(img2img, "2"))[0]]), 2)
    put_input(server, start, right_half(start))
    painted = torch.where(right_half(start), 128.0, start)
    made["lgs_inpaint"] = _sheet(torch.stack([painted, _saved(await drawn(inpaint, "7"))[0]]), 2)
    shown = await run(complete(start_()))
    made["lgs_start"] = _sheet(_saved({SAVE: shown[SAVE]}), 1)
    made["lgs_start_load"] = _sheet(_saved(await run(complete(start_load()))), 5)
    shown = await drawn(compare_samplers, "2684")
    made["lgs_compare_samplers"] = _sheet(_saved({SAVE: shown[SAVE]}), 1)
    put_input(server, start)
    for name, pictures in (
        ("report", (await drawn(report, "2684"))[REPORT]),
        ("covariance", (await drawn(covariance, "7"))[DEVIATION]),
    ):
        picture = pictures[0].convert("RGB")
        # Diagrams are drawn smaller, pixels larger.
        way = Image.Resampling.LANCZOS if picture.width > THUMBNAIL else Image.Resampling.NEAREST
        made[f"lgs_{name}"] = picture.resize((THUMBNAIL, THUMBNAIL * picture.height // picture.width), way)
    return made


def _saved(pictures: dict[str, list[Image.Image]]) -> Tensor:
    """Grey levels (n, height, width), 0..255, of what SaveImage saved: the digits, 32 pixels high."""
    return torch.stack([_grey(picture) for node in pictures.values() for picture in node if picture.height == 32])


def _grey(picture: Image.Image) -> Tensor:
    grey = picture.convert("L")
    return torch.frombuffer(bytearray(grey.tobytes()), dtype=torch.uint8).reshape(grey.height, grey.width).float()
