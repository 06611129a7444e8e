"""Which backend a call takes, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from unrolled.errors import BackendError, expected
from unrolled.ops.call import Call
from unrolled.ops.packed import is_dense

BACKENDS = ("native", "torch", "reference")  # in the order that `auto` prefers


@dataclass(frozen=True)
class Explanation:
    """Which backend one call of one op takes, and why.

    Attributes:
        op: "lstm", "gru" or "rnn".
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

    1. native: never in this build, which has no native kernels;
    2. torch: not where trajectories are asked for (its kernels do not hand out gates), not for
       tensors on the meta device or a projection from H to H, and not within a torch.func
       transform or on forward-mode dual tensors (oneDNN's kernels have neither batching rules nor
       forward derivatives);
    3. reference: always.
    """
    check_name(asked)
    cannot = {"native": "this build has no native kernels"} | _torch_cannot(call)
    if asked != "auto":
        if asked in cannot:
            got = f"{asked!r}: {cannot[asked]}"
            raise BackendError(expected("backend", "one that can run this call", got))
        not_asked = {name: f"{asked} was asked for by name" for name in BACKENDS if name != asked}
        return asked, not_asked | {name: why for name, why in cannot.items() if name != asked}
    if "torch" not in cannot and _is_transformed(call):
        cannot["torch"] = "inside a torch.func transform or forward-mode differentiation"
    if "torch" in cannot:
        return "reference", cannot
    return "torch", cannot | {"reference": "a Python loop over time, slower than one call of a kernel"}


def check_name(asked: object) -> None:
    """Raise BackendError where this is no backend's name."""
    if asked not in ("auto", *BACKENDS):
        names = ", ".join(map(repr, ("auto", *sorted(BACKENDS))))
        raise BackendError(expected("backend", f"one of {names}", repr(asked)))


def explanation(call: Call, asked: str) -> Explanation:
    """Say what `choose` chooses, in words."""
    backend, refused = choose(call, asked)
    if backend == "reference":
        reason = "a loop over time in plain torch operations, which does everything"
    elif is_dense(call):
        reason = "full rows without resets inside go to torch's kernel in one direct call"
    else:
        reason = "rows cut into segments at lengths and resets go to torch's kernel as one packed batch"
    if asked != "auto":
        reason = f"asked for by name; {reason}"
    return Explanation(op=call.op, backend=backend, reason=reason, refused=refused)


def _torch_cannot(call: Call) -> dict[str, str]:
    if call.trajectories:
        return {"torch": "its kernels do not hand out gates, so no trajectories"}
    if call.x.device.type == "meta":
        return {"torch": "it needs values, and meta tensors have none"}
    if call.weight_hr is not None and call.weight_hr.shape[0] == call.weight_hr.shape[1]:
        # It tells a projection by h_0 and c_0 having different sizes.
        return {"torch": "its kernel takes no projection to the hidden size itself"}
    if any(_is_batched(tensor) for tensor in call.tensors()):
        return {"torch": "its kernels have no batching rule for torch.vmap"}
    return {}


def _is_batched(tensor: Tensor) -> bool:
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        if torch._C._functorch.is_batchedtensor(tensor):
            return True
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return False


def _is_transformed(call: Call) -> bool:
    def transformed(tensor: Tensor) -> bool:
        if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
            return True
        return unpack_dual(tensor).tangent is not None  # type: ignore[no-untyped-call]  # torch's

    return any(map(transformed, call.tensors()))
