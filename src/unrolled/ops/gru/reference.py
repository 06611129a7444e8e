"""The GRU, as it is defined: the specification that every backend must equal."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import linear

from unrolled.ops.call import Call, Result
from unrolled.ops.scan import States, scan


def run(call: Call) -> Result:
    """Run one layer in one direction; traces r, z, n."""

    def project(x: Tensor) -> Tensor:  # [T, B, I] → [T, B, 3H]
        return linear(x, call.weight_ih, call.bias_ih)

    def step(x: Tensor, states: States) -> tuple[States, tuple[Tensor, ...]]:
        (h,) = states
        xr, xz, xn = x.chunk(3, dim=-1)  # each [B, H]
        hr, hz, hn = linear(h, call.weight_hh, call.bias_hh).chunk(3, dim=-1)
        r, z = (xr + hr).sigmoid(), (xz + hz).sigmoid()
        n = (xn + r * hn).tanh()
        h = (1 - z) * n + z * h
        return (h,), (r, z, n)

    return scan(call, project, step)
