"""A learned diagonal of the posterior covariance, for ``covariance="diagonal-learned"``.

Source: Ou et al., "Improving Probabilistic Diffusion Models With Optimal Diagonal Covariance
Matching" (arXiv 2406.10808). A small network beside the model predicts d(x, sigma) = diag J, with
J = dD/dx; the posterior covariance of a variance exploding process is sigma^2 J. It is trained on
unbiased probes of the model's own Jacobian: ``train_diagonal.py`` among the tests.

`DiagonalNetwork` is the network, `load_diagonal` reads one from its safetensors file, and the
`Diagonal` that it gives is what `lgs.sample` takes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .digits import Attention, ResBlock
from .errors import InvalidArgument, InvalidType

FREQUENCIES = 8
"""Of the Fourier features of ln(sigma)."""

FIXED = {"format": "lgs-diagonal", "version": "1", "process": "ve", "output": "diagonal of dD/dx"}
"""In the metadata of every file of this version."""


@dataclasses.dataclass(frozen=True)
class Description:
    """What a file is for, and the widths of its network: its safetensors metadata beside `FIXED`."""

    model: str = "lgs-digits"
    """The model whose covariance it is, for people to read."""
    channels: int = 1
    height: int = 32
    width: int = 32
    classes: int = 10
    """Of labels 0 .. classes - 1; label ``classes`` stands for "any", as `lgs.digits.UNLABELLED` does."""
    sigma_min: float = 0.02
    sigma_max: float = 40.0
    """Noise levels that it was trained for."""
    sigma_data: float = 0.5
    features: int = 16
    inner: int = 56
    embedding: int = 64

    def as_metadata(self) -> dict[str, str]:
        return FIXED | {name: str(value) for name, value in dataclasses.asdict(self).items()}

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Description:
        """Raises ValueError with what was expected and what came."""
        for name, value in FIXED.items():
            if metadata.get(name) != value:
                raise ValueError(f"expected {name} {value!r} in its metadata, got {metadata.get(name)!r}")
        values = {}
        for field in dataclasses.fields(cls):
            text = metadata.get(field.name)
            try:
                values[field.name] = {"str": str, "int": int, "float": float}[str(field.type)](metadata[field.name])
            except (KeyError, ValueError):
                raise ValueError(f"expected {field.name} ({field.type}) in its metadata, got {text!r}") from None
        description = cls(**values)
        for name, (least, most, multiple) in BOUNDS.items():
            if not (least <= values[name] <= most and values[name] % multiple == 0):
                by = f", a multiple of {multiple}," if multiple > 1 else ""
                raise ValueError(f"expected {name} from {least} to {most}{by} in its metadata, got {values[name]}")
        if not (0 < description.sigma_min < description.sigma_max < math.inf and 0 < description.sigma_data < math.inf):
            raise ValueError(
                "expected 0 < sigma_min < sigma_max and 0 < sigma_data in its metadata, got "
                f"{description.sigma_min}, {description.sigma_max} and {description.sigma_data}"
            )
        return description


BOUNDS = {
    "channels": (1, 1024, 1),
    "height": (4, 4096, 4),
    "width": (4, 4096, 4),
    "classes": (0, 100_000, 1),
    "features": (8, 1024, 8),
    "inner": (8, 1024, 8),
    "embedding": (1, 4096, 1),
}
"""Least, most, and what it is a multiple of: blocks of 2 x 2 pixels are halved once, norms have 8 groups."""


class DiagonalNetwork(nn.Module):
    """diag J from x, sigma and the label: a two-level UNet on 2 x 2 pixel blocks, a fraction of its model's cost.

    It predicts diag J (sigma_data^2 + sigma^2) / sigma_data^2, which is of unit scale at every noise
    level: where sigma is small, J is about the projection on the directions in which pictures vary;
    where it is large, J is Cov[x_0 | x] / sigma^2, and the covariance about the prior's.

    The label and the position in the picture are inputs, because where the noise hides all else the
    variance is a function of them alone.
    """

    def __init__(self, description: Description):
        super().__init__()
        self.description = d = description
        self.noise = nn.Sequential(
            nn.Linear(2 * FREQUENCIES, d.embedding), nn.SiLU(), nn.Linear(d.embedding, d.embedding)
        )
        self.label = nn.Embedding(d.classes + 1, d.embedding)
        self.position = nn.Parameter(torch.zeros(d.features, d.height // 2, d.width // 2))
        self.conv_in = nn.Conv2d(4 * d.channels, d.features, 3, padding=1)
        self.down = ResBlock(d.features, d.features, d.embedding)
        self.shrink = nn.Conv2d(d.features, d.inner, 3, stride=2, padding=1)
        self.inner1 = ResBlock(d.inner, d.inner, d.embedding)
        self.attention = Attention(d.inner, heads=4)
        self.inner2 = ResBlock(d.inner, d.inner, d.embedding)
        self.grow = nn.Conv2d(d.inner, 4 * d.features, 1)
        self.up = ResBlock(2 * d.features, d.features, d.embedding)
        self.norm_out = nn.GroupNorm(8, d.features)
        self.conv_out = nn.Conv2d(d.features, 8 * d.channels, 3, padding=1)

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """diag J and D, like x (batch, channels, height, width); sigma (batch,), labels (batch,) integers.

        D, the posterior mean, is a by-product of training: features that predict the mean predict the
        variance, and the mean can be learnt without noise.
        """
        phase = sigma.log()[:, None] * (math.pi / 8) * torch.arange(1, FREQUENCIES + 1, device=x.device)
        embedding = F.silu(self.noise(torch.cat([phase.cos(), phase.sin()], dim=1)) + self.label(labels))
        total = (sigma**2 + self.description.sigma_data**2)[:, None, None, None]
        h0 = self.down(self.conv_in(F.pixel_unshuffle(x / total.sqrt(), 2)) + self.position, embedding)
        h = self.attention(self.inner1(self.shrink(h0), embedding))
        h = F.pixel_shuffle(self.grow(self.inner2(h, embedding)), 2)
        h = self.up(torch.cat([h, h0], dim=1), embedding)
        diagonal, mean = F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(h))), 2).chunk(2, dim=1)
        shrinkage = self.description.sigma_data**2 / total
        # EDM's preconditioning (arXiv 2206.00364) for the mean.
        return shrinkage * diagonal, shrinkage * x + (1 - shrinkage).sqrt() * self.description.sigma_data * mean


class Diagonal:
    """d(x, sigma) = diag J like x: a network, and the labels of what is drawn.

    As of the model's own Jacobian, some of it may be a little below zero.
    """

    process = FIXED["process"]
    """Of x: what `lgs.Options` has to say, too."""

    def __init__(self, network: DiagonalNetwork, labels: Tensor | None = None):
        """``labels`` (n,) integers, for batches that are a multiple of n; None: any."""
        self.network: DiagonalNetwork = network
        self.description: Description = network.description
        classes = self.description.classes
        labels = torch.tensor([classes]) if labels is None else torch.as_tensor(labels)
        if labels.ndim != 1 or not len(labels) or labels.is_floating_point() or labels.is_complex():
            raise InvalidType(
                f"labels: expected a tensor of one integer for each item, got {labels.dtype} {tuple(labels.shape)}"
            )
        if labels.min() < 0 or labels.max() > classes:
            raise InvalidArgument(
                f"labels: expected 0 to {classes} ({classes}: any), got {labels.min()} to {labels.max()}"
            )
        self.labels: Tensor = labels.long()

    def check(self, x: Tensor) -> None:
        """Raises `lgs.InvalidArgument` if x (batch, channels, height, width) is not what it was trained on."""
        d = self.description
        expected = (d.channels, d.height, d.width)
        if x.ndim != 4 or tuple(x.shape[1:]) != expected:
            raise InvalidArgument(
                f"diagonal: this one was trained for the model {d.model}: expected x of shape "
                f"(batch, {', '.join(map(str, expected))}), got {tuple(x.shape)}. Use the diagonal of this model, "
                "or another covariance."
            )
        if len(x) % len(self.labels):
            raise InvalidArgument(
                f"diagonal: expected a batch that is a multiple of its {len(self.labels)} labels, got {len(x)} items"
            )

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """diag J like x (batch, channels, height, width), sigma (batch,); computed in float32 on x's device.

        Beyond the noise levels that it was trained for, the answer is that of the nearest one at the
        same point of the preconditioned x.
        """
        self.check(x)
        d = self.description
        network = self.network.to(x.device)
        sigma = sigma.to(x.device, torch.float32).expand(len(x))
        nearest = sigma.clamp(d.sigma_min, d.sigma_max)
        shrunk = ((nearest**2 + d.sigma_data**2) / (sigma**2 + d.sigma_data**2))[:, None, None, None]
        labels = self.labels.to(x.device).repeat(len(x) // len(self.labels))
        diagonal, _mean = network(x.float() * shrunk.sqrt(), nearest, labels)
        return (shrunk * diagonal).to(x.dtype)

    def release(self) -> None:
        """Takes the network back to the CPU, from the device that it was last used on."""
        self.network.cpu()


def load_diagonal(file: str | PathLike[str], labels: Tensor | None = None) -> Diagonal:
    """The learned diagonal of a safetensors file, for ``labels`` (n,) of the items of a batch (default: any).

    Raises `lgs.InvalidArgument` for a file that is missing, damaged or something else; nothing is
    allocated before its header has been checked.
    """
    file = Path(file)
    try:
        return Diagonal(_read(file), labels)
    except (OSError, ValueError) as problem:
        if isinstance(problem, InvalidArgument):
            raise
        raise InvalidArgument(
            f"diagonal: {file} is no learned diagonal that can be used: {problem}. Choose one that was written by "
            "train_diagonal.py for this version, such as models/digits-diagonal.safetensors of the plugin's "
            "folder, or copy it here again."
        ) from problem


def _read(file: Path) -> DiagonalNetwork:
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise ValueError("expected a file, got " + ("a folder" if file.is_dir() else "none of this name"))
    try:
        with safe_open(file, "pt") as tensors:
            description = Description.of(tensors.metadata() or {})
            with torch.device("meta"):
                network = DiagonalNetwork(description)
            expected = {name: list(value.shape) for name, value in network.state_dict().items()}
            found = {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}
            for name in sorted(expected.keys() | found.keys()):
                asked, got = expected.get(name), found.get(name)
                if asked != got:
                    raise ValueError(f"expected {_shape(asked)} {name}, as its metadata says, got {_shape(got)}")
            weights = {name: tensors.get_tensor(name) for name in expected}
    except SafetensorError as problem:
        raise ValueError(f"expected a safetensors file, got one that cannot be read as such ({problem})") from problem
    for name, value in weights.items():
        if not value.is_floating_point() or not value.isfinite().all():
            raise ValueError(f"expected finite numbers in {name}, got others")
    network.load_state_dict({name: value.float() for name, value in weights.items()}, assign=True)
    return network.eval().requires_grad_(False)


def _shape(shape: list[int] | None) -> str:
    return "no tensor" if shape is None else f"shape {shape} for"
