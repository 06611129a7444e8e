"""Whether anything would hear of what torch runs: if not, the engine is called without torch's registry."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

_STRIDED = torch.strided
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


def are_plain(values: Iterable[Any]) -> bool:
    """Whether every tensor among these is torch's own, on the CPU, and holds its own numbers."""
    for each in values:
        if not isinstance(each, Tensor):
            continue
        if (type(each) is not Tensor and type(each) is not Parameter) or not each.is_cpu:
            return False
        if each.layout is not _STRIDED or each.is_neg() or each._is_zerotensor():
            return False
    return True
