"""A call of an op on the native backend."""

from __future__ import annotations

import torch

from unrolled import kernels
from unrolled.ops.call import Call, Result
from unrolled.ops.native.buffers import DTYPES
from unrolled.ops.native.library import layer


def run(call: Call) -> Result:
    """Run one layer in one direction by one call of the engine."""
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in call.tensors())
    c_0 = call.states[1] if len(call.states) == 2 else None
    y, h_n, c_n, _, _, traces = layer(
        _cell(call),
        call.x,
        call.states[0],
        c_0,
        call.weight_ih,
        call.weight_hh,
        call.bias_ih,
        call.bias_hh,
        call.lengths,
        call.resets,
        call.reverse,
        keep,
        call.trajectories,
    )
    states = (h_n,) if c_0 is None else (h_n, c_n)
    return Result(y, states, traces.unbind(0) if call.trajectories else ())


def cannot(call: Call) -> str | None:
    """Say why the engine cannot run this call, or None where it can."""
    if not kernels.available():
        return kernels.why_not()
    if _cell(call) not in kernels.CELLS:
        return f"it has no kernels for {call.op}"
    if not call.x.is_cpu:
        return f"it runs on the CPU, and these tensors lie on {call.x.device}"
    if call.x.dtype not in DTYPES:
        return f"it computes in float32 and float64, not yet in {str(call.x.dtype).removeprefix('torch.')}"
    if call.weight_hr is not None:
        return "it has no projection yet"
    return None


def _cell(call: Call) -> str:
    """Return the engine's name of the cell."""
    return f"{call.op}_{call.nonlinearity}" if call.nonlinearity else call.op


def reason(call: Call) -> str:
    """Say in which form the engine runs this call."""
    inside = [name for name in ("lengths", "resets") if getattr(call, name) is not None]
    form = f", {' and '.join(inside)} inside" if inside else ""
    threads = torch.get_num_threads()
    held = "1 thread" if threads == 1 else f"at most {threads} threads"
    return f"the whole sequence is one call of its kernels ({kernels.isa()}, {held}{form})"
