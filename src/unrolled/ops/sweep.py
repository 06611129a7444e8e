"""Back-propagation through time from many losses at once: lag by lag, each loss at its own step.

The losses at steps t_1 … t_n of B rows are n · B independent cotangents. At lag k all of them are pulled
through one step each (step t_i − k), so a lag is one matrix product a layer, whatever n is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from unrolled.ops.linear import Linear, States

__all__ = ["Lag", "pull_through", "sweep"]


class Lag(NamedTuple):
    """What the losses' gradients are, k steps back."""

    k: int
    first: int  # the losses before this one have no step so far back
    states: list[States]  # of each layer, [n − first, B, ·]
    x: Tensor | None  # of the lowest layer's input, where asked for


def sweep(
    layers: Sequence[Linear], seeds: Tensor, at: Tensor, lags: int, *, inputs: bool = False
) -> Iterator[Lag]:
    """Yield the gradients of n · B losses by the states of a stack, lag by lag.

    Args:
        layers: of one stack, the lowest first.
        seeds: [n, B, P] the losses' gradients by the stack's output at their own steps.
        at: [n] int64, those steps, rising.
        lags: how far back.
        inputs: whether also by the input.
    """
    carried: list[States] = [
        tuple(seeds.new_zeros(*seeds.shape[:2], size) for size in layer.sizes) for layer in layers
    ]
    first = 0
    for k in range(lags + 1):
        gone = int((at[first:] < k).sum())
        if gone:
            first += gone
            carried = [tuple(state[gone:] for state in states) for states in carried]
        if first == len(at):
            return
        step = at[first:] - k
        states, above = pull_through(layers, carried, seeds if k == 0 else None, step, inputs=inputs)
        yield Lag(k, first, states, above)


def pull_through(
    layers: Sequence[Linear], carried: list[States], above: Tensor | None, step: Tensor, *, inputs: bool
) -> tuple[list[States], Tensor | None]:
    """Pull everything through one step, the top layer first; replaces `carried`.

    Args:
        layers: of one stack, the lowest first.
        carried: of each layer, what comes from later steps: [n, B, ·] by state.
        above: [n, B, P] what the losses add at this step, by the stack's output; or None.
        step: [n] int64. inputs: whether also by the stack's input.
    Returns:
        The whole cotangents of each layer's states after the step, and that of its input [n, B, I], or None.
    """
    found: list[States] = []
    for level in reversed(range(len(layers))):
        here = carried[level]
        if above is not None:
            here = (here[0] + above, *here[1:])
        states, carried[level], da = layers[level].pull(step, here)
        found.insert(0, states)
        above = da @ layers[level].weight_ih if level or inputs else None
    return found, above
