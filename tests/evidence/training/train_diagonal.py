"""Train the learned diagonal of a trained model's posterior covariance (`lgs.diagonal`).

    PYTHONPATH=tests python -m evidence.training.train_diagonal --data cifar \\
        --out tests/evidence/models/cifar-diagonal.safetensors

Source: Ou et al. (arXiv 2406.10808), optimal covariance matching. For a Rademacher v the probe
v * (J v) has diag J for its mean, so that the minimiser of E_v |d(x, sigma) - v * (J v)|^2 is diag J:
no data but noisy training pictures, and the model itself. The paper regresses the Hessian of ln p
times sigma^2, which is J - 1: the same numbers but for the constant.

Needs `lgs` on PYTHONPATH or installed, and npm for the data. Fifty minutes on one CPU core; a checkpoint a
minute lets it be stopped and resumed. The digits' network was trained before its `ProbeDeviation` was measured
(a formula that was within 40 % of it), for 30 minutes.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import math
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from evidence.models import weights
from evidence.models.data import DATA_SETS, DataSet
from lgs.diagonal import Description, DiagonalNetwork
from lgs.digits import SIGMA_DATA, SIGMA_MAX, SIGMA_MIN, UNLABELLED, Digits, DigitUNet

from .train_denoiser import draw_log_sigma

KEPT = 400
"""Batches of probes that are learnt from again: one costs eight times what a step of training does."""

PROBES = 3
"""Of each noisy picture: D(x), which they share, costs as much as each."""


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


@dataclasses.dataclass(frozen=True)
class ProbeDeviation:
    """The standard deviation of a probe at sigma, by which every noise level counts the same.

    Its variance is the sum of squares of J beside the diagonal, which depends on what varies in the
    pictures: from sigma 0.03 to 40 it falls from 0.07 to 0.0009 for digits, from 0.33 to 0.0027 for
    photographs.
    """

    log_sigma: np.ndarray
    log_deviation: np.ndarray
    """Straight lines between these."""

    @classmethod
    @torch.no_grad()
    def measured(cls, denoise, images: Tensor, levels: int = 12) -> ProbeDeviation:
        """On noised ``images`` (n, ...), four probes of each at each of so many noise levels."""
        sigmas = torch.logspace(math.log10(SIGMA_MIN), math.log10(SIGMA_MAX), levels)
        variances = []
        for sigma in sigmas:
            x = images + sigma * torch.randn_like(images)
            probes = torch.stack([probe(denoise, x, sigma.expand(len(x)))[0] for _ in range(4)])
            variances.append(probes.var(dim=0).mean())
        return cls(sigmas.log().numpy(), torch.stack(variances).log().numpy() / 2)

    def __call__(self, sigma: Tensor) -> Tensor:
        """(batch, 1, 1, 1) for sigma (batch,)."""
        deviation = np.exp(np.interp(sigma.log().numpy(), self.log_sigma, self.log_deviation))
        return torch.from_numpy(deviation).to(sigma)[:, None, None, None]


class Probes:
    """The last probes that were made, in the place of the oldest."""

    def __init__(self, data: DataSet, unet: DigitUNet, batch: int):
        self.images, self.labels = images, _ = data.training()
        self.augmented, self.unet, self.batch, self.made = data.augmented, unet, batch, 0
        self.x, self.diagonal, self.mean = torch.empty(3, KEPT * batch, *images.shape[1:])
        self.sigma, self.label = torch.empty(KEPT * batch), torch.empty(KEPT * batch, dtype=torch.long)

    def make(self) -> None:
        """One more batch: noisy training pictures, one label in four dropped, and a probe for each."""
        chosen = torch.randint(len(self.images), (self.batch,))
        images = self.augmented(self.images[chosen])
        labels = torch.where(torch.rand(self.batch) < 1 / 4, UNLABELLED, self.labels[chosen])
        # Twice as high as the model was trained on: a probe says the less, the higher the noise level.
        sigma = (2 * draw_log_sigma(self.batch, "cpu").exp()).clamp(SIGMA_MIN, SIGMA_MAX)
        x = images + sigma[:, None, None, None] * torch.randn_like(images)
        here = slice(first := self.made % KEPT * self.batch, first + self.batch)
        self.x[here], self.sigma[here], self.label[here] = x, sigma, labels
        self.diagonal[here], self.mean[here] = probe(Digits(self.unet, labels), x, sigma, PROBES)
        self.made += 1

    def draw(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """A batch of x, sigma, labels, probes and D(x) out of those kept."""
        chosen = torch.randint(min(self.made, KEPT) * self.batch, (self.batch,))
        return tuple(kept[chosen] for kept in (self.x, self.sigma, self.label, self.diagonal, self.mean))


def loss_of(
    network: DiagonalNetwork,
    deviation: ProbeDeviation,
    x: Tensor,
    sigma: Tensor,
    labels: Tensor,
    diagonal: Tensor,
    mean: Tensor,
) -> tuple[Tensor, Tensor]:
    """The objective, in units of a probe's variance, and EDM's loss of the mean, in those of its target's."""
    found_diagonal, found_mean = network(x, sigma, labels)
    scale = (sigma / (sigma**2 + SIGMA_DATA**2).sqrt() * SIGMA_DATA)[:, None, None, None]
    return (
        ((found_diagonal - diagonal) / deviation(sigma)).square().mean(),
        ((found_mean - mean) / scale).square().mean(),
    )


def save_diagonal(network: DiagonalNetwork, file: Path) -> None:
    """Writes what `lgs.diagonal.load_diagonal` reads, in half precision: its rounding is far below the error."""
    halves = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    save_file(halves, file, metadata=network.description.as_metadata())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=DATA_SETS, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=50.0, help="the learning rate falls to zero over this time")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=8, help="of training for each batch of probes")
    parser.add_argument("--lr", type=float, default=3e-3)
    args = parser.parse_args()

    torch.manual_seed(0)
    data = DATA_SETS[args.data]
    unet = data.trained(weights(args.data))
    probes = Probes(data, unet, args.batch)
    some = slice(None, None, len(probes.images) // 32)
    deviation = ProbeDeviation.measured(Digits(unet, probes.labels[some]), probes.images[some])
    network = DiagonalNetwork(Description(model=f"lgs-{args.data}", channels=data.channels))
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
                objective, mean_loss = loss_of(network, deviation, *probes.draw())
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
