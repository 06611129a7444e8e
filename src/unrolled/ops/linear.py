"""One step of each cell, linearised along a run: cotangents pulled back through it, tangents pushed forward.

Pulling is what back-propagation through time does, pushing what a small disturbance of the state does. Both
are the Jacobian that a run's gates define; `ops/<cell>/reference.py` is the function differentiated here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

__all__ = ["Linear", "linearise"]

States = tuple[Tensor, ...]  # (h,) or (h, c)


@dataclass(frozen=True)
class Linear(ABC):
    """The Jacobians of one layer along one run of T steps and B rows."""

    weight_ih: Tensor  # [G·H, I]
    weight_hh: Tensor  # [G·H, P]
    weight_hr: Tensor | None  # [P, H]
    factors: Tensor  # [T, B, F, H], what the cell's Jacobian is made of
    keep: Tensor | None  # [T, B, 1], 0 where the state was reset before the step

    @property
    def sizes(self) -> tuple[int, ...]:
        """The widths of the states: (H,), or (P, H) for an LSTM."""
        return (self.weight_hh.shape[1],)

    @abstractmethod
    def pull(self, at: Tensor, cotangents: States) -> tuple[States, States, Tensor]:
        """Pull cotangents of the states after steps `at` back through those steps.

        Args:
            at: [n] int64, the step of each cotangent.
            cotangents: [n, B, P] of h, all of it; [n, B, H] of c, without what reaches it through h.
        Returns:
            The whole cotangents of the states after the steps, those of the states before them, and that of
            the pre-activations on the input's side [n, B, G·H].
        """

    @abstractmethod
    def push(self, step: int, tangents: States) -> States:
        """Push tangents [B, D, P] (and [B, D, H]) of the states before one step through it."""

    def of_row(self, row: int) -> Linear:
        """Return the Jacobians of one row alone."""
        keep = None if self.keep is None else self.keep[:, row : row + 1]
        return replace(self, factors=self.factors[:, row : row + 1], keep=keep)

    def _gather(self, at: Tensor) -> tuple[Tensor, ...]:
        return self.factors[at].unbind(-2)

    def _edge(self, at: Tensor, states: States) -> States:
        return states if self.keep is None else tuple(state * self.keep[at] for state in states)

    def _into(self, step: int, states: States) -> States:
        return states if self.keep is None else tuple(s * self.keep[step].unsqueeze(1) for s in states)


class _RNN(Linear):
    def pull(self, at: Tensor, cotangents: States) -> tuple[States, States, Tensor]:
        (slope,) = self._gather(at)
        da = cotangents[0] * slope
        return cotangents, self._edge(at, (da @ self.weight_hh,)), da

    def push(self, step: int, tangents: States) -> States:
        (h,) = self._into(step, tangents)
        return ((h @ self.weight_hh.T) * self.factors[step].unsqueeze(1)[:, :, 0],)


class _LSTM(Linear):
    @property
    def sizes(self) -> tuple[int, ...]:
        return self.weight_hh.shape[1], self.weight_hh.shape[0] // 4

    def pull(self, at: Tensor, cotangents: States) -> tuple[States, States, Tensor]:
        of_i, of_f, of_g, of_o, of_c, f = self._gather(at)
        dh, dc = cotangents
        dm = dh if self.weight_hr is None else dh @ self.weight_hr
        dc = dc + dm * of_c
        da = torch.cat((dc * of_i, dc * of_f, dc * of_g, dm * of_o), dim=-1)
        return (dh, dc), self._edge(at, (da @ self.weight_hh, dc * f)), da

    def push(self, step: int, tangents: States) -> States:
        of_i, of_f, of_g, of_o, of_c, f = self.factors[step].unsqueeze(1).unbind(-2)
        h, c = self._into(step, tangents)
        ai, af, ag, ao = (h @ self.weight_hh.T).chunk(4, dim=-1)
        c = f * c + of_i * ai + of_f * af + of_g * ag
        m = of_c * c + of_o * ao
        return (m if self.weight_hr is None else m @ self.weight_hr.T), c


class _GRU(Linear):
    def pull(self, at: Tensor, cotangents: States) -> tuple[States, States, Tensor]:
        z, of_n, of_r, of_z, r = self._gather(at)
        (dh,) = cotangents
        an = dh * of_n
        ar, az = an * of_r, dh * of_z
        before = dh * z + torch.cat((ar, az, an * r), dim=-1) @ self.weight_hh
        return cotangents, self._edge(at, (before,)), torch.cat((ar, az, an), dim=-1)

    def push(self, step: int, tangents: States) -> States:
        z, of_n, of_r, of_z, r = self.factors[step].unsqueeze(1).unbind(-2)
        (h,) = self._into(step, tangents)
        ar, az, an = (h @ self.weight_hh.T).chunk(3, dim=-1)
        return (z * h + of_n * (r * an + of_r * ar) + of_z * az,)


def linearise(args: tuple[Any, ...], options: dict[str, Any], trace: Any) -> Linear:
    """Return the Jacobians of one call of an op.

    Args:
        args, options: what the op was given: x, states, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr.
        trace: the trajectory that it returned.
    """
    states = args[1] if isinstance(args[1], tuple) else (args[1],)
    weight_ih, weight_hh, _, bias_hh = args[2:6]
    weight_hr = args[6] if len(args) > 6 else None
    resets = options.get("resets")
    keep = None if resets is None else (~resets)[..., None].to(trace.h.dtype)
    kind, factors = _factors(trace, states, weight_hh, bias_hh, keep, options.get("nonlinearity"))
    return kind(weight_ih, weight_hh, weight_hr, torch.stack(factors, dim=-2), keep)


def _factors(
    trace: Any,
    states: States,
    weight_hh: Tensor,
    bias_hh: Tensor | None,
    keep: Tensor | None,
    nonlinearity: Any,
) -> tuple[type[Linear], tuple[Tensor, ...]]:
    if hasattr(trace, "c"):
        i, f, g, o, c, _ = trace
        squashed = c.tanh()
        c_before = _before(states[1], c, keep)
        of_gates = g * i * (1 - i), c_before * f * (1 - f), i * (1 - g * g), squashed * o * (1 - o)
        return _LSTM, (*of_gates, o * (1 - squashed * squashed), f)
    before = _before(states[0], trace.h, keep)
    if hasattr(trace, "z"):
        r, z, n, _ = trace
        hn = torch.nn.functional.linear(before, weight_hh, bias_hh).chunk(3, dim=-1)[2]
        return _GRU, (z, (1 - z) * (1 - n * n), hn * r * (1 - r), (before - n) * z * (1 - z), r)
    slope = (trace.a > 0).to(trace.h.dtype) if nonlinearity == "relu" else 1 - trace.h * trace.h
    return _RNN, (slope,)


def _before(first: Tensor, after: Tensor, keep: Tensor | None) -> Tensor:
    """Return the state before each step, [T, B, H]."""
    before = torch.cat((first[None], after[:-1])) if len(after) else after
    return before if keep is None else before * keep
