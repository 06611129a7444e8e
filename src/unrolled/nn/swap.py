"""Any model's recurrent layers, in place: torch.nn's become ours."""

from __future__ import annotations

import warnings
from typing import TypeVar

import torch

from unrolled.errors import DtypeError, expected
from unrolled.nn.layers import GRU, LSTM, RNN, Recurrent

_TWINS: dict[type, type[Recurrent]] = {torch.nn.RNN: RNN, torch.nn.LSTM: LSTM, torch.nn.GRU: GRU}
_NAMES = ("RNN", "LSTM", "GRU")

M = TypeVar("M", bound=torch.nn.Module)


def accelerate(module: M) -> M:
    """Turn every torch.nn.RNN, LSTM and GRU within a module into its `unrolled.nn` twin, in place.

    The objects stay the same and only their class changes, so parameters, hooks, names and an
    optimizer's references all survive, and the module itself may be such a layer. Only modules whose
    type is exactly torch's are taken. Subclasses, parametrised, quantised and scripted ones, and those
    whose `forward` was replaced, are left as they are, and one warning names them. To do it twice is
    to do it once.

    Args:
        module: any torch.nn.Module.
    Returns:
        The same module.
    Raises:
        DtypeError: not a torch.nn.Module.
    """
    if not isinstance(module, torch.nn.Module):
        raise DtypeError(expected("module", "a torch.nn.Module", type(module).__name__))
    left: list[str] = []
    for path, inner in module.named_modules():
        reason = _reason_to_leave(inner)
        if reason:
            left.append(f"{path or 'the module itself'} ({reason})")
        elif type(inner) in _TWINS:
            inner.__class__ = _TWINS[type(inner)]
    if left:
        warnings.warn(f"accelerate left {len(left)} recurrent layer(s): {'; '.join(left)}", stacklevel=2)
    return module


def _reason_to_leave(module: torch.nn.Module) -> str:
    """Say why a recurrent layer cannot be taken; "" where it can, is ours already, or is no such layer."""
    kind = type(module)
    if kind in _TWINS:
        return "its forward was replaced" if "forward" in vars(module) else ""
    if isinstance(module, Recurrent):
        return ""
    if isinstance(module, torch.jit.ScriptModule):
        return "scripted" if module.original_name in _NAMES else ""
    if kind.__module__.startswith("torch.ao.nn") and kind.__name__ in _NAMES:
        return f"quantised, {kind.__module__}.{kind.__name__}"
    if not isinstance(module, (torch.nn.RNN, torch.nn.LSTM, torch.nn.GRU)):
        return ""
    if torch.nn.utils.parametrize.is_parametrized(module):
        return "parametrised"
    return f"a subclass, {kind.__module__}.{kind.__qualname__}"
