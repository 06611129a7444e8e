"""From an admitted call to its result: choose a backend, run it, hand the states back as they came."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext

import torch

from unrolled.ops.call import Call, Result
from unrolled.ops.choice import choose
from unrolled.ops.door import autocast_is_on


def dispatch(call: Call, asked: str, backends: Mapping[str, Callable[[Call], Result]]) -> Result:
    """Run the call on the backend that the written rule gives.

    Autocast has done its work at the door, so it is off inside: every backend sees one dtype. The
    states go back in the dtype that they came in, so that what one call returns the next one takes,
    within autocast or after it.
    """
    backend, _ = choose(call, asked)
    device = call.x.device.type
    with torch.autocast(device, enabled=False) if autocast_is_on(device) else nullcontext():
        y, states, traces = backends[backend](call)
    if any(dtype != y.dtype for dtype in call.state_dtypes):
        given = zip(states, call.state_dtypes, strict=True)
        states = tuple(state.to(dtype) for state, dtype in given)
    return Result(y, states, traces)
