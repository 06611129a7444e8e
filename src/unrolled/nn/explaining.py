"""Which path a layer's call takes, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from unrolled import ops
from unrolled.errors import DtypeError, expected
from unrolled.nn.layers import Recurrent
from unrolled.nn.stack import layer_calls
from unrolled.nn.validate import validate_layer


@dataclass(frozen=True)
class LayerExplanation:
    """Which backend each layer and direction takes, and why.

    Attributes:
        layer: the layer's type and sizes, as printed.
        calls: name of the layer and direction ("l0", "l0_reverse", "l1", …) → its `ops.Explanation`.
    """

    layer: str
    calls: Mapping[str, ops.Explanation]

    def __str__(self) -> str:
        return "\n".join([self.layer, *(f"  {name}: {why}" for name, why in self.calls.items())])


def explain(
    layer: torch.nn.Module,
    x: Tensor | PackedSequence,
    hx: Any = None,
    *,
    lengths: Tensor | list[int] | None = None,
    resets: Tensor | None = None,
) -> LayerExplanation:
    """Say which path `layer(x, hx, lengths=…, resets=…)` takes and why, without taking it.

    Args:
        layer: an `unrolled.nn` RNN, LSTM or GRU; torch.nn's become such by `unrolled.accelerate`.
        x, hx, lengths, resets: what the layer takes, checked as the layer checks it.
    Returns:
        A `LayerExplanation`; printed, it is one line per layer and direction.
    Raises:
        DtypeError: not such a layer. And whatever the call itself would raise at its door.
    """
    if not isinstance(layer, Recurrent):
        raise DtypeError(expected("layer", "an unrolled.nn RNN, LSTM or GRU", _kind(layer)))
    given = validate_layer(layer, x, hx, lengths, resets)
    inner = given.x
    explanations: dict[str, ops.Explanation] = {}
    for level in range(layer.num_layers):
        width = 0
        for name, call in layer_calls(layer, level, inner, given):
            explanations[name] = ops.explain_call(call, layer.backend)
            width += layer.proj_size or layer.hidden_size
        # The sizes of what the next layer gets, without computing it.
        inner = given.x.new_zeros(()).expand(*given.x.shape[:2], width)
    return LayerExplanation(layer=f"{type(layer).__name__}({layer.extra_repr()})", calls=explanations)


def _kind(module: object) -> str:
    return f"{type(module).__module__}.{type(module).__name__}"
