"""The part of a batch that each measurement of a report takes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unrolled.data import Batch
from unrolled.errors import ShapeError, expected
from unrolled.probe.subject import Subject

__all__ = ["beginning", "flowing", "one_row"]


def beginning(batch: Any, steps: int) -> Any:
    """Return the first steps of a Batch; anything else as it is."""
    return _cut(batch, steps, slice(None)) if isinstance(batch, Batch) else batch


def flowing(batch: Any) -> Any:
    """Return those rows of a Batch through which state flows without a reset, as long as the shortest is.

    Anything else than a Batch is returned as it is.

    Raises:
        ShapeError: there is no such row, or one of them is empty.
    """
    if not isinstance(batch, Batch):
        return batch
    free = torch.ones(batch.inputs.shape[1], dtype=torch.bool)
    if batch.resets is not None:
        free = ~batch.resets[1:].any(0)  # at the first step, state is zero anyway
    steps = batch.inputs.shape[0]
    if batch.lengths is not None and bool(free.any()):
        steps = int(batch.lengths[free].min())
    if not bool(free.any()) or steps == 0:
        raise ShapeError(expected("batch", "a row without a reset", "none"))
    return Batch(batch.inputs[:steps, free], batch.targets[:steps, free])


def one_row(subject: Subject, batch: Any, steps: int) -> Any:
    """Return the first steps of one row: of a Batch the longest, of a tensor the first, else all as it is."""
    if isinstance(batch, Batch):
        row = 0 if batch.lengths is None else int(batch.lengths.argmax())
        return _cut(batch, steps, slice(row, row + 1))
    if isinstance(batch, Tensor) and batch.dim() >= 2 and (batch.dim() > 2 or not batch.is_floating_point()):
        return batch[:1, :steps] if subject.batch_first else batch[:steps, :1]
    return batch


def _cut(batch: Batch, steps: int, rows: slice) -> Batch:
    lengths = None if batch.lengths is None else batch.lengths[rows].clamp(max=steps)
    resets = None if batch.resets is None else batch.resets[:steps, rows]
    return Batch(batch.inputs[:steps, rows], batch.targets[:steps, rows], lengths, resets)
