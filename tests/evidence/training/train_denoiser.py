"""Train a small diffusion model, such as the bundled digit model (`lgs.digits`), and write it as safetensors.

    PYTHONPATH=tests python -m evidence.training.train_denoiser --data digits --minutes 90 \\
        --out host-shim/comfyui/models/digits.safetensors

Needs `lgs` on PYTHONPATH or installed, and npm for the data. EDM's loss (arXiv 2206.00364), labels
dropped one time in eight so that classifier-free guidance works, an exponential moving average of
the weights. Runs on a GPU where there is one; a checkpoint a minute lets it be stopped and resumed.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from tqdm import tqdm

from evidence.models.data import DATA_SETS
from lgs.digits import SIGMA_DATA, UNLABELLED, Digits, label_context


def edm_loss(unet, images, labels, log_sigma):
    """EDM's weighted denoising loss: the squared error of F against its own target."""
    sigma = log_sigma.exp()[:, None, None, None]
    total = sigma**2 + SIGMA_DATA**2
    noisy = images + sigma * torch.randn_like(images)
    target = (images - SIGMA_DATA**2 / total * noisy) * total.sqrt() / (sigma * SIGMA_DATA)
    output = unet(noisy / total.sqrt(), log_sigma / 4, label_context(labels).to(images.device))
    return (output.float() - target).square().mean()


def draw_log_sigma(n: int, device) -> torch.Tensor:
    """EDM draws ln(sigma) from N(-1.2, 1.2^2). Wider and higher here: few-step sampling leans on
    the high noise levels, and the covariance there is what the product is about."""
    return (torch.randn(n, device=device) * 1.5 - 0.4).clamp(math.log(0.02), math.log(40.0))


@torch.no_grad()
def held_out_error(unet, images, labels, device) -> dict[float, float]:
    """Mean squared error of the posterior mean on held-out images, at a few noise levels."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(images.shape, generator=generator)
    errors = {}
    for sigma in (0.1, 0.3, 1.0, 3.0, 10.0):
        denoise = Digits(unet, labels)
        denoise.context = denoise.context.to(device)
        denoised = denoise((images + sigma * noise).to(device), torch.full((len(images),), sigma, device=device))
        errors[sigma] = (denoised.cpu() - images).square().mean().item()
    return errors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=DATA_SETS, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=90.0, help="the learning rate falls to zero over this time")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=2e-3)
    args = parser.parse_args()

    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = DATA_SETS[args.data]
    images, labels = (t.to(device) for t in data.training())
    held_out = [t[:: len(t) // 500] for t in data.held_out()]
    unet = data.network().to(device)
    average = copy.deepcopy(unet).requires_grad_(False)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=0.01)
    spent, step = 0.0, 0
    checkpoint = args.out.with_suffix(".checkpoint")
    if checkpoint.exists():
        state = torch.load(checkpoint)
        unet.load_state_dict(state["unet"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        spent, step = state["spent"], state["step"]

    progress = tqdm(total=round(args.minutes * 60), initial=round(spent), unit="s", mininterval=5)
    saved, losses = spent, []
    while spent < args.minutes * 60:
        start = time.monotonic()
        chosen = torch.randint(len(images), (args.batch,), device=device)
        dropped = torch.rand(args.batch, device=device) < 1 / 8
        batch_labels = torch.where(dropped, UNLABELLED, labels[chosen])
        rate = args.lr * min(1.0, (step + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * spent / (args.minutes * 60)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(device.type, torch.bfloat16):
            loss = edm_loss(unet, data.augmented(images[chosen]), batch_labels, draw_log_sigma(args.batch, device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(0.9995, (step + 1) / (step + 20))
        with torch.no_grad():
            for mean, value in zip(average.state_dict().values(), unet.state_dict().values(), strict=True):
                mean.lerp_(value, 1 - decay)
        losses.append(loss.item())
        spent += time.monotonic() - start
        progress.n = min(round(spent), progress.total)
        progress.update(0)
        if spent - saved > 60 or spent >= args.minutes * 60:
            saved = spent
            errors = held_out_error(average, *held_out, device)
            tqdm.write(
                f"step {step}: loss {sum(losses) / len(losses):.4f}; held-out error "
                + ", ".join(f"{error:.4f} at sigma {sigma:g}" for sigma, error in errors.items())
            )
            losses.clear()
            torch.save(
                {
                    "unet": unet.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "spent": spent,
                    "step": step,
                },
                checkpoint,
            )
            save_file({k: v.contiguous().cpu() for k, v in average.state_dict().items()}, args.out)
    checkpoint.unlink()


if __name__ == "__main__":
    main()
