"""The GRU through torch's own kernel: cuDNN where it applies."""

import torch
from torch import Tensor

from unrolled.ops import packed
from unrolled.ops.call import Call, Result


def run(call: Call) -> Result:
    """Run one layer in one direction; no traces."""
    return packed.run(call, _kernel)


def _kernel(
    x: Tensor, batch_sizes: Tensor | None, states: tuple[Tensor, ...], flat: list[Tensor], train: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    hx = states[0][None]  # [1, B, H]: one layer, one direction
    has_biases = len(flat) == 4
    if batch_sizes is None:
        y, h = torch.gru(x, hx, flat, has_biases, 1, 0.0, train, False, False)
    else:
        y, h = torch.gru(x, batch_sizes, hx, flat, has_biases, 1, 0.0, train, False)
    return y, (h[0],)
