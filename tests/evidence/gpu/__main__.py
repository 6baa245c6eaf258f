"""Command line. See ``python -m evidence.gpu --help``."""

from __future__ import annotations

import argparse
import datetime
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from .record import CHECKS, Record, describe_check, run_check

PACK = Path(__file__).resolve().parents[3] / "dist" / "comfyui-lgs"


def main(arguments: list[str] | None = None) -> int:
    """Runs every check, then every timing; 1 if one failed."""
    args = parse(arguments)
    # The product is a folder, not an installed package; these modules import it.
    sys.path.insert(0, str(args.pack))
    from . import correctness, placement, timings  # noqa: F401  (the first two register their checks)

    args.out.mkdir(parents=True, exist_ok=True)
    record = Record(args.out / "gpu.json", about(args.device, args.quick))
    for key in ("device_name", "date", "torch", "lgs"):
        print(f"{key}: {record.content[key]}")
    print(flush=True)
    for name in CHECKS:
        row = run_check(name, args.device)
        record.add("checks", row)
        print(describe_check(row), flush=True)
    print(flush=True)
    small = args.quick or args.device.type == "cpu"
    effort = timings.Effort(2, 0.0, (1, 2)) if args.quick else timings.Effort(25, 8.0, (1, 4))
    for row in timings.timings(args.device, timings.SMALL if small else timings.FULL, effort):
        record.add("timings", row)
        print(timings.describe(row), flush=True)
    record.finish()
    print(f"\n{timings.table(record.content['timings'])}\n")
    print(f"failed: {', '.join(record.failed) or 'none'}\nsaved {record.file}")
    return 1 if record.failed else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m evidence.gpu", description="Checks and times the assembled product on a GPU."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for gpu.json")
    parser.add_argument(
        "--device", default="cuda", help="cuda, cuda:1, or cpu for what can be tried without (%(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="small networks and few rounds")
    parser.add_argument("--pack", type=Path, default=PACK, help="the drop-in folder (default: dist/comfyui-lgs)")
    args = parser.parse_args(arguments)
    if not (args.pack / "lgs").is_dir():
        parser.error(f"argument --pack: expected the drop-in folder that `make build` leaves, got {args.pack}")
    try:
        args.device = torch.device(args.device)
    except RuntimeError as problem:
        parser.error(f"argument --device: {problem}")
    if args.device.type == "cuda":
        if not torch.cuda.is_available():
            parser.error("argument --device: PyTorch finds no CUDA device here; try --device cpu")
        # With its number, as tensors name their device.
        args.device = torch.device("cuda", args.device.index or 0)
        torch.cuda.set_device(args.device)
    elif args.device.type != "cpu":
        parser.error(f"argument --device: expected cuda or cpu, got {args.device}")
    args.pack = args.pack.resolve()
    return args


def about(device: torch.device, quick: bool) -> dict[str, Any]:
    """Where and when, for the record."""
    import lgs

    name = platform.processor() or platform.machine()
    content: dict[str, Any] = {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name = properties.name
        content |= {
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "devices": torch.cuda.device_count(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return {
        "device": str(device),
        "device_name": name,
        **content,
        "torch": torch.__version__,
        "python": platform.python_version(),
        # Without the place on this disk.
        "lgs": {key: value for key, value in lgs.info().items() if key != "library"},
        "quick": quick,
    }


if __name__ == "__main__":
    sys.exit(main())
