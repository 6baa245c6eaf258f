"""Train the digit classifier (`models.classifier`) and write it as safetensors.

    PYTHONPATH=tests python -m models.train_classifier --out tests/models/classifier.safetensors

Needs npm for the data. A few minutes on one CPU core. Shifts of up to two pixels are the only
augmentation: MNIST's digits are centred by mass, generated ones only nearly so. Plain cross entropy:
smoothed labels would pull each digit's features together, and hide a lack of variety.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from tqdm import tqdm

from .classifier import DigitClassifier, accuracy
from .mnist import held_out_digits, training_digits


def shifted(images: torch.Tensor, most: int = 2) -> torch.Tensor:
    """The batch (n, 1, 32, 32) moved as a whole by up to ``most`` pixels, the border black."""
    size = images.shape[-1]
    dy, dx = torch.randint(0, 2 * most + 1, (2,)).tolist()
    return F.pad(images, (most,) * 4, value=-1.0)[..., dy : dy + size, dx : dx + size]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=4e-3, help="the highest of a one-cycle schedule")
    args = parser.parse_args()

    torch.manual_seed(0)
    images, labels = training_digits()
    held_out = held_out_digits()
    classifier = DigitClassifier()
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=args.lr, weight_decay=0.01)
    batches = len(images) // args.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=args.epochs * batches)
    for epoch in range(args.epochs):
        classifier.train()
        order = torch.randperm(len(images))[: batches * args.batch].split(args.batch)
        for chosen in tqdm(order, desc=f"epoch {epoch + 1} of {args.epochs}", mininterval=5):
            loss = F.cross_entropy(classifier(shifted(images[chosen])), labels[chosen])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
        right = accuracy(classifier.eval(), *held_out)
        tqdm.write(f"epoch {epoch + 1}: loss {loss.item():.4f}; {right:.2%} of the held-out digits read right")
    save_file({name: value.contiguous() for name, value in classifier.state_dict().items()}, args.out)


if __name__ == "__main__":
    main()
