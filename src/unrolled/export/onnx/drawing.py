"""The whole of each task as a graph: what reads inputs, the recurrent stack, pooling, heads."""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled.export.interface import Interface, LanguageInterface, LayerInterface
from unrolled.export.onnx.graph import Graph
from unrolled.export.onnx.layers import Weights, whole
from unrolled.export.onnx.scaling import refused, scaled, spoilt
from unrolled.export.sequences import SegmentInterface, SequenceInterface, StepsInterface, TagInterface

__all__ = ["answered", "draw", "forecast_of", "pooled_step", "read_out"]

LEAST = 1e-5  # deviation of a window, as the network has it


def draw(interface: Interface, graph: Graph, weights: Weights) -> None:
    """Draw the network of an interface: its inputs, all that is between, and its outputs."""
    given = {name: graph.input(name, port) for name, port in interface.inputs.items()}
    for kind, function in _KINDS.items():
        if isinstance(interface, kind):
            found = function(interface, graph, weights, given)
            break
    for name, port in interface.outputs.items():
        graph.output(name, found[name], port)


def _stack(
    interface: Interface, graph: Graph, weights: Weights, given: dict[str, str], x: str
) -> tuple[str, dict[str, str]]:
    """Run the recurrent stack; return y and the states as outputs."""
    layers = interface.subject.layers
    prefix = "" if isinstance(interface, LayerInterface) else "recurrent."
    states = [given[f"{name}_0"] for name in interface.state_names]
    y, after = whole(graph, weights, layers, prefix, x, given.get("lengths", ""), states)
    return y, {f"{name}_n": value for name, value in zip(interface.state_names, after, strict=True)}


def _layers(interface: Any, graph: Graph, weights: Weights, given: dict[str, str]) -> dict[str, str]:
    y, after = _stack(interface, graph, weights, given, given["x"])
    return {"y": y, **after}


def _language(interface: Any, graph: Graph, weights: Weights, given: dict[str, str]) -> dict[str, str]:
    x = graph.op("Gather", weights.get("embedding.weight"), given["ids"])
    y, after = _stack(interface, graph, weights, given, x)
    return {"logits": read_out(graph, weights, y), **after}


def read_out(graph: Graph, weights: Weights, y: str) -> str:
    """Return the linear read-out; a tied one has the embedding's weights."""
    if "readout.weight" in weights:
        return weights.linear(y, "readout.weight", "readout.bias")
    turned = graph.op("Transpose", weights.get("embedding.weight"), perm=[1, 0])
    return graph.op("Add", graph.op("MatMul", y, turned), weights.get("readout.bias"))


# ------------------------------------------------------------------------------- classes and numbers


def _sequence(interface: Any, graph: Graph, weights: Weights, given: dict[str, str]) -> dict[str, str]:
    config, lengths = interface.subject.config, given["lengths"]
    if interface.scaler is None:
        x = graph.op("Gather", weights.get("embedding.weight"), given["ids"])
    else:
        x = scaled(graph, interface.scaler, given["x"], given.get("times", ""))
    valid = _valid(graph, x, lengths)
    if config.neighbours:
        x = _beside(graph, x, valid, config.neighbours, causal=config.causal)
    y, after = _stack(interface, graph, weights, given, x)
    found = {
        **answered(graph, interface, _read(interface, graph, weights, y, after, valid, lengths)),
        **after,
    }
    if interface.scaler is None:
        return found
    wrong = graph.op("And", refused(graph, interface.scaler, given["x"]), valid)
    wrong = graph.reduce("ReduceMax", graph.cast(wrong, "float32"), [0])
    wrong = graph.op("Greater", wrong, graph.constant(0.0, "float32"))  # [B, 1]
    return {name: spoilt(graph, value, wrong, interface.outputs[name].dtype) for name, value in found.items()}


def _valid(graph: Graph, x: str, lengths: str) -> str:
    """Return whether a step lies within its row, [T, B, 1]."""
    steps = graph.squeeze(graph.size(x, 0), 0)
    number = graph.op("Range", graph.constant(0), steps, graph.constant(1))
    return graph.unsqueeze(graph.op("Less", graph.unsqueeze(number, 1), lengths), 2)


