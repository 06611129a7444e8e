"""Many variants of one batch, side by side as rows of a larger one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from unrolled.errors import ConfigError, ShapeError, expected
from unrolled.probe.running import Inputs
from unrolled.probe.subject import Subject

__all__ = ["LARGEST", "as_given", "beside", "steps_first", "variants"]

ROWS = 512  # run side by side at most
LARGEST = 2**25  # numbers of an output that are held at once


def beside(rows: int, size: int) -> int:
    """Return how many copies of `rows` rows run at once, where a row's output has `size` numbers."""
    return max(1, min(ROWS, LARGEST // max(size, 1)) // rows)


def steps_first(subject: Subject, inputs: Inputs) -> Tensor:
    """Return the model's one input as [T, B, …].

    Raises:
        ConfigError: it takes more than one, and nothing says how the others belong to rows and steps.
        ShapeError: it has no step and row axes.
    """
    if len(inputs.args) != 1:
        raise ConfigError(expected("batch", "the one input of the model", f"{len(inputs.args)} arguments"))
    (x,) = inputs.args
    least = 3 if x.is_floating_point() else 2
    if x.dim() < least or 0 in x.shape[:2]:
        raise ShapeError(expected("batch", f"at least {least} axes, with steps and rows", list(x.shape)))
    found: Tensor = x.transpose(0, 1) if subject.batch_first else x
    return found


def as_given(subject: Subject, x: Tensor) -> Tensor:
    """Return [T, B, …] in the axes that the model takes."""
    return x.transpose(0, 1) if subject.batch_first else x


def variants(subject: Subject, inputs: Inputs, count: int, change: Callable[[int, Tensor], Tensor]) -> Inputs:
    """Return `count` copies of the rows, each changed.

    Args:
        change: (number of the copy, a copy of the input [T, B, …]) → the same with something else in it.
    """
    x = steps_first(subject, inputs)
    changed = torch.cat([change(n, x.clone()) for n in range(count)], dim=1)
    return replace(
        inputs,
        args=(as_given(subject, changed),),
        targets=_repeated(inputs.targets, count, 1),
        lengths=_repeated(inputs.lengths, count, 0),
        resets=_repeated(inputs.resets, count, 1),
    )


def _repeated(tensor: Tensor | None, count: int, axis: int) -> Tensor | None:
    return None if tensor is None else torch.cat([tensor] * count, dim=axis)
