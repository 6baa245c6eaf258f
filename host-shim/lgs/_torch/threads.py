"""What of torch's state belongs to a thread, and another has to have that goes on for it.

That is the device and the stream. Autocast and inference mode are not wanted: in a new thread both are off, and tensors
of inference mode are read there as any are.
"""

from __future__ import annotations

import torch


def current_stream(device: torch.device) -> torch.cuda.Stream | None:
    """Where this thread's operations on a device are queued; None where there are no queues."""
    return torch.cuda.current_stream(device) if device.type == "cuda" else None


def queue_on(stream: torch.cuda.Stream | None) -> None:
    """Queues this thread's operations there from now on, and makes its device the current one."""
    if stream is not None:
        torch.cuda.set_stream(stream)
