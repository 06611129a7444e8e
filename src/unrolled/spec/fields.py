"""One place for a setting's default, bounds, help text and command-line flag.

A config dataclass declares each field with `setting(...)`; its `__post_init__` calls `check(self)`; the
command line reads the same metadata through `settings(cls)`, so a flag and a field cannot drift apart.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
import warnings
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from unrolled.errors import ConfigError, expected, older_arguments

__all__ = [
    "Setting",
    "check",
    "current_names",
    "from_json",
    "setting",
    "setting_of",
    "settings",
    "takes_older_names",
    "to_json",
]

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is known of one field: its type, default, help, bounds and command-line name."""

    name: str
    type: type  # bool, int, float or str
    optional: bool  # None is legal and means "by rule"
    default: Any
    help: str
    flag: str | None  # "--hidden"; "SOURCE" for a word without a flag; None: not on the command line
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None  # an exclusive lower bound
    below: float | None = None  # an exclusive upper bound
    bare: Any = None  # what the flag means without a value; None: it needs one
    metavar: str = ""  # what the help calls the value; default by its type
    negative: bool = False  # whether --no-… turns it off again
    was: str = ""  # the name of the field in older versions, whose config.json and flag still work

    @property
    def old_flag(self) -> str | None:
        """The flag by the older name; None where there is none."""
        return f"--{self.was}" if self.was and self.flag else None


def setting(
    default: Any,
    help: str,
    *,
    flag: str | None = None,
    choices: Collection[str] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    bare: Any = None,
    metavar: str = "",
    negative: bool = False,
    was: str = "",
) -> Any:
    """Declare a field: its default (`dataclasses.MISSING` for a required one), help, flag and bounds.

    `choices` are read anew for every check: a dictionary such as `CELLS` may grow after the class is cls.
    """
    metadata = {
        "help": help,
        "flag": flag,
        "choices": choices,
        "minimum": minimum,
        "maximum": maximum,
        "above": above,
        "below": below,
        "bare": bare,
        "metavar": metavar,
        "negative": negative,
        "was": was,
    }
    return dataclasses.field(default=default, metadata=metadata)


def takes_older_names(cls: type[T]) -> type[T]:
    """Let a config class take and give renamed fields by their older names, with a DeprecationWarning."""
    renamed = {s.was: s.name for s in settings(cls) if s.was}
    cls.__init__ = older_arguments(cls.__name__, **renamed)(cls.__init__)  # type: ignore[method-assign]
    for was, name in renamed.items():
        setattr(cls, was, property(functools.partial(_older, cls, was, name)))
    return cls


def _older(cls: type, was: str, name: str, config: Any) -> Any:
    text = f"{cls.__name__}: {was} is now {name}; the older name goes in 0.3"
    warnings.warn(text, DeprecationWarning, stacklevel=2)
    return getattr(config, name)


def settings(cls: type) -> list[Setting]:
    """Return every declared setting of a config class, in the order of its fields."""
    hints = typing.get_type_hints(cls)
    found = []
    for field in dataclasses.fields(cls):
        if "help" not in field.metadata:
            continue  # a nested config
        kind, optional = _plain(hints[field.name])
        facts = {**field.metadata, "choices": tuple(field.metadata["choices"])}
        found.append(Setting(name=field.name, type=kind, optional=optional, default=field.default, **facts))
    return found


def setting_of(cls: type, name: str) -> Setting:
    """Return one declared setting of a config class by its field's name."""
    return next(s for s in settings(cls) if s.name == name)


def check(config: Any) -> None:
    """Raise ConfigError for the first field whose value has the wrong type or lies out of bounds."""
    for s in settings(type(config)):
        value = getattr(config, s.name)
        if value is None and s.optional:
            continue
        _check_type(s, value)
        _check_bounds(s, value)


def to_json(config: Any) -> dict[str, Any]:
    """Return a config as a dictionary that json can write."""
    return dataclasses.asdict(config)


def from_json(cls: type[T], stored: object, *, where: str = "config") -> T:
    """Build a config from a stored dictionary, strictly: unknown and missing fields are errors."""
    if not isinstance(stored, dict):
        raise ConfigError(expected(where, "an object", type(stored).__name__))
    given, stored = len(stored), current_names(cls, stored)
    if len(stored) < given:
        raise ConfigError(expected(where, "each field once", "one by its older and its present name"))
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(stored) - set(fields))
    if unknown:
        raise ConfigError(expected(where, f"fields of {cls.__name__}", f"unknown field {unknown[0]!r}"))
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name not in stored:
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                raise ConfigError(expected(f"{where}.{name}", "a value", "nothing"))
            continue
        value = stored[name]
        if dataclasses.is_dataclass(hints[name]):
            value = from_json(typing.cast(type, hints[name]), value, where=f"{where}.{name}")
        values[name] = value
    return cls(**values)


def current_names(cls: type, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored values by the names that the fields of a config class have now."""
    renamed = {s.was: s.name for s in settings(cls) if s.was}
    return {renamed.get(name, name): value for name, value in stored.items()}


def _plain(hint: Any) -> tuple[type, bool]:
    """Return (type, optional) of an annotation such as `int` or `int | None`."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        inner = [a for a in typing.get_args(hint) if a is not type(None)]
        return inner[0], True
    return hint, False


def _check_type(s: Setting, value: object) -> None:
    accepted: tuple[type, ...] = (int, float) if s.type is float else (s.type,)
    wrong_bool = isinstance(value, bool) and s.type is not bool
    if wrong_bool or not isinstance(value, accepted):
        raise ConfigError(expected(s.name, f"{_article(s.type)}", repr(value)))


def _check_bounds(s: Setting, value: Any) -> None:
    if s.choices and not _is_choice(value, s.choices):
        raise ConfigError(expected(s.name, "one of " + ", ".join(s.choices), repr(value)))
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(expected(s.name, "a finite number", value))
    if s.minimum is not None and value < s.minimum:
        raise ConfigError(expected(s.name, f"at least {s.minimum:.12g}", value))
    if s.maximum is not None and value > s.maximum:
        raise ConfigError(expected(s.name, f"at most {s.maximum:.12g}", value))
    if s.above is not None and value <= s.above:
        raise ConfigError(expected(s.name, f"more than {s.above:.12g}", value))
    if s.below is not None and value >= s.below:
        raise ConfigError(expected(s.name, f"less than {s.below:.12g}", value))


def _is_choice(value: str, choices: tuple[str, ...]) -> bool:
    """Whether a value is one of the choices; "bpe:N" among them stands for "bpe:" and whatever follows."""
    kind, colon, _ = value.partition(":")
    return f"{kind}:N" in choices if colon else value in choices


def _article(kind: type) -> str:
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}[kind]
