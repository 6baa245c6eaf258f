"""Models that break what a sampler takes for granted, each in one thing, and the check that finds it out."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import torch
from torch import Tensor

SHAPE = (4, 8, 8)
SIGMA_MAX = 14.6


def level(sigma: Tensor) -> Tensor:
    return sigma.view(-1, 1, 1, 1)


def whole(x: Tensor, sigma: Tensor) -> Tensor:
    """Of x_0 ~ N(0, 1), with a layer that is not linear."""
    return torch.tanh(2 * x / (1 + level(sigma) ** 2)) * 0.5 + 0.1 * x / (1 + level(sigma) ** 2)


def of_another_shape(x: Tensor, sigma: Tensor) -> Tensor:
    return whole(x, sigma)[:, :3]


def of_another_dtype(x: Tensor, sigma: Tensor) -> Tensor:
    return whole(x, sigma).double()


def no_tensor(x: Tensor, sigma: Tensor) -> dict:
    return {"sample": whole(x, sigma)}


def not_finite(x: Tensor, sigma: Tensor) -> Tensor:
    """As fp16 overflows at the highest level."""
    return whole(x, sigma) / (level(sigma) < SIGMA_MAX)


def in_training(x: Tensor, sigma: Tensor) -> Tensor:
    return torch.nn.functional.dropout(whole(x, sigma), 0.1, training=True)


def in_place(x: Tensor, sigma: Tensor) -> Tensor:
    return x.div_(1 + level(sigma) ** 2)


def in_place_on_sigma(x: Tensor, sigma: Tensor) -> Tensor:
    """As samplers' wrappers scale it to the model's time steps."""
    answer = whole(x, sigma)
    sigma.mul_(1000)
    return answer


def normalised_over_the_batch(x: Tensor, sigma: Tensor) -> Tensor:
    answer = whole(x, sigma)
    return answer - 0.1 * answer.mean(0)


def made_for_two(x: Tensor, sigma: Tensor) -> Tensor:
    """Answers for the first two items, whatever it is asked: a graph that was captured for a batch of two."""
    return whole(x[:2], sigma[:2])


def the_noise(x: Tensor, sigma: Tensor) -> Tensor:
    return (x - whole(x, sigma)) / level(sigma)


def a_velocity(x: Tensor, sigma: Tensor) -> Tensor:
    root = (1 + level(sigma) ** 2).sqrt()
    return (x / root - whole(x, sigma) * root) / level(sigma)


def blind(x: Tensor, sigma: Tensor) -> Tensor:
    return 0.9 * x


def rounded(x: Tensor, sigma: Tensor) -> Tensor:
    """Activations of few bits: its answers are about right, and its derivative is 0."""
    return whole((x * 50).round() / 50, sigma)


def detached(x: Tensor, sigma: Tensor) -> Tensor:
    """Half of it is another runtime's, of which torch has no derivative."""
    answer = torch.from_numpy(whole(x, sigma).detach().cpu().numpy())
    return answer + 0 * x


def seeding(x: Tensor, sigma: Tensor) -> Tensor:
    torch.manual_seed(0)
    return whole(x, sigma)


def leaving_a_mode(x: Tensor, sigma: Tensor) -> Tensor:
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    return whole(x, sigma)


_calls = count()


def drifting(x: Tensor, sigma: Tensor) -> Tensor:
    """A cache that goes stale, as those of accelerators do."""
    return whole(x, sigma) * (1 + 0.01 * next(_calls))


BROKEN: dict[Callable, str] = {
    of_another_shape: "host.like_x",
    of_another_dtype: "host.like_x",
    no_tensor: "host.like_x",
    not_finite: "host.like_x",
    in_training: "host.repeatable",
    drifting: "host.repeatable",
    in_place: "host.input",
    in_place_on_sigma: "host.input",
    normalised_over_the_batch: "host.items",
    made_for_two: "host.larger_batch",
    the_noise: "host.posterior_mean",
    a_velocity: "host.posterior_mean",
    blind: "host.sigma",
    rounded: "host.derivative",
    detached: "host.derivative",
    seeding: "host.modes",
    leaving_a_mode: "host.modes",
}
