"""Pictures in small, of every mode that savers write: against the colours that they have."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lgs.batch.thumbnail import BEHIND, thumbnail


def saved(folder: Path, picture: Image.Image, name: str = "a.png", **options) -> Path:
    picture.save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize(
    ("size", "box", "small"),
    [
        ((32, 32), (256, 256), (256, 256)),
        ((100, 50), (256, 256), (200, 100)),
        ((200, 200), (256, 256), (200, 200)),
        ((1000, 500), (256, 256), (256, 128)),
        ((500, 1000), (256, 100), (50, 100)),
        ((3000, 1), (256, 256), (256, 1)),
        ((1, 1), (96, 96), (96, 96)),
    ],
)
def test_sizes(tmp_path: Path, size: tuple, box: tuple, small: tuple):
    assert thumbnail(saved(tmp_path, Image.new("RGB", size)), box).size == small


def test_pixels_stay_pixels_where_it_is_enlarged(tmp_path: Path):
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 20
    large = np.asarray(thumbnail(saved(tmp_path, Image.fromarray(pixels)), (9, 9)))
    assert (large == pixels.repeat(4, axis=0).repeat(4, axis=1)).all()


@pytest.mark.parametrize(
    ("picture", "colour"),
    [
        (Image.new("L", (8, 8), 77), (77, 77, 77)),
        (Image.new("1", (8, 8), 1), (255, 255, 255)),
        (Image.new("I;16", (8, 8), 77 * 256), (77, 77, 77)),
        (Image.new("RGBA", (8, 8), (10, 20, 30, 255)), (10, 20, 30)),
        (Image.new("RGBA", (8, 8), (10, 20, 30, 0)), BEHIND[:3]),
        (Image.new("LA", (8, 8), (10, 255)), (10, 10, 10)),
        (Image.new("RGB", (8, 8), (10, 20, 30)).quantize(4), (10, 20, 30)),
    ],
    ids=["grey", "black and white", "16 bits", "opaque", "transparent", "grey, opaque", "palette"],
)
def test_modes(tmp_path: Path, picture: Image.Image, colour: tuple):
    small = thumbnail(saved(tmp_path, picture), (8, 8))
    assert small.mode == "RGB" and small.getpixel((4, 4)) == colour


def test_other_formats(tmp_path: Path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("#102030", "#ffffff")]
    animated = saved(tmp_path, frames[0], "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert thumbnail(animated, (8, 8)).getpixel((4, 4)) == (0x10, 0x20, 0x30)
    cmyk = saved(tmp_path, Image.new("CMYK", (640, 640), (0, 0, 0, 0)), "a.jpg")
    assert thumbnail(cmyk, (64, 64)).getpixel((4, 4)) == (255, 255, 255)
    turned = Image.Exif()
    turned[0x0112] = 6  # lies on its side
    assert thumbnail(saved(tmp_path, Image.new("RGB", (64, 32)), "b.jpg", exif=turned), (64, 64)).size == (32, 64)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"<html>", None])
def test_what_cannot_be_read(tmp_path: Path, content: bytes | None):
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    assert thumbnail(tmp_path / "a.png", (8, 8)) is None


def test_what_is_cut_off_cannot_be_read(tmp_path: Path):
    file = saved(tmp_path, Image.effect_noise((64, 64), 50))
    file.write_bytes(file.read_bytes()[:-200])
    assert thumbnail(file, (8, 8)) is None
