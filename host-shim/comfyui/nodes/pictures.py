"""Pictures that a start is fitted to, as latents of the model's own space, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import folder_paths
import numpy
import torch
from comfy.latent_formats import LatentFormat
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.model_patcher import ModelPatcher
from comfy.sample import fix_empty_latent_channels
from comfy.sd import VAE
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from .. import lgs

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")

BATCH = 8
"""Pictures that are read and encoded at a time."""


def files_of(folder: str) -> list[Path]:
    """The pictures of a folder inside ComfyUI's input directory, by name; not those of folders in it.

    Raises `lgs.InvalidArgument` for a folder that is outside, none, or has no pictures.
    """
    inputs = Path(folder_paths.get_input_directory()).resolve()
    place = (inputs / folder.strip()).resolve()  # which follows links
    if not place.is_relative_to(inputs):
        raise lgs.InvalidArgument(
            f"folder: expected a folder inside ComfyUI's input directory, got {folder!r}, which leads out of it. Copy "
            "the pictures into a folder there, and give its name."
        )
    if not place.is_dir():
        raise lgs.InvalidArgument(
            f"folder: expected a folder inside ComfyUI's input directory, {inputs}, got {folder!r}, which is none. "
            "Give the name of one of its folders, or . for itself."
        )
    files = sorted(file for file in place.iterdir() if file.suffix.lower() in ENDINGS and file.is_file())
    for file in files:
        if not file.resolve().is_relative_to(inputs):
            raise lgs.InvalidArgument(
                f"folder: {file.name} is a link that leads out of ComfyUI's input directory. Copy the picture itself."
            )
    if not files:
        raise lgs.InvalidArgument(
            f"folder: expected pictures ({', '.join(ENDINGS)}) in {folder!r}, got none. Pictures of folders in it do "
            "not count."
        )
    return files


def read(files: list[Path]) -> Iterator[Tensor]:
    """(n, height, width, 3), 0..1, in batches. Raises `lgs.InvalidArgument` for several sizes, or no picture."""
    first = None
    for start in range(0, len(files), BATCH):
        pictures = []
        for file in files[start : start + BATCH]:
            throw_exception_if_processing_interrupted()
            try:
                with Image.open(file) as opened:
                    picture = ImageOps.exif_transpose(opened).convert("RGB")
            except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as problem:
                raise lgs.InvalidArgument(
                    f"folder: {file.name} is no picture that can be read: {problem}. Take it out of the folder."
                ) from problem
            first = first or (file.name, picture.size)
            if picture.size != first[1]:
                (one, size), other = first, picture.size
                raise lgs.InvalidArgument(
                    f"folder: expected pictures of one size, got {one} of {size[0]} x {size[1]} and {file.name} of "
                    f"{other[0]} x {other[1]}. Crop or scale them to the size that you draw."
                )
            pictures.append(torch.from_numpy(numpy.asarray(picture, dtype=numpy.float32) / 255))
        yield torch.stack(pictures)


def encoded(images: Tensor, vae: VAE) -> Iterator[Tensor]:
    """Latents, as a LATENT has them, of pictures (n, height, width, channels) in 0..1, in batches."""
    for part in images.split(BATCH):
        throw_exception_if_processing_interrupted()
        yield vae.encode(part[..., :3])


def in_models_space(latents: Tensor, patcher: ModelPatcher) -> Tensor:
    """What a sampler's x is when the noise is gone, (n, d...), float32 on the CPU, for what a LATENT has.

    Raises `lgs.InvalidArgument` for latents of another kind of model.
    """
    if getattr(latents, "is_nested", False):
        raise lgs.InvalidArgument(
            "latents: expected pictures, got several things in one latent (video with sound). Give the video's own."
        )
    latents = fix_empty_latent_channels(patcher, latents)
    latent_format: LatentFormat = patcher.get_model_object("latent_format")
    if latents.shape[1] != latent_format.latent_channels:
        raise lgs.InvalidArgument(
            f"latents, images, folder: expected latents of {latent_format.latent_channels} channels, as the guider's "
            f"model has them, got {latents.shape[1]}. Encode the pictures with this model's own VAE."
        )
    return patcher.model.process_latent_in(latents.float().cpu()).float()
