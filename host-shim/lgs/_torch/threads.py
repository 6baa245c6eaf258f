"""What of torch's state belongs to a thread, so that another can go on as the first one would."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch


def same_mode() -> AbstractContextManager:
    """A context for another thread: inference mode as this thread has it. Autocast is off in a new thread."""
    return torch.inference_mode(torch.is_inference_mode_enabled())


def current_stream(device: torch.device) -> torch.cuda.Stream | None:
    """Where this thread's operations on a device are queued; None where there are no queues."""
    return torch.cuda.current_stream(device) if device.type == "cuda" else None


def queue_on(stream: torch.cuda.Stream | None) -> None:
    """Queues this thread's operations there from now on, and makes its device the current one."""
    if stream is not None:
        torch.cuda.set_stream(stream)
