"""Train the learned diagonal of the bundled model's posterior covariance (`lgs.diagonal`).

    PYTHONPATH=tests python -m models.train_diagonal --out tests/models/digits-diagonal.safetensors

Source: Ou et al. (arXiv 2406.10808), optimal covariance matching. For a Rademacher v the probe
v * (J v) has diag J for its mean, so that the minimiser of E_v |d(x, sigma) - v * (J v)|^2 is diag J:
no data but noisy training digits, and the model itself. The paper regresses the Hessian of ln p
times sigma^2, which is J - 1: the same numbers but for the constant.

Needs `lgs` on PYTHONPATH or installed, and npm for the data. Half an hour on one CPU core; a
checkpoint a minute lets it be stopped and resumed.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from lgs.diagonal import Description, DiagonalNetwork
from lgs.digits import SIGMA_DATA, SIGMA_MAX, SIGMA_MIN, UNLABELLED, Digits, load_unet

from . import DIGITS
from .mnist import training_digits
from .train_denoiser import draw_log_sigma

KEPT = 400
"""Batches of probes that are learnt from again: one costs eight times what a step of training does."""

PROBES = 3
"""Of each noisy digit: D(x), which they share, costs as much as each."""


def rademacher(like: Tensor) -> Tensor:
    """Independent signs, +1 or -1, of the shape of ``like``."""
    return torch.randint_like(like, 2) * 2 - 1


@torch.no_grad()
def probe(denoise, x: Tensor, sigma: Tensor, probes: int = 1) -> tuple[Tensor, Tensor]:
    """The mean of v * (J v) over ``probes`` Rademacher v, whose expectation is diag J, and D(x): x (batch, ...).

    J v by a forward difference, which costs one evaluation, where forward mode costs four. It adds
    no bias to the probe: its error of first order is even in v.
    """
    mean = denoise(x, sigma)
    h = 0.01 * sigma.reshape(-1, *[1] * (x.ndim - 1))
    total = torch.zeros_like(x)
    for _ in range(probes):
        v = rademacher(x)
        total += v * (denoise(x + h * v, sigma) - mean) / h
    return total / probes, mean


def probe_deviation(sigma: Tensor) -> Tensor:
    """About the standard deviation of a probe at sigma (batch,), by which every noise level counts the same.

    Its variance is the sum of squares of J beside the diagonal. Those are the largest eigenvalues'
    doing, lambda / (lambda + sigma^2), with the digits' variance along their first principal
    components for lambda, about 20. Measured: 0.09 at sigma 0.3, 0.09 at 2, 0.034 at 5, 0.010 at 10.
    """
    return (0.1 * 20 / (20 + sigma**2))[:, None, None, None]


class Probes:
    """The last probes that were made, in the place of the oldest."""

    def __init__(self, images: Tensor, labels: Tensor, batch: int):
        self.images, self.labels, self.batch, self.made = images, labels, batch, 0
        self.unet = load_unet(DIGITS)
        self.x, self.diagonal, self.mean = torch.empty(3, KEPT * batch, *images.shape[1:])
        self.sigma, self.label = torch.empty(KEPT * batch), torch.empty(KEPT * batch, dtype=torch.long)

    def make(self) -> None:
        """One more batch: noisy training digits, one label in four dropped, and a probe for each."""
        chosen = torch.randint(len(self.images), (self.batch,))
        labels = torch.where(torch.rand(self.batch) < 1 / 4, UNLABELLED, self.labels[chosen])
        # Twice as high as the model was trained on: a probe says the less, the higher the noise level.
        sigma = (2 * draw_log_sigma(self.batch, "cpu").exp()).clamp(SIGMA_MIN, SIGMA_MAX)
        x = self.images[chosen] + sigma[:, None, None, None] * torch.randn_like(self.images[chosen])
        here = slice(first := self.made % KEPT * self.batch, first + self.batch)
        self.x[here], self.sigma[here], self.label[here] = x, sigma, labels
        self.diagonal[here], self.mean[here] = probe(Digits(self.unet, labels), x, sigma, PROBES)
        self.made += 1

    def draw(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """A batch of x, sigma, labels, probes and D(x) out of those kept."""
        chosen = torch.randint(min(self.made, KEPT) * self.batch, (self.batch,))
        return tuple(kept[chosen] for kept in (self.x, self.sigma, self.label, self.diagonal, self.mean))


def loss_of(network: DiagonalNetwork, x: Tensor, sigma: Tensor, labels: Tensor, diagonal: Tensor, mean: Tensor):
    """The objective, in units of a probe's variance, and EDM's loss of the mean, in those of its target's."""
    found_diagonal, found_mean = network(x, sigma, labels)
    scale = (sigma / (sigma**2 + SIGMA_DATA**2).sqrt() * SIGMA_DATA)[:, None, None, None]
    return (
        ((found_diagonal - diagonal) / probe_deviation(sigma)).square().mean(),
        ((found_mean - mean) / scale).square().mean(),
    )


def save_diagonal(network: DiagonalNetwork, file: Path) -> None:
    """Writes what `lgs.diagonal.load_diagonal` reads, in half precision: its rounding is far below the error."""
    weights = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, file, metadata=network.description.as_metadata())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30.0, help="the learning rate falls to zero over this time")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=8, help="of training for each batch of probes")
    parser.add_argument("--lr", type=float, default=3e-3)
    args = parser.parse_args()

    torch.manual_seed(0)
    probes = Probes(*training_digits(), args.batch)
    network = DiagonalNetwork(Description())
    average = copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=0.01)
    spent, step = 0.0, 0
    checkpoint = args.out.with_suffix(".checkpoint")
    if checkpoint.exists():
        state = torch.load(checkpoint)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        spent, step = state["spent"], state["step"]
        torch.manual_seed(step)

    progress = tqdm(total=round(args.minutes * 60), initial=round(spent), unit="s", mininterval=5)
    saved, losses = spent, []
    while spent < args.minutes * 60:
        start = time.monotonic()
        probes.make()
        rate = args.lr * min(1.0, (step + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * spent / (args.minutes * 60)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        for _ in range(args.steps):
            with torch.autocast("cpu", torch.bfloat16):
                objective, mean_loss = loss_of(network, *probes.draw())
            optimizer.zero_grad(set_to_none=True)
            (objective + mean_loss).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            step += 1
            decay = min(0.998, (step + 1) / (step + 20))
            with torch.no_grad():
                for mean, value in zip(average.parameters(), network.parameters(), strict=True):
                    mean.lerp_(value, 1 - decay)
            losses.append((objective.item(), mean_loss.item()))
        spent += time.monotonic() - start
        progress.n = min(round(spent), progress.total)
        progress.update(0)
        if spent - saved > 60 or spent >= args.minutes * 60:
            saved = spent
            tqdm.write("step {}: objective {:.4f}, loss of the mean {:.4f}".format(step, *torch.tensor(losses).mean(0)))
            losses.clear()
            torch.save(
                {
                    "network": network.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "spent": spent,
                    "step": step,
                },
                checkpoint,
            )
            save_diagonal(average, args.out)
    checkpoint.unlink()


if __name__ == "__main__":
    main()
