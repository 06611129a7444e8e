"""The formats into which a network is exported, by the name that `--to` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from unrolled.errors import ConfigError, expected
from unrolled.export.checks import Check
from unrolled.export.subject import Subject
from unrolled.spec import EXPORTS

__all__ = ["FORMATS", "Format", "format_of", "register"]


class Format(Protocol):
    """One format. `export` looks after places, errors and reports; a format writes, and compares."""

    @property
    def name(self) -> str:
        """As `--to` takes it."""
        ...

    @property
    def weights(self) -> tuple[str, ...]:
        """The types of weights that it writes, the default first."""
        ...

    @property
    def directory(self) -> bool:
        """Whether it writes a folder, and not one file."""
        ...

    def check(self, subject: Subject) -> None:
        """Raise ConfigError, before anything is written, where this network cannot be exported so.

        MissingExtraError: a package is not installed.
        """
        ...

    def write(self, subject: Subject, place: Path, *, weights: str) -> Check:
        """Write the network, run what was written, and compare it with ours.

        Args:
            place: a folder, or a file, that is empty.
        """
        ...

    def compare(self, subject: Subject, place: Path, source: str, *, weights: str) -> Check:
        """Run what was written at a place, and ours, on the samples of a user's file.

        Raises:
            DataError: it does not have the columns of training.
        """
        ...


FORMATS: dict[str, Format] = {}


def register(format: Format) -> Format:
    """Make a format known to `export`. Raises ConfigError: its name is none of `spec.EXPORTS`, or taken."""
    if format.name not in EXPORTS or format.name in FORMATS:
        raise ConfigError(expected("format", f"a new one of {', '.join(EXPORTS)}", format.name))
    FORMATS[format.name] = format
    return format


def format_of(name: str) -> Format:
    """Return the format of a name. Raises ConfigError: none of that name is registered."""
    if name not in FORMATS:
        raise ConfigError(expected("to", f"one of {', '.join(FORMATS)}", repr(name)))
    return FORMATS[name]
