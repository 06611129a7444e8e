"""Lines of numbers in, the answer so far out: what `unrolled stream` does with a task's model."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from unrolled.errors import DataError, counted, expected
from unrolled.files import quoted
from unrolled.schema import Forecast, SeriesReading
from unrolled.stream.lines import json_line, switch, whole_line
from unrolled.stream.tasks import TaskModel, TaskSession

__all__ = ["StepReader"]

KEYS = ("x", "text", "time", "reset", "save", "end")
BESIDE = ("label", "target", "group")  # columns of training that are no input, and that rows may have
Save = Callable[[], object] | None


class StepReader:
    """Feeds lines to a session of a classifier or a regressor.

    A line is a JSON object, {"x": […]} in the order of the channels or {"column": value, …}, null where a
    value is missing, with "time", with "reset" or "save"; or, after a header of names, a row of a CSV file. A
    column of ids, named as in training, starts anew where it changes. Of texts a line is a whole text;
    {"text": …} goes on with one, and {"end": true} asks for the answer if it ended there.
    """

    by_step = True

    def __init__(self, model: TaskModel, session: TaskSession) -> None:
        self.model, self.session = model, session
        stored = model.schema.read_as or {}
        known = {name: each for name, each in stored.items() if isinstance(each, str)}
        names = dict.fromkeys(["time", known.get("time")])
        self._time = [name for name in names if name is not None and name not in model.channels]
        self._id = known.get("id") or ("series" if isinstance(model.reading, SeriesReading) else None)
        beside = {known[name] for name in BESIDE if name in known}
        self._ignored = beside - set(model.channels)
        self._header: list[str] | None = None
        self._last: str | None = None  # id

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Within, whatever is raised leaves the state as it was: a line is read completely or not at all."""
        held, last, header = self.session.held(), self._last, self._header
        try:
            yield
        except BaseException:
            if not self.session.closed:
                self.session.put_back(held)
            self._last, self._header = last, header
            raise

    def answer(self, number: int, line: Iterator[str], *, as_json: bool, top: int, save: Save) -> str | None:
        """Read a line and return its answer; None after a header. Raises UnrolledError: it is not fit."""
        text = whole_line(line).rstrip("\r\n")
        text = text.removeprefix("\ufeff") if number == 1 else text  # of a file that says it is in UTF-8
        if text.lstrip().startswith("{"):
            answer = self._object(text, save)
        elif self.model.tokens is not None:
            self.session.reset()
            self.session.step(text)
            answer = self.session.at_end()
        elif self._header is None:
            self._header = self._names(text)
            return None
        else:
            answer = self._row(text)
        return self._told(number, answer, as_json=as_json, top=top)

    def _object(self, text: str, save: Save) -> Any:
        given = json_line(text)
        reset, saves, end = (switch(given, name) for name in ("reset", "save", "end"))
        if saves and save is None:
            raise DataError(expected('"save"', "a file for the state, by --state FILE", "none"))
        if reset:
            self.session.reset()
        if self.model.tokens is not None:
            self._text(given)
        else:
            self._values({key: each for key, each in given.items() if key not in ("reset", "save", "end")})
        answer = None
        if self.session.steps > (self.model.tokens is not None):
            answer = self.session.at_end() if end else self.session.answer
        if saves and save is not None:
            save()
        return answer

    def _text(self, given: Mapping[str, Any]) -> None:
        unknown = [key for key in given if key not in ("text", "reset", "save", "end")]
        if unknown:
            want = '"text", and perhaps "end", "reset" or "save"'
            raise DataError(expected("line", want, quoted(unknown[0])))
        text = given.get("text", "")
        if not isinstance(text, str):
            raise DataError(expected('"text"', "a text", type(text).__name__))
        if text:
            self.session.step(text)

    def _values(self, given: dict[str, Any]) -> None:
        """Read one step of named values, if there are any."""
        if not given:
            return
        channels = self.model.channels
        if isinstance(given.get("x"), list):
            row = given.pop("x")
            if len(row) != len(channels):
                raise DataError(expected('"x"', counted(len(channels), "value"), len(row)))
            given |= dict(zip(channels, row, strict=True))
        self._check_names(given)
        if self._id is not None and self._id in given:
            self._begin(given[self._id])
        times = [given[name] for name in self._time if name in given]
        x = [_number(name, given[name]) for name in channels]
        self.session.step(np.array(x), time=seconds(times[0]) if times else None)

    def _check_names(self, given: Mapping[str, Any] | Sequence[str]) -> None:
        missing = [name for name in self.model.channels if name not in given]
        if missing:
            want = f"the column {quoted(missing[0])}, null where its value is missing"
            raise DataError(expected("line", want, "none"))
        known = {*self.model.channels, *self._time, *self._ignored, self._id}
        unknown = [name for name in given if name not in known]
        if unknown:
            raise DataError(expected("line", "columns of the training data", quoted(unknown[0])))

    def _begin(self, identifier: object) -> None:
        """Start anew where the id is another than that of the line before. Raises DataError: it is none."""
        if isinstance(identifier, bool) or not isinstance(identifier, (str, int, float)):
            raise DataError(expected(quoted(str(self._id)), "a text or a number", quoted(str(identifier))))
        last, self._last = self._last, str(identifier)
        if isinstance(self.model.reading, SeriesReading):
            if last != self._last:
                self.session.reset(self._last)
        elif last is not None and last != self._last:
            self.session.reset()

    def _names(self, text: str) -> list[str]:
        """Return the names of a header."""
        names = _cells(text)
        self._check_names(names)
        if len(set(names)) < len(names):
            raise DataError(expected("line", "distinct column names", "a duplicate"))
        return names

    def _row(self, text: str) -> Any:
        assert self._header is not None
        cells = _cells(text)
        if len(cells) != len(self._header):
            raise DataError(expected("line", f"{len(self._header)} fields, as the header has", len(cells)))
        given: dict[str, Any] = dict(zip(self._header, cells, strict=True))
        for name in self.model.channels:
            given[name] = _of_cell(name, given[name])
        self._values({name: value for name, value in given.items() if name not in self._ignored})
        return self.session.answer

    def _told(self, number: int, answer: Any, *, as_json: bool, top: int) -> str:
        classes = self.model.classes
        if answer is None:
            return json.dumps({"line": number, "steps": 0}) if as_json else "-"
        if isinstance(answer, Forecast):
            return self._forecast(number, answer, as_json=as_json)
        if not classes:
            return self._values_told(number, answer, as_json=as_json)
        order = np.argsort(-answer, kind="stable")[: max(top, 0)]
        shares = {classes[k]: float(answer[k]) for k in order}
        best = classes[int(np.argmax(answer))]
        if not as_json:
            return ", ".join(f"{name} {share:.3f}" for name, share in shares.items()) or best
        head: dict[str, Any] = {"line": number, "steps": self.session.steps, "class": best}
        if self.model.schema.several:
            del head["class"]
            head["labels"] = [name for name, share in zip(classes, answer, strict=True) if share >= 0.5]
        return json.dumps({**head, "probabilities": shares})

    def _values_told(self, number: int, answer: Any, *, as_json: bool) -> str:
        names, head = self.model.schema.numbers, {"line": number, "steps": self.session.steps}
        if not names:
            return json.dumps({**head, "value": answer}) if as_json else f"{answer:.6g}"
        values = dict(zip(names, map(float, answer), strict=True))
        if as_json:
            return json.dumps({**head, "values": values})
        return ", ".join(f"{name} {value:.6g}" for name, value in values.items())

    def _forecast(self, number: int, answer: Forecast, *, as_json: bool) -> str:
        if not as_json:
            return " ".join(f"{value:.6g}" for value in answer.point)
        told = {"line": number, "steps": self.session.steps, "forecast": answer.point.tolist()}
        for level, lower, upper in zip(self.model.schema.levels, answer.lower, answer.upper, strict=True):
            told |= {f"lo-{level:g}": lower.tolist(), f"hi-{level:g}": upper.tolist()}
        return json.dumps(told)


