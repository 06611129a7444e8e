"""Which backend a call takes, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import forward_ad

from unrolled.errors import BackendError, expected
from unrolled.ops import native
from unrolled.ops.call import Call
from unrolled.ops.packed import is_dense
from unrolled.ops.packing import plain
from unrolled.ops.registry import OPS

BACKENDS = ("native", "torch", "reference")  # in the order that `auto` prefers
_SLOWER = {
    "native": "",  # the first of them
    "torch": "native comes first",
    "reference": "a Python loop over time, slower than one call of a kernel",
}
_TRANSFORMED = "inside a torch.func transform or forward-mode differentiation"


@dataclass(frozen=True)
class Explanation:
    """Which backend one call of one op takes, and why.

    Attributes:
        op: the cell's name.
        backend: the one that runs.
        reason: why that one, and in which form.
        refused: for each of the other backends, why it was not taken.
    """

    op: str
    backend: str
    reason: str
    refused: Mapping[str, str]

    def __str__(self) -> str:
        others = "; ".join(f"not {name}: {why}" for name, why in self.refused.items())
        return f"{self.op} runs on {self.backend}: {self.reason} ({others})."


def choose(call: Call, asked: str) -> tuple[str, dict[str, str]]:
    """The written rule. Return the backend that the call takes and why the others are not taken.

    A backend asked for by name is taken, or BackendError says why it cannot run. `auto` takes the
    first of these that nothing speaks against:

    1. native: where this install holds compiled kernels of the cell, for tensors of float32, float64 and
       bfloat16 on the CPU and under autocast to bfloat16; with full rows, lengths, resets, trajectories, a
       projection, and under torch.compile. float16 goes on to the next;
    2. torch: where it has a kernel of the cell; not where trajectories are asked for (its kernels do not
       hand out gates), not for tensors on the meta device or a projection from H to H;
    3. reference: always. It alone takes zoneout and recurrent dropout, and runs the cells without kernels
       (layer normalisation, peepholes, a reset before the matmul).

    Inside torch.vmap native runs members that share their weights as rows of one call, and others, and
    those whose rows are packed, by a call for each. Inside the differentiating transforms of torch.func
    (grad, vjp, jvp, …) and on forward-mode dual tensors `auto` takes the reference, as kernels know
    neither; native by name is refused there.

    On native the engine gives first gradients of y and the states. A gradient that is to be
    differentiated again (create_graph=True), that comes through a trajectory, or that comes batched
    (is_grads_batched=True) is worked out by differentiating the reference, which is right and slow.
    """
    check_backend(asked)
    cannot = _cannot(call)
    if asked != "auto":
        if asked in cannot:
            got = f"{asked!r}: {cannot[asked]}"
            raise BackendError(expected("backend", "one that can run this call", got))
        not_asked = {name: f"{asked} was asked for by name" for name in BACKENDS if name != asked}
        return asked, not_asked | {name: why for name, why in cannot.items() if name != asked}
    if "native" in cannot and is_transformed(call):
        cannot = {"torch": _TRANSFORMED} | cannot
    for name in BACKENDS:
        if name not in cannot:
            return name, {other: _SLOWER[other] for other in BACKENDS if other != name} | cannot
    raise AssertionError("the reference runs everything")


def takes_table(call: Call, backend: str) -> bool:
    """Whether a call on ids computes x·W_ih once per symbol: on native, with at most half as many as steps.

    Else the rows of `Embedded` are looked up first. So they are with `recompute`, whose segments may be too
    short to pay for a table each, and while torch.compile traces, when sizes may be unknown.
    """
    if call.ids is None or backend != "native" or torch.compiler.is_compiling():
        return False
    return call.recompute is None and 2 * call.x.shape[0] <= call.steps * call.rows


def takes_packed(call: Call, backend: str) -> bool:
    """Whether a call on packed rows is run on them as they are: native, which keeps no trajectory of them.

    Else they are padded before the call, and y is packed after it; so they are with `recompute`.
    """
    return backend == "native" and call.recompute is None and not call.trajectories


def check_backend(asked: object) -> None:
    """Raise BackendError where this is no backend's name."""
    if asked not in ("auto", *BACKENDS):
        names = ", ".join(map(repr, ("auto", *sorted(BACKENDS))))
        raise BackendError(expected("backend", f"one of {names}", repr(asked)))


