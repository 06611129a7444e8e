"""Training calls of few steps: there a layer's backend `auto` takes torch.nn's own call, which is faster.

The engine's call with gradients has a cost of its own, autograd's and Python's, that an RNN of one step does
not earn back; and for a single row torch.nn computes the weights' gradients faster. An LSTM in float32 has no
such calls: torch.nn's goes through oneDNN, which costs more. Calls that want no gradient are never taken:
what they give has the engine's bits, however a sequence is cut. See docs/decisions/0033 for the measurements.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from unrolled import kernels
from unrolled.nn.options import beside_torch
from unrolled.nn.validate import is_by_hand


class _Calls(NamedTuple):
    """Calls that torch.nn runs faster."""

    steps: int  # at most
    rows: float = math.inf  # at most
    weights: int = 0  # of a layer, at least
    products: float = math.inf  # of weights and rows, fewer than


_RNN: dict[torch.dtype, tuple[_Calls, ...]] = {
    torch.float32: (
        _Calls(1, products=1_500_000),
        _Calls(2, products=150_000),
        _Calls(2, rows=1, weights=300_000),
    ),
    torch.float64: (_Calls(1), _Calls(2, products=1_600_000), _Calls(3, products=400_000)),
}
_BY_STEPS = (_Calls(1), _Calls(2, rows=4, weights=350_000), _Calls(3, rows=1, weights=500_000))
_FASTER: dict[str, dict[torch.dtype, tuple[_Calls, ...]]] = {
    "RNN_TANH": _RNN,
    "RNN_RELU": _RNN,
    "GRU": {torch.float32: (_Calls(1, rows=1, weights=10_000),), torch.float64: _BY_STEPS},
    "LSTM": {torch.float64: _BY_STEPS},
    "LSTM projected": {
        torch.float32: (_Calls(1, rows=1, weights=10_000), _Calls(1, rows=4, weights=1_000_000)),
        torch.float64: _BY_STEPS,
    },
}
_KERNELS: dict[str, tuple[Any, int]] = {  # and the number of gates
    "RNN_TANH": (torch.rnn_tanh, 1),
    "RNN_RELU": (torch.rnn_relu, 1),
    "GRU": (torch.gru, 3),
    "LSTM": (torch.lstm, 4),
}
_REFUSALS = (AttributeError, RuntimeError, TypeError, ValueError, Warning)
_tracing = torch._C._get_tracing_state
_transforms = torch._C._are_functorch_transforms_active
_autocasting = torch.is_autocast_enabled
REASON = "a training call of so few steps: torch.nn's own call is faster (backend='native' keeps the engine)"


def run_layer(layer: Any, input: Any, hx: Any) -> tuple[Tensor, Any] | None:
    """Run a layer by torch's kernel as torch.nn does; None where the usual path must be taken."""
    if not is_faster_on_torch(layer, input):
        return None
    parameters = layer._parameters
    flat = [parameters.get(name) for name in layer._flat_weights_names]
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    of_h = (count, *_rows(layer, input), layer.proj_size or layer.hidden_size)
    of_c = (*of_h[:-1], layer.hidden_size)
    lstm, batched = layer.mode == "LSTM", input.dim() == 3
    if hx is None:
        h = input.new_zeros(of_h)
        hx = h if not lstm else (h, h if of_c == of_h else input.new_zeros(of_c))
    elif not _fits(hx[0], of_h) or len(hx) != 2 or not _fits(hx[1], of_c) if lstm else not _fits(hx, of_h):
        return None
    if not batched:
        input, hx = input.unsqueeze(1), [each.unsqueeze(1) for each in hx] if lstm else hx.unsqueeze(1)
    how = (layer.bias, layer.num_layers, layer.dropout, layer.training, layer.bidirectional)
    try:
        y, h, *c = _KERNELS[layer.mode][0](input, hx, flat, *how, layer.batch_first and batched)
    except _REFUSALS:  # in torch's words; the usual path says it in ours
        return None
    if not batched:
        y, h, c = y.squeeze(1), h.squeeze(1), [each.squeeze(1) for each in c]
    return y, (h, *c) if lstm else h


def is_faster_on_torch(layer: Any, input: Any) -> bool:
    """Whether a call without lengths and resets is one that torch's kernel runs faster."""
    if type(input) is not Tensor or not torch.is_grad_enabled() or layer.backend != "auto":
        return False
    faster = _FASTER.get("LSTM projected" if layer.proj_size else layer.mode, {}).get(input.dtype)
    if faster is None or _tracing() is not None or input.dim() not in (2, 3):
        return False
    shape = input.shape
    steps, rows = (shape[0], 1) if len(shape) == 2 else shape[:2]
    if layer.batch_first and len(shape) == 3:
        steps, rows = rows, steps
    if not 0 < steps <= faster[-1].steps or not rows or shape[-1] != layer.input_size:
        return False
    hidden, gates = layer.hidden_size, _KERNELS[layer.mode][1]
    weights = gates * hidden * (layer.input_size + (layer.proj_size or hidden))
    if not any(
        steps <= calls.steps
        and rows <= calls.rows
        and weights >= calls.weights
        and weights * rows < calls.products
        for calls in faster
    ):
        return False
    parameters = layer._parameters
    weight = parameters.get("weight_ih_l0")
    if weight is None or not (input.requires_grad or weight.requires_grad):
        return False
    if any(is_by_hand(layer, n, parameters.get(name)) for n, name in enumerate(layer._flat_weights_names)):
        return False
    if layer.dropout and layer.num_layers > 1 and getattr(layer, "between_layers", None) is not None:
        return False
    plain = input.is_cpu and len(parameters) == len(layer._flat_weights_names)
    return plain and layer.recompute is None and not beside_torch(layer) and not _is_transformed()


def _rows(layer: Any, input: Tensor) -> tuple[int, ...]:
    return (input.shape[0 if layer.batch_first else 1],) if input.dim() == 3 else ()


def _fits(state: Any, shape: tuple[int, ...]) -> bool:
    return isinstance(state, Tensor) and state.shape == shape


def _is_transformed() -> bool:
    """Whether something here casts or transforms what torch runs, or there is no engine to prefer."""
    return _transforms() or _autocasting("cpu") or forward_ad._current_level >= 0 or not kernels.available()
