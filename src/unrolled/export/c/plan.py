"""What is exported, as arrays in the order in which the C code reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.spec import CELLS, Steps
from unrolled.stream import Weight, as_plain, convert

__all__ = ["Layer", "Matrix", "Network", "network_of"]

Floats = npt.NDArray[np.float32]
PANELS = (32, 8, 1)  # outputs whose weights lie side by side


@dataclass(frozen=True)
class Matrix:
    """A matrix [rows, columns] of float32, or of int8 with the scale of each row."""

    data: npt.NDArray[Any]
    scales: Floats | None = None

    @property
    def rows(self) -> int:
        return len(self.data)

    @property
    def columns(self) -> int:
        return int(self.data.shape[1])

    @property
    def laid_out(self) -> npt.NDArray[Any]:
        """The entries as the C code reads them: of float32 in panels of rows, of int8 by rows."""
        if self.scales is not None:
            return np.ascontiguousarray(self.data).reshape(-1)
        parts, at = [], 0
        for width in PANELS:
            while self.rows - at >= width:
                parts.append(self.data[at : at + width].T.reshape(-1))
                at += width
        return np.concatenate(parts)

    def added_to(self, start: Floats, x: Floats) -> Floats:
        """Return start [N, rows] + x [N, columns] · matrix, each sum in the order of the C code."""
        found = np.array(np.broadcast_to(start, (len(x), self.rows)))
        if self.scales is None:
            for k in range(self.columns):
                found += x[:, k : k + 1] * self.data[:, k]
            return found
        most = np.abs(x).max(axis=1, initial=0.0)
        nothing = most < np.float32(7.5231638e-37)
        divisor = np.where(nothing, np.float32(1), most)
        inverse = np.where(nothing, np.float32(0), np.float32(127) / divisor)
        scale = np.where(nothing, np.float32(0), divisor / np.float32(127))
        whole = np.rint(x * inverse[:, None]).astype(np.int32)
        sums = (whole @ self.data.T.astype(np.int32)).astype(np.float32)
        return found + sums * (self.scales * scale[:, None])


@dataclass(frozen=True)
class Layer:
    """A recurrent layer. Rows of its matrices and its bias follow the slots of its pre-activations.

    LSTM: i, f, g, o. GRU: n of x, r, z, n of h; weight_ih meets the first three, weight_hh the last three.
    """

    cell: str  # lstm, gru, rnn_tanh or rnn_relu
    hidden_size: int
    output_size: int  # P, the size of h
    weight_ih: Matrix | None  # None: a table stands in its place
    weight_hh: Matrix
    projection: Matrix | None
    bias: Floats  # [slots · H]

    @property
    def first_h(self) -> int:
        """The slot from which weight_hh adds."""
        return self.hidden_size if self.cell == "gru" else 0


@dataclass(frozen=True)
class Network:
    """A network that runs step by step, whose input is an id or numbers."""

    weights: str
    layers: tuple[Layer, ...]
    input_size: int  # numbers of a step, C; of symbols those of an embedding
    reach: int  # steps before that the first layer is shown beside each
    symbols: int  # V; 0: the input is numbers
    table: Floats | None  # [V, slots · H]: what a step of the first layer begins with, for each symbol
    embedding: Floats | None  # [V, C], where there is no table
    head: Matrix | None
    head_bias: Floats
    pools: bool  # whether the head reads the mean and the maximum of h
    output_size: int
    fingerprint: bytes

    @property
    def multiply_adds(self) -> int:
        """Of one step."""
        found = 0 if self.head is None else self.head.data.size
        for layer in self.layers:
            for matrix in (layer.weight_ih, layer.weight_hh, layer.projection):
                found += 0 if matrix is None else matrix.data.size
        return found


def network_of(tensors: Mapping[str, Weight], steps: Steps, weights: str, fingerprint: bytes) -> Network:
    """Return the network of tensors in storage, as `unrolled.stream` takes them."""
    tensors, steps = as_plain(tensors, steps, weights)
    layers = [_layer(tensors, steps, index) for index in range(steps.num_layers)]
    embedding = None if steps.embedding is None else np.array(tensors[steps.embedding].data, np.float32)
    first, table = layers[0], None
    assert first.weight_ih is not None
    input_size = first.weight_ih.columns // (1 + steps.neighbours)
    symbols = 0 if embedding is None else len(embedding)
    if embedding is not None and not steps.neighbours and _table_is_smaller(first, embedding):
        table = np.array(np.broadcast_to(first.bias, (symbols, len(first.bias))))
        rows = first.weight_ih.rows
        table[:, :rows] = first.weight_ih.added_to(first.bias[:rows], embedding)
        embedding = None
        layers[0] = Layer(
            first.cell,
            first.hidden_size,
            first.output_size,
            None,
            first.weight_hh,
            first.projection,
            first.bias,
        )
    head, bias = _head(tensors, steps, weights)
    return Network(
        weights=weights,
        layers=tuple(layers),
        input_size=input_size,
        reach=steps.neighbours,
        symbols=symbols,
        table=table,
        embedding=embedding,
        head=head,
        head_bias=bias,
        pools=steps.pooling is not None,
        output_size=layers[-1].output_size if head is None else head.rows,
        fingerprint=fingerprint,
    )


def _table_is_smaller(first: Layer, embedding: Floats) -> bool:
    """Whether the products of all symbols take no more room than the embedding and the weights it meets."""
    assert first.weight_ih is not None
    table = 4 * len(embedding) * len(first.bias)
    apart = embedding.nbytes + first.weight_ih.data.nbytes + 4 * len(first.bias)
    return table <= apart


def _layer(tensors: Mapping[str, Weight], steps: Steps, index: int) -> Layer:
    def found(name: str) -> Weight | None:
        return tensors.get(f"{steps.recurrent}{name}_l{index}")

    ih, hh, hr = found("weight_ih"), found("weight_hh"), found("weight_hr")
    assert ih is not None
    assert hh is not None
    cell = CELLS[steps.cell]
    size = len(ih.data) // len(cell.gates)
    zeros = np.zeros(len(ih.data), np.float32)
    biases = [
        zeros if each is None else np.array(each.data, np.float32)
        for each in (found("bias_ih"), found("bias_hh"))
    ]
    first, bias = _matrix(ih), biases[0] + biases[1]
    if steps.cell == "gru":
        order = np.r_[2 * size : 3 * size, 0 : 2 * size]  # n, r, z
        first = Matrix(first.data[order], None if first.scales is None else first.scales[order])
        bias = np.concatenate([biases[0][2 * size :], bias[: 2 * size], biases[1][2 * size :]])
    name = f"rnn_{steps.nonlinearity}" if cell.nonlinearities else cell.name
    projection = None if hr is None else _matrix(hr)
    width = size if projection is None else projection.rows
    return Layer(name, size, width, first, _matrix(hh), projection, bias)


def _matrix(weight: Weight) -> Matrix:
    return Matrix(weight.data, weight.scales)


def _head(tensors: Mapping[str, Weight], steps: Steps, weights: str) -> tuple[Matrix | None, Floats]:
    """Return the read-out: float32 behind a pooling, else of the weights' type."""
    if steps.head is None:
        return None, np.zeros(0, np.float32)
    weight = tensors[steps.head]
    if steps.head == steps.embedding and steps.pooling is None:
        weight = convert(np.array(weight.data, np.float32), weights)
    zeros = np.zeros(len(weight.data), np.float32)
    bias = zeros if steps.head_bias is None else np.array(tensors[steps.head_bias].data, np.float32)
    return _matrix(weight), bias