def _beside(graph: Graph, x: str, valid: str, reach: int, *, causal: bool) -> str:
    """Put the steps around each beside it, zeros beyond an end of a row."""
    zero = graph.constant(0.0, "float32")
    inside = graph.op("Where", valid, x, zero)
    padded = graph.op("Pad", inside, graph.constant([reach, 0, 0, reach, 0, 0]), zero)
    steps, parts = graph.size(x, 0), []
    for shift in range(-reach, 1 if causal else reach + 1):
        begin = graph.constant([reach + shift])
        parts.append(graph.op("Slice", padded, begin, graph.op("Add", begin, steps), graph.constant([0])))
    return graph.op("Concat", *parts, axis=2)


def _read(
    interface: Any, graph: Graph, weights: Weights, y: str, after: dict[str, str], valid: str, lengths: str
) -> str:
    """Pool, and read out."""
    config = interface.subject.config
    low = graph.constant(-np.inf, "float32")
    if config.pooling == "last":
        count = config.num_layers * config.directions
        last = [
            graph.squeeze(graph.part(after["h_n"], place, place + 1), 0)
            for place in range(count - config.directions, count)
        ]
        y = last[0] if len(last) == 1 else graph.op("Concat", *last, axis=1)
    elif config.pooling == "attention":
        scores = graph.op("Where", valid, weights.linear(y, "attention.weight", None), low)
        y = graph.reduce("ReduceSum", graph.op("Mul", y, graph.op("Softmax", scores, axis=0)), [0])
    elif not interface.per_step:
        count = graph.unsqueeze(graph.cast(lengths, "float32"), 1)
        mean = graph.op("Div", graph.reduce("ReduceSum", y, [0]), count)
        most = graph.reduce("ReduceMax", graph.op("Where", valid, y, low), [0])
        y = graph.op("Concat", mean, most, axis=1)
    return read_out(graph, weights, y)


def answered(graph: Graph, interface: Any, outputs: str) -> dict[str, str]:
    """Return what is made of a classifier's or regressor's outputs […, K]: see `SequenceSchema.answers`."""
    schema = interface.subject.schema
    if not schema.classes:
        scale, mean = (graph.constant(list(each), "float64") for each in (schema.scale, schema.mean))
        return {"values": graph.op("Add", graph.op("Mul", graph.cast(outputs, "float64"), scale), mean)}
    divided = graph.op("Div", outputs, graph.constant(schema.temperature, "float32"))
    if schema.several:
        return {"logits": outputs, "probabilities": graph.op("Sigmoid", divided)}
    return {"logits": outputs, "probabilities": graph.op("Softmax", divided, axis=-1)}


def pooled_step(graph: Graph, h: str, total: str, most: str, count: str) -> tuple[str, dict[str, str]]:
    """Pool the steps so far: h [B, P], the sum and maximum of those before, and how many they were [B, 1]."""
    first = graph.op("Equal", count, graph.constant(0.0, "float32"))
    after = graph.op("Add", count, graph.constant(1.0, "float32"))
    total = graph.op("Add", total, h)
    most = graph.op("Where", first, h, graph.op("Max", most, h))
    pooled = graph.op("Concat", graph.op("Div", total, after), most, axis=1)
    return pooled, {"total": total, "most": most, "count": after}


# ------------------------------------------------------------------------------------------------ tags


def _tagger(interface: Any, graph: Graph, weights: Weights, given: dict[str, str]) -> dict[str, str]:
    def looked_up(table: str, numbers: str) -> str:
        return graph.op("Gather", weights.get(f"{table}.weight"), given[numbers])

    def flat(value: str, sizes: list[int]) -> str:
        return graph.op("Reshape", value, graph.constant(sizes))

    config = interface.subject.config
    parts = [
        looked_up("word", "words"), looked_up("shape", "shapes"),
        flat(looked_up("affix", "affixes"), [0, -1]), _spelled(graph, weights, given),
    ]  # fmt: skip
    x = graph.op("Gather", graph.op("Concat", *parts, axis=1), given["places"])
    if config.columns:
        columns = flat(looked_up("column", "columns"), [0, 0, config.columns * config.column_size])
        x = graph.op("Concat", x, columns, axis=2)
    y, after = _stack(interface, graph, weights, given, x)
    moves = graph.weight("moves", interface.network.moves().detach().numpy())
    return {"emissions": read_out(graph, weights, y), "transitions": moves, **after}


