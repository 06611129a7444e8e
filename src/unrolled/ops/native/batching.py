"""`unrolled::layer` in torch.vmap: more rows of one call where weights are shared, else a call each.

Where rows are packed it is a call each too: rows of two members would not lie in falling order of length.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unrolled.ops.native.library import layer, library

_ROWS = {
    1: 1,
    2: 0,
    3: 0,
    8: 0,
    9: 1,
    15: 1,
}  # argument → its axis of rows: x, h_0, c_0, lengths, resets, ids
_WEIGHTS = (4, 5, 6, 7, 14)
_KEEP, _IDS, _BATCH_SIZES = 11, 15, 16


def _vmap(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
    given, dims = ([*each, None, None, None, None][:17] for each in (arguments, in_dims))
    tensors = [each for each in given if isinstance(each, Tensor)]
    given[_KEEP] = torch.is_grad_enabled() and any(each.requires_grad for each in tensors)
    shared = _WEIGHTS if given[_IDS] is None else (1, *_WEIGHTS)  # x is what ids look up
    if given[_BATCH_SIZES] is None and all(dims[place] is None for place in shared):
        return _as_rows(info.batch_size, dims, given)
    return _one_by_one(info.batch_size, dims, given)


def _as_rows(members: int, dims: list[int | None], given: list[Any]) -> tuple[Any, Any]:
    """Run the members' rows as one batch."""
    for place, axis in _ROWS.items():
        tensor, dim = given[place], dims[place]
        if tensor is not None and not (place == 1 and given[_IDS] is not None):
            tensor = (
                tensor.unsqueeze(0).expand(members, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            )
            given[place] = tensor.movedim(0, axis).flatten(axis, axis + 1)
    y, h_n, c_n, kept, traces = layer(*given)
    rows = (members, h_n.shape[0] // members)
    axes = [1, 0, None if given[3] is None else 0, None, 2 if given[12] else None]
    outputs = [
        each if axis is None else each.unflatten(axis, rows)
        for each, axis in zip((y, h_n, c_n, kept, traces), axes, strict=True)
    ]
    return tuple(outputs), tuple(axes)


def _one_by_one(members: int, dims: list[int | None], given: list[Any]) -> tuple[Any, Any]:
    """Run a call for each member."""
    each = [
        [value] * members if dim is None else value.unbind(dim)
        for value, dim in zip(given, dims, strict=True)
    ]
    results = [layer(*member) for member in zip(*each, strict=True)]
    # What a backward pass needs is kept inside: nobody outside reads it.
    y, h_n, c_n, kept, traces = (list(outputs) for outputs in zip(*results, strict=True))
    stacked = (torch.stack(y), torch.stack(h_n), torch.stack(c_n), kept[0], torch.stack(traces))
    return stacked, (0, 0, 0, None, 0)


torch.library.register_vmap(layer, _vmap, lib=library)
