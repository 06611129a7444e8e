"""What every layer may do beside torch's: zoneout, dropout with one mask for all steps, running in reverse.

Masks are drawn from torch's default generator while a layer is in training mode, so that a seed and a stored
random state repeat them. In evaluation mode zoneout keeps its expected share of a state, nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor
from torch.nn.functional import dropout

from unrolled.errors import ConfigError, expected
from unrolled.ops import check_heeds_masks
from unrolled.spec import Cell

__all__ = [
    "NAMES",
    "Options",
    "beside_torch",
    "check_options",
    "dropped_input",
    "drops_input",
    "options_of",
    "takes_compact",
    "within_steps",
]

NAMES = ("zoneout", "input_dropout", "recurrent_dropout", "reverse")


class Options(TypedDict, total=False):
    """Keyword arguments that every layer takes.

    zoneout: chance that a unit keeps its state at a step, of h and c alike, or (of h, of c).
    input_dropout: share of each layer's input that is dropped, the same at every step.
    recurrent_dropout: the same of h on its way to weight_hh.
    reverse: run each row from its last valid step to its first.
    """

    zoneout: float | tuple[float, ...]
    input_dropout: float
    recurrent_dropout: float
    reverse: bool


def check_options(cell: Cell, options: Options, *, bidirectional: bool) -> Options:
    """Return the options, zoneout as a share for each state. Raises ConfigError: one is out of range."""
    unknown = [name for name in options if name not in NAMES]
    if unknown:
        raise TypeError(f"__init__() got an unexpected keyword argument {unknown[0]!r}")
    for name in ("input_dropout", "recurrent_dropout"):
        _check_share(name, options.get(name, 0.0))
    if options.get("recurrent_dropout"):
        check_heeds_masks(cell.name)
    reverse = options.get("reverse", False)
    if not isinstance(reverse, bool) or (reverse and bidirectional):
        got = "bidirectional beside it" if isinstance(reverse, bool) else repr(reverse)
        raise ConfigError(expected("reverse", "True or False, in a layer of one direction", got))
    zoneout: Any = options.get("zoneout", 0.0)
    shares = zoneout if isinstance(zoneout, (tuple, list)) else (zoneout,) * len(cell.states)
    if len(shares) != len(cell.states):
        want = f"a share, or one for each state ({', '.join(cell.states)})"
        raise ConfigError(expected("zoneout", want, zoneout))
    for share in shares:
        _check_share("zoneout", share)
    checked: Options = {**options, "zoneout": tuple(map(float, shares)) if any(shares) else 0.0}
    return checked


def _check_share(name: str, share: object) -> None:
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < 1:
        raise ConfigError(expected(name, "a share from 0 to below 1", repr(share)))


def options_of(layer: torch.nn.Module) -> dict[str, Any]:
    """Return the options of a layer that differ from what torch.nn does."""
    found = {name: getattr(layer, name, None) for name in NAMES}
    return {name: value for name, value in found.items() if value}


def beside_torch(layer: Any) -> str:
    """Say what keeps a layer from what torch.nn's does in this mode; "" where nothing does."""
    if layer.reverse:
        return "it runs in reverse"
    if layer.zoneout:
        return "it has zoneout"
    if layer.training and (layer.input_dropout or layer.recurrent_dropout):
        return "dropout with one mask for all steps is random, while training"
    return ""


def drops_input(layer: torch.nn.Module) -> bool:
    """Whether `dropped_input` drops anything, and so needs the input itself, not symbols."""
    return layer.training and bool(getattr(layer, "input_dropout", 0.0))


def takes_compact(layer: torch.nn.Module) -> bool:
    """Whether a layer reads symbols and packed rows as they are: masks are of rows [T, B, ·]."""
    return not drops_input(layer) and not getattr(layer, "zoneout", 0.0)


def dropped_input(layer: torch.nn.Module, x: Tensor) -> Tensor:
    """Return what a layer reads of its input [T, B, I]: in training less, the same at every step."""
    if not drops_input(layer):
        return x
    return x * dropout(x.new_ones(x.shape[1:]), getattr(layer, "input_dropout", 0.0))


def within_steps(
    layer: torch.nn.Module, steps: int, states: Sequence[Tensor], *, draw: bool
) -> dict[str, Any]:
    """Return the arguments of a call that zoneout and recurrent dropout make, of one layer and direction.

    Args:
        draw: whether masks are drawn; else there are others of their form, for `explain`.
    """
    found: dict[str, Any] = {}
    zoneout: Any = getattr(layer, "zoneout", 0.0)
    if zoneout:
        random = layer.training and draw
        found["zoneout"] = tuple(
            _kept(share, steps, state) if random and share else share
            for share, state in zip(zoneout, states, strict=True)
        )
    share = getattr(layer, "recurrent_dropout", 0.0)
    if share and layer.training:
        whole = torch.ones_like(states[0])
        found["recurrent_mask"] = dropout(whole, share) if draw else whole
    return found


def _kept(share: float, steps: int, state: Tensor) -> Tensor:
    """Draw at which steps and units a state is kept: [T, B, ·] bool."""
    return torch.rand(steps, *state.shape, device=state.device) < share
