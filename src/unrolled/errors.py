"""What can go wrong, as a tree.

    UnrolledError                 the root: catch this to catch everything below
    ├── ConfigError               a setting is out of range, unknown, or contradicts another one
    ├── ShapeError                an argument has the wrong number of axes or the wrong sizes
    ├── DtypeError                an argument has the wrong element type
    ├── DeviceError               arguments lie on different devices, or on one that cannot be used
    ├── BackendError              the backend asked for by name cannot run this call here
    ├── DataError                 a text source is missing, empty, too short, or not text
    ├── TokenError                a symbol or an id that the vocabulary does not hold, or a bad token file
    ├── RunError                  a run directory is missing, taken, unwritable, or holds no model
    ├── CheckpointError           a checkpoint is torn, altered, of another format, or does not fit
    ├── StateError                a stream is closed or busy, or its state torn, altered or of another model
    ├── NonFiniteError            a loss, gradient or tensor became NaN or infinite
    ├── ProcessError              another process of a run is missing, has ended or does not answer
    └── MissingExtraError         an optional dependency is not installed; the message names the extra

What torch.nn raises for the same mistake is a base class too: `except RuntimeError` catches a ShapeError.
A message names the argument, what was expected and what came, in one line:
`h_0: expected [2, 8, 64], got [2, 8, 32]`. The command line prints that line and exits with 2.

What was renamed works until 0.3 with a DeprecationWarning: `older_names`, `older_arguments`.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

__all__ = [
    "BackendError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DeviceError",
    "DtypeError",
    "MissingExtraError",
    "NonFiniteError",
    "ProcessError",
    "RunError",
    "ShapeError",
    "StateError",
    "TokenError",
    "UnrolledError",
    "counted",
    "expected",
]

P = ParamSpec("P")
R = TypeVar("R")


class UnrolledError(Exception):
    """The root of every error that this package raises on purpose."""

    elsewhere: bool | None = None  # of a run of several processes: whether another one says it; None: unknown
    exit_code = 2  # of the command line


class ConfigError(UnrolledError, ValueError):
    """A setting is out of range, unknown, or contradicts another one."""


class ShapeError(UnrolledError, ValueError, RuntimeError):  # torch.nn raises the last two as well
    """An argument has the wrong number of axes or the wrong sizes."""


class DtypeError(UnrolledError, TypeError, ValueError, RuntimeError):  # as torch.nn, by case
    """An argument has the wrong element type."""


class DeviceError(UnrolledError, ValueError, RuntimeError):
    """Arguments lie on different devices, or on one that cannot be used."""


class BackendError(UnrolledError, RuntimeError):
    """The backend asked for by name cannot run this call here; there is no silent fallback."""


class DataError(UnrolledError, ValueError):
    """A text source is missing, empty, too short, or not text."""


class TokenError(UnrolledError, ValueError):
    """A symbol or an id that the vocabulary does not hold, or a token file that is not one."""


class RunError(UnrolledError, OSError):
    """A run directory is missing, taken by another run, unwritable, or holds no model."""


class CheckpointError(UnrolledError, ValueError):
    """A checkpoint is torn, altered, of another format, or does not fit its own config."""


class StateError(UnrolledError, ValueError):
    """A stream is closed or in use by another thread, or its state is torn, altered or of another model."""


class NonFiniteError(UnrolledError, ArithmeticError):
    """A loss, gradient or tensor became NaN or infinite; names the step and the first such tensor."""


class ProcessError(UnrolledError, RuntimeError):
    """Another process of a run is missing, has ended, does not answer, or gave up; names its rank."""

    waits = False  # whether a thread still waits for it, over which the interpreter would stumble at its end


class MissingExtraError(UnrolledError, ImportError):
    """An optional dependency is not installed; the message names the extra to install."""


def expected(argument: str, want: object, got: object) -> str:
    """Return the one-line form that every message takes: `argument: expected want, got got`."""
    return f"{argument}: expected {want}, got {got}"


def counted(number: float, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun, as a message says it: "1 step", "1,024 steps", "0.5 minutes".

    Args:
        plural: where it is not the noun with an s.
    """
    text = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{text} {noun if number == 1 else plural or noun + 's'}"


def older_arguments(where: str, **renamed: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function take arguments by their older names too, with a DeprecationWarning.

    Args:
        where: what the warning calls the function: "figures.loss".
        renamed: older name → the present one.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def taking_older_arguments(*args: P.args, **given: P.kwargs) -> R:
            for was in [name for name in given if name in renamed]:
                name = renamed[was]
                text = f"{where}: {was} is now {name}; the older name goes in 0.3"
                warnings.warn(text, DeprecationWarning, stacklevel=2)
                if name in given:
                    raise ConfigError(expected(was, f"{name} alone", "both"))
                given[name] = given.pop(was)
            return function(*args, **given)

        return taking_older_arguments

    return decorate


def older_names(module: str, moved: Mapping[str, tuple[str, Any]]) -> Callable[[str], Any]:
    """Return a module's `__getattr__`, which finds what has moved, with a DeprecationWarning.

    Args:
        moved: older name → (the present one, within `unrolled`; what it names).
    """

    def find(name: str) -> Any:
        if name not in moved:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        new, found = moved[name]
        text = f"{module}.{name} is now unrolled.{new}; the older name goes in 0.3"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return found

    return find
