"""LGS Demo Model: the bundled digit model and everything that a graph needs around it."""

from __future__ import annotations

import re

import torch
from comfy.model_management import intermediate_device
from comfy_api.latest import io

from ..demo.digit_model import digit_model
from ..demo.pixel_vae import PixelVAE
from ..lgs.digits import SIZE, UNLABELLED, label_context
from ..lgs.node_manifest import node_definition
from .schema import node_schema


class LGSDemoModel(io.ComfyNode):
    """The node: model, positive and negative conditioning, VAE and an empty latent."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema("LGSDemoModel", beside="CheckpointLoaderSimple")

    @classmethod
    def validate_inputs(cls, digits: str | None) -> bool | str:
        # None: the text comes from another node, and is not known before that has run.
        return True if digits is None else (complaint(digits) or True)

    @classmethod
    def execute(cls, digits: str) -> io.NodeOutput:
        if wrong := complaint(digits):
            raise ValueError(f"digits: {wrong}")
        labels = torch.tensor([UNLABELLED if digit == "?" else int(digit) for digit in digits])
        positive = label_context(labels)
        negative = label_context(torch.full_like(labels, UNLABELLED))
        empty = torch.zeros(len(digits), 1, SIZE, SIZE, device=intermediate_device())
        return io.NodeOutput(
            digit_model(),
            [[positive, {}]],
            [[negative, {}]],
            PixelVAE(),
            {"samples": empty},
        )


def complaint(digits: str) -> str | None:
    """What is wrong with the text of the input ``digits``, or None."""
    entry = next(entry for entry in node_definition("LGSDemoModel")["inputs"] if entry["id"] == "digits")
    if re.fullmatch(entry["pattern"], digits):
        return None
    return f"expected 1 to 64 characters, each a digit or ? for any digit, such as {entry['default']!r}, got {digits!r}"
