"""A cell by one step of it: its reference, and its Jacobian where nobody wrote that out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from unrolled.ops.call import Call, Result, States
from unrolled.ops.jacobian import Before, StepJacobian
from unrolled.ops.scan import Step, scan, zoned
from unrolled.spec import CELLS

__all__ = ["Define", "DifferentiatedStep", "Recurrence", "by_steps", "kept", "of_hidden"]


class Recurrence(NamedTuple):
    """A step of a cell, apart from the product with the input, which is one for all steps.

    Attributes:
        step: what the input gives [B, G·H] and the states before → the states after, h first, and the traces.
        of_input: x · weight_ihᵀ [T, B, G·H] → what `step` reads; None: bias_ih is added.
    """

    step: Step
    of_input: Callable[[Tensor], Tensor] | None = None


Define = Callable[[Call], Recurrence]


def by_steps(define: Define) -> Callable[[Call], Result]:
    """Return the reference of a cell that is defined by its step."""

    def reference(call: Call) -> Result:
        step, of_input = define(call)

        def project(x: Tensor) -> Tensor:  # [T, B, I] → [T, B, G·H]
            if of_input is None:
                return linear(x, call.weight_ih, call.bias_ih)
            return of_input(linear(x, call.weight_ih))

        return scan(call, project, step)

    return reference


def of_hidden(call: Call, h: Tensor) -> Tensor:
    """Return what the hidden state gives: h [B, P] → [B, G·H], with what recurrent dropout leaves of it."""
    return linear(kept(call, h), call.weight_hh, call.bias_hh)


def kept(call: Call, h: Tensor) -> Tensor:
    """Return what recurrent dropout leaves of h on its way to weight_hh."""
    return h if call.recurrent_mask is None else h * call.recurrent_mask


@dataclass(frozen=True)
class DifferentiatedStep(StepJacobian):
    """The step Jacobian of any cell, by differentiating a step of its reference.

    Its one factor is x · weight_ihᵀ beside the states before each step. It runs the step again, which a
    Jacobian that is written out does not.
    """

    call: Call  # without gradient
    define: Define

    @staticmethod
    def factors_of(call: Call, _: Any, before: Before, /) -> tuple[Tensor, ...]:
        states = [before(name) for name in CELLS[call.op].states]
        return (torch.cat((linear(call.x, call.weight_ih), *states), dim=-1).detach(),)

    def vjp(self, at: Tensor, gradients: States) -> tuple[States, States, Tensor]:
        with torch.enable_grad():
            leaves = self._leaves(self.at(at)[0])
            after = self._after(leaves)
            found = torch.autograd.grad(
                after, [*after, *leaves], gradients, allow_unused=True, materialize_grads=True
            )
        whole, of_input, before = found[: len(after)], found[len(after)], found[len(after) + 1 :]
        return whole, self.edge(at, before), of_input

    def jvp(self, step: int, tangents: States) -> States:
        tangents = self.edge(step, tangents)
        (joined,) = self.during(step)
        with torch.enable_grad():  # the vjp is linear in its gradients: its own vjp is the jvp
            leaves = self._leaves(joined.expand(*tangents[0].shape[:-1], -1))
            after = self._after(leaves)
            zeros = [torch.zeros_like(state).requires_grad_() for state in after]
            before = torch.autograd.grad(
                after, leaves[1:], zeros, create_graph=True, allow_unused=True, materialize_grads=True
            )
            return torch.autograd.grad(before, zeros, tangents, allow_unused=True, materialize_grads=True)

    def _leaves(self, joined: Tensor) -> States:
        sizes = [joined.shape[-1] - sum(self.sizes), *self.sizes]
        return tuple(part.detach().requires_grad_() for part in torch.split(joined, sizes, dim=-1))

    def _after(self, leaves: States) -> States:
        of_x, *states = leaves
        step, of_input = self.define(self.call)
        if of_input is not None:
            of_x = of_input(of_x)
        elif self.call.bias_ih is not None:
            of_x = of_x + self.call.bias_ih
        after, _ = step(of_x, tuple(states))
        return zoned(self.call, 0, tuple(states), after) if self.call.zoneout else after
