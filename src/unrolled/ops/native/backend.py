"""A call of an op on the native backend, on torch's own threads."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unrolled import kernels
from unrolled.errors import counted
from unrolled.ops.call import Call, Result
from unrolled.ops.native.autograd import run_layer
from unrolled.ops.native.library import TYPES
from unrolled.spec import CELLS

_FUNCTIONS = {"parallel": "GOMP_parallel", "size": "omp_get_num_threads", "in_parallel": "omp_in_parallel"}


def run(call: Call) -> Result:
    """Run one layer in one direction by one call of the engine.

    In bfloat16 its buffers are float32, and it rounds where it multiplies: so under autocast weights are
    read as they are, and the states that come back have not been rounded.
    """
    keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in call.tensors())
    narrow = call.dtype == torch.bfloat16
    if narrow:
        call = _in_float32(call)
    h_0, c_0 = call.states if len(call.states) == 2 else (*call.states, None)
    y, h_n, c_n, _, traces = run_layer(
        _cell(call),
        call.x,
        h_0,
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
        "bfloat16" if narrow else None,
        call.weight_hr,
        call.ids,
        call.batch_sizes,
    )
    states = (h_n,) if c_0 is None else (h_n, c_n)
    if narrow:
        y, traces = y.bfloat16(), traces.bfloat16() if call.trajectories else traces
    return Result(y, states, traces.unbind(0) if call.trajectories else ())


def run_plainly(
    cell: str,
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor | None,
    weights: Sequence[Tensor | None],
    resets: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run a layer as `run` does, first step to last, for callers that have looked at every argument.

    Args:
        cell: one of `kernels.CELLS`. weights: weight_ih, weight_hh, bias_ih, bias_hh, weight_hr.
    Returns:
        y, h_n and c_n, None where the cell has none.
    """
    options = (None, resets, False, torch.is_grad_enabled(), False, None, weights[4], None, None)
    y, h_n, c_n, _, _ = run_layer(cell, x, h_0, c_0, *weights[:4], *options)
    return y, h_n, None if c_0 is None else c_n


def _in_float32(call: Call) -> Call:
    def cast(value: Tensor | None) -> Any:
        return None if value is None else value.float()

    return call._replace(
        x=call.x.float(),
        states=tuple(state.float() for state in call.states),
        weight_ih=call.weight_ih.float(),
        weight_hh=call.weight_hh.float(),
        bias_ih=cast(call.bias_ih),
        bias_hh=cast(call.bias_hh),
        weight_hr=cast(call.weight_hr),
    )


def cannot(call: Call) -> str | None:
    """Say why the engine cannot run this call, or None where it can."""
    if not kernels.available():
        return kernels.why_not()
    if _cell(call) not in kernels.CELLS:
        return f"it has no kernels for {call.op}"
    if not call.x.is_cpu:
        return f"it runs on the CPU, and these tensors lie on {call.x.device}"
    if call.dtype not in TYPES and call.dtype != torch.bfloat16:
        name = str(call.dtype).removeprefix("torch.")
        return f"it computes in float32, float64 and bfloat16, not in {name}"
    return None


def _cell(call: Call) -> str:
    """Return the engine's name of the cell, or of the one by whose kernels it is computed."""
    name = CELLS[call.op].plain or call.op
    return f"{name}_{call.nonlinearity}" if call.nonlinearity else name


def reason(call: Call) -> str:
    """Say in which form the engine runs this call."""
    given = {"lengths": call.lengths, "packed rows": call.batch_sizes, "resets": call.resets}
    inside = [name for name, value in given.items() if value is not None]
    form = f", {' and '.join(inside)} inside" if inside else ""
    threads = torch.get_num_threads()
    held = f"{'at most ' * (threads > 1)}{counted(threads, 'thread')}"
    plain = CELLS[call.op].plain
    form += "" if plain is None else f", as an {plain} whose weights are rewritten from its own"
    products = ", products of bfloat16 summed in float32" if call.dtype == torch.bfloat16 else ""
    return f"the whole sequence is one call of its kernels ({kernels.isa()}, {held}{products}{form})"


def lend_team() -> None:
    """Hand the engine the functions of the OpenMP runtime that torch has loaded, where there is one.

    torch's threads spin for milliseconds after each of its parallel regions. An engine with threads of its
    own would share the cores with them: a training step then takes twice as long (docs/decisions/0010).
    GNU's runtime, and LLVM's and Intel's, which speak its language. Elsewhere the engine has its own threads.
    """
    path = _runtime() if kernels.available() else None
    if path is None:
        return
    try:
        library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
        found = {
            ours: ctypes.cast(getattr(library, name), ctypes.c_void_p) for ours, name in _FUNCTIONS.items()
        }
    except (OSError, AttributeError):
        return
    kernels.borrow_team(**{name: function.value or 0 for name, function in found.items()})


def _runtime() -> str | None:
    """Return the file of the OpenMP runtime in this process; of several, torch's own."""
    if sys.platform != "linux":
        return None
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return None
    files = {line.split(maxsplit=5)[-1] for line in lines if "/" in line}
    runtimes = [file for file in files if Path(file).name.startswith(("libgomp", "libomp", "libiomp"))]
    home = str(Path(torch.__file__).parent)  # and torch.libs beside it, where some wheels keep it
    own = [file for file in runtimes if file.startswith(home)]
    return min(own or runtimes, default=None) if len(own or runtimes) == 1 else None
