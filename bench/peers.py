"""Who is measured: this package, torch.nn in the ways that people use it, ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import unrolled.nn
from cases import Case
from unrolled.errors import expected
from unrolled.nn import Recurrent

NEAR = 1e-3  # of the norm: float32 sums in another order, over up to 1,000 steps


@dataclass(frozen=True)
class Peer:
    """A call to be timed, and the tensors whose gradients it leaves; none for a forward pass."""

    call: Callable[[], Tensor]  # gives y [T, B, H]
    leaves: tuple[Tensor, ...] = ()


def ours(case: Case, backend: str) -> Recurrent:
    """Return this package's layer with the weights of `case.torch_layer()`."""
    kind: Callable[..., Recurrent] = getattr(unrolled.nn, case.cell.upper())
    layer = kind(case.I, case.H, backend=backend)
    layer.load_state_dict(case.torch_layer().state_dict())
    return layer


def forward(case: Case, run: Callable[[Tensor], Tensor]) -> Peer:
    """Return the forward pass alone, without gradients."""
    x = case.x().detach()

    def call() -> Tensor:
        with torch.no_grad():
            return run(x)

    return Peer(call)


def training(
    case: Case, run: Callable[[Tensor], Tensor], module: torch.nn.Module, valid: Tensor | None = None
) -> Peer:
    """Return forward and backward, with gradients for x and every weight of the module.

    `valid` [T, B, 1] zeroes the gradient sent into y past a row's length: then a run on the padded
    batch leaves the gradients of the ragged one.
    """
    x, dy = case.x(), case.dy() if valid is None else case.dy() * valid
    leaves = (x, *module.parameters())

    def call() -> Tensor:
        for leaf in leaves:
            leaf.grad = None
        y = run(x)
        torch.autograd.backward(y, dy)
        return y

    return Peer(call, leaves)


def dense(module: torch.nn.Module) -> Callable[[Tensor], Tensor]:
    """Run a layer on full rows."""

    def run(x: Tensor) -> Tensor:
        y: Tensor = module(x)[0]
        return y

    return run


def with_rows(module: Recurrent, *, lengths: Tensor | None = None, resets: Tensor | None = None
              ) -> Callable[[Tensor], Tensor]:  # fmt: skip
    """Run this package's layer on rows of unequal length, or with resets."""

    def run(x: Tensor) -> Tensor:
        y: Tensor = module(x, lengths=lengths, resets=resets)[0]
        return y

    return run


def with_trajectories(module: Recurrent) -> Callable[[Tensor], Tensor]:
    """Run this package's layer and keep every gate and state."""

    def run(x: Tensor) -> Tensor:
        y: Tensor = module.trajectories(x)[0]
        return y

    return run


def packed(module: torch.nn.RNNBase, lengths: Tensor) -> Callable[[Tensor], Tensor]:
    """Pack, run torch.nn's layer, unpack."""

    def run(x: Tensor) -> Tensor:
        y, _ = module(pack_padded_sequence(x, lengths, enforce_sorted=False))
        return pad_packed_sequence(y, total_length=len(x))[0]

    return run


class CellLoop(torch.nn.Module):
    """The loop that people write to reset a state in mid-sequence, with torch.nn's cell."""

    def __init__(self, case: Case, resets: Tensor) -> None:
        super().__init__()
        kind: Callable[[int, int], torch.nn.RNNCellBase] = getattr(torch.nn, f"{case.cell.upper()}Cell")
        self.cell = kind(case.I, case.H)
        state = case.torch_layer().state_dict()
        self.cell.load_state_dict({name.removesuffix("_l0"): value for name, value in state.items()})
        self.keep = 1 - resets[..., None].float()  # [T, B, 1]
        self.hidden_size, self.two_states = case.H, case.cell == "lstm"

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return y [T, B, H] and the last h."""
        h = c = x.new_zeros(x.shape[1], self.hidden_size)
        ys = []
        for x_t, keep in zip(x, self.keep, strict=True):
            if self.two_states:
                h, c = self.cell(x_t, (h * keep, c * keep))
            else:
                h = self.cell(x_t, h * keep)
            ys.append(h)
        return torch.stack(ys), h


def check_alike(case: Case, peers: Mapping[str, Peer], valid: Tensor | float = 1.0) -> None:
    """Raise unless every peer gives the first one's y, where valid, and its gradients, but for rounding."""
    results = {name: [peer.call().detach() * valid, *_gradients(peer)] for name, peer in peers.items()}
    (first, want), *others = results.items()
    for name, got in others:
        for place, (a, b) in enumerate(zip(got, want, strict=True)):
            error = float((a - b).norm() / b.norm().clamp(min=1e-6))  # some are all zero
            if not error < NEAR:  # NaN is not near
                what = f"{case}: {name}'s {f'gradient {place}' if place else 'y'}"
                raise ArithmeticError(expected(what, f"{first}'s", f"a relative error of {error:.1e}"))


def _gradients(peer: Peer) -> list[Tensor]:
    return [leaf.grad for leaf in peer.leaves if leaf.grad is not None]


def trainer(case: Case, who: str, backend: str) -> Peer:
    """Return forward and backward on full rows, by "unrolled" or by "torch.nn"."""
    module = ours(case, backend) if who == "unrolled" else case.torch_layer()
    return training(case, dense(module), module)
