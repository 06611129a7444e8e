"""The unit of work, and what an experiment is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from unrolled.spec import LabConfig

__all__ = ["Cell", "Done", "Experiment", "pick"]

Json = dict[str, Any]  # what JSON can hold: no NaN, no infinity, text keys
Work = Callable[[Mapping[str, Any]], Json]


@dataclass(frozen=True)
class Cell:
    """One unit of work. Its result is a function of its settings alone, apart from the key "timing"."""

    key: str  # stable and unique: "sentences/lstm/seed=0"
    settings: Json  # all that the result depends on; "seed" seeds torch too, "threads" sets torch's
    work: Work  # settings → result


@dataclass(frozen=True)
class Done:
    """A cell that was run, as results.json has it."""

    key: str
    settings: Json
    result: Json


class Experiment(Protocol):
    """What a module (or any object) gives to be an experiment of the lab."""

    @property
    def NAME(self) -> str:  # noqa: N802
        """One word: that of the command line, with which keys and pictures begin."""
        ...

    @property
    def TITLE(self) -> str:  # noqa: N802
        """The heading of its section."""
        ...

    @property
    def CONSTANTS(self) -> Sequence[float]:  # noqa: N802
        """The numbers of the section's fixed words: years, definitions."""
        ...

    def cells(self, config: LabConfig) -> list[Cell]:
        """Return the plan. Bad data is refused here, before anything is run or written."""
        ...

    def summary(self, done: Sequence[Done]) -> Json:
        """Return every number and text that the report prints, from all cells of the plan, in its order.

        What depends on the clock stands under keys "timing".
        """
        ...

    def report(self, summary: Mapping[str, Any]) -> str:
        """Return the section in Markdown, without its heading: numbers of `summary`, and nothing computed."""
        ...

    def figures(self, done: Sequence[Done], folder: Path) -> list[str]:
        """Draw PNG files into a folder that exists, named NAME-….png, and return their names."""
        ...


def pick(done: Iterable[Done], **settings: object) -> list[Done]:
    """Return the cells whose settings have these values: `pick(done, model="lstm")`, a run a seed."""
    return [d for d in done if all(d.settings.get(name) == value for name, value in settings.items())]
