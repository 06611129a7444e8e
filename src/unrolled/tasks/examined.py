"""What the probe measures a trained network on, and how it asks the network for its answers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from unrolled import files
from unrolled.data import Batch
from unrolled.errors import RunError, counted, expected
from unrolled.spec import RunDirectory

__all__ = ["Answers", "Examined", "Figure", "Step"]

Array: TypeAlias = npt.NDArray[Any]
Columns: TypeAlias = Mapping[str, Tensor]
UNITS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
FREQUENCY = re.compile(r"(\d*)([A-Za-z]+)(-[A-Z]+)?")
NAMES = {"s": "s", "min": "min", "h": "h", "D": "d", "W": "week", "B": "working day", "ms": "ms"}
MONTHS = {"M": "month", "Q": "quarter", "Y": "year"}  # by the first letter
LARGEST_CONTROLS = 2**20  # bytes of controls.json
EVEN = 1e-6  # relative: a step is a whole number of a unit


@dataclass(frozen=True)
class Step:
    """How long a step of the data is: `Step(1, "h")`, `Step(1, "character")`."""

    length: float = 1.0
    unit: str = "step"  # as it is written behind one; a word gets its plural, a sign such as "h" stays

    @classmethod
    def of_seconds(cls, seconds: float) -> Step:
        """Return a step of so many seconds, in the largest unit that it is a whole number of.

        >>> Step.of_seconds(3600), Step.of_seconds(0.02)
        (Step(length=1.0, unit='h'), Step(length=0.02, unit='s'))
        """
        for size, unit in UNITS:
            if seconds >= size and abs(seconds / size - round(seconds / size)) < EVEN * seconds / size:
                return cls(float(round(seconds / size)), unit)
        return cls(float(f"{seconds:.6g}"), "s")

    @classmethod
    def of_frequency(cls, freq: str | None) -> Step:
        """Return a step by the name of its frequency, as pandas has it; None: a step without a unit.

        >>> Step.of_frequency("15min"), Step.of_frequency("MS"), Step.of_frequency(None)
        (Step(length=15.0, unit='min'), Step(length=1.0, unit='month'), Step(length=1.0, unit='step'))
        """
        match = None if freq is None else FREQUENCY.fullmatch(freq)
        unit = None if match is None else NAMES.get(match[2]) or MONTHS.get(match[2][0])
        return cls() if match is None or unit is None else cls(float(match[1] or 1), unit)

    def text(self, steps: float) -> str:
        """Return a number of steps as words.

        >>> Step(1.0, "h").text(31), Step(0.02, "s").text(31), Step(1.0, "character").text(1)
        ('31 h', '0.62 s', '1 character')
        """
        size = float(f"{steps * self.length:.6g}")
        if len(self.unit) > 3:
            return counted(int(size) if size == int(size) else size, self.unit)
        return f"{size:,.6g} {self.unit}"


@dataclass(frozen=True)
class Figure:
    """The figure that answers are judged by.

    Attributes:
        name: "accuracy". of: (answers, rows) → its value for those rows, which may be given more than once.
        higher: whether more is better. best: of a network without errors. unit: of the value, "" for none.
    """

    name: str
    of: Callable[[Array, npt.NDArray[np.int64]], float]
    higher: bool
    best: float
    unit: str = ""

    def text(self, value: float) -> str:
        """Return a value as words."""
        return f"{value:.4g}{' ' + self.unit if self.unit else ''}"


@dataclass(frozen=True)
class Answers:
    """How a network answers, so that inputs can be exchanged between samples and the change be seen.

    Attributes:
        columns: name of a column of the source → what the network reads of it, [T, B, …]. Its mask and the
            time since its last value belong to it. Padding may hold anything.
        lengths: [B] valid steps of each row; None: all T.
        answer: (columns, lengths) → answers [B, …], or [T, B, …] where `per_step`; of any number of rows and
            steps. Probabilities, or numbers.
        figure: what they are judged by, of the rows of `columns` in their order.
        loss: answers → [B] of each row, which says more of few rows than the figure does: nats of the right
            class, a squared error.
        kind: of a network that answers, in words: "reads both ways and pools all steps".
        one_way: whether an answer at a step depends on steps up to it alone.
        per_step: whether there is an answer at each step.
        cut: whether rows may be made shorter; not so where the network takes windows of one length.
        after: (columns, lengths) → the answers [T, B, …] that would be given after each step; None: rows are
            cut to find them.
        edges: steps at the beginning and at the end of each row that no sample has: a text's boundaries.
        step: how long a step is. season: in steps, where one is known. seasonal: whether the past season is
            known to help, and nothing but the past tells it: a shorter reach is a finding then.
        controls: name → the figure of a simple model. controls_of: the samples that it was scored on.
        several: whether answers are probabilities of classes, of which the largest is the verdict.
        choose: columns that are to be kept → flags of `unrolled train` that keep these alone; "" for none.
        no_leak: columns that are what is asked about: one of them may well give the answer alone.
        longer: (in words, flag of `unrolled train`) of what lets the network look back further.
    """

    columns: Columns
    lengths: Tensor | None
    answer: Callable[[Columns, Tensor | None], Array]
    figure: Figure
    loss: Callable[[Array], Array]
    kind: str = ""
    one_way: bool = False
    per_step: bool = False
    cut: bool = True
    after: Callable[[Columns, Tensor | None], Array] | None = None
    edges: tuple[int, int] = (0, 0)
    step: Step = Step()
    season: int | None = None
    seasonal: bool = False
    controls: Mapping[str, float] = field(default_factory=dict)
    controls_of: str = ""
    several: bool = False
    choose: Callable[[Sequence[str]], str] = lambda _: ""
    no_leak: tuple[str, ...] = ()
    longer: tuple[str, str] | None = None


@dataclass(frozen=True)
class Examined:
    """What `unrolled.probe` measures a trained network on.

    Attributes:
        batch: what gradients, gates and states are measured on.
        facts: lines of the report: {"text": "book, held out: …"}.
        bptt_steps: the window that the network was trained with, where there is one.
        answers: how the network answers, for tasks whose answers are no text.
        by_step: a module that gives an output at each step, [T, B, …], of the batch's inputs: what gradients
            and states are measured on; None: the network itself.
        loss_batch: what the network's `loss` takes, where `batch` is something else.
    """

    batch: Batch
    facts: Mapping[str, str] = field(default_factory=dict)
    bptt_steps: int | None = None
    answers: Answers | None = None
    by_step: Any = None
    loss_batch: Batch | None = None


def stored_controls(run: Path | None, figure: str) -> dict[str, Any]:
    """Return `controls` and `controls_of` of `Answers` as RUN/controls.json has them; {} where there is none.

    Args:
        run: the run's directory. figure: its name there.
    Raises:
        RunError: the file cannot be read, or holds something else.
    """
    place = None if run is None else RunDirectory(run).controls
    if place is None or not place.is_file():
        return {}
    raw = files.read_regular(place, LARGEST_CONTROLS, RunError)
    stored = files.parse_json(raw, place, RunError, most=16 * LARGEST_CONTROLS)
    try:
        found = {str(each["name"]): float(each["values"][figure]) for each in stored["controls"]}
        return {"controls": found, "controls_of": f"{stored['part']} part"}
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(expected(str(place), "controls and their scores", repr(error))) from error


def listed_flag(flag: str, names: Sequence[str]) -> str:
    """Return a flag with names behind it, commas between them, as a shell takes it."""
    return f"{flag} {shlex.quote(','.join(names))}" if names else ""
