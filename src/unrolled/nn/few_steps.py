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
from unrolled.nn.direct import layout_of
from unrolled.nn.options import beside_torch
from unrolled.nn.tracing import is_traced

_DTYPES = (torch.float32, torch.float64)
_LSTM = "LSTM"
# mode → for calls of up to so many steps, from how many multiplications a step the engine is faster.
_LIMITS: dict[str, tuple[tuple[int, int], ...]] = {
    "RNN_TANH": ((1, 8_000_000), (5, 350_000)),
    "RNN_RELU": ((1, 8_000_000), (5, 350_000)),
    "GRU": ((1, 3_000_000),),
    "LSTM": (),
    "LSTM projected": ((1, 3_000_000), (2, 350_000)),
}
_GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "GRU": 3, "LSTM": 4, "LSTM projected": 4}
REASON = (
    "a training call of so few small steps: torch.nn's own call is faster (backend='native' keeps the engine)"
)


def go_to_torch(layer: Any, input: object, hx: Any, lengths: object, resets: object) -> bool:
    """Whether a layer's call is one that torch.nn's forward runs faster, and to the same numbers."""
    if lengths is not None or resets is not None or type(input) is not Tensor or not torch.is_grad_enabled():
        return False
    if is_traced():
        return False
    mode = layer.mode if not layer.proj_size else f"{layer.mode} projected"
    limits = _LIMITS.get(mode)
    layout = layout_of(input.shape, layer.batch_first)
    if not limits or layout is None or layout[0] > limits[-1][0] or layout[2] != layer.input_size:
        return False
    if (
        layer.backend != "auto"
        or layer.recompute is not None
        or beside_torch(layer)
        or not kernels.available()
    ):
        return False
    size = layer.proj_size or layer.hidden_size
    products = _GATES[mode] * layer.hidden_size * (layer.input_size + size) * layout[1]
    least = next(least for steps, least in limits if layout[0] <= steps)
    return products < least and _is_plain(layer, input, hx, layout[3]) and not _is_transformed()


def _is_plain(layer: Any, input: Tensor, hx: Any, rows: tuple[int, ...]) -> bool:
    """Whether everything is a tensor that fits, on the CPU, and something wants a gradient."""
    dtype, parameters = input.dtype, layer._parameters
    if dtype not in _DTYPES or not input.is_cpu:
        return False
    given = [parameters.get(name) for name in layer._flat_weights_names]
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    states = () if hx is None else hx if isinstance(hx, (tuple, list)) else (hx,)
    sizes = (layer.proj_size or layer.hidden_size, layer.hidden_size)[: 2 if layer.mode == _LSTM else 1]
    if hx is not None and len(states) != len(sizes):
        return False
    for state, size in zip(states, sizes, strict=False):
        if not isinstance(state, Tensor) or state.shape != (count, *rows, size):
            return False
    given += states
    if any(each is None or each.dtype is not dtype or not each.is_cpu for each in given):
        return False
    return input.requires_grad or any(each.requires_grad for each in given)


def _is_transformed() -> bool:
    """Whether something here casts or transforms what torch runs."""
    return (
        torch._C._are_functorch_transforms_active()
        or torch.is_autocast_enabled("cpu")
        or forward_ad._current_level >= 0
    )
