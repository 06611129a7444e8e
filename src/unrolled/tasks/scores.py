"""Figures of a network and of simple models on the same split, and the table that people read them in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from unrolled.errors import counted
from unrolled.files import for_json
from unrolled.tasks.standing import beats

__all__ = ["Control", "Judged", "Scores", "read_controls", "read_scores", "scores_table"]

WIDEST = 100  # characters of a line; columns that it has no room for follow in a second table
GAP = "  "


@dataclass(frozen=True)
class Scores:
    """Figures of one model on one part, by name."""

    samples: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Control:
    """A simple model, trained on the same split."""

    name: str
    parameters: int
    seconds: float  # to fit it and to answer
    values: Mapping[str, float]  # on the part that the network is judged by


class Judged:
    """What evaluations share that have scores on the validation part, and perhaps on a test part or file."""

    validation: Scores | None  # None: of a file alone
    test: Scores | None
    controls: tuple[Control, ...]

    @property
    def judged(self) -> Scores:
        """The test part's scores, or the validation part's where there is no test part."""
        found = self.validation if self.test is None else self.test
        assert found is not None  # one of them is there
        return found

    @property
    def part(self) -> str:
        """The name of the part that `judged` is of."""
        return "validation" if self.test is None else "test"

    @property
    def main(self) -> str:
        """The figure that models are compared by."""
        raise NotImplementedError

    @property
    def sign(self) -> int:
        """1 where a larger figure is the better one, −1 of an error."""
        return 1

    @property
    def better(self) -> tuple[Control, ...]:
        """The controls that beat the network."""
        own = self.judged.values[self.main]
        return tuple(c for c in self.controls if beats(c.values.get(self.main), own, sign=self.sign))

    def to_dict(self) -> dict[str, Any]:
        """Return what evaluation.json holds."""
        found: dict[str, Any] = for_json(asdict(self))  # type: ignore[call-overload]  # a dataclass
        return found


def read_scores(stored: Mapping[str, Any] | None) -> Scores | None:
    """Return scores that evaluation.json holds. Raises KeyError, TypeError, ValueError: they are none."""
    return None if stored is None else Scores(int(stored["samples"]), dict(stored["values"]))


def read_controls(stored: Iterable[Mapping[str, Any]]) -> tuple[Control, ...]:
    """Return controls that evaluation.json holds. Raises KeyError, TypeError, ValueError: they are none."""
    return tuple(Control(**{**each, "values": dict(each["values"])}) for each in stored)


def scores_table(
    unit: str,
    parts: Mapping[str, Scores | None],
    parameters: int,
    controls: Sequence[Control],
    label: Callable[[str], str],
    shown: Callable[[str], bool] = lambda _: True,
) -> str:
    """Return a table of a network's figures and, on the last part, of those of the controls; a row per model.

    Args:
        unit: what a part consists of: "sample".
        parts: by name, None where there is none; the network is judged by the last one.
        parameters: of the network.
        label: the name of a figure → its heading.
        shown: the name of a figure → whether it is a column.
    """
    known = {part: scores for part, scores in parts.items() if scores is not None}
    judged = list(known)[-1]
    names = [name for name in known[judged].values if shown(name)]
    rows = [["model", *map(label, names), "parameters", "seconds"]]
    for part, scores in known.items():
        figures = [_figure(scores.values.get(name)) for name in names]
        rows.append([f"network, {part}", *figures, f"{parameters:,}", "–"])
    for each in controls:
        figures = [_figure(each.values.get(name)) for name in names]
        rows.append([each.name, *figures, f"{each.parameters:,}", f"{each.seconds:.1f}"])
    lines = [", ".join(counted(scores.samples, f"{part} {unit}") for part, scores in known.items())]
    if controls:
        lines.append(f"Controls are fitted on the same training part and scored on the {judged} part.")
    return "\n".join([*lines, *_lines(rows)])


def _figure(value: float | None) -> str:
    if value is None or math.isnan(value):  # not defined on this part
        return "–"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"


def _lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Return the lines of a table, of several ones below each other where the columns are too many."""
    heads = [head.partition(" ") for head in rows[0]]  # a heading of several words takes two lines
    upper = [first if rest else "" for first, _, rest in heads]
    lower = [rest or first for first, _, rest in heads]
    every = [upper, lower, *rows[1:]]
    widths = [max(len(row[k]) for row in every) for k in range(len(heads))]
    begin = 1
    while begin < len(widths):
        end, room = begin, WIDEST - widths[0]
        while end < len(widths) and (end == begin or widths[end] + len(GAP) <= room):
            room -= widths[end] + len(GAP)
            end += 1
        if begin > 1:
            yield ""
        for row in every if any(upper[begin:end]) else every[1:]:
            cells = [f"{row[0]:<{widths[0]}}", *(f"{row[k]:>{widths[k]}}" for k in range(begin, end))]
            yield GAP.join(cells).rstrip()
        begin = end
