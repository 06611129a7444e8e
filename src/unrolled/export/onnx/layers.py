"""Recurrent layers in ONNX: whole sequences in its own LSTM, GRU and RNN; one step in plain products."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import ConfigError, expected
from unrolled.export.onnx.graph import Graph
from unrolled.ops import ONNX_GATES, ONNX_OPERATORS, ONNX_PEEPHOLES
from unrolled.spec import cell_of_mode
from unrolled.stream import convert

__all__ = ["Weights", "check_cell", "one_step", "whole"]

Array = npt.NDArray[Any]


def check_cell(layers: Any, *, whole: bool) -> None:
    """Raise ConfigError where ONNX has no such layer, with the reason."""
    cell, _ = cell_of_mode(layers.mode)
    if cell.name not in ONNX_GATES:
        want = f"a cell that ONNX has: {', '.join(ONNX_GATES)}"
        raise ConfigError(expected("network", want, cell.name))
    if layers.proj_size and whole:
        want = "layers without a projection, which ONNX's LSTM does not have; onnx-step writes one"
        raise ConfigError(expected("network", want, f"proj_size {layers.proj_size}"))


class Weights:
    """The weights of a network in a graph, in a type of storage; read as float32.

    Args:
        arrays: by name. storage: "float32" or "int8". matrices: the names of those that int8 holds.
    """

    def __init__(self, graph: Graph, arrays: Mapping[str, Array], storage: str, matrices: list[str]) -> None:
        self._graph, self._arrays, self._storage, self._matrices = graph, arrays, storage, matrices
        self._known: dict[tuple[str, bool, tuple[int, ...]], str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def get(self, name: str, *, turned: bool = False, gates: tuple[int, ...] = ()) -> str:
        """Return a weight's name in the graph; the same one is written once.

        Args:
            turned: [I, G·H] of [G·H, I]. gates: the order of the blocks of rows; default as they are.
        """
        key = (name, turned, gates)
        if key not in self._known:
            self._known[key] = self._add(name, turned, gates)
        return self._known[key]

    def _add(self, name: str, turned: bool, gates: tuple[int, ...]) -> str:
        graph, array = self._graph, _ordered(self._arrays[name], gates)
        if self._storage == "float32" or name not in self._matrices:
            return graph.weight(name, array.T if turned else array)
        made = convert(array, self._storage)
        assert made.scales is not None
        data = graph.weight(f"{name}.int8", made.data.T if turned else made.data)
        scales = graph.weight(f"{name}.scale", made.scales if turned else made.scales[:, None])
        # no DequantizeLinear: ONNX Runtime fuses it with a MatMul, and then rounds x to 8 bits as well
        return graph.op("Mul", graph.cast(data, "float32"), scales)

    def biases(self, names: list[str], gates: tuple[int, ...]) -> str:
        """Return the biases of both directions [D, 2·G·H]: of the inputs, then of the states; "" for none.

        Args:
            names: for each direction, with {} for what it is: "weight_ih".
        """
        if names[0].format("bias_ih") not in self:
            return ""
        key = (names[0].format("bias"), False, gates)
        if key not in self._known:
            each = [
                np.concatenate([_ordered(self[name.format(kind)], gates) for kind in ("bias_ih", "bias_hh")])
                for name in names
            ]
            self._known[key] = self._graph.weight(key[0], np.stack(each))
        return self._known[key]

    def peepholes(self, names: list[str]) -> str:
        """Return the peepholes of both directions [D, 3·H]: of i, o and f."""
        key = (names[0].format("peepholes"), False, ONNX_PEEPHOLES)
        if key not in self._known:
            each = [_ordered(self[name.format("peephole")], ONNX_PEEPHOLES) for name in names]
            self._known[key] = self._graph.weight(key[0], np.stack(each))
        return self._known[key]

    def linear(self, x: str, name: str, bias: str | None) -> str:
        """Return x · Wᵀ + b."""
        y = self._graph.op("MatMul", x, self.get(name, turned=True))
        return y if bias is None or bias not in self else self._graph.op("Add", y, self.get(bias))


def _ordered(array: Array, gates: tuple[int, ...]) -> Array:
    if not gates:
        return array
    blocks = np.split(array, len(gates))
    return np.concatenate([blocks[gate] for gate in gates])


# --------------------------------------------------------------------------------------- whole sequences


def whole(
    graph: Graph, weights: Weights, layers: Any, prefix: str, x: str, lengths: str, states: list[str]
) -> tuple[str, list[str]]:
    """Run a stack over whole sequences.

    Args:
        layers: the module whose sizes count. prefix: before torch's names of the weights.
        x: [T, B, I]. lengths: [B] int64, "" for full rows. states: each [L·D, B, H].
    Returns:
        y [T, B, D·H], zero past a row's length; the states at each row's last valid step.
    """
    cell, nonlinearity = cell_of_mode(layers.mode)
    ways = ("", "_reverse") if layers.bidirectional else ("",)
    counts = graph.cast(lengths, "int32") if lengths else ""
    empty = graph.op("Equal", lengths, graph.constant(0)) if lengths else ""
    empty = graph.unsqueeze(empty, 1) if lengths else ""
    finals: list[list[str]] = []
    for level in range(layers.num_layers):
        first = level * len(ways)
        before = [graph.part(state, first, first + len(ways)) for state in states]
        names = [f"{prefix}{{}}_l{level}{way}" for way in ways]
        found = graph.ops(
            ONNX_OPERATORS[cell.name], 1 + len(states), x,
            _stacked(graph, weights, names, "weight_ih", ONNX_GATES[cell.name]),
            _stacked(graph, weights, names, "weight_hh", ONNX_GATES[cell.name]),
            weights.biases(names, ONNX_GATES[cell.name]), counts, *before,
            *([weights.peepholes(names)] if cell.name == "peephole_lstm" else []),
            hidden_size=layers.hidden_size, **_attributes(cell.name, nonlinearity, len(ways)),
        )  # fmt: skip
        y, *after = found
        if len(ways) == 1:
            x = graph.squeeze(y, 1)
        else:  # [T, D, B, H] to [T, B, D·H]
            turned = graph.op("Transpose", y, perm=[0, 2, 1, 3])
            x = graph.op("Reshape", turned, graph.constant([0, 0, 2 * layers.hidden_size]))
        if lengths:  # of a row without steps the state is the one before it; ONNX says nothing of such rows
            after = [graph.op("Where", empty, old, new) for old, new in zip(before, after, strict=True)]
        finals.append(after)
    return x, [
        parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=0)
        for parts in zip(*finals, strict=True)
    ]


def _attributes(cell: str, nonlinearity: str | None, ways: int) -> dict[str, Any]:
    found: dict[str, Any] = {"direction": "bidirectional"} if ways == 2 else {}
    if cell == "gru":
        found["linear_before_reset"] = 1  # the reset is applied behind the product, as torch does
    if cell == "rnn":
        found["activations"] = [str(nonlinearity).capitalize()] * ways
    return found


def _stacked(graph: Graph, weights: Weights, names: list[str], kind: str, gates: tuple[int, ...]) -> str:
    """Return a matrix of both directions [D, G·H, ·]."""
    each = [graph.unsqueeze(weights.get(name.format(kind), gates=gates), 0) for name in names]
    return each[0] if len(each) == 1 else graph.op("Concat", *each, axis=0)


# ---------------------------------------------------------------------------------------------- one step


def one_step(
    graph: Graph, weights: Weights, layers: Any, prefix: str, x: str, states: list[str]
) -> tuple[str, list[str]]:
    """Take one step of a stack that reads one way.

    Args:
        x: [B, I]. states: h [L, B, P] and of the LSTM c [L, B, H].
    Returns:
        The last layer's h [B, P], and the states after.
    """
    cell, nonlinearity = cell_of_mode(layers.mode)
    after: list[list[str]] = []
    for level in range(layers.num_layers):
        before = [graph.squeeze(graph.part(state, level, level + 1), 0) for state in states]
        name = f"{prefix}{{}}_l{level}"
        of_x = weights.linear(x, name.format("weight_ih"), name.format("bias_ih"))
        if cell.name == "reset_before_gru":
            found = [_reset_before(graph, weights, name, of_x, before[0], layers.hidden_size)]
        else:
            of_h = weights.linear(before[0], name.format("weight_hh"), name.format("bias_hh"))
            found = _after(graph, weights, name, cell.name, (of_x, of_h), before, nonlinearity)
        if layers.proj_size:
            found[0] = weights.linear(found[0], name.format("weight_hr"), None)
        if layers.zoneout:
            found = [_zoned(graph, *each) for each in zip(layers.zoneout, before, found, strict=True)]
        x = found[0]
        after.append([graph.unsqueeze(each, 0) for each in found])
    return x, [
        parts[0] if len(parts) == 1 else graph.op("Concat", *parts, axis=0)
        for parts in zip(*after, strict=True)
    ]


def _zoned(graph: Graph, share: float, old: str, new: str) -> str:
    """Return a state after a step of which zoneout keeps a share as it was."""
    if not share:
        return new
    kept = graph.op("Mul", graph.op("Sub", old, new), graph.constant(share, "float32"))
    return graph.op("Add", new, kept)


def _after(
    graph: Graph,
    weights: Weights,
    name: str,
    cell: str,
    products: tuple[str, str],
    before: list[str],
    nonlinearity: str | None,
) -> list[str]:
    """Return the states after a step, of the products of x and of h with their weights."""
    hidden = len(weights[name.format("weight_ih")]) // len(ONNX_GATES[cell])
    if cell == "gru":
        return [_gru(graph, *products, before[0], hidden)]
    if cell == "rnn":
        return [graph.op(str(nonlinearity).capitalize(), graph.op("Add", *products))]
    seen = weights.get(name.format("peephole")) if cell == "peephole_lstm" else ""
    return _lstm(graph, *products, before[1], hidden, seen)


def _lstm(graph: Graph, of_x: str, of_h: str, c: str, hidden: int, peepholes: str) -> list[str]:
    i, f, g, o = graph.split(graph.op("Add", of_x, of_h), [hidden] * 4, 1)
    of_i, of_f, of_o = graph.split(peepholes, [hidden] * 3, 0) if peepholes else ("", "", "")
    if peepholes:  # i and f see the c before, o the one after
        i, f = (graph.op("Add", gate, graph.op("Mul", one, c)) for gate, one in ((i, of_i), (f, of_f)))
    written = graph.op("Mul", graph.op("Sigmoid", i), graph.op("Tanh", g))
    c = graph.op("Add", graph.op("Mul", graph.op("Sigmoid", f), c), written)
    if peepholes:
        o = graph.op("Add", o, graph.op("Mul", of_o, c))
    return [graph.op("Mul", graph.op("Sigmoid", o), graph.op("Tanh", c)), c]


def _reset_before(graph: Graph, weights: Weights, name: str, of_x: str, h: str, hidden: int) -> str:
    r_x, z_x, n_x = graph.split(of_x, [hidden] * 3, 1)
    parts = graph.split(weights.get(name.format("weight_hh"), turned=True), [hidden] * 3, 1)  # of [H, 3·H]
    biases = ["", "", ""]
    if name.format("bias_hh") in weights:
        biases = graph.split(weights.get(name.format("bias_hh")), [hidden] * 3, 0)

    def product(x: str, place: int) -> str:
        y = graph.op("MatMul", x, parts[place])
        return graph.op("Add", y, biases[place]) if biases[place] else y

    r = graph.op("Sigmoid", graph.op("Add", r_x, product(h, 0)))
    z = graph.op("Sigmoid", graph.op("Add", z_x, product(h, 1)))
    n = graph.op("Tanh", graph.op("Add", n_x, product(graph.op("Mul", r, h), 2)))
    return graph.op("Add", n, graph.op("Mul", z, graph.op("Sub", h, n)))


def _gru(graph: Graph, of_x: str, of_h: str, h: str, hidden: int) -> str:
    r_x, z_x, n_x = graph.split(of_x, [hidden] * 3, 1)
    r_h, z_h, n_h = graph.split(of_h, [hidden] * 3, 1)
    r = graph.op("Sigmoid", graph.op("Add", r_x, r_h))
    z = graph.op("Sigmoid", graph.op("Add", z_x, z_h))
    n = graph.op("Tanh", graph.op("Add", n_x, graph.op("Mul", r, n_h)))
    return graph.op("Add", n, graph.op("Mul", z, graph.op("Sub", h, n)))
