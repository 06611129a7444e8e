"""Small tasks, drawn anew for each step: inputs [T, B, I], and the class asked for at each step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from unrolled.errors import ConfigError, expected

__all__ = ["NOT_ASKED", "Task", "drawing", "forward_ceiling", "majority", "recall", "sizes"]

NOT_ASKED = -100  # the target of a step that counts for nothing: cross_entropy's own

Task = Callable[[int, Generator], tuple[Tensor, Tensor]]  # rows → inputs [T, B, I], targets [T, B]


def drawing(settings: Mapping[str, Any]) -> Task:
    """Return the task that a run's settings name. Raises ConfigError: there is none of that name."""
    steps = settings["sequence_steps"]
    if settings["task"] == "recall":
        return lambda rows, generator: recall(rows, steps, settings["symbols"], generator)
    if settings["task"] == "majority":
        reach, delay = settings["reach"], settings["delay"]
        return lambda rows, generator: majority(rows, steps, reach, delay, generator)
    raise ConfigError(expected("task", "recall or majority", repr(settings["task"])))


def sizes(settings: Mapping[str, Any]) -> tuple[int, int]:
    """Return the input size and the number of classes."""
    if settings["task"] == "recall":
        return settings["symbols"] + 1, settings["symbols"]
    return 1, 2


def recall(rows: int, steps: int, symbols: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Return random symbols, of which the first, which alone bears a flag, is asked for at the last step."""
    drawn = torch.randint(symbols, (steps, rows), generator=generator)
    inputs = torch.zeros(steps, rows, symbols + 1)
    inputs.scatter_(2, drawn[..., None], 1.0)
    inputs[0, :, symbols] = 1.0
    targets = torch.full((steps, rows), NOT_ASKED)
    targets[-1] = drawn[0]
    return inputs, targets


def majority(rows: int, steps: int, reach: int, delay: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Return random signs; asked, `delay` steps after t, is most of t - reach … t + reach."""
    bits = torch.randint(2, (steps, rows), generator=generator)
    window = 2 * reach + 1
    most = (bits.unfold(0, window, 1).sum(-1) > reach).long()  # [T - 2 reach, B], of t = reach, …
    targets = torch.full((steps, rows), NOT_ASKED)
    asked = min(len(most), steps - reach - delay)
    targets[reach + delay : reach + delay + asked] = most[:asked]
    return (2.0 * bits - 1.0)[..., None], targets


def forward_ceiling(reach: int) -> float:
    """Return how often the best guess of a majority is right where nothing after t is known."""
    known = reach + 1
    right = 0.0
    for ones in range(known + 1):
        needed = reach + 1 - ones  # of the `reach` bits to come
        share = sum(math.comb(reach, k) for k in range(max(needed, 0), reach + 1)) / 2**reach
        right += math.comb(known, ones) / 2**known * max(share, 1 - share)
    return right
