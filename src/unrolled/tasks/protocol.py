"""What the trainer knows of a model, and nothing more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from unrolled.data import Batch
from unrolled.tasks.telemetry import Telemetry

__all__ = ["SequenceModel", "State", "detach"]

# One tensor [L, B, H] for rnn and gru; (h, c) for lstm.
State: TypeAlias = Tensor | tuple[Tensor, Tensor]


class SequenceModel(Protocol):
    """A network that reads batches of sequences and hands its state on.

    It is a `torch.nn.Module` too; the methods of that class the trainer uses are listed here.
    """

    def initial_state(self, batch_size: int) -> State:
        """Return the zero state of `batch_size` rows."""
        ...

    def loss(self, batch: Batch, state: State) -> tuple[Tensor, int, State]:
        """Return the summed loss in nats (with gradient), the targets it covers, and the state after."""
        ...

    def evaluate(self, batches: Iterable[Batch], *, carry: bool) -> tuple[float, int]:
        """Return summed nats and targets over `batches`, in evaluation mode, without gradient."""
        ...

    def telemetry(self, batch: Batch, state: State) -> Telemetry:
        """Measure how the gradient fares and gates stand; nothing changes."""
        ...

    def train(self, mode: bool = True) -> torch.nn.Module: ...
    def zero_grad(self, set_to_none: bool = True) -> None: ...
    def parameters(self) -> Iterator[torch.nn.Parameter]: ...
    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]: ...
    def named_modules(self) -> Iterator[tuple[str, torch.nn.Module]]: ...
    def state_dict(self) -> Mapping[str, Tensor]: ...


def detach(state: State) -> State:
    """Cut the graph behind a state: the boundary of truncated back-propagation through time."""
    if isinstance(state, Tensor):
        return state.detach()
    return state[0].detach(), state[1].detach()
