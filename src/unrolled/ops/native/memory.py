"""Memory for what calls return and keep for their backward passes; what is free again serves a later call.

The gates of a long batch are tens of MB, its outputs and gradients some. The system hands out so much memory
as fresh pages, zeroed at the first touch, and takes it back when it is free: in every training step, for up
to a fifth of its time.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

LEAST = 1 << 20  # bytes; memory of smaller size the allocator reuses itself
MOST = 64 << 20  # bytes that lie free here, at most

_free: list[Tensor] = []  # [bytes] uint8 each, the longest unused first


def room(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return a tensor of like's dtype, not initialised, in memory that no living tensor uses."""
    size = math.prod(shape) * like.itemsize
    is_fake = type(like) is not Tensor and type(like) is not Parameter  # sizes, and no memory
    if is_fake or not LEAST <= size <= MOST:
        return like.new_empty(shape)
    memory = _taken(size)
    if memory is None:
        memory = torch.empty(size, dtype=torch.uint8)
    # An array is lent out in place of the memory itself: a tensor made of it, and every view of that tensor,
    # keeps it alive until the last of them is gone. It has its shape already, since to autograd a tensor that
    # torch reshapes is a view, which could not be written over.
    lent = memory.numpy()[:size].view(f"f{like.itemsize}").reshape(tuple(shape))
    weakref.finalize(lent, _give_back, memory).atexit = False
    return torch.from_numpy(lent)


def _taken(size: int) -> Tensor | None:
    """Return free memory of this size or a little more. A list's pop and append need no lock."""
    for _ in range(len(_free)):
        try:
            memory = _free.pop(0)
        except IndexError:  # another thread was first
            return None
        if size <= len(memory) <= size + size // 4:
            return memory
        _free.append(memory)
    return None


def _give_back(memory: Tensor) -> None:
    _free.append(memory)
    while sum(map(len, tuple(_free))) > MOST:
        try:
            _free.pop(0)
        except IndexError:
            return
