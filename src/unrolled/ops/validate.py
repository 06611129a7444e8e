"""Validation of what an op is given directly; nothing further inside checks it again.

The small checks (`check_tensor`, `check_shape`, …) are shared with the layers of `unrolled.nn`, which
validate what a whole stack is given and then call `execute`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.errors import ConfigError, DeviceError, DtypeError, ShapeError, expected
from unrolled.ops.call import Call, Embedded, States
from unrolled.ops.recompute import check_recompute
from unrolled.ops.registry import op_of
from unrolled.spec import Cell

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def validate(
    cell: str,
    x: Tensor | Embedded,
    state: States,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
    weight_hr: Tensor | None = None,
    *,
    lengths: Tensor | None,
    resets: Tensor | None,
    reverse: bool,
    trajectories: bool,
    nonlinearity: str | None = None,
    recompute: int | None = None,
    further: Sequence[Tensor] = (),
    zoneout: Sequence[Tensor | float] = (),
    recurrent_mask: Tensor | None = None,
) -> Call:
    """Check everything about a call of an op, and return it; `unrolled.ops.run` documents the arguments."""
    known = op_of(cell).cell
    nonlinearity = nonlinearity_of(known, nonlinearity)
    states = _named(known, state)
    if weight_hr is not None and not known.projects:
        raise ConfigError(expected("weight_hr", f"None, as the {cell} has no projection", "a projection"))
    given = (*states.values(), weight_ih, weight_hh, bias_ih, bias_hh)
    read, ids = x, None
    if isinstance(x, Embedded):
        check_embedded("x", x, ("T", "B"))
        ids, read = x
        x = read.new_empty(()).expand(*ids.shape, read.shape[1])  # what the rows looked up are like
    if weight_hr is not None or not _plainly_fits(known, x, *given, further):
        weights = {"weight_ih": weight_ih, "weight_hh": weight_hh}
        optional = {"bias_ih": bias_ih, "bias_hh": bias_hh, "weight_hr": weight_hr}
        weights |= {name: value for name, value in optional.items() if value is not None}
        weights |= _named_further(known, further)
        _check(known, x, states, weights)
    check_lengths(lengths, steps=x.shape[0], rows=x.shape[1])
    check_resets(resets, tuple(x.shape[:2]), x)
    check_recompute(recompute, trajectories=trajectories)
    if zoneout or recurrent_mask is not None:
        check_masks(known, x, tuple(states.values()), zoneout, recurrent_mask)
    return Call(
        op=cell,
        x=read,  # type: ignore[arg-type]  # of `Embedded` its weight
        states=tuple(states.values()),
        weight_ih=weight_ih,
        weight_hh=weight_hh,
        bias_ih=bias_ih,
        bias_hh=bias_hh,
        weight_hr=weight_hr,
        lengths=lengths,
        resets=resets,
        reverse=reverse,
        trajectories=trajectories,
        nonlinearity=nonlinearity,
        recompute=recompute,
        ids=ids,
        further=tuple(further),
        zoneout=tuple(zoneout),
        recurrent_mask=recurrent_mask,
    )


def nonlinearity_of(cell: Cell, given: str | None) -> str:
    """Return the nonlinearity asked for, default the cell's first, "" where it has none.

    Raises ConfigError: the cell has no such nonlinearity.
    """
    choices = cell.nonlinearities
    if given is None:
        return choices[0] if choices else ""
    if given not in choices:
        wanted = " or ".join(map(repr, choices)) or f"None, as the {cell.name} has no choice"
        raise ConfigError(expected("nonlinearity", wanted, repr(given)))
    return given


def _named(cell: Cell, state: object) -> dict[str, Tensor]:
    names = [f"{name}_0" for name in cell.states]
    if not isinstance(state, (tuple, list)) or len(state) != len(names):
        got = f"{len(state)} values" if isinstance(state, (tuple, list)) else type(state).__name__
        form = {1: "a tuple", 2: "a pair"}.get(len(names), f"{len(names)} tensors")
        raise DtypeError(expected("state", f"{form} ({', '.join(names)}{',' * (len(names) == 1)})", got))
    return dict(zip(names, state, strict=True))


def autocast_call(call: Call) -> Call:
    """Return the call with every floating point tensor in the dtype that autocast computes in."""
    return call.over_tensors(autocast)


def _plainly_fits(cell: Cell, x: Tensor, *others: Any) -> bool:
    """Whether this is the usual case: one dtype, one device, right sizes, no projection.

    Takes a few microseconds, where the checks that compose a message take thirty. False decides nothing.
    """
    *states, weight_ih, weight_hh, bias_ih, bias_hh, further = others
    gates = len(cell.gates)
    if further or cell.further or cell.diagonal:
        return False
    if not isinstance(x, Tensor) or x.dtype not in FLOATS or x.dim() != 3:
        return False
    if not isinstance(weight_hh, Tensor) or weight_hh.dim() != 2:
        return False
    (_, rows, width), hidden = x.shape, weight_hh.shape[1]
    if width == 0 or hidden == 0:
        return False
    wanted: list[tuple[Tensor | None, tuple[int, ...]]] = [(state, (rows, hidden)) for state in states]
    wanted += [(weight_ih, (gates * hidden, width)), (weight_hh, (gates * hidden, hidden))]
    wanted += [(bias, (gates * hidden,)) for bias in (bias_ih, bias_hh) if bias is not None]
    dtype, device = x.dtype, x.device
    return all(
        isinstance(value, Tensor) and value.shape == want and value.dtype == dtype and value.device == device
        for value, want in wanted
    )


def _check(cell: Cell, x: Tensor, states: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Raise for the first argument that does not fit."""
    for name, value in {"x": x, **states, **weights}.items():
        check_tensor(name, value)
    _sizes(cell, x, states, weights)
    check_float("x", x)
    for name, value in {**states, **weights}.items():
        check_alike(name, value, "x", x)


