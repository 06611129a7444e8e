"""Calls that nothing watches and no gradient needs: straight to what computes them.

A step takes the engine a few microseconds, and the usual path ten times that: messages, autograd, torch's
registry. So what is plain is recognised here, by looking, and anything else is left: None sends a call on the
usual path, which explains errors and does everything. Results are the usual path's to the bit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

Given = tuple[Tensor | None, Tensor | None]  # h and c; None for zeros, and where the cell has no c
_STRIDED = torch.strided
_CONTIGUOUS = torch.contiguous_format
_tracing = torch._C._get_tracing_state
_dispatch_modes = torch._C._len_torch_dispatch_stack
_function_modes = torch._C._len_torch_function_stack
_transforms = torch._C._are_functorch_transforms_active
_profiling = torch._C._autograd._profiler_enabled
_autocasting = torch.is_autocast_enabled


def is_watched() -> bool:
    """Whether something here records, rewrites or counts what torch runs, or casts it."""
    return (
        _tracing() is not None
        or _dispatch_modes() > 0
        or _function_modes() > 0
        or _transforms()
        or _profiling()
        or forward_ad._current_level >= 0
        or _autocasting("cpu")
    )


def dense(tensor: object, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor | None:
    """Return a plain CPU tensor of this shape and dtype as the engine reads it, contiguous; else None."""
    if type(tensor) is not Tensor and type(tensor) is not Parameter:
        return None
    if tensor.dtype is not dtype or tensor.shape != shape or not tensor.is_cpu:
        return None
    if tensor.layout is not _STRIDED or tensor.is_neg():
        return None
    if tensor.is_contiguous() and not tensor.data_ptr() & (dtype.itemsize - 1):
        return tensor
    return tensor.clone(memory_format=_CONTIGUOUS)


def states_of(hx: Any, shapes: tuple[tuple[int, ...], ...], dtype: torch.dtype) -> Given | None:
    """Return h and c, dense; None where they do not fit."""
    if hx is None:
        return (None, None)
    if len(shapes) == 1:
        h = dense(hx, shapes[0], dtype)
        return None if h is None else (h, None)
    if (type(hx) is not tuple and type(hx) is not list) or len(hx) != 2:
        return None
    h, c = dense(hx[0], shapes[0], dtype), dense(hx[1], shapes[1], dtype)
    return None if h is None or c is None else (h, c)
