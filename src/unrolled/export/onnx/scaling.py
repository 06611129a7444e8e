"""A scaler in a graph: raw channels, NaN where a value is missing, to what the network reads."""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled.export.interface import Port
from unrolled.export.onnx.graph import Graph
from unrolled.schema import CLIP, Scaler

__all__ = ["refused", "scaled", "scaled_step", "scaler_states", "spoilt"]

FAR = 1e6  # standard deviations, as `Scaler` has it


def scaler_states(scaler: Scaler) -> dict[str, Port]:
    """Return what a scaler remembers from step to step: name → its type and axes; all begin at zero."""
    found: dict[str, Port] = {}
    if scaler.masked:
        found["last"] = Port("float64", ("B", len(scaler.channels)))
        found["since"] = Port("float64", ("B", len(scaler.masked)))
    if scaler.masked or scaler.gaps:
        found["begun"] = Port("float64", ("B", 1))
    if scaler.gaps:
        found["time"] = Port("float64", ("B", 1))
    return found


def scaled_step(
    graph: Graph, scaler: Scaler, x: str, time: str, states: dict[str, str]
) -> tuple[str, dict[str, str]]:
    """Scale one step.

    Args:
        x: [B, C] float32. time: [B] float64, "" where the scaler needs none. states: see `scaler_states`.
    Returns:
        What the network reads [B, C'] float32, and the states after.
    """
    values, after = _standardised(graph, scaler, x), dict(states)
    parts = []
    passed = _passed(graph, scaler, time, states) if states else ""
    if scaler.masked:
        has = graph.op("Not", graph.op("IsNaN", x))
        values = graph.op("Where", has, values, states["last"])
        after["last"] = values
        places = [place for place, name in enumerate(scaler.channels) if name in scaler.masked]
        chosen = graph.op("Gather", has, graph.constant(places), axis=1)
        since = graph.op("Add", states["since"], passed)
        parts = [graph.cast(chosen, "float64"), _log1p(graph, since)]
        after["since"] = graph.op("Where", chosen, graph.constant(0.0, "float64"), since)
    if "begun" in states:
        after["begun"] = graph.op("Max", states["begun"], graph.constant(1.0, "float64"))
    if scaler.gaps:
        after["time"] = graph.unsqueeze(time, 1)
        parts.append(_log1p(graph, passed))
    every = [_within(graph, values, FAR), *parts]
    row = every[0] if len(every) == 1 else graph.op("Concat", *every, axis=1)
    return graph.cast(_within(graph, row, CLIP), "float32"), after


def scaled(graph: Graph, scaler: Scaler, x: str, times: str) -> str:
    """Scale whole sequences [T, B, C], from their first step on, to [T, B, C'] float32.

    Where values may be missing, or steps are of unlike length, a Scan takes it step by step.
    """
    ports = scaler_states(scaler)
    if not ports:
        values = _within(graph, _within(graph, _standardised(graph, scaler, x), FAR), CLIP)
        return graph.cast(values, "float32")
    body = Graph(graph.opset, parent=graph)
    states = {name: body.input(f"{name}_before", port) for name, port in ports.items()}
    step = body.input("x_step", Port("float32", ("B", len(scaler.channels))))
    time = body.input("time_step", Port("float64", ("B",))) if scaler.gaps else ""
    row, after = scaled_step(body, scaler, step, time, states)
    for name, port in ports.items():
        body.output(f"{name}_after", after[name], port)
    body.output("row", row, Port("float32", ("B", len(scaler.outputs))))
    rows = graph.size(x, 1)
    zero = graph.onnx.numpy_helper.from_array(np.zeros(1))
    begin = [
        graph.op(
            "ConstantOfShape", graph.op("Concat", rows, graph.constant([port.axes[1]]), axis=0), value=zero
        )
        for port in ports.values()
    ]
    read = [x, times] if scaler.gaps else [x]
    found = graph.ops(
        "Scan", len(ports) + 1, *begin, *read, body=body.body("scale"), num_scan_inputs=len(read)
    )
    return found[-1]


def refused(graph: Graph, scaler: Scaler, x: str) -> str:
    """Return whether a step holds what training never had, [… , 1]: infinity, or NaN in another channel.

    The operators of ONNX Runtime turn NaN into a number on the way, so that an answer would not show it.
    """
    limit = graph.constant(np.inf, "float32")
    fine = graph.op("Less", graph.op("Abs", x), limit)
    if scaler.masked:
        masked = graph.constant([name in scaler.masked for name in scaler.channels], "bool")
        fine = graph.op("Or", fine, graph.op("And", graph.op("IsNaN", x), masked))
    wrong = graph.cast(graph.op("Not", fine), "float32")
    found = graph.reduce("ReduceMax", wrong, [-1], keepdims=True)
    return graph.op("Greater", found, graph.constant(0.0, "float32"))


def spoilt(graph: Graph, value: str, where: str, dtype: str) -> str:
    """Return a value, NaN in the rows that were refused."""
    return graph.op("Where", where, graph.constant(np.nan, dtype), value)


def _standardised(graph: Graph, scaler: Scaler, x: str) -> str:
    """Return (x − mean) / deviation, in float64 as training does it."""
    mean, scale = (graph.constant(list(each), "float64") for each in (scaler.mean, scaler.scale))
    return graph.op("Div", graph.op("Sub", graph.cast(x, "float64"), mean), scale)


def _passed(graph: Graph, scaler: Scaler, time: str, states: dict[str, str]) -> str:
    """Return the typical steps [B, 1] since the step before; 0 for a first one."""
    if not scaler.gaps:
        return states["begun"]
    went = graph.op("Sub", graph.unsqueeze(time, 1), states["time"])
    steps = graph.op("Div", went, graph.constant(scaler.step, "float64"))
    begun = graph.op("Greater", states["begun"], graph.constant(0.0, "float64"))
    return graph.op("Where", begun, steps, graph.constant(0.0, "float64"))


def _within(graph: Graph, value: str, bound: float) -> str:
    low, high = (graph.constant(each, "float64") for each in (-bound, bound))
    return graph.op("Min", graph.op("Max", value, low), high)


def _log1p(graph: Graph, value: Any) -> str:
    return graph.op("Log", graph.op("Add", value, graph.constant(1.0, "float64")))
