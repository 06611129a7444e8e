"""The LSTM through torch's own kernel: oneDNN or cuDNN where they apply."""

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
    hx = [state[None] for state in states]  # [1, B, ·]: one layer, one direction
    has_biases = len(flat) >= 4
    if batch_sizes is None:
        y, h, c = torch.lstm(x, hx, flat, has_biases, 1, 0.0, train, False, False)
    else:
        y, h, c = torch.lstm(x, batch_sizes, hx, flat, has_biases, 1, 0.0, train, False)
    return y, (h[0], c[0])
