"""The gradient over the targets of every rank: one buffer, and one all_reduce a step.

Not DistributedDataParallel, which gives the mean of the ranks' means, and wants the loss to come out of its
own forward pass: docs/decisions/0038.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from unrolled.train.processes import Processes

__all__ = ["Reduction"]

DIGIT = 4096  # a count is sent as two digits of this base, each of which float32 adds up exactly


class Reduction:
    """Sums the gradients, losses, numbers of targets and flags of all ranks in a step."""

    def __init__(self, processes: Processes, weights: Iterable[torch.nn.Parameter], *, flags: int) -> None:
        """Take the parameters, in the same order on every rank; `flags`: how many flags `add` is given."""
        self._processes, self._weights = processes, list(weights)
        sizes = [weight.numel() for weight in self._weights]
        kinds = (weight.dtype for weight in self._weights)
        kind = functools.reduce(torch.promote_types, kinds, torch.float32)
        self._size = sum(sizes)
        self._buffer = torch.zeros(self._size + len(sizes) + 3 + flags, dtype=kind)
        ends = [self._size, self._size + len(sizes)]
        gradient, self._has, self._sums = torch.tensor_split(self._buffer, ends)
        parts = torch.split(gradient, sizes)
        self._parts = [part.view_as(weight) for part, weight in zip(parts, self._weights, strict=True)]

    @property
    def bytes(self) -> int:
        """How many bytes a rank sends at each step."""
        return self._buffer.numel() * self._buffer.element_size()

    def add(self, mean: float, targets: int, flags: Sequence[float]) -> tuple[float, int, list[float]]:
        """Return the mean loss over the targets of all ranks, how many there are, and the sums of the flags.

        Args:
            mean: the loss of this rank's targets; the parameters have its gradient, which stays as it is.
            targets: how many they are, 0 where a rank has none.
        """
        for part, weight in zip(self._parts, self._weights, strict=True):
            if weight.grad is None:
                part.zero_()
            else:
                part.copy_(weight.grad).mul_(targets)
        self._has.copy_(torch.tensor([float(weight.grad is not None) for weight in self._weights]))
        sums = (targets // DIGIT, targets % DIGIT, mean * targets if targets else 0.0, *flags)
        self._sums.copy_(torch.tensor(sums, dtype=torch.float64))
        self._processes.all_reduce(self._buffer)
        high, low, loss, *heard = self._sums.tolist()
        count = int(high) * DIGIT + int(low)
        self._buffer[: self._size].div_(max(count, 1))
        return loss / max(count, 1), count, heard

    @property
    def gradients(self) -> list[Tensor]:
        """The gradient of that mean, of the parameters for which a rank has one."""
        has = self._has.tolist()
        return [part for part, known in zip(self._parts, has, strict=True) if known]

    def hand_out(self) -> None:
        """Set the parameters' `grad` to views of that gradient in the buffer."""
        for weight, part, known in zip(self._weights, self._parts, self._has.tolist(), strict=True):
            weight.grad = part if known else None
