"""Training calls of few steps: there a layer's backend `auto` takes torch.nn's own call, which is faster.

The engine's call with gradients has a cost of its own, some 100 µs with the backward pass, that a few small
steps do not earn back. Calls that want no gradient are never taken: what they give has the engine's bits,
however a sequence is cut. See docs/decisions/0033 for the measurements that the limits rest on.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from unrolled import kernels
from unrolled.nn.options import beside_torch

_DTYPES = (torch.float32, torch.float64)
# mode → for calls of up to so many steps, from how many multiplications a step the engine is faster.
_LIMITS: dict[str, tuple[tuple[int, int], ...]] = {
    "RNN_TANH": ((1, 8_000_000), (5, 350_000)),
    "RNN_RELU": ((1, 8_000_000), (5, 350_000)),
    "GRU": ((1, 3_000_000),),
    "LSTM": ((2, 150_000),),
    "LSTM projected": ((1, 3_000_000), (2, 350_000)),
}
_KERNELS: dict[str, tuple[Any, int]] = {  # and the number of gates
    "RNN_TANH": (torch.rnn_tanh, 1),
    "RNN_RELU": (torch.rnn_relu, 1),
    "GRU": (torch.gru, 3),
    "LSTM": (torch.lstm, 4),
}
_MOST_STEPS = max(steps for limits in _LIMITS.values() for steps, _ in limits)
_REFUSALS = (AttributeError, RuntimeError, TypeError, ValueError, Warning)
_tracing = torch._C._get_tracing_state
_transforms = torch._C._are_functorch_transforms_active
_autocasting = torch.is_autocast_enabled
REASON = (
    "a training call of so few small steps: torch.nn's own call is faster (backend='native' keeps the engine)"
)


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
    if _tracing() is not None or input.dim() not in (2, 3):
        return False
    shape = input.shape
    steps = shape[1] if layer.batch_first and len(shape) == 3 else shape[0]
    if not 0 < steps <= _MOST_STEPS or layer.mode not in _KERNELS:
        return False
    limits = _LIMITS["LSTM projected" if layer.proj_size else layer.mode]
    if steps > limits[-1][0] or shape[-1] != layer.input_size:
        return False
    hidden, gates = layer.hidden_size, _KERNELS[layer.mode][1]
    rows = 1 if len(shape) == 2 else shape[0] if layer.batch_first else shape[1]
    products = gates * hidden * (layer.input_size + (layer.proj_size or hidden)) * rows
    if not 0 < products < (limits[0][1] if steps <= limits[0][0] else limits[-1][1]):
        return False
    parameters = layer._parameters
    weight = parameters.get("weight_ih_l0")
    if weight is None or not (input.requires_grad or weight.requires_grad):
        return False
    if layer.dropout and layer.num_layers > 1 and getattr(layer, "between_layers", None) is not None:
        return False
    plain = input.dtype in _DTYPES and input.is_cpu and len(parameters) == len(layer._flat_weights_names)
    return plain and layer.recompute is None and not beside_torch(layer) and not _is_transformed()


def _rows(layer: Any, input: Tensor) -> tuple[int, ...]:
    return (input.shape[0 if layer.batch_first else 1],) if input.dim() == 3 else ()


def _fits(state: Any, shape: tuple[int, ...]) -> bool:
    return isinstance(state, Tensor) and state.shape == shape


def _is_transformed() -> bool:
    """Whether something here casts or transforms what torch runs, or there is no engine to prefer."""
    return _transforms() or _autocasting("cpu") or forward_ad._current_level >= 0 or not kernels.available()
