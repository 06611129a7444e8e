"""Any model's recurrent layers and cells, in place: torch.nn's become ours, and ours torch.nn's."""

from __future__ import annotations

import functools
import logging
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar, cast, overload

import torch
from torch.nn.modules.module import register_module_parameter_registration_hook

from unrolled.errors import ConfigError, DtypeError, counted, expected
from unrolled.nn import counterparts, tracing
from unrolled.nn.options import options_of
from unrolled.nn.recurrent import Recurrent

M = TypeVar("M", bound=torch.nn.Module | type[torch.nn.Module])
# Of the `accelerated` that surrounds what runs here: the classes that it has said it leaves.
_said: ContextVar[set[type] | None] = ContextVar("unrolled.nn.accelerated", default=None)
_lock = threading.Lock()
_entered = 0  # how many `accelerated` there are, in all threads
_hook: Any = None  # torch's handle of ours, while there are some


@dataclass(frozen=True)
class AccelerationReport:
    """What `accelerate` did to a module, or would leave.

    Attributes:
        replaced: path of each layer or cell that is one of `unrolled.nn`'s → its type ("LSTM"). A module that
            is itself the layer has the path "".
        left: path of each other recurrent layer or cell → why it is left ("its forward is its own,
            mine.Peephole").
    """

    replaced: Mapping[str, str]
    left: Mapping[str, str]

    def __str__(self) -> str:
        lines = [f"{_named(path)}: {kind} of unrolled.nn" for path, kind in self.replaced.items()]
        lines += [f"{_named(path)}: left, {why}" for path, why in self.left.items()]
        return "\n".join(lines) or "no recurrent layer"


def accelerate(module: M) -> M:
    """Turn every torch.nn.RNN, LSTM, GRU and cell within a module into its counterpart here, in place.

    The objects stay the same and only their class changes, so parameters, hooks, names and an
    optimizer's references all survive, and the module itself may be such a layer. Subclasses are taken where
    their `forward` is torch's or calls `super().forward`, and parametrised layers, whose parametrisations are
    then computed once a call. Whatever has a `forward` of its own, scripted and quantised layers are left as
    they are, and one warning names them; what was replaced goes to the log "unrolled" at INFO.
    `acceleration_report` returns both as data, `to_torch` undoes it. To do it twice is to do it once.

    Args:
        module: any torch.nn.Module; or a class of modules, whose constructor then runs within `accelerated`,
            so that whatever builds one (a client that loads a file, a sweep, a copy) has it accelerated.
            As a decorator of a class it does that too.
    Returns:
        The same module or class.
    Raises:
        DtypeError: neither a torch.nn.Module nor a class of them.
    """
    if isinstance(module, type) and issubclass(module, torch.nn.Module):
        _construct_accelerated(module)
        return cast(M, module)
    found = _check(module)
    replaced = {}
    for path, inner in found.named_modules():
        if _turn(inner):
            replaced[path] = type(inner).__name__
    if replaced:
        each = ", ".join(f"{_named(path)} ({kind})" for path, kind in replaced.items())
        count = counted(len(replaced), "recurrent layer")
        logging.getLogger("unrolled").info("accelerate replaced %s: %s", count, each)
    left = acceleration_report(found).left
    if left:
        each = "; ".join(f"{_named(path)} ({why})" for path, why in left.items())
        warnings.warn(f"accelerate left {counted(len(left), 'recurrent layer')}: {each}", stacklevel=2)
    return module


def _turn(module: torch.nn.Module) -> bool:
    """Make a recurrent layer or cell ours, where it can be; say whether it was."""
    known = isinstance(module, (torch.nn.RNNBase, torch.nn.RNNCellBase))
    if not known or counterparts.is_ours(module) or counterparts.why_left(module):
        return False
    module.__class__ = counterparts.counterpart(module)
    return True


def acceleration_report(module: torch.nn.Module) -> AccelerationReport:
    """Say which recurrent layers and cells of a module are `unrolled.nn`'s, and why each other one is not.

    Args:
        module: any torch.nn.Module, before `accelerate` or after it.
    Raises:
        DtypeError: not a torch.nn.Module.
    """
    replaced, left = {}, {}
    for path, inner in _check(module).named_modules():
        if counterparts.is_ours(inner):
            replaced[path] = type(inner).__name__
        elif why := counterparts.why_left(inner):
            left[path] = why
        elif isinstance(inner, (torch.nn.RNNBase, torch.nn.RNNCellBase)):
            left[path] = "not accelerated yet"
    return AccelerationReport(replaced, left)


@overload
def accelerated() -> AbstractContextManager[None]: ...


@overload
def accelerated(module: torch.nn.Module) -> AccelerationReport: ...


