"""A picture in small, of whatever format and mode."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageOps

PAPER = "white"
BEHIND = (200, 200, 200, 255)
"""What is seen through a transparent picture."""


def thumbnail(file: Path, box: tuple[int, int]) -> Image.Image | None:
    """The picture within a box of (width, height), in RGB: made smaller, or larger by a whole number with its pixels
    kept; of an animation the beginning. None where it cannot be read."""
    try:
        with Image.open(file) as opened:
            opened.draft("RGB", box)
            picture = _flat(ImageOps.exif_transpose(opened))
    except Exception:  # of all kinds, by format
        return None
    scale = min(box[0] / picture.width, box[1] / picture.height)
    scale = scale if scale < 1 else int(scale)
    size = tuple(max(1, round(length * scale)) for length in picture.size)
    return picture.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST)


def _flat(picture: Image.Image) -> Image.Image:
    """Eight bits a channel, and nothing transparent."""
    if picture.mode.startswith("I"):  # 16 bits, which would be cut off and not scaled
        return picture.convert("I").point(lambda value: value * (1 / 256)).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, BEHIND), picture).convert("RGB")
    return picture.convert("RGB")