def _spelled(graph: Graph, weights: Weights, given: dict[str, str]) -> str:
    """Return the largest answer of each filter over a word's characters [U, ·]."""
    padded = graph.op("Pad", given["characters"], graph.constant([0, 1, 0, 1]))
    letters = graph.op("Gather", weights.get("character.weight"), padded)  # [U, W + 2, C]
    width = graph.size(given["characters"], 1)
    windows = []
    for shift in range(3):
        begin = graph.constant([shift])
        end = graph.op("Add", begin, width)
        windows.append(graph.op("Slice", letters, begin, end, graph.constant([1])))
    answers = weights.linear(graph.op("Concat", *windows, axis=2), "convolution.weight", "convolution.bias")
    number = graph.op("Range", graph.constant(0), graph.squeeze(width, 0), graph.constant(1))
    inside = graph.op("Less", number, graph.unsqueeze(given["character_lengths"], 1))
    low = graph.constant(-np.inf, "float32")
    most = graph.reduce("ReduceMax", graph.op("Where", graph.unsqueeze(inside, 2), answers, low), [1])
    return graph.op("Relu", most)


# ------------------------------------------------------------------------------------------- forecasts


def _steps(interface: Any, graph: Graph, weights: Weights, given: dict[str, str]) -> dict[str, str]:
    config = interface.subject.config
    y, after = _stack(interface, graph, weights, given, given["inputs"])
    wanted = graph.constant([0, 0, config.horizon, config.outputs])
    found = graph.op("Reshape", read_out(graph, weights, y), wanted)
    offset = ""
    if config.normalise == "last":
        offset = graph.unsqueeze(graph.part(given["inputs"], 0, 1, axis=2), 3)
    return {"given": forecast_of(graph, config, found, offset), **after}


def _segments(interface: Any, graph: Graph, weights: Weights, given: dict[str, str]) -> dict[str, str]:
    config = interface.subject.config
    taken, offset, factor = _normalised(graph, config, given["inputs"])
    about = _about(graph, weights, given, config)
    pieces, size = config.window // config.segment, config.segment * config.input_size
    seen = graph.op("Reshape", taken, graph.constant([pieces, config.segment, -1, config.input_size]))
    seen = graph.op("Transpose", seen, perm=[0, 2, 1, 3])
    seen = weights.linear(
        graph.op("Reshape", seen, graph.constant([pieces, -1, size])), "segment.weight", "segment.bias"
    )
    seen = graph.op("Relu", graph.op("Add", seen, about) if about else seen)
    y, after = _stack(interface, graph, weights, given, seen)
    del y
    found = _written(interface, graph, weights, given, after, about)
    return {"given": forecast_of(graph, config, found, offset, factor), **after}


def _normalised(graph: Graph, config: Any, inputs: str) -> tuple[str, str, str]:
    """Return the window without its level, and what that was: offset and factor [B, 1, 1], "" for none."""
    if config.normalise == "none":
        return inputs, "", ""
    value, rest = graph.part(inputs, 0, 1, axis=2), graph.part(inputs, 1, config.input_size, axis=2)
    factor = ""
    if config.normalise == "last":
        offset = graph.part(value, config.window - 1, config.window)
        taken = graph.op("Sub", value, offset)
    else:
        offset = graph.reduce("ReduceMean", value, [0], keepdims=True)
        apart = graph.op("Sub", value, offset)
        squares = graph.reduce("ReduceMean", graph.op("Mul", apart, apart), [0], keepdims=True)
        factor = graph.op("Add", graph.op("Sqrt", squares), graph.constant(LEAST, "float32"))
        taken = graph.op("Div", apart, factor)
    if config.input_size > 1:
        taken = graph.op("Concat", taken, rest, axis=2)
    rows_first = [graph.op("Transpose", each, perm=[1, 0, 2]) if each else "" for each in (offset, factor)]
    return taken, rows_first[0], rows_first[1]


def _about(graph: Graph, weights: Weights, given: dict[str, str], config: Any) -> str:
    """Return what is known of each row's series [B, hidden]; "" where nothing can be."""
    found = graph.op("Gather", weights.get("series.weight"), given["series"]) if config.series else ""
    if not config.static_size:
        return found
    told = weights.linear(given["static"], "static.weight", None)
    return graph.op("Add", found, told) if found else told


