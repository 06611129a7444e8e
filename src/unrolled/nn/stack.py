"""The stack: layers upon layers, in one direction or two, by one call of an op for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import dropout

from unrolled import ops
from unrolled.nn.door import Entry, States

_OPS: dict[str, Callable[..., Any]] = {
    "LSTM": ops.lstm,
    "GRU": ops.gru,
    "RNN_TANH": ops.rnn,
    "RNN_RELU": ops.rnn,
}


class OneCall(NamedTuple):
    """One layer in one direction: the op and what it is given."""

    name: str  # as in the weights' names: "l0", "l0_reverse", "l1", …
    op: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def run(
    layer: torch.nn.RNNBase, entry: Entry, *, backend: str, trajectories: bool
) -> tuple[Tensor, States, list[Any]]:
    """Run the whole stack. Return y [T, B, D·P], the states [L·D, B, ·], and the trajectories."""
    x = entry.x
    finals: list[States] = []
    traces: list[Any] = []
    for level in range(layer.num_layers):
        outputs: list[Tensor] = []
        for call in calls(layer, level, x, entry, backend=backend, trajectories=trajectories):
            y, state, *trace = call.op(*call.args, **call.kwargs)
            outputs.append(y)
            finals.append(state if isinstance(state, tuple) else (state,))
            traces += trace
        x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
        if layer.dropout > 0 and level + 1 < layer.num_layers:
            x = dropout(x, layer.dropout, layer.training)
    if len(finals) == 1:
        return x, tuple(state[None] for state in finals[0]), traces
    return x, tuple(torch.stack(each) for each in zip(*finals, strict=True)), traces


def calls(
    layer: torch.nn.RNNBase, level: int, x: Tensor, entry: Entry, *, backend: str, trajectories: bool = False
) -> Iterator[OneCall]:
    """Yield the calls of one layer of the stack: forward, then reverse where it is bidirectional."""
    directions = (False, True) if layer.bidirectional else (False,)
    for index, reverse in enumerate(directions, start=level * len(directions)):
        name = f"l{level}_reverse" if reverse else f"l{level}"
        states = tuple(state[index] for state in entry.states)
        options = {
            "lengths": entry.lengths,
            "resets": entry.resets,
            "reverse": reverse,
            "trajectories": trajectories,
            "backend": backend,
        }
        if layer.mode.startswith("RNN"):
            options["nonlinearity"] = "relu" if layer.mode == "RNN_RELU" else "tanh"
        yield OneCall(
            name=name,
            op=_OPS[layer.mode],
            args=(x, states if layer.mode == "LSTM" else states[0], *_weights(layer, name)),
            kwargs=options,
        )


def _weights(layer: torch.nn.RNNBase, name: str) -> list[Tensor | None]:
    # By attribute and at call time: weight_norm's hooks and functional_call put other tensors there.
    kinds = ["weight_ih", "weight_hh"]
    weights: list[Tensor | None] = [getattr(layer, f"{kind}_{name}") for kind in kinds]
    weights += [getattr(layer, f"{kind}_{name}") if layer.bias else None for kind in ("bias_ih", "bias_hh")]
    if layer.proj_size:
        weights.append(getattr(layer, f"weight_hr_{name}"))
    return weights
