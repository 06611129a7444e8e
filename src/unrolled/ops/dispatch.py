"""From arguments to a result: validate, choose a backend, run it, give the states back as they came."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from unrolled.errors import ConfigError, expected
from unrolled.ops import onnx
from unrolled.ops import recompute as recomputing
from unrolled.ops.call import Call, Embedded, Output, Result, States
from unrolled.ops.choice import Explanation, choose, explanation, is_transformed, takes_packed, takes_table
from unrolled.ops.packing import packing_for, run_plain
from unrolled.ops.registry import OPS, op_of
from unrolled.ops.validate import autocast_call, autocast_is_on, dtype_within, validate


def run(
    cell: str,
    x: Tensor | Embedded,
    state: States,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    weight_hr: Tensor | None = None,
    *,
    nonlinearity: str | None = None,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    reverse: bool = False,
    recompute: int | None = None,
    trajectories: bool = False,
    further: Sequence[Tensor] = (),
    zoneout: Sequence[Tensor | float] = (),
    recurrent_mask: Tensor | None = None,
    backend: str = "auto",
) -> Output:
    """Run one layer of any registered cell, in one direction, over a batch of sequences.

    Args:
        cell: its name: "lstm", "gru", "rnn", a variant such as "layernorm_lstm" (see `unrolled.spec.CELLS`),
            or one that `register` has added.
        x: [T, B, I] floating point, any strides; or `Embedded` symbols.
        state: a tuple of the cell's states, h_0 [B, P] first, each other [B, H].
        weight_ih, weight_hh: [G·H, I] and [G·H, P], a block of H rows for each of the cell's G gates; of an
            indrnn weight_hh is [H].
        bias_ih, bias_hh: [G·H] each, or None, each on its own.
        weight_hr: [P, H] projects the hidden state, or None; only for a cell that projects.
        nonlinearity: of a cell that has a choice; default its first.
        lengths, resets, reverse, recompute, trajectories, backend: as `lstm` takes them.
        further: the cell's own weights, in the order of `CELLS[cell].further`: of a layernorm_lstm gain_ih
            and gain_hh [4H], gain_c and bias_c [H].
        zoneout: for each state what is kept of it at every step: a [T, B, ·] bool mask, true where a unit
            keeps the state before, or a share from 0 to 1, the expected value (Krueger et al. 2017); () for
            none.
        recurrent_mask: [B, P] what h is multiplied by on its way to weight_hh, the same at every step (Gal &
            Ghahramani 2016); None for nothing.
    Returns:
        (y [T, B, P], the states at each row's last valid step, a named tuple of traces and h or None).
    Raises:
        ConfigError: no such cell or nonlinearity. And what `lstm` raises.
    """
    call = validate(
        cell, x, state, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr,
        lengths=lengths, resets=resets, reverse=reverse, trajectories=trajectories, nonlinearity=nonlinearity,
        recompute=recompute, further=further, zoneout=zoneout, recurrent_mask=recurrent_mask,
    )  # fmt: skip
    return execute(call, backend)


def execute(call: Call, backend: str = "auto") -> Output:
    """Run a call whose arguments are known to agree on the backend that the written rule gives.

    Under autocast every tensor is cast first and autocast is off inside, so that a backend sees one dtype;
    the native one takes the tensors as they are and rounds where it multiplies. The states go back in the
    dtype that they came in, so that what one call returns the next one takes, within autocast or after it.
    """
    if onnx.is_exporting():
        y, states, _ = run_plain(lambda plain: onnx.run(plain, _computed), call)
        return Output(y, states, None)
    given = call.states
    device = call.x.device.type
    autocasting = autocast_is_on(device)
    if autocasting:
        call = call._replace(within=dtype_within(call.x))
    name, _ = choose(call, backend)
    if not takes_table(call, name):
        call = call.looked_up()
    packing = None if takes_packed(call, name) else packing_for(call)
    if packing is not None:
        call = packing.padded(call)
    if autocasting and name != "native":
        call = autocast_call(call)
    op = OPS[call.op]
    function: Any = getattr(op, name)
    with torch.autocast(device, enabled=False) if autocasting else nullcontext():
        whole = call.recompute is None or is_transformed(call)
        y, states, traces = function(call) if whole else recomputing.run(function, call)
    trajectory = op.trajectory._make((*traces, y)) if call.trajectories else None  # type: ignore[union-attr]
    if packing is not None:
        y = packing.pack(y)
    if any(state.dtype != came.dtype for state, came in zip(states, given, strict=True)):
        states = tuple(state.to(came.dtype) for state, came in zip(states, given, strict=True))
    return Output(y, states, trajectory)


def _computed(call: Call) -> Result:
    """Return the result of a call, whatever records it."""
    name, _ = choose(call, "auto")
    function: Any = getattr(OPS[call.op], name)
    found: Result = function(call)
    return found


def explain_call(call: Call, backend: str = "auto") -> Explanation:
    """Say which backend `execute(call, backend)` takes and why."""
    if autocast_is_on(call.x.device.type):
        call = call._replace(within=dtype_within(call.x))
    return explanation(call, backend)


def explain(op: str | Callable[..., Any], *args: Any, **kwargs: Any) -> Explanation:
    """Say which backend `op(*args, **kwargs)` takes and why; the rule is `unrolled.ops.choice.choose`.

    Args:
        op: `unrolled.ops.lstm`, `gru` or `rnn`, or the name of any registered cell.
        args, kwargs: what the op takes (`run`, after its cell, where there is only a name), checked as it
            checks them.
    Returns:
        An `Explanation`; printed, it is one readable sentence.
    Raises:
        ConfigError: no such op. And whatever the call itself would raise.
    """
    names = [name for name, known in OPS.items() if known.function is op and op is not None]
    if isinstance(op, str):
        names = [op] if op in OPS else []
    if not names:
        wanted = ", ".join(map(repr, sorted(OPS)))
        raise ConfigError(expected("op", f"one of {wanted}", repr(op)))
    function = op_of(names[0]).function or partial(run, names[0])
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    given = dict(bound.arguments)
    backend = given.pop("backend")
    x, state = given.pop("x"), given.pop("state") if "state" in given else (given.pop("h_0"),)
    return explain_call(validate(names[0], x, state, **given), backend)
