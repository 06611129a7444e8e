"""Pairs of layers: torch.nn's, and ours with its state_dict."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from unrolled import kernels, nn

KINDS = ("RNN", "LSTM", "GRU")
needs_kernels = pytest.mark.skipif(not kernels.available(), reason=str(kernels.why_not()))
BACKENDS = ("reference", "torch", pytest.param("native", marks=needs_kernels))


def pair(kind: str, *args: Any, seed: int = 0, **options: Any) -> tuple[torch.nn.RNNBase, torch.nn.RNNBase]:
    """Return torch.nn's layer and ours with the same weights, in float64 unless told."""
    options.setdefault("dtype", torch.float64)
    torch.manual_seed(seed)
    theirs = getattr(torch.nn, kind)(*args, **options)
    ours = getattr(nn, kind)(*args, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def state_for(layer: torch.nn.RNNBase, rows: int | None, seed: int = 1) -> Any:
    """Draw hx for a layer; rows is None where the input is unbatched."""
    generator = torch.Generator().manual_seed(seed)
    count = layer.num_layers * (2 if layer.bidirectional else 1)

    def draw(size: int) -> torch.Tensor:
        shape = (count, size) if rows is None else (count, rows, size)
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        return values.to(layer.weight_ih_l0.dtype).requires_grad_()

    h_0 = draw(layer.proj_size or layer.hidden_size)
    return (h_0, draw(layer.hidden_size)) if layer.mode == "LSTM" else h_0


def flat(result: Any) -> list[torch.Tensor]:
    """List the tensors of (output, state), packed or not, pair or not."""
    output, state = result
    output = output.data if isinstance(output, torch.nn.utils.rnn.PackedSequence) else output
    return [output, *(state if isinstance(state, tuple) else (state,))]


def assert_same(got: Any, want: Any, got_leaves: list[Any], want_leaves: list[Any]) -> None:
    """Assert equal outputs, and equal gradients of a fixed random weighting of them."""
    gradients = []
    for result, leaves in ((got, got_leaves), (want, want_leaves)):
        generator = torch.Generator().manual_seed(3)
        loss = torch.zeros((), dtype=torch.float64)
        for value in flat(result):
            loss = loss + (value * torch.randn(value.shape, generator=generator, dtype=torch.float64)).sum()
        gradients.append(torch.autograd.grad(loss, leaves, retain_graph=True))
    torch.testing.assert_close(flat(got), flat(want))
    torch.testing.assert_close(gradients[0], gradients[1])
