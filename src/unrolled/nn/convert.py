"""Any model's recurrent layers, in place: torch.nn's become ours, and ours torch.nn's."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

from unrolled.errors import ConfigError, DtypeError, counted, expected
from unrolled.nn.cells import GRUCell, LSTMCell, RNNCell
from unrolled.nn.layers import COUNTERPARTS, Recurrent
from unrolled.nn.options import options_of

_BACK: dict[type, type[torch.nn.Module]] = {ours: theirs for theirs, ours in COUNTERPARTS.items()}
_BACK |= {RNNCell: torch.nn.RNNCell, LSTMCell: torch.nn.LSTMCell, GRUCell: torch.nn.GRUCell}
_NAMES = tuple(theirs.__name__ for theirs in COUNTERPARTS)

M = TypeVar("M", bound=torch.nn.Module)


@dataclass(frozen=True)
class AccelerationReport:
    """What `accelerate` did to a module, or would leave.

    Attributes:
        replaced: path of each layer that is one of `unrolled.nn`'s → its type ("LSTM").
        left: path of each other recurrent layer → why it is left ("a subclass, mine.Peephole"). A module that
            is itself the layer has the path "".
    """

    replaced: Mapping[str, str]
    left: Mapping[str, str]

    def __str__(self) -> str:
        lines = [f"{_named(path)}: {kind} of unrolled.nn" for path, kind in self.replaced.items()]
        lines += [f"{_named(path)}: left, {why}" for path, why in self.left.items()]
        return "\n".join(lines) or "no recurrent layer"


def accelerate(module: M) -> M:
    """Turn every torch.nn.RNN, LSTM and GRU within a module into its counterpart of `unrolled.nn`, in place.

    The objects stay the same and only their class changes, so parameters, hooks, names and an
    optimizer's references all survive, and the module itself may be such a layer. Only modules whose
    type is exactly torch's are taken. Subclasses, parametrised, quantised and scripted ones, and those
    whose `forward` was replaced, are left as they are, and one warning names them; what was replaced goes to
    the log "unrolled" at INFO. `accelerated` returns both as data, `to_torch` undoes it. To do it twice is
    to do it once.

    Args:
        module: any torch.nn.Module.
    Returns:
        The same module.
    Raises:
        DtypeError: not a torch.nn.Module.
    """
    _check(module)
    replaced = {}
    for path, inner in module.named_modules():
        if type(inner) in COUNTERPARTS and not _reason_to_leave(inner):
            inner.__class__ = COUNTERPARTS[type(inner)]
            replaced[path] = type(inner).__name__
    if replaced:
        each = ", ".join(f"{_named(path)} ({kind})" for path, kind in replaced.items())
        count = counted(len(replaced), "recurrent layer")
        logging.getLogger("unrolled").info("accelerate replaced %s: %s", count, each)
    left = accelerated(module).left
    if left:
        each = "; ".join(f"{_named(path)} ({why})" for path, why in left.items())
        warnings.warn(f"accelerate left {counted(len(left), 'recurrent layer')}: {each}", stacklevel=2)
    return module


def accelerated(module: torch.nn.Module) -> AccelerationReport:
    """Say which recurrent layers of a module are `unrolled.nn`'s, and why each other one is not.

    Args:
        module: any torch.nn.Module, before `accelerate` or after it.
    Raises:
        DtypeError: not a torch.nn.Module.
    """
    _check(module)
    replaced, left = {}, {}
    for path, inner in module.named_modules():
        if isinstance(inner, Recurrent):
            replaced[path] = type(inner).__name__
        elif why := _reason_to_leave(inner):
            left[path] = why
        elif type(inner) in COUNTERPARTS:
            left[path] = "not accelerated yet"
    return AccelerationReport(replaced, left)


def to_torch(module: M) -> M:
    """Turn every layer and cell of `unrolled.nn` into torch.nn's, in place: undo `accelerate`.

    For what looks for torch's own types or operators: ONNX, quantize_dynamic, opacus, torch.jit.script.
    Parameters, hooks, names and an optimizer's references survive; results are torch.nn's, without lengths
    and resets.

    Args:
        module: any torch.nn.Module.
    Returns:
        The same module.
    Raises:
        DtypeError: not a torch.nn.Module. ConfigError: torch.nn has no such layer (of another cell, a
        subclass, parametrised); nothing is changed then.
    """
    _check(module)
    ours: dict[str, torch.nn.Module] = {
        path: inner
        for path, inner in module.named_modules()
        if isinstance(inner, (Recurrent, RNNCell, LSTMCell, GRUCell))
    }
    for path, inner in ours.items():
        if type(inner) not in _BACK or options_of(inner):
            got = f"{_named(path)} ({_kind(inner)}{f' {inner.mode}' if type(inner) is Recurrent else ''})"
            options = "".join(f" with {name}={value}" for name, value in options_of(inner).items())
            raise ConfigError(expected("module", "layers that torch.nn has", got + options))
    for inner in ours.values():
        inner.__class__ = _BACK[type(inner)]
        for name in ("backend", "recompute", "_packs"):
            vars(inner).pop(name, None)
    return module


def _check(module: object) -> None:
    if not isinstance(module, torch.nn.Module):
        raise DtypeError(expected("module", "a torch.nn.Module", type(module).__name__))


def _named(path: str) -> str:
    return path or "the module itself"


def _kind(module: object) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _reason_to_leave(module: torch.nn.Module) -> str:
    """Say why a recurrent layer cannot be taken; "" where it can, is ours already, or is no such layer."""
    kind = type(module)
    if kind in COUNTERPARTS:
        return "its forward was replaced" if "forward" in vars(module) else ""
    if isinstance(module, Recurrent):
        return ""
    if isinstance(module, torch.jit.ScriptModule):
        return "scripted" if module.original_name in _NAMES else ""
    if kind.__module__.startswith("torch.ao.nn") and kind.__name__ in _NAMES:
        return f"quantised, {kind.__module__}.{kind.__name__}"
    if not isinstance(module, torch.nn.RNNBase):
        return ""
    if torch.nn.utils.parametrize.is_parametrized(module):
        return "parametrised"
    known = isinstance(module, tuple(COUNTERPARTS))
    return f"{'a subclass' if known else 'unrolled.nn has none like it'}, {_kind(module)}"
