"""Tensors in the engine's words: addresses, sizes and strides, as `kernels/csrc/engine.h` names them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from unrolled import kernels
from unrolled.errors import DtypeError, ShapeError, expected

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}
TRACES = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 5}  # in the engine's order
DTYPES = {torch.float32: 0, torch.float64: 1}


class Inputs(NamedTuple):
    """What the forward and the backward pass both read, in the order of the ops' schemas."""

    x: Tensor  # [T, B, I]
    h_0: Tensor  # [B, H]
    c_0: Tensor | None  # [B, H]; LSTM only
    weight_ih: Tensor  # [G·H, I]
    weight_hh: Tensor  # [G·H, H]
    bias_ih: Tensor | None  # [G·H]
    bias_hh: Tensor | None  # [G·H]
    lengths: Tensor | None  # [B] int64
    resets: Tensor | None  # [T, B] bool


def widths(cell: str, hidden: int) -> tuple[int, int]:
    """Return the widths of `gates` and `cells`, as the engine has them; also of a symbolic size."""
    return kernels.gates_width(cell, hidden), kernels.padded(hidden) if cell == "lstm" else 0


def readable(cell: str, inputs: Inputs) -> Inputs:
    """Return the tensors as the engine can read them, copied only where it could not.

    The ops are public names of torch's registry, so sizes are looked at here again, whoever calls.
    """
    x, h_0, c_0, weight_ih, weight_hh, bias_ih, bias_hh, lengths, resets = inputs
    steps, rows, width = x.shape
    hidden = weight_hh.shape[1]
    gates, state = (GATES[cell] * hidden,), (rows, hidden)
    return Inputs(
        rows_readable("x", x, x.shape, x),
        whole("h_0", h_0, state, x),
        None if c_0 is None else whole("c_0", c_0, state, x),
        whole("weight_ih", weight_ih, (*gates, width), x),
        whole("weight_hh", weight_hh, (*gates, hidden), x),
        None if bias_ih is None else whole("bias_ih", bias_ih, gates, x),
        None if bias_hh is None else whole("bias_hh", bias_hh, gates, x),
        None if lengths is None else _of(torch.int64, "lengths", lengths, (rows,)).contiguous(),
        None if resets is None else _of(torch.bool, "resets", resets, (steps, rows)),
    )


def whole(name: str, tensor: Tensor, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return the tensor, or a copy where it is not contiguous or not aligned to its own elements."""
    _of(like.dtype, name, tensor, shape)
    if tensor.is_contiguous() and not tensor.data_ptr() % tensor.itemsize:
        return tensor
    return tensor.clone(memory_format=torch.contiguous_format)


def rows_readable(name: str, tensor: Tensor, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return [T, B, ·], or a copy where the last axis is not dense. T and B may have any strides."""
    _of(like.dtype, name, tensor, shape)
    dense = tensor.stride(2) == 1 or shape[2] == 1
    if dense and not tensor.data_ptr() % tensor.itemsize:
        return tensor
    return tensor.clone(memory_format=torch.contiguous_format)


def address(tensor: Tensor | None) -> int:
    """Return where the tensor's first element lies, or 0 for none. Keep the tensor while it is used."""
    return 0 if tensor is None else tensor.data_ptr()


def words(cell: str, inputs: Inputs, reverse: bool) -> dict[str, Any]:
    """Return the struct `Layer` as keywords. `inputs` must be readable, and outlive the call."""
    x, h_0, c_0, weight_ih, weight_hh, bias_ih, bias_hh, lengths, resets = inputs
    steps, rows, width = x.shape
    found = {
        "cell": kernels.CELLS[cell],
        "dtype": DTYPES[x.dtype],
        "isa": kernels.ISAS.index(kernels.isa()),
        "threads": torch.get_num_threads(),
        "reverse": reverse,
        "T": steps,
        "B": rows,
        "I": width,
        "H": weight_hh.shape[1],
        "lengths": address(lengths),
        "x": x.data_ptr(),
        "x_t": x.stride(0),
        "x_b": x.stride(1),
        "h_0": h_0.data_ptr(),
        "c_0": address(c_0),
        "weight_ih": weight_ih.data_ptr(),
        "weight_hh": weight_hh.data_ptr(),
        "bias_ih": address(bias_ih),
        "bias_hh": address(bias_hh),
    }
    if resets is not None:
        found |= {"resets": resets.data_ptr(), "resets_t": resets.stride(0), "resets_b": resets.stride(1)}
    return found


def _of(dtype: torch.dtype, name: str, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tensor.dtype != dtype:
        want, got = (str(each).removeprefix("torch.") for each in (dtype, tensor.dtype))
        raise DtypeError(expected(name, want, got))
    if tensor.shape != shape:
        raise ShapeError(expected(name, list(shape), list(tensor.shape)))
    return tensor