def explanation(call: Call, asked: str) -> Explanation:
    """Say what `choose` chooses, in words."""
    backend, refused = choose(call, asked)
    if backend == "reference":
        reason = "a loop over time in plain torch operations, which does everything"
        if asked == "auto" and (OPS[call.op].native is None or _within_a_step(call)):
            reason += ", several times as slow as a kernel"
    elif backend == "native":
        reason = native.reason(call)
    elif is_dense(plain(call)):
        reason = "full rows without resets inside go to torch's kernel in one direct call"
    else:
        reason = "rows cut into segments at lengths and resets go to torch's kernel as one packed batch"
    if takes_table(call, backend):
        reason += f"; x·W_ih once for each of {call.x.shape[0]} symbols, in a table that steps look up"
    elif call.ids is not None:
        reason += f"; the rows of {call.x.shape[0]} symbols are looked up first"
    if call.recompute is not None and call.recompute < call.steps:
        reason += f"; every {call.recompute} steps a state is kept, and the backward pass runs them again"
    if asked != "auto":
        reason = f"asked for by name; {reason}"
    return Explanation(op=call.op, backend=backend, reason=reason, refused=refused)


def _cannot(call: Call) -> dict[str, str]:
    """Return, for each backend that cannot run the call, why."""
    op = OPS[call.op]
    within = _within_a_step(call)
    reasons = {
        "native": within or native.cannot(call) if op.native else f"it has no kernels for the {call.op}",
        "torch": within or _why_torch_cannot(call) if op.torch else f"it has no kernel for the {call.op}",
    }
    if is_transformed(call):
        if not _is_only_vmapped():
            reasons["native"] = reasons["native"] or f"{_TRANSFORMED}, where auto takes the reference"
        if reasons["torch"] is None and any(map(_is_batched, call.tensors())):
            reasons["torch"] = "its kernels have no batching rule for torch.vmap"
    return {name: why for name, why in reasons.items() if why}


def _within_a_step(call: Call) -> str | None:
    """Say what a call asks for that no kernel does, as it changes states in the middle of the time loop."""
    if call.zoneout:
        return "zoneout changes the states at every step, which no kernel does"
    if call.recurrent_mask is not None:
        return "recurrent dropout changes h at every step, which no kernel does"
    return None


def _why_torch_cannot(call: Call) -> str | None:
    if call.trajectories:
        return "its kernels do not hand out gates, so no trajectories"
    if call.x.device.type == "meta":
        return "it needs values, and meta tensors have none"
    if call.weight_hr is not None and call.weight_hr.shape[0] == call.weight_hr.shape[1]:
        # It tells a projection by h_0 and c_0 having different sizes.
        return "its kernel takes no projection to the hidden size itself"
    return None


def is_transformed(call: Call) -> bool:
    """Whether torch.func or forward-mode differentiation has wrapped one of the tensors."""
    compiling = torch.compiler.is_compiling()
    if torch._C._are_functorch_transforms_active():
        # What torch.compile traces does not say which tensors are wrapped.
        given = [t for t in (*call.tensors(), call.lengths, call.resets, call.ids) if t is not None]
        return compiling or any(map(torch._C._functorch.is_functorch_wrapped_tensor, given))
    if compiling or forward_ad._current_level < 0:
        return False
    return any(forward_ad.unpack_dual(t).tangent is not None for t in call.tensors())  # type: ignore[no-untyped-call]  # torch's


def _is_only_vmapped() -> bool:
    """Whether torch.vmap, and no other transform of torch.func, is what surrounds the call."""
    if torch.compiler.is_compiling() or forward_ad._current_level >= 0:
        return False
    levels = torch._C._functorch.get_interpreter_stack() or ()
    return all(level.key() == torch._C._functorch.TransformType.Vmap for level in levels)


def _is_batched(tensor: Tensor) -> bool:
    if torch.compiler.is_compiling():
        return False
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        if torch._C._functorch.is_batchedtensor(tensor):
            return True
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return False
