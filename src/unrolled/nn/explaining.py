"""Which path a layer's call takes, and why: `explain`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from unrolled import ops
from unrolled.errors import DtypeError, expected
from unrolled.nn import few_steps, inference
from unrolled.nn.cells import Cells
from unrolled.nn.options import takes_compact
from unrolled.nn.recurrent import Recurrent
from unrolled.nn.stack import layer_calls
from unrolled.nn.validate import Lengths, Resets, resets_of, validate_cell, validate_layer
from unrolled.spec import cell_of_mode


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
    x: Tensor | PackedSequence | ops.Embedded,
    hx: Any = None,
    *,
    lengths: Lengths | None = None,
    resets: Resets | None = None,
) -> LayerExplanation:
    """Say which path `layer(x, hx, lengths=…, resets=…)` takes and why, without taking it.

    Args:
        layer: an `unrolled.nn` RNN, LSTM or GRU, or a cell; torch.nn's become such by `unrolled.accelerate`.
        x, hx, lengths, resets: what the layer takes, checked as the layer checks it.
    Returns:
        A `LayerExplanation`; printed, it is one line per layer and direction.
    Raises:
        DtypeError: not such a layer. And whatever the call itself would raise.
    """
    resets = resets_of(resets, x)
    if isinstance(layer, Cells) and lengths is None:
        return _explain_cell(layer, x, hx, resets)
    if not isinstance(layer, Recurrent):
        kind = f"{type(layer).__module__}.{type(layer).__name__}"
        raise DtypeError(expected("layer", "an unrolled.nn RNN, LSTM or GRU", kind))
    given = validate_layer(layer, x, hx, lengths, resets, compact=takes_compact(layer))
    why = None
    if layer._packs:
        why = inference.explain_layer(layer, x, hx, lengths, resets)
        if why is None:
            return _packed_explanation(layer)
    if lengths is None and resets is None and few_steps.is_faster_on_torch(layer, x):
        return _few_steps_explanation(layer)
    inner = given.x
    explanations: dict[str, ops.Explanation] = {}
    for level in range(layer.num_layers):
        width = 0
        for name, call in layer_calls(layer, level, inner, given, draw=False):
            explanations[name] = ops.explain_call(call, layer.backend)
            width += layer.proj_size or layer.hidden_size
        # The sizes of what the next layer gets, without computing it.
        places = given.x.shape[:-1] if given.ids is None else given.ids.shape
        inner = given.x.new_zeros(()).expand(*places, width)
    if why is not None:
        explanations = {
            name: replace(it, reason=f"{it.reason}; not packed: {why}") for name, it in explanations.items()
        }
    return LayerExplanation(_line(layer), explanations)


def _packed_explanation(module: Recurrent | Cells) -> LayerExplanation:
    cell, _ = cell_of_mode(module.mode)
    pack = module._packs[-1]
    refused = {"torch": "its kernels would pack the weights anew", "reference": "a Python loop over time"}
    one = ops.Explanation(cell.name, "native", inference.reason(pack), refused)
    return LayerExplanation(_line(module), {f"l{level}": one for level in range(pack.layers)})


def _few_steps_explanation(layer: Recurrent) -> LayerExplanation:
    cell, _ = cell_of_mode(layer.mode)
    refused = {"native": "slower here", "reference": "a Python loop over time"}
    one = ops.Explanation(cell.name, "torch", few_steps.REASON, refused)
    ends = ("", "_reverse") if layer.bidirectional else ("",)
    return LayerExplanation(
        _line(layer), {f"l{n}{end}": one for n in range(layer.num_layers) for end in ends}
    )


def _explain_cell(cell: Cells, x: Any, hx: Any, resets: Tensor | None) -> LayerExplanation:
    validate_cell(cell, x, hx, resets, cell._states)
    reason = "one step is one call of torch's own cell"
    if cell._packs:
        why = inference.explain_cell(cell, x, hx, resets)
        if why is None:
            return _packed_explanation(cell)
        reason += f"; not packed: {why}"
    refused = {
        "native": "it would pack the weights for a single step; unrolled.nn.packed packs them once",
        "reference": "plain torch operations, slower than one call of a kernel",
    }
    one = ops.Explanation(cell_of_mode(cell.mode)[0].name, "torch", reason, refused)
    return LayerExplanation(_line(cell), {"l0": one})


def _line(module: torch.nn.Module) -> str:
    return f"{type(module).__name__}({module.extra_repr()})"