def accelerated(
    module: torch.nn.Module | None = None,
) -> AbstractContextManager[None] | AccelerationReport:
    """Return a context within which whatever recurrent layer or cell of torch.nn is built is `unrolled.nn`'s.

    For programs that build their models themselves, when they like, and again when they load what they
    saved: what is built within the context, in the thread that entered it, is what `accelerate` would make of
    it. What cannot be taken is left, with a warning for each class. A module that is unpickled whole is not
    built: give it to `accelerate`. Contexts may be nested.

    Args:
        module: the former form of `acceleration_report(module)`; it goes in 0.3.
    """
    if module is not None:
        new = "unrolled.acceleration_report(module); the older form goes in 0.3"
        warnings.warn(f"unrolled.accelerated(module) is now {new}", DeprecationWarning, stacklevel=2)
        return acceleration_report(module)
    return _accelerated()


@contextmanager
def _accelerated() -> Iterator[None]:
    token = _said.set(set())
    _count(1)
    try:
        yield
    finally:
        _count(-1)
        _said.reset(token)


def _count(change: int) -> None:
    """Hold torch's hook while there are contexts: it is called for every parameter of every module."""
    global _entered, _hook
    with _lock:
        _entered += change
        if _hook is None:
            _hook = register_module_parameter_registration_hook(_on_parameter)
        elif not _entered:
            _hook.remove()
            _hook = None


def _on_parameter(module: torch.nn.Module, name: str, parameter: object) -> None:
    """Make the layer that gets its first parameter ours, where a context surrounds its constructor."""
    del name, parameter
    said = _said.get()
    if said is None or not isinstance(module, (torch.nn.RNNBase, torch.nn.RNNCellBase)) or _turn(module):
        return
    why, kind = counterparts.why_left(module), type(module)
    if why and kind not in said:
        said.add(kind)
        warnings.warn(f"accelerated() left a recurrent layer: {why}", stacklevel=2)


def _construct_accelerated(kind: type[torch.nn.Module]) -> None:
    construct = kind.__init__
    if hasattr(construct, "_unrolled_plain"):
        return

    @functools.wraps(construct)
    def constructed(self: Any, *args: Any, **kwargs: Any) -> None:
        with _accelerated():
            construct(self, *args, **kwargs)

    constructed._unrolled_plain = vars(kind).get("__init__")  # type: ignore[attr-defined]  # to undo it
    kind.__init__ = constructed  # type: ignore[method-assign]


def to_torch(module: M) -> M:
    """Turn every layer and cell of `unrolled.nn` into torch.nn's, in place: undo `accelerate`.

    For what looks for torch's own types or operators: opacus, torch.jit.script. Parameters, hooks, names and
    an optimizer's references survive; results are torch.nn's, without lengths and resets.

    Args:
        module: any torch.nn.Module; or a class that was given to `accelerate`.
    Returns:
        The same module or class.
    Raises:
        DtypeError: neither a torch.nn.Module nor a class of them. ConfigError: torch.nn has no such layer (of
        another cell, a subclass of ours); nothing is changed then.
    """
    if isinstance(module, type) and issubclass(module, torch.nn.Module):
        _construct_plainly(module)
        return cast(M, module)
    ours = {path: inner for path, inner in _check(module).named_modules() if counterparts.is_ours(inner)}
    kinds = {path: counterparts.torchs(inner) for path, inner in ours.items()}
    for path, kind in kinds.items():
        inner: Any = ours[path]
        if kind is None or options_of(inner):
            what = counterparts.named(type(inner)) + (f" {inner.mode}" if type(inner) is Recurrent else "")
            options = "".join(f" with {name}={value}" for name, value in options_of(inner).items())
            got = f"{_named(path)} ({what}){options}"
            raise ConfigError(expected("module", "layers that torch.nn has", got))
    for path, kind in kinds.items():
        if kind is not None:
            tracing.back_to(kind, ours[path])
    return module


def _construct_plainly(kind: type[torch.nn.Module]) -> None:
    if not hasattr(vars(kind).get("__init__"), "_unrolled_plain"):
        return
    plain = kind.__init__._unrolled_plain  # type: ignore[attr-defined]  # ours
    if plain is None:
        del kind.__init__  # inherited before
    else:
        kind.__init__ = plain  # type: ignore[method-assign]


def _check(module: object) -> torch.nn.Module:
    if not isinstance(module, torch.nn.Module):
        got = module.__name__ if isinstance(module, type) else type(module).__name__
        raise DtypeError(expected("module", "a torch.nn.Module, or a class of them", got))
    return module


def _named(path: str) -> str:
    return path or "the module itself"
