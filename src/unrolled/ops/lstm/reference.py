"""The LSTM, as it is defined: the specification that every backend must equal."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from unrolled.ops.call import Call, Result
from unrolled.ops.scan import States, scan


def run(call: Call) -> Result:
    """Run one layer in one direction; traces i, f, g, o, c."""

    def project(x: Tensor) -> Tensor:  # [T, B, I] → [T, B, 4H]
        return linear(x, call.weight_ih, call.bias_ih)

    def step(x: Tensor, states: States) -> tuple[States, tuple[Tensor, ...]]:
        h, c = states
        i, f, g, o = (x + linear(h, call.weight_hh, call.bias_hh)).chunk(4, dim=-1)  # each [B, H]
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        c = f * c + i * g
        h = o * torch.tanh(c)
        if call.weight_hr is not None:
            h = linear(h, call.weight_hr)  # [B, H] → [B, P]
        return (h, c), (i, f, g, o, c)

    return scan(call, project, step)
