"""The Jacobian of one step of a cell, along a run: gradients through time, and disturbances of the state.

`vjp` takes gradients with respect to the states after steps to those before them, as back-propagation through
time does; `jvp` takes a small disturbance of the state before a step to the one after it. Each cell's class
is beside its reference, the function that is differentiated.

Back-propagation from many losses at once: the losses at steps t_1 … t_n of B rows are n · B independent
gradients. At lag k all of them go back through one step each (step t_i − k), so a lag is one matrix product
per layer, whatever n is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor

from unrolled.ops.call import Call, States

__all__ = ["Lag", "StepJacobian", "backward_step", "gradients_by_lag"]

Before = Callable[[str], Tensor]  # a state's name → the state before each step, [T, B, ·]


@dataclass(frozen=True)
class StepJacobian(ABC):
    """The Jacobians of one layer along one run of T steps and B rows.

    A cell's class has `factors_of`, `vjp` and `jvp`. In both, `edge` applies what a reset cut.
    """

    weight_ih: Tensor  # [G·H, I]
    weight_hh: Tensor  # [G·H, P]
    weight_hr: Tensor | None  # [P, H]
    factors: Tensor  # [T, B, F, H], what the cell's Jacobian is made of
    carried: Tensor | None  # [T, B, 1], 0 where the state was reset before the step
    sizes: tuple[int, ...]  # the widths of the states

    @staticmethod
    @abstractmethod
    def factors_of(call: Call, trajectory: Any, before: Before, /) -> tuple[Tensor, ...]:
        """Return the F factors, [T, B, H] each.

        Args:
            call, trajectory: what the op was given, and every trace and state of the run.
            before: a state's name → that state before each step, zero where it was reset.
        """

    @abstractmethod
    def vjp(self, at: Tensor, gradients: States) -> tuple[States, States, Tensor]:
        """Take gradients with respect to the states after steps `at` back through those steps.

        Args:
            at: [n] int64, the step of each gradient.
            gradients: with respect to h [n, B, P], whole; to c [n, B, H], without what reaches it through h.
        Returns:
            The whole gradients with respect to the states after the steps, those with respect to the states
            before them, and that with respect to the pre-activations on the input's side [n, B, G·H].
        """

    @abstractmethod
    def jvp(self, step: int, tangents: States) -> States:
        """Take tangents [B, D, P] (and [B, D, H]) of the states before one step to those after it."""

    def of_row(self, row: int) -> StepJacobian:
        """Return the Jacobians of one row alone."""
        carried = None if self.carried is None else self.carried[:, row : row + 1]
        return replace(self, factors=self.factors[:, row : row + 1], carried=carried)

    def at(self, at: Tensor) -> tuple[Tensor, ...]:
        """Return the factors at steps `at`, [n, B, H] each, for `vjp`."""
        return self.factors[at].unbind(-2)

    def during(self, step: int) -> tuple[Tensor, ...]:
        """Return the factors during one step, [B, 1, H] each, for `jvp`."""
        return self.factors[step].unsqueeze(1).unbind(-2)

    def edge(self, at: Tensor | int, states: States) -> States:
        """Zero the rows whose state was reset: gradients that leave steps, tangents that enter one."""
        if self.carried is None:
            return states
        carried = self.carried[at] if isinstance(at, Tensor) else self.carried[at].unsqueeze(1)
        return tuple(state * carried for state in states)


class Lag(NamedTuple):
    """The losses' gradients, k steps back."""

    k: int
    first: int  # the losses before this one have no step so far back
    states: list[States]  # with respect to each layer's states, [n − first, B, ·]
    x: Tensor | None  # with respect to the lowest layer's input, where asked for


def gradients_by_lag(
    layers: Sequence[StepJacobian], seeds: Tensor, at: Tensor, lags: int, *, inputs: bool = False
) -> Iterator[Lag]:
    """Yield the gradients of n · B losses with respect to the states of a stack, lag by lag.

    Args:
        layers: of one stack, the lowest first.
        seeds: [n, B, P] the losses' gradients with respect to the stack's output at their own steps.
        at: [n] int64, those steps, rising.
        lags: how far back.
        inputs: whether also with respect to the input.
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
        states, above = backward_step(layers, carried, seeds if k == 0 else None, step, inputs=inputs)
        yield Lag(k, first, states, above)


def backward_step(
    layers: Sequence[StepJacobian], carried: list[States], above: Tensor | None, step: Tensor, *, inputs: bool
) -> tuple[list[States], Tensor | None]:
    """Take gradients back through one step of a stack, the top layer first; replaces `carried`.

    Args:
        layers: of one stack, the lowest first.
        carried: per layer, what comes from later steps: [n, B, ·] per state.
        above: [n, B, P] what the losses add at this step, with respect to the stack's output; or None.
        step: [n] int64. inputs: whether also with respect to the stack's input.
    Returns:
        The whole gradients with respect to each layer's states after the step, and to its input [n, B, I] or
        None.
    """
    found: list[States] = []
    for level in reversed(range(len(layers))):
        here = carried[level]
        if above is not None:
            here = (here[0] + above, *here[1:])
        states, carried[level], da = layers[level].vjp(step, here)
        found.insert(0, states)
        above = da @ layers[level].weight_ih if level or inputs else None
    return found, above
