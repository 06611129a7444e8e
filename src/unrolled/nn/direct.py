"""Calls that nothing watches: straight to what computes them.

A step takes the engine a few microseconds, and the usual path ten times that: messages, autograd, torch's
registry. So what is plain is recognised here, by looking, and anything else is left: None sends a call on the
usual path, which explains errors and does everything. Results are the usual path's to the bit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from unrolled import kernels, ops
from unrolled.nn.validate import is_by_hand
from unrolled.ops import is_watched as is_watched

Given = tuple[Tensor | None, Tensor | None]  # h and c; None for zeros, and where the cell has no c
# Of rows [T, B, ·], [B, T, ·] or [T, ·]: T, B and their width; the B of the states, as (B,), or () where
# unbatched; of_steps and of_rows: step t of row b begins at (t · of_steps + b · of_rows) · width.
Layout = tuple[int, int, int, tuple[int, ...], int, int]
_CELLS = {"RNN_TANH": ("rnn_tanh", 1), "RNN_RELU": ("rnn_relu", 1), "GRU": ("gru", 3), "LSTM": ("lstm", 4)}
_TYPES = {getattr(torch, name): name for name in kernels.DTYPES}
_CELL_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_STRIDED = torch.strided
_CONTIGUOUS = torch.contiguous_format
_tracing = torch._C._get_tracing_state


def dense(tensor: Any, shape: tuple[int, ...], dtype: torch.dtype, aligned: int = 3) -> Tensor | None:
    """Return a plain CPU tensor of this shape and dtype as the engine reads it, contiguous; else None.

    `aligned` + 1 divides its address, a multiple of 4 by default.
    """
    if type(tensor) is not Tensor and type(tensor) is not Parameter:
        return None
    if tensor.dtype is not dtype or tensor.shape != shape or not tensor.is_cpu:
        return None
    if tensor.layout is not _STRIDED or tensor.is_neg():
        return None
    if tensor.is_contiguous() and not tensor.data_ptr() & aligned:
        return tensor
    return tensor.clone(memory_format=_CONTIGUOUS)


def states_of(
    hx: Any, shapes: tuple[tuple[int, ...], ...], dtype: torch.dtype, aligned: int = 3
) -> Given | None:
    """Return h and c, dense; None where they do not fit."""
    if hx is None:
        return (None, None)
    if len(shapes) == 1:
        h = dense(hx, shapes[0], dtype, aligned)
        return None if h is None else (h, None)
    if (type(hx) is not tuple and type(hx) is not list) or len(hx) != 2:
        return None
    h, c = dense(hx[0], shapes[0], dtype, aligned), dense(hx[1], shapes[1], dtype, aligned)
    return None if h is None or c is None else (h, c)


def layout_of(shape: tuple[int, ...], batch_first: bool) -> Layout | None:
    """Return the layout of contiguous rows; None where they have no such shape, or nothing to compute."""
    if 0 in shape:
        return None
    if len(shape) == 2:
        return shape[0], 1, shape[1], (), 1, 1
    if len(shape) != 3:
        return None
    if batch_first:
        return shape[1], shape[0], shape[2], (shape[0],), 1, shape[1]
    return shape[0], shape[1], shape[2], (shape[1],), shape[1], 1


def run_layer(layer: Any, input: object, hx: Any, resets: object) -> tuple[Tensor, Any] | None:
    """Run a layer on the engine as its `forward` does; None where the usual path must be taken.

    The backend is the one that the usual path takes: `auto` puts the engine first for all that is plain.
    """
    if type(input) is not Tensor or is_watched() or not _is_ours(layer):
        return None
    dtype, shape, lstm = input.dtype, input.shape, layer.mode == "LSTM"
    layout = layout_of(shape, layer.batch_first)
    if layout is None or layout[2] != layer.input_size or dtype not in _TYPES:
        return None
    aligned = dtype.itemsize - 1
    of_c = (layer.num_layers, *layout[3], layer.hidden_size)
    of_h = (*of_c[:-1], layer.proj_size) if layer.proj_size else of_c
    states = states_of(hx, (of_h, of_c) if lstm else (of_h,), dtype, aligned)
    cut = None if resets is None else dense(resets, shape[:-1], torch.bool, 0)
    if (
        dense(input, shape, dtype, aligned) is not input
        or states is None
        or (cut is None and resets is not None)
    ):
        return None
    weights = _weights(layer, dtype)
    if weights is None:
        return None
    h_0, c_0 = states
    if h_0 is None:
        h_0 = input.new_zeros(of_h)
        c_0 = None if not lstm else h_0 if of_c == of_h else input.new_zeros(of_c)
    flat = [weight for each in weights for weight in each]
    if torch.is_grad_enabled() and torch._C._any_requires_grad(input, h_0, c_0, *flat):
        usual = layer.recompute is not None or len(shape) == 2
        return None if usual else _with_gradients(layer, weights, input, cut, h_0, c_0)
    h_n, c_n = input.new_empty(of_h), input.new_empty(of_c) if lstm else None
    handles = _handles(layer, weights, dtype)
    y = _run(handles, of_h[-1], layout, input, cut, (h_0, c_0), (h_n, c_n))
    if len(shape) == 2:
        y = y.squeeze_(1)
    elif layer.batch_first:
        y = ops.rows_first(y)
    return y, h_n if c_n is None else (h_n, c_n)


def _run(
    handles: list[kernels.Handle],
    size: int,
    layout: Layout,
    x: Tensor,
    resets: Tensor | None,
    before: Given,
    after: Given,
) -> Tensor:
    """Run the layers of a stack a call for each, to the states after; return y [T, B, P], P being `size`."""
    steps, rows, width, _, of_steps, of_rows = layout
    cut = (0, 0, 0) if resets is None else (resets.data_ptr(), of_steps, of_rows)
    read = (x.data_ptr(), of_steps * width, of_rows * width)
    at = [0 if each is None else each.data_ptr() for each in (*before, *after)]
    of_layer = (rows * size * x.itemsize, rows * handles[0].hidden_size * x.itemsize) * 2  # h, c, h, c
    threads = torch.get_num_threads()
    for handle in handles:
        y = x.new_empty(steps, rows, size)
        put = (y.data_ptr(), rows * size, size)
        kernels.forward(
            handle, threads, False, steps, rows, 0, cut, read, at[0], at[1], put, at[2], at[3], 0, ()
        )
        x, read = y, put  # which keeps alive what the next layer reads
        at = [each + offset if each else 0 for each, offset in zip(at, of_layer, strict=True)]
    return y


def _with_gradients(
    layer: Any,
    weights: list[list[Tensor | None]],
    x: Tensor,
    resets: Tensor | None,
    h_0: Tensor,
    c_0: Tensor | None,
) -> tuple[Tensor, Any]:
    """Run the layers of a stack on batched rows by an op for each; return what the layer does."""
    if layer.batch_first:
        x, resets = x.transpose(0, 1), None if resets is None else resets.T
    cell, finals = _CELLS[layer.mode][0], []
    for level, each in enumerate(weights):
        c = None if c_0 is None else c_0[level]
        x, *final = ops.run_plainly(cell, x, h_0[level], c, each, resets)
        finals.append(final)
    states = [_stacked(each) for each in zip(*finals, strict=True) if each[0] is not None]
    return ops.rows_first(x) if layer.batch_first else x, states[0] if len(states) == 1 else tuple(states)


def _stacked(states: tuple[Tensor, ...]) -> Tensor:
    """Return the states [B, H] of each layer as [L, B, H]; of one layer without a copy, and no view."""
    return states[0].unsqueeze_(0) if len(states) == 1 else torch.stack(states)


def _is_ours(layer: Any) -> bool:
    """Whether the engine runs all layers, in one direction."""
    if layer.bidirectional or layer.mode not in _CELLS or not kernels.available():
        return False
    if layer.num_layers > 1 and layer.dropout > 0 and layer.training:
        return False
    if (
        layer.zoneout
        or layer.reverse
        or (layer.training and (layer.input_dropout or layer.recurrent_dropout))
    ):
        return False
    return layer.backend in ("auto", "native")


def _weights(layer: Any, dtype: torch.dtype, *, collected: bool = False) -> list[list[Tensor | None]] | None:
    """Return weight_ih, weight_hh, bias_ih, bias_hh, weight_hr of each layer; None where one is not plain.

    Args:
        collected: `_flat_weights`, which torch.nn would read, has just been collected anew.
    """
    parameters: dict[str, Any] = layer._parameters
    hidden, width, projected = layer.hidden_size, layer.input_size, layer.proj_size
    blocks, size, aligned = _CELLS[layer.mode][1] * hidden, projected or hidden, dtype.itemsize - 1
    others: list[tuple[int, ...]] = [(blocks,)] * 2 if layer.bias else []
    if projected:
        others.append((projected, hidden))
    flat, found = iter(layer._flat_weights), []
    for names in layer._all_weights:
        each: list[Tensor | None] = []
        if len(names) != 2 + len(others):
            return None
        for name, shape in zip(names, [(blocks, width), (blocks, size), *others], strict=True):
            weight = parameters.get(name)
            if weight is None or dense(weight, shape, dtype, aligned) is not weight:
                return None
            if weight is not next(flat, None):
                if collected or is_by_hand(layer, layer._flat_weights_names.index(name), weight):
                    return None
                layer._init_flat_weights()  # as torch.nn does: functional_call, say, put it there
                return _weights(layer, dtype, collected=True)
            each.append(weight)
        hr = each.pop() if projected else None
        found.append([*each, hr] if layer.bias else [*each, None, None, hr])
        width = size
    return found if len(found) == layer.num_layers else None


def _handles(layer: Any, weights: list[list[Tensor | None]], dtype: torch.dtype) -> list[kernels.Handle]:
    """Return a handle for each layer, which refers to its weights."""
    cell, storage, isa = _CELLS[layer.mode][0], _TYPES[dtype], kernels.isa()
    width, handles = layer.input_size, []
    for each in weights:
        w_ih, w_hh, b_ih, b_hh, w_hr = (0 if weight is None else weight.data_ptr() for weight in each)
        handles.append(
            kernels.pack(
                cell,
                (w_ih, w_hh, b_ih, b_hh),
                input_size=width,
                hidden_size=layer.hidden_size,
                projection=(w_hr, layer.proj_size),
                storage=storage,
                isa=isa,
                copy=False,
            )
        )
        width = layer.proj_size or layer.hidden_size
    return handles


def run_cell(cell: Any, kernel: Any, input: object, hx: Any) -> Any:
    """Take a cell's step by torch's kernel as its `forward` does; None where the usual path must be taken."""
    if type(input) is not Tensor or _tracing() is not None or kernel is None:
        return None
    shape, hidden, parameters = input.shape, cell.hidden_size, cell._parameters
    weights = [parameters.get(name) for name in _CELL_WEIGHTS]
    if len(shape) not in (1, 2) or shape[-1] != cell.input_size:
        return None
    batched = len(shape) == 2
    wanted = (shape[0], hidden) if batched else (hidden,)
    states = hx if type(hx) is tuple or type(hx) is list else (hx,)
    if not _alike(input, weights[0]) or not _alike(input, weights[1]):
        return None
    if hx is None:
        zeros = input.new_zeros(wanted if batched else (1, hidden))
        states = (zeros,) * len(cell._states)
    elif len(states) != len(cell._states):
        return None
    else:
        for each in states:
            if not _alike(input, each) or each.shape != wanted:
                return None
        states = states if batched else [each[None] for each in states]
    given = input if batched else input[None]
    result = kernel(given, states if len(states) > 1 else states[0], *weights)
    if batched:
        return result
    return tuple(each[0] for each in result) if len(states) > 1 else result[0]


def _alike(tensor: Tensor, other: Any) -> bool:
    """Whether this is a plain tensor of the same dtype on the same device."""
    if (type(other) is not Tensor and type(other) is not Parameter) or other.dtype is not tensor.dtype:
        return False
    return (tensor.is_cpu and other.is_cpu) or tensor.device == other.device
