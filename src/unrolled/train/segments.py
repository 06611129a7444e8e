"""The gradient of a window that does not fit into memory: run a segment at a time, and twice.

`ops` can do so for a recurrent layer alone (`recompute` there), which leaves what every other layer keeps of
each step: masks, outputs, logits. Here the whole network is run in segments of the window, so that memory
grows with it by its symbols and by a state for each segment.

Source: Chen et al. 2016, "Training deep nets with sublinear memory cost".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from unrolled.data import Batch
from unrolled.tasks import SequenceModel, State
from unrolled.train.finite import autocast

__all__ = ["Pass", "forward"]


class Pass(NamedTuple):
    """A forward pass, and the backward pass that it leaves to be done."""

    mean: float  # the loss, over the targets
    targets: int  # how many there were
    after: State  # without gradient
    backward: Callable[[], None]  # adds the gradients of the mean to those of the parameters


def forward(network: SequenceModel, batch: Batch, state: State, *, size: int, dtype: str) -> Pass:
    """Run a batch in segments of `size` steps, of which only the states between them are kept.

    The gradients are those of the whole batch, summed segment by segment: they agree to rounding. The
    backward pass runs every segment again, with the random numbers that it drew the first time, from the last
    to the first; torch's random state is afterwards as it was before.

    Args:
        network: whose loss is a sum over steps, `tasks.Task.sums_over_steps`.
        batch, state: as `loss` takes them. dtype: that products run in.
    """
    segments: list[tuple[Batch, State, Tensor]] = []
    total, count = 0.0, 0
    with torch.no_grad(), autocast(dtype):
        for begin in range(0, len(batch.inputs), size):
            part = batch.part(begin, size)
            segments.append((part, state, torch.get_rng_state()))
            loss, targets, state = network.loss(part, state)
            total, count = total + float(loss), count + targets

    def backward() -> None:
        end = torch.get_rng_state()
        carried: list[Tensor | None] = [None] * len(_parts(state))
        for part, start, drawn in reversed(segments):
            torch.set_rng_state(drawn)
            leaves = [each.detach().requires_grad_() for each in _parts(start)]
            with autocast(dtype):
                loss, _, after = network.loss(part, tuple(leaves) if isinstance(start, tuple) else leaves[0])
            pairs = zip(_parts(after), carried, strict=True)
            outputs = [
                (loss / max(count, 1), None),
                *((each, grad) for each, grad in pairs if grad is not None),
            ]
            torch.autograd.backward([each for each, _ in outputs], [grad for _, grad in outputs])
            carried = [leaf.grad for leaf in leaves]
        torch.set_rng_state(end)

    return Pass(total / max(count, 1), count, state, backward)


def _parts(state: State) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)
