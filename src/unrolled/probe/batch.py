"""The batch that is measured: as the model takes it, its parts and steps that are used, changed copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from unrolled.data import Batch
from unrolled.errors import ConfigError, DtypeError, NonFiniteError, ShapeError, expected
from unrolled.probe.result import Mask
from unrolled.probe.subject import Subject, plain

ROWS = 512  # run side by side at most
LARGEST = 2**25  # numbers of an output that are held at once


@dataclass(frozen=True)
class Inputs:
    """What a model is run on."""

    args: tuple[Any, ...]  # of the model's forward
    targets: Tensor | None = None  # [T, B, …], where there is one for each step
    lengths: Tensor | None = None  # [B]
    resets: Tensor | None = None  # [T, B]


def validate(batch: object) -> Inputs:
    """Bring a batch to the form that the model takes.

    Args:
        batch: a `unrolled.data.Batch`, whose lengths and resets the recurrent layers then keep; or the one
            tensor that the model takes; or a tuple of all its arguments. Half precision becomes float32.
    Raises:
        DtypeError: something else. NonFiniteError: a value is NaN or infinite.
    """
    if isinstance(batch, Batch):
        targets = None if batch.per_row else plain(batch.targets)
        return Inputs((plain(batch.inputs),), targets, batch.lengths, batch.resets)
    args = batch if isinstance(batch, tuple) and not isinstance(batch, PackedSequence) else (batch,)
    if not args or not isinstance(args[0], Tensor):
        got = type(batch).__name__ if args else "an empty tuple"
        raise DtypeError(expected("batch", "a Batch, a tensor or a tuple of arguments", got))
    return Inputs(tuple(map(_argument, args)))


def _argument(value: Any) -> Any:
    """Return an argument of a forward as the measurement takes it; a state may be a tuple of tensors."""
    if isinstance(value, (tuple, list)) and not isinstance(value, PackedSequence):
        return tuple(map(_argument, value))
    if not isinstance(value, Tensor):
        return value
    if not bool(torch.isfinite(value).all()):
        raise NonFiniteError(expected("batch", "finite values", "NaN or infinity"))
    return plain(value)


def at_least_one(**settings: object) -> None:
    """Raise ConfigError for a setting that is given and not a whole number of at least 1."""
    for name, value in settings.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ConfigError(expected(name, "a whole number of at least 1", repr(value)))


def positions(steps: int, lags: int, count: int) -> Tensor:
    """Return [n] int64: at most `count` steps, spread evenly over those with `lags` steps before them.

    Raises:
        ShapeError: there is no such step.
    """
    if lags >= steps:
        raise ShapeError(expected("lags", f"at most {steps - 1}, as the batch has {steps} steps", lags))
    return torch.linspace(lags, steps - 1, min(count, steps - lags)).round().long()


def unbroken(inputs: Inputs, at: Tensor, lags: int, rows: int) -> Mask:
    """Return [n, B]: whether the `lags` steps before a step and the step itself lie within the row, without
    a reset.

    Raises:
        ShapeError: none do.
    """
    used = torch.ones(len(at), rows, dtype=torch.bool)
    if inputs.lengths is not None:
        used &= at[:, None] < inputs.lengths
    if inputs.resets is not None:
        cut = torch.cat([torch.zeros(1, rows), inputs.resets.cpu().float().cumsum(0)])
        used &= cut[at + 1] == cut[at - lags + 1]
    if not bool(used.any()):
        want = f"{lags + 1} steps in a row without reset or padding"
        raise ShapeError(expected("batch", want, "none"))
    found: Mask = used.numpy()
    return found


def beginning(batch: Any, steps: int) -> Any:
    """Return the first steps of a Batch; anything else as it is."""
    return batch.part(0, steps) if isinstance(batch, Batch) else batch


def flowing(batch: Any) -> Any:
    """Return those rows of a Batch through which state flows without a reset, as long as the shortest is.

    Anything else than a Batch is returned as it is, and so is a Batch that is like this already.

    Raises:
        ShapeError: there is no such row, or one of them is empty.
    """
    if not isinstance(batch, Batch) or (batch.resets is None and batch.lengths is None):
        return batch
    free = torch.ones(batch.inputs.shape[1], dtype=torch.bool)
    if batch.resets is not None:
        free = ~batch.resets[1:].any(0)  # at the first step, state is zero anyway
    steps = batch.inputs.shape[0]
    if batch.lengths is not None and bool(free.any()):
        steps = int(batch.lengths[free].min())
    if not bool(free.any()) or steps == 0:
        raise ShapeError(expected("batch", "a row without a reset", "none"))
    return replace(batch, lengths=None, resets=None).part(0, steps, free)


def one_row(subject: Subject, batch: Any, steps: int) -> Any:
    """Return the first steps of one row: of a Batch the longest, of a tensor the first, else all as it is."""
    if isinstance(batch, Batch):
        row = 0 if batch.lengths is None else int(batch.lengths.argmax())
        return batch.part(0, steps, slice(row, row + 1))
    if isinstance(batch, Tensor) and batch.dim() >= 2 and (batch.dim() > 2 or not batch.is_floating_point()):
        return batch[:1, :steps] if subject.batch_first else batch[:steps, :1]
    return batch


def check_flowing(lengths: Tensor | None, resets: Tensor | None) -> None:
    """Raise ShapeError where rows differ in length, or state does not flow through them."""
    cut = "lengths" if lengths is not None else "resets" if resets is not None and bool(resets.any()) else ""
    if cut:
        want = "rows of one length that state flows through"
        raise ShapeError(expected("batch", want, f"a batch with {cut}"))


def copies_at_once(rows: int, size: int) -> int:
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
    return as_given(subject, x)


def as_given(subject: Subject, x: Tensor) -> Tensor:
    """Turn [T, B, …] into the axes that the model takes, or back."""
    return x.transpose(0, 1) if subject.batch_first else x


def variants(subject: Subject, inputs: Inputs, count: int, change: Callable[[int, Tensor], Tensor]) -> Inputs:
    """Return `count` copies of the rows, each changed, side by side as rows of a larger batch.

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
