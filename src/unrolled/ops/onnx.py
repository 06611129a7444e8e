"""A call of an op as ONNX's own LSTM, GRU or RNN, while torch.onnx.export looks at a model.

Both exporters take it without being told: for the one that traces, `_Traced` is a function with a `symbolic`
of its own; for the one with dynamo=True the operator stands in the graph as one of `torch.onnx.ops`. Nothing
is unrolled over time, so steps, rows and lengths stay free.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from unrolled.errors import ConfigError, expected
from unrolled.ops.call import Call, Result

__all__ = ["ONNX_GATES", "ONNX_OPERATORS", "ONNX_PEEPHOLES", "is_exporting", "run"]

# Of our blocks, in ONNX's order: i o f c, z r h.
ONNX_GATES = {
    "lstm": (0, 3, 1, 2),
    "gru": (1, 0, 2),
    "rnn": (0,),
    "peephole_lstm": (0, 3, 1, 2),
    "reset_before_gru": (1, 0, 2),
}
ONNX_OPERATORS = {name: name.rpartition("_")[2].upper() for name in ONNX_GATES}
ONNX_PEEPHOLES = (0, 2, 1)  # of our blocks i f o, in ONNX's order i o f
_C: Any = torch._C
FROM_HERE = "while a model is exported to ONNX"


def is_exporting() -> bool:
    """Whether torch.onnx.export is at work."""
    return torch.onnx.is_in_onnx_export()


def run(call: Call, compute: Callable[[Call], Result]) -> Result:
    """Put a call into the graph that is being made, as one node of ONNX.

    Args:
        compute: the call's result, which a tracer wants to see.
    Raises:
        ConfigError: ONNX has no such cell, projection, resets or trajectories.
    """
    _check(call)
    hidden, steps, rows = _hidden(call), call.x.shape[0], call.x.shape[1]
    attributes: dict[str, Any] = {
        "hidden_size": hidden,
        "direction": "reverse" if call.reverse else "forward",
    }
    if call.op == "gru":
        attributes["linear_before_reset"] = 1  # the reset is applied behind the product, as torch does
    if call.op == "rnn":
        attributes["activations"] = [call.nonlinearity.capitalize()]
    lengths = None if call.lengths is None else call.lengths.to(torch.int32)
    kind, states = ONNX_OPERATORS[call.op], [state.unsqueeze(0) for state in call.states]
    inputs = (call.x, *_weights(call), lengths, *states, *_peepholes(call))
    if torch._C._get_tracing_state() is not None:
        found = _Traced.apply(call, compute, kind, attributes, *inputs)  # type: ignore[no-untyped-call]
    else:
        shapes = [(steps, 1, rows, hidden), *[(1, rows, hidden)] * len(call.states)]
        found = torch.onnx.ops.symbolic_multi_out(
            kind, inputs, attributes, dtypes=[call.x.dtype] * len(shapes), shapes=shapes
        )
    y, *after = found
    finals = tuple(state.squeeze(0) for state in after)
    if call.lengths is not None:  # of a row without steps ONNX says nothing
        empty = (call.lengths == 0).unsqueeze(1)
        finals = tuple(torch.where(empty, old, new) for old, new in zip(call.states, finals, strict=True))
    return Result(y.squeeze(1), finals, ())


def _peepholes(call: Call) -> tuple[Tensor, ...]:
    """Return P [1, 3·H] in ONNX's order; nothing of a cell without peepholes."""
    if call.op != "peephole_lstm":
        return ()
    hidden, weight = _hidden(call), call.further[0]
    parts = [weight[place * hidden : (place + 1) * hidden] for place in ONNX_PEEPHOLES]
    return (torch.cat(parts).unsqueeze(0),)


def _hidden(call: Call) -> int:
    """Return H as a number: a tracer has tensors for sizes, and the weights' do not vary."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return int(call.weight_hh.shape[1])


def _check(call: Call) -> None:
    if call.op not in ONNX_GATES:
        raise ConfigError(
            expected("cell", f"one that ONNX has {FROM_HERE}: {', '.join(ONNX_GATES)}", call.op)
        )
    given = {
        "proj_size": call.weight_hr,
        "resets": call.resets,
        "trajectories": call.trajectories or None,
        "zoneout": call.zoneout or None,
        "recurrent_dropout": call.recurrent_mask,
    }
    for name, value in given.items():
        if value is not None:
            want = f"none {FROM_HERE}, whose {ONNX_OPERATORS[call.op]} has none"
            raise ConfigError(expected(name, want, type(value).__name__))


def _weights(call: Call) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return W [1, G·H, I], R [1, G·H, H] and B [1, 2·G·H] in ONNX's order of gates."""
    gates = ONNX_GATES[call.op]
    hidden = _hidden(call)

    def ordered(weight: Tensor) -> Tensor:
        if len(gates) == 1:
            return weight
        return torch.cat([weight[gate * hidden : (gate + 1) * hidden] for gate in gates])

    bias = None
    if call.bias_ih is not None or call.bias_hh is not None:
        one: Any = call.bias_ih if call.bias_ih is not None else call.bias_hh
        halves = [torch.zeros_like(one) if half is None else half for half in (call.bias_ih, call.bias_hh)]
        bias = torch.cat([ordered(half) for half in halves]).unsqueeze(0)
    return ordered(call.weight_ih).unsqueeze(0), ordered(call.weight_hh).unsqueeze(0), bias


class _Traced(torch.autograd.Function):
    """One node, to the exporter that traces: `symbolic` says which."""

    @staticmethod
    def forward(_: Any, call: Call, compute: Any, *_node: Any) -> Any:
        tracing = torch._C._get_tracing_state()
        _C._set_tracing_state(None)  # what computes the numbers is no part of the graph
        try:
            y, states, _traces = compute(call)
        finally:
            _C._set_tracing_state(tracing)
        return (y.unsqueeze(1), *(state.unsqueeze(0) for state in states))

    @staticmethod
    def symbolic(g: Any, call: Call, _: Any, kind: str, attributes: Any, *inputs: Any) -> Any:
        def given(value: Any) -> Any:
            if value is not None:
                return value
            absent = g.op("prim::Constant")
            absent.setType(torch._C.OptionalType.ofTensor())
            return absent

        ends = {int: "_i", str: "_s", list: "_s"}
        named = {name + ends[type(value)]: value for name, value in attributes.items()}
        return g.op(kind, *map(given, inputs), outputs=1 + len(call.states), **named)
