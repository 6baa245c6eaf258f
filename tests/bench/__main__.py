"""``make bench``: print and save what the plugin costs, as ratios measured side by side.

These machines are noisy: two things are always timed in turn, and the median of the ratios of
neighbouring runs is what counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tqdm import tqdm

import lgs
import lgs.digits

from .plain import reverse_step

MODEL = Path(lgs.__file__).parent.parent / "models" / "digits.safetensors"


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratio(name: str, ours: Callable, other: Callable, rounds: int, bound: float) -> dict:
    """Times the two in turn; the ratio of each pair, its median and quartiles."""
    ours(), other()
    pairs = [(seconds(ours), seconds(other)) for _ in tqdm(range(rounds), desc=name, leave=False)]
    ratios = [a / b for a, b in pairs]
    low, median, high = statistics.quantiles(ratios, n=4)
    return {
        "name": name,
        "ratio": median,
        "quartiles": [low, high],
        "bound": bound,
        "rounds": rounds,
        "seconds": statistics.median(a for a, _ in pairs),
        "seconds_other": statistics.median(b for _, b in pairs),
    }


def engine_cost(rounds: int) -> list[dict]:
    """One step, K = 3, with a model that costs nothing, beside the same in plain PyTorch."""
    rows = []
    for name, model in {"constant": lambda x: torch.zeros_like(x), "linear": lambda x: 0.5 * x}.items():
        for batch in (1, 4):
            x, z = torch.randn(2, batch, 4, 128, 128)
            constant = model(x)
            denoise = (lambda x, sigma, c=constant: c) if name == "constant" else (lambda x, sigma: 0.5 * x)
            options = lgs.Options(jvp="finite-difference", lanczos_steps=3)
            rows.append(
                ratio(
                    f"engine: one step, K = 3, {batch} x 4 x 128 x 128, {name} model / plain PyTorch",
                    lambda d=denoise, x=x, z=z, o=options: lgs.sample(d, x, [1.0, 0.5], o, noise=lambda *_: z),
                    lambda d=denoise, x=x, z=z: reverse_step(d, x, 1.0, 0.5, z, 3),
                    rounds,
                    1.0,
                )
            )
    return rows


def trajectory_cost(rounds: int) -> list[dict]:
    """A trajectory through the bundled model, beside bare evaluations of it at the same points.

    At the same points, because a network is some percent faster on one input over and over.
    """
    rows = []
    unet = lgs.digits.load_unet(MODEL)
    sigmas = [20.0, 8.0, 3.0, 1.0, 0.3, 0.0]
    for jvp, batch, bound in (
        ("finite-difference", 10, 1.05),
        ("finite-difference", 100, 1.05),
        ("forward", 10, float("nan")),
    ):
        denoise = lgs.digits.Digits(unet, torch.arange(10).repeat(batch // 10))
        x = torch.randn(batch, 1, 32, 32) * sigmas[0]
        options = lgs.Options(jvp=jvp, lanczos_steps=3)
        points = []

        def recorded(x, sigma, denoise=denoise, points=points):
            points.append((torch.autograd.forward_ad.unpack_dual(x).primal.clone(), sigma.clone()))
            return denoise(x, sigma)

        lgs.sample(recorded, x, sigmas, options)

        @torch.no_grad()
        def bare(denoise=denoise, points=points):
            for point in points:
                denoise(*point)

        @torch.no_grad()
        def ours(denoise=denoise, x=x, options=options):
            lgs.sample(denoise, x, sigmas, options)

        name = f"trajectory: 5 steps, K = 3, {jvp}, bundled model, batch {batch} / {len(points)} bare evaluations"
        rows.append(ratio(name, ours, bare, max(5, rounds * 5 // batch), bound))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=60)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = engine_cost(args.rounds) + trajectory_cost(args.rounds)
    file = args.out / "bench.json"
    result = {"torch": torch.__version__, "threads": torch.get_num_threads(), "lgs": lgs.info()["lgs"], "rows": rows}
    file.write_text(json.dumps(result, indent=2) + "\n")
    width = max(len(row["name"]) for row in rows)
    print(f"{'':{width}}  ratio  (quartiles)      bound")
    for row in rows:
        low, high = row["quartiles"]
        bound = "" if row["bound"] != row["bound"] else f"{row['bound']:.2f}"
        print(f"{row['name']:{width}}  {row['ratio']:5.3f}  ({low:.3f} - {high:.3f})  {bound}")
    print(f"saved {file}")


if __name__ == "__main__":
    main()
