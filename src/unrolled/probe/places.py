"""Where in a batch a measurement looks: steps, and stretches without reset or padding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unrolled.errors import ConfigError, ShapeError, expected
from unrolled.probe.running import Inputs

__all__ = ["Mask", "at_least_one", "positions", "whole"]

Mask = npt.NDArray[np.bool_]


def at_least_one(**settings: object) -> None:
    """Raise ConfigError for a setting that is not a whole number of at least 1."""
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(expected(name, "a whole number of at least 1", repr(value)))


def positions(steps: int, lags: int, count: int) -> Tensor:
    """Return [n] int64: at most `count` steps, spread evenly over those with `lags` steps before them.

    Raises:
        ShapeError: there is no such step.
    """
    if lags >= steps:
        raise ShapeError(expected("lags", f"at most {steps - 1}, as the batch has {steps} steps", lags))
    return torch.linspace(lags, steps - 1, min(count, steps - lags)).round().long()


def whole(inputs: Inputs, at: Tensor, lags: int, rows: int) -> Mask:
    """Return [n, B]: whether the stretch from `lags` steps before a step to it is within its row, without
    reset.

    Raises:
        ShapeError: none is.
    """
    used = torch.ones(len(at), rows, dtype=torch.bool)
    if inputs.lengths is not None:
        used &= at[:, None] < inputs.lengths
    if inputs.resets is not None:
        cut = torch.cat([torch.zeros(1, rows), inputs.resets.cpu().float().cumsum(0)])
        used &= cut[at + 1] == cut[at - lags + 1]
    if not bool(used.any()):
        raise ShapeError(expected("batch", f"a stretch of {lags + 1} steps without reset or padding", "none"))
    found: Mask = used.numpy()
    return found
