"""The plain RNN through torch's own kernel: cuDNN where it applies."""

from functools import partial

import torch
from torch import Tensor

from unrolled.ops import packed
from unrolled.ops.call import Call, Result


def run(call: Call) -> Result:
    """Run one layer in one direction; no traces."""
    return packed.run(call, partial(_kernel, call.nonlinearity))


def _kernel(
    nonlinearity: str,
    x: Tensor,
    batch_sizes: Tensor | None,
    states: tuple[Tensor, ...],
    flat: list[Tensor],
    train: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    kernel = torch.rnn_relu if nonlinearity == "relu" else torch.rnn_tanh
    hx = states[0][None]  # [1, B, H]: one layer, one direction
    has_biases = len(flat) == 4
    if batch_sizes is None:
        y, h = kernel(x, hx, flat, has_biases, 1, 0.0, train, False, False)
    else:
        y, h = kernel(x, batch_sizes, hx, flat, has_biases, 1, 0.0, train, False)
    return y, (h[0],)
