"""The plain RNN, as it is defined: the specification that every backend must equal."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from unrolled.ops.call import Call, Result
from unrolled.ops.scan import States, scan


def run(call: Call) -> Result:
    """Run one layer in one direction; traces the pre-activation a."""
    activation = torch.relu if call.nonlinearity == "relu" else torch.tanh

    def project(x: Tensor) -> Tensor:  # [T, B, I] → [T, B, H]
        return linear(x, call.weight_ih, call.bias_ih)

    def step(x: Tensor, states: States) -> tuple[States, tuple[Tensor, ...]]:
        (h,) = states
        a = x + linear(h, call.weight_hh, call.bias_hh)
        return (activation(a),), (a,)

    return scan(call, project, step)
