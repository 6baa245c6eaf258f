"""What tells one loaded model from another, and one prompt from another, in a few letters."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from comfy.model_patcher import ModelPatcher
from comfy.samplers import CFGGuider
from torch import Tensor

TENSORS, NUMBERS = 64, 16
"""Of a model's tensors so many are looked at, and so many numbers of each: of any model, in milliseconds."""


def model_digest(patcher: ModelPatcher) -> str:
    """The same for a checkpoint however much of it is offloaded; another for another, or with another LoRA.

    Names, shapes and dtypes of all weights, a few numbers of some, and the same of what is patched into them. Where a
    weight has been patched in place, the host keeps the original: that one counts, loaded or not.
    """
    digest = hashlib.sha256()
    weights = {f"diffusion_model.{_plain(name)}": value for name, value in _named(patcher.model.diffusion_model)}
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
    originals = {name: kept.weight for name, kept in patcher.backup.items()}
    for name in _spread(sorted(weights), TENSORS):
        digest.update(_numbers(originals.get(name, weights[name])))
    patches = {name: patch for name, patch in patcher.patches.items() if patch}
    for name, patch in sorted(patches.items(), key=lambda item: str(item[0])):
        digest.update(f"{name} {[(strength, of_model) for strength, _, of_model, *_ in patch]}\n".encode())
    for name in _spread(sorted(patches, key=str), TENSORS):
        for _, adapter, *_ in patches[name]:
            for tensor in _tensors(adapter):
                digest.update(str(tuple(tensor.shape)).encode() + _numbers(tensor))
    return digest.hexdigest()[:16]


def prompt_digest(guider: CFGGuider) -> str:
    """Of the texts' embeddings, all of them, and of the guider's scales (cfg)."""
    digest = hashlib.sha256()
    scales = {name: value for name, value in vars(guider).items() if "cfg" in name or "scale" in name}
    for name, value in sorted(scales.items()):
        if isinstance(value, (int, float)):
            digest.update(f"{name} {float(value):.6g}\n".encode())
    for name, conditionings in sorted(guider.original_conds.items()):
        for conditioning in conditionings:
            for key in ("cross_attn", "pooled_output"):
                tensor = conditioning.get(key)
                if isinstance(tensor, Tensor):
                    digest.update(f"{name} {key} {tuple(tensor.shape)}".encode())
                    digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _named(module: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _plain(name: str) -> str:
    """What a weight is called in a model that is not compiled."""
    return name.replace("_orig_mod.", "")


def _spread(names: list, count: int) -> list:
    """At most so many of them, the first and the last included, evenly spread."""
    if len(names) <= count:
        return names
    return [names[round(i * (len(names) - 1) / (count - 1))] for i in range(count)]


def _numbers(tensor: Tensor) -> bytes:
    """A few numbers of a tensor, wherever it lies; nothing of one whose numbers are not at hand."""
    if tensor.device.type == "meta" or not tensor.numel():
        return b""
    place = torch.linspace(0, tensor.numel() - 1, min(NUMBERS, tensor.numel()), dtype=torch.float64).long().tolist()
    try:
        flat = tensor.detach().reshape(-1)
        return torch.stack([flat[i] for i in place]).to(torch.float32).cpu().numpy().tobytes()
    except (RuntimeError, NotImplementedError, TypeError):  # packed formats have no single numbers
        return b""


def _tensors(patch: object) -> Iterator[Tensor]:
    """Those of what ComfyUI patches a weight with: an adapter, or tuples of tensors."""
    if isinstance(patch, Tensor):
        yield patch
    elif isinstance(patch, (tuple, list)):
        for part in patch:
            yield from _tensors(part)
    elif hasattr(patch, "weights"):
        yield from _tensors(patch.weights)
