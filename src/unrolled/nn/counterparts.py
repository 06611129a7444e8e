"""Which class of ours a recurrent layer's or cell's class becomes, why some become none, and the way back."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from unrolled.nn.cells import Cells, GRUCell, LSTMCell, RNNCell
from unrolled.nn.layers import COUNTERPARTS
from unrolled.nn.recurrent import NOT_CALLED, Recurrent

Kind = type[torch.nn.Module]
_CELLS: dict[Kind, Kind] = {torch.nn.RNNCell: RNNCell, torch.nn.LSTMCell: LSTMCell, torch.nn.GRUCell: GRUCell}
_OURS: dict[Kind, Kind] = {**dict(COUNTERPARTS.items()), **_CELLS}
_TORCHS: dict[Kind, Kind] = {ours: theirs for theirs, ours in _OURS.items()}
_NAMES = tuple(theirs.__name__ for theirs in _OURS)
_BASES = (torch.nn.RNNBase, torch.nn.RNNCellBase)
_CALLED = (*NOT_CALLED, "_flat_weights", "_update_flat_weights")  # by torch's forward
_made: dict[Kind, Kind] = {}  # for each subclass of torch's: the one that runs on ours


def is_ours(module: torch.nn.Module) -> bool:
    """Whether this is a layer or a cell of `unrolled.nn`, or of a class made from one."""
    return isinstance(module, (Recurrent, Cells))


def why_left(module: torch.nn.Module) -> str:
    """Say why a recurrent layer or cell has no counterpart; "" where it has one, is ours, or is neither."""
    if is_ours(module):
        return ""
    kind = type(module)
    if isinstance(module, torch.jit.ScriptModule):
        return "scripted" if module.original_name in _NAMES else ""
    if kind.__module__.startswith("torch.ao.nn") and kind.__name__ in _NAMES:
        return f"quantised, {named(kind)}"
    if not isinstance(module, _BASES):
        return ""
    for name in ("forward", *NOT_CALLED):
        if name in vars(module):
            return f"its {name} was replaced"
    why = _why_not(kind)
    if why or kind in _OURS:
        return why
    try:
        counterpart(module)
    except TypeError as error:  # of a metaclass, __init_subclass__ or __slots__
        return f"{named(kind)} takes no further subclass ({error})"
    return ""


def _why_not(kind: Kind) -> str:
    base = _base_of(kind)
    if base is None:
        return f"unrolled.nn has none like it, {named(kind)}"
    code = getattr(base.forward, "__code__", None)
    if code is None or code.co_filename != torch.nn.modules.rnn.__file__:
        return f"{named(base)}.forward was replaced"
    for each in kind.__mro__[: kind.__mro__.index(base)]:
        forward = vars(each).get("forward")
        if forward is not None and not _calls_the_next(forward):
            return f"its forward is its own, {named(each)}"
        changed = [name for name in _CALLED if name in vars(each)]
        if changed:
            return f"{named(each)} changes {changed[0]}, which torch's forward calls"
    return ""


def _base_of(kind: Kind) -> Kind | None:
    """Return torch's layer or cell that a class is, or is derived from."""
    return next((each for each in kind.__mro__ if each in _OURS), None)


def _calls_the_next(forward: object) -> bool:
    """Whether a forward calls super().forward, as far as its code tells."""
    code = getattr(inspect.unwrap(forward) if callable(forward) else None, "__code__", None)
    return code is not None and {"super", "forward"} <= set(code.co_names)


def counterpart(module: torch.nn.Module) -> Kind:
    """Return the class of ours that a module of torch's class, or of a subclass, becomes.

    A subclass becomes one of both: `super().forward` in its methods then is ours. Of a parametrised module,
    whose class torch makes for it alone, the class below the parametrisation is exchanged.
    """
    kind = type(module)
    if kind in _OURS:
        return _OURS[kind]
    if torch.nn.utils.parametrize.is_parametrized(module):
        return _on_base(kind, _of(kind.__bases__[0]))
    return _of(kind)


def _of(kind: Kind) -> Kind:
    if kind in _OURS:
        return _OURS[kind]
    if kind not in _made:
        base = _base_of(kind)
        assert base is not None
        names: dict[str, Any] = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
        names |= {"__doc__": kind.__doc__, "_stands_for": kind}
        if kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ is object.__reduce__:
            names["__reduce_ex__"] = _reduce
        _made[kind] = _class(kind, (kind, _OURS[base]), names)
    return _made[kind]


def _reduce(self: Any, protocol: int) -> tuple[Callable[..., Any], tuple[Kind], Any]:
    if "_stands_for" not in vars(type(self)):  # of a class that somebody derived from it
        return object.__reduce_ex__(self, protocol)  # type: ignore[return-value]  # a tuple, at protocol 2 and up
    return _instance, (type(self)._stands_for,), self.__getstate__()


def _instance(kind: Kind) -> torch.nn.Module:
    """Return an empty module of the class that stands for a subclass: what copies and pickles begin with."""
    made = _of(kind)
    return made.__new__(made)


def torchs(module: torch.nn.Module) -> Kind | None:
    """Return the class that a module of ours came from, or torch's like it; None where there is none."""
    kind = type(module)
    if torch.nn.utils.parametrize.is_parametrized(module):
        below = _back(kind.__bases__[0])
        return None if below is None else _on_base(kind, below)
    return _back(kind)


def _back(kind: Kind) -> Kind | None:
    return _TORCHS.get(kind) or vars(kind).get("_stands_for")


def _on_base(kind: Kind, base: Kind) -> Kind:
    """Return a class like a parametrised module's, derived from another base."""
    names = {name: value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__")}
    return _class(kind, (base,), names)


def _class(like: Kind, bases: tuple[Kind, ...], names: dict[str, Any]) -> Kind:
    metaclass: Any = type(like)
    made: Kind = metaclass(like.__name__, bases, names)
    return made


def named(kind: type) -> str:
    """Return a class's full name."""
    return f"{kind.__module__}.{kind.__qualname__}"