def seconds(value: object) -> float:
    """Return a time as training read it: a number as it is, an ISO 8601 text in seconds since 1970, of UTC.

    Raises DataError: it is none.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    text = str(value).strip() if isinstance(value, str) else ""
    with contextlib.suppress(ValueError):
        return float(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        want = "a number, or a time such as 2024-05-01 12:00"
        raise DataError(expected("time", want, quoted(str(value)))) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _number(name: str, value: object) -> float:
    """Return a value of a channel, NaN for null. Raises DataError: it is no number."""
    if value is None:
        return float("nan")
    if not isinstance(value, (int, float)):
        raise DataError(expected(quoted(name), "a number, or null where it is missing", quoted(str(value))))
    try:
        return float(value)
    except OverflowError:
        raise DataError(expected(quoted(name), "a number of float32", "a larger one")) from None


def _of_cell(name: str, cell: str) -> float | None:
    """Return the number in a field of CSV, None where it is empty."""
    if not cell.strip():
        return None
    try:
        return float(cell)
    except ValueError:
        raise DataError(expected(quoted(name), "a number, or nothing", quoted(cell))) from None


def _cells(text: str) -> list[str]:
    """Return the fields of a line of CSV. Raises DataError: quotes that do not end."""
    try:
        (cells,) = csv.reader([text], strict=True)
    except (csv.Error, ValueError):
        raise DataError(expected("line", "fields with commas between them", quoted(text))) from None
    return [cell.strip() for cell in cells]