def _written(
    interface: Any, graph: Graph, weights: Weights, given: dict[str, str], after: dict[str, str], about: str
) -> str:
    """Return the forecast [B, H, O]: a step of the stack for each piece, all from the window's state."""
    config, hidden = interface.subject.config, interface.subject.config.hidden_size
    rows = graph.size(given["inputs"], 1)
    pieces, one = graph.constant([config.pieces]), graph.constant([1])
    shape = graph.op("Concat", pieces, rows, graph.constant([hidden]), axis=0)
    asked = graph.op("Expand", graph.unsqueeze(weights.get("position.weight"), 1), shape)
    if about:
        asked = graph.op("Add", asked, about)
    if config.known_size:
        asked = graph.op("Add", asked, _known(graph, weights, given["future"], config))
    each = [graph.op("Tile", after[f"{name}_n"], graph.op("Concat", one, pieces, one, axis=0))
            for name in interface.state_names]  # fmt: skip
    x = graph.op("Reshape", asked, graph.constant([1, -1, hidden]))
    y, _ = whole(graph, weights, interface.subject.layers, "recurrent.", x, "", each)
    written = read_out(graph, weights, graph.squeeze(y, 0))
    apart = graph.op("Concat", pieces, rows, graph.constant([config.written * config.outputs]), axis=0)
    written = graph.op("Transpose", graph.op("Reshape", written, apart), perm=[1, 0, 2])
    flat = graph.op("Concat", rows, graph.constant([config.pieces * config.written, config.outputs]), axis=0)
    return graph.part(graph.op("Reshape", written, flat), 0, config.horizon, axis=1)


def _known(graph: Graph, weights: Weights, future: str, config: Any) -> str:
    """Return what is told of what is known ahead [M, B, hidden]."""
    short = config.pieces * config.written - config.horizon
    padded = graph.op("Pad", future, graph.constant([0, 0, 0, short, 0, 0]), graph.constant(0.0, "float32"))
    apart = graph.constant([config.pieces, config.written, -1, config.known_size])
    turned = graph.op("Transpose", graph.op("Reshape", padded, apart), perm=[0, 2, 1, 3])
    flat = graph.constant([config.pieces, -1, config.written * config.known_size])
    return weights.linear(graph.op("Reshape", turned, flat), "known.weight", None)


def forecast_of(graph: Graph, config: Any, given: str, offset: str, factor: str = "") -> str:
    """Return what is given for each value, […, O], with what was taken off put back; quantiles rise."""
    if config.distribution == "quantiles":
        given = _rising(graph, given, config.outputs)
    if not offset:
        return given
    if config.distribution in ("point", "quantiles"):
        return _moved(graph, given, offset, factor)
    last = -1
    first = _moved(graph, graph.part(given, 0, 1, axis=last), offset, factor)
    rest = graph.part(given, 1, config.outputs, axis=last)
    if not factor:
        return graph.op("Concat", first, rest, axis=last)
    spread = graph.op("Mul", graph.op("Softplus", graph.part(given, 1, 2, axis=last)), factor)
    small = graph.op("Max", spread, graph.constant(1e-6, "float32"))
    one = graph.constant(1.0, "float32")
    raw = graph.op(
        "Add", spread, graph.op("Log", graph.op("Sub", one, graph.op("Exp", graph.op("Neg", small))))
    )
    others = [graph.part(given, 2, config.outputs, axis=last)] if config.outputs > 2 else []
    return graph.op("Concat", first, raw, *others, axis=last)


def _moved(graph: Graph, given: str, offset: str, factor: str) -> str:
    return graph.op("Add", graph.op("Mul", given, factor) if factor else given, offset)


def _rising(graph: Graph, given: str, count: int) -> str:
    """Return quantiles that do not cross: the median, and a distance above 0 to each next one."""
    middle, last = count // 2, graph.constant(-1)
    steps = graph.op("Softplus", given)
    median = graph.part(given, middle, middle + 1, axis=-1)
    if not middle:
        return median
    above = graph.op("CumSum", graph.part(steps, middle + 1, count, axis=-1), last)
    below = graph.op("CumSum", graph.part(steps, 0, middle, axis=-1), last, reverse=1)
    return graph.op("Concat", graph.op("Sub", median, below), median, graph.op("Add", median, above), axis=-1)


_KINDS: dict[type[Interface], Any] = {
    LayerInterface: _layers,
    LanguageInterface: _language,
    SequenceInterface: _sequence,
    TagInterface: _tagger,
    SegmentInterface: _segments,
    StepsInterface: _steps,
}