def _sizes(cell: Cell, x: Tensor, states: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """x fixes T, B and I; weight_hr, or else weight_hh, fixes H and P; the others must follow."""
    check_shape("x", x, ("T", "B", "I"))
    if x.shape[2] == 0:
        raise ShapeError(expected("x", "[T, B, I] with I > 0", _sizes_of(x)))
    rows = f"{len(cell.gates)}H" if len(cell.gates) > 1 else "H"
    if "weight_hr" in weights:
        check_shape("weight_hr", weights["weight_hr"], ("P", "H"))
        projected, hidden = weights["weight_hr"].shape
    else:
        check_shape("weight_hh", weights["weight_hh"], (rows,) if cell.diagonal else (rows, "H"))
        projected = hidden = weights["weight_hh"].shape[-1]
    if projected == 0 or hidden == 0:
        name = "weight_hr" if "weight_hr" in weights else "weight_hh"
        raise ShapeError(expected(name, "sizes above 0", _sizes_of(weights[name])))
    proj_size = projected if "weight_hr" in weights else 0
    for name, shape in cell.weights(x.shape[2], hidden, proj_size=proj_size).items():
        if name in weights:
            check_shape(name, weights[name], shape)
    for name, value in states.items():
        check_shape(name, value, (x.shape[1], projected if name == "h_0" else hidden))


def _named_further(cell: Cell, further: object) -> dict[str, Tensor]:
    """Return a cell's own weights by their names. Raises ConfigError: there are more or fewer."""
    names = [name for name, *_ in cell.further]
    if not isinstance(further, Sequence) or len(further) != len(names):
        got = f"{len(further)} values" if isinstance(further, Sequence) else type(further).__name__
        want = (
            f"({', '.join(names)}), the {cell.name}'s own weights" if names else f"none for the {cell.name}"
        )
        raise ConfigError(expected("further", want, got))
    return dict(zip(names, further, strict=True))


def check_masks(
    cell: Cell, x: Tensor, states: States, zoneout: Sequence[Tensor | float], recurrent_mask: Tensor | None
) -> None:
    """Raise where what zoneout keeps, or recurrent dropout leaves, does not fit a call."""
    if zoneout and len(zoneout) != len(states):
        want = f"one value for each state ({', '.join(cell.states)})"
        raise ConfigError(expected("zoneout", want, f"{len(zoneout)} values"))
    for share, state in zip(zoneout, states, strict=False):
        if isinstance(share, Tensor):
            check_shape("zoneout", share, (*x.shape[:2], state.shape[1]))
            if share.dtype != torch.bool:
                raise DtypeError(expected("zoneout", "bool masks", _word(share.dtype)))
        elif isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise ConfigError(expected("zoneout", "a share from 0 to 1, or a mask", repr(share)))
    if recurrent_mask is not None:
        check_tensor("recurrent_mask", recurrent_mask)
        check_shape("recurrent_mask", recurrent_mask, states[0].shape)
        check_alike("recurrent_mask", recurrent_mask, "x", x)
        check_heeds_masks(cell.name)


def check_heeds_masks(cell: str) -> None:
    """Raise ConfigError where a cell's reference does not say what recurrent dropout would drop."""
    if op_of(cell).recurrence is None:
        want = "none for a cell that is registered without its recurrence"
        raise ConfigError(expected("recurrent_dropout", want, cell))


def check_tensor(name: str, value: object) -> None:
    """Raise DtypeError where value is not a tensor."""
    if not isinstance(value, Tensor):
        raise DtypeError(expected(name, "a tensor", type(value).__name__))


def check_float(name: str, value: Tensor) -> None:
    """Raise DtypeError where value's dtype is not one that the ops compute in."""
    if value.dtype not in FLOATS:
        raise DtypeError(expected(name, "float16, bfloat16, float32 or float64", _word(value.dtype)))


def check_shape(name: str, value: Tensor, want: Sequence[int | str]) -> None:
    """Raise ShapeError where value's sizes differ from want; a string there names an open size."""
    fits = value.dim() == len(want) and all(
        isinstance(size, str) or size == got for size, got in zip(want, value.shape, strict=True)
    )
    if not fits:
        raise ShapeError(expected(name, f"[{', '.join(map(str, want))}]", _sizes_of(value)))


def check_alike(name: str, value: Tensor, like_name: str, like: Tensor) -> None:
    """Raise where value's dtype or device is not like's; dtypes that autocast unifies may differ."""
    if value.device != like.device:
        raise DeviceError(expected(name, f"device {like.device}, as {like_name}", str(value.device)))
    if value.dtype != like.dtype and dtype_within(value) != dtype_within(like):
        raise DtypeError(expected(name, f"{_word(like.dtype)}, as {like_name}", _word(value.dtype)))


def check_lengths(lengths: Tensor | None, *, steps: int, rows: int) -> None:
    """Raise where lengths is not [B] int64 on the CPU, each from 0 to T.

    While torch.compile traces there are no values to look at; the native engine then does it in the call.
    """
    if lengths is None:
        return
    check_tensor("lengths", lengths)
    check_shape("lengths", lengths, (rows,))
    if lengths.dtype != torch.int64:
        raise DtypeError(expected("lengths", "int64", _word(lengths.dtype)))
    if lengths.device.type != "cpu":
        raise DeviceError(expected("lengths", "device cpu", str(lengths.device)))
    if rows == 0 or torch.compiler.is_compiling():
        return
    for extreme in (int(lengths.min()), int(lengths.max())):
        if not 0 <= extreme <= steps:
            raise ShapeError(expected("lengths", f"values from 0 to {steps}", str(extreme)))


def check_embedded(name: str, given: Embedded, sizes: Sequence[str]) -> None:
    """Raise where ids are not int64 of these sizes, each a row of weight, or weight is not [V, I].

    What has no values to look at (torch.compile, torch.func, a tensor on the meta device) is taken as it is.
    """
    ids, weight = given
    check_tensor(f"{name}.ids", ids)
    check_shape(f"{name}.ids", ids, sizes)
    if ids.dtype != torch.int64:
        raise DtypeError(expected(f"{name}.ids", "int64", _word(ids.dtype)))
    check_tensor(f"{name}.weight", weight)
    check_shape(f"{name}.weight", weight, ("V", "I"))
    check_float(f"{name}.weight", weight)
    if ids.device != weight.device:
        want = f"device {weight.device}, as {name}.weight"
        raise DeviceError(expected(f"{name}.ids", want, str(ids.device)))
    if torch.compiler.is_compiling() or type(ids) is not Tensor or ids.is_meta or ids.numel() == 0:
        return
    if torch._C._functorch.is_functorch_wrapped_tensor(ids):
        return
    for extreme in map(int, ids.aminmax()):
        if not 0 <= extreme < len(weight):
            raise ShapeError(expected(f"{name}.ids", f"values from 0 to {len(weight) - 1}", extreme))


def check_resets(resets: Tensor | None, want: Sequence[int], like: Tensor, like_name: str = "x") -> None:
    """Raise where resets has not the sizes wanted, is not bool, or is on another device than like."""
    if resets is None:
        return
    check_tensor("resets", resets)
    check_shape("resets", resets, want)
    if resets.dtype != torch.bool:
        raise DtypeError(expected("resets", "bool", _word(resets.dtype)))
    if resets.device != like.device:
        raise DeviceError(expected("resets", f"device {like.device}, as {like_name}", str(resets.device)))


def autocast(value: Tensor) -> Tensor:
    """Cast to autocast's dtype where autocast is on for the tensor's device, else return it as it is."""
    return value.to(dtype_within(value))


def autocast_is_on(device_type: str) -> bool:
    """Whether autocast is on here for this kind of device."""
    return torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)


def dtype_within(value: Tensor) -> torch.dtype:
    """The dtype that the op computes this tensor in. As everywhere in torch, float64 is left alone."""
    device = value.device.type
    eligible = value.is_floating_point() and value.dtype != torch.float64
    return torch.get_autocast_dtype(device) if eligible and autocast_is_on(device) else value.dtype


def _sizes_of(value: Tensor) -> str:
    return str(list(value.shape))


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
