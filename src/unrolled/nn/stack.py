"""The stack: layers upon layers, in one direction or two, by one call of an op for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import dropout

from unrolled import ops
from unrolled.nn.options import dropped_input, within_steps
from unrolled.nn.validate import Arguments
from unrolled.spec import cell_of_mode


class LayerRun(NamedTuple):
    """One layer in one direction, as it ran."""

    name: str  # as in the weights' names: "l0", "l0_reverse", "l1", …
    call: ops.Call
    output: ops.Output


class StackRun(NamedTuple):
    """The whole stack, as it ran."""

    y: Tensor  # [T, B, D·P], or [n, D·P] where rows are packed
    states: ops.States  # each [L·D, B, ·]
    layers: list[LayerRun]  # with trajectories alone: else what lies between the layers is let go


def run_stack(
    layer: torch.nn.RNNBase,
    arguments: Arguments,
    *,
    backend: str = "auto",
    trajectories: bool = False,
    execute: Callable[[str, ops.Call], ops.Output] | None = None,
) -> StackRun:
    """Run the whole stack of a layer on arguments that `validate_layer` has returned.

    Args:
        execute: of one layer and direction, by its name, in place of `ops.execute` on the backend.
    """
    run = execute or (lambda _, call: ops.execute(call, backend))
    x, runs, finals = arguments.x, [], []
    for level in range(layer.num_layers):
        outputs: list[Tensor] = []
        x = dropped_input(layer, x)
        for name, call in layer_calls(layer, level, x, arguments, trajectories=trajectories):
            output = run(name, call)
            outputs.append(output.y)
            finals.append(output.states)
            if trajectories:
                runs.append(LayerRun(name, call, output))
        x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
        if layer.dropout > 0 and level + 1 < layer.num_layers:
            between = getattr(layer, "between_layers", None)
            x = dropout(x, layer.dropout, layer.training) if between is None else between(x)
    return StackRun(x, tuple(torch.stack(each) for each in zip(*finals, strict=True)), runs)


def layer_calls(
    layer: torch.nn.RNNBase,
    level: int,
    x: Tensor,
    arguments: Arguments,
    *,
    trajectories: bool = False,
    draw: bool = True,
) -> Iterator[tuple[str, ops.Call]]:
    """Yield the calls of one layer of the stack by name: forward, then reverse where it is bidirectional.

    Args:
        draw: whether the masks of zoneout and dropout are drawn; else there are others of their form.
    """
    cell, nonlinearity = cell_of_mode(layer.mode)
    directions = (False, True) if layer.bidirectional else (getattr(layer, "reverse", False),)
    for index, reverse in enumerate(directions, start=level * len(directions)):
        name = f"l{level}_reverse" if reverse and layer.bidirectional else f"l{level}"
        states = tuple(state[index] for state in arguments.states)
        weights, ids = arguments.weights[index], arguments.ids if level == 0 else None
        call = ops.Call(
            cell.name,
            x,
            states,
            weights.weight_ih,
            weights.weight_hh,
            weights.bias_ih,
            weights.bias_hh,
            weights.weight_hr,
            lengths=arguments.lengths,
            resets=arguments.resets,
            reverse=reverse,
            trajectories=trajectories,
            nonlinearity=nonlinearity or "",
            recompute=None if trajectories else getattr(layer, "recompute", None),
            ids=ids,
            batch_sizes=arguments.batch_sizes,
            further=weights.further,
            **within_steps(layer, (x if ids is None else ids).shape[0], states, draw=draw),
        )
        yield name, call
