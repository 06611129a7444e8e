"""JSON, an object a line: a text, tokens or arrays with a label; or the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.data.labelled.columns import samples_of_table
from unrolled.data.labelled.roles import TEXTS, usual_labels
from unrolled.data.labelled.source import (
    EXPANSION,
    Asked,
    Found,
    gathered,
    label_values,
    most_bytes,
    named,
    text_of,
)
from unrolled.data.labelled.table import table_of_records
from unrolled.data.samples import Numbers, infinite_at, steps_of
from unrolled.errors import DataError, ShapeError, counted
from unrolled.files import parse_json, parsed_bytes, quoted, refusal
from unrolled.schema import MOST_NUMBER

__all__ = ["records_of_lines", "samples_of_records"]

LINE = 2**28  # bytes that a line may take once parsed
TOKENS = ("tokens", "words")


def records_of_lines(path: Path, data: bytes) -> list[tuple[int, dict[str, Any]]]:
    """Return (line, object) of every line that is not blank. Raises DataError: no JSON, with the line."""
    cost, most = parsed_bytes(data), most_bytes() * EXPANSION
    if cost > most:
        raise refusal(DataError, "source", f"at most {most} bytes once parsed", f"up to {cost} in {path}")
    found = []
    for number, line in enumerate(text_of(data, path).split("\n"), 1):
        if line.strip():
            where = f"source line {number}"
            found.append((number, parse_json(line.encode("utf-8"), where, DataError, most=LINE)))
    if not found:
        raise refusal(DataError, "source", "a JSON object a line", f"blank lines in {path}")
    return found


def samples_of_records(records: Sequence[tuple[int, Mapping[str, Any]]], asked: Asked) -> Found:
    """Return the samples of objects. Raises DataError: what is what, is not clear, or a line is wrong."""
    names = list(dict.fromkeys(name for _, record in records for name in record))
    lists = [name for name in names if any(isinstance(record.get(name), list) for _, record in records)]
    if not lists:
        return samples_of_table(table_of_records(records, names), asked)
    _check_keys(names, asked)
    inputs = _input_names(names, lists, asked)
    found = _tokens(records, inputs[0]) if _holds_texts(records, inputs[0]) else _arrays(records, inputs)
    label = _label_name(names, inputs, asked)
    as_numbers = asked.target is not None or asked.as_numbers
    if not asked.read_labels:
        asked = replace(asked, group=None)
    elif asked.several and set(asked.several) <= set(names):
        found.labels, found.label_names = _several(records, asked.several, as_numbers), asked.several
    elif label is not None and any(isinstance(record.get(label), list) for _, record in records):
        _label_lists(records, label, found, as_numbers)
    elif label is not None:
        found.labels = _labels(records, label, as_numbers)
    if asked.group is not None and (asked.labelled or asked.group in names):
        found.groups = np.array([_value(record, asked.group, line) for line, record in records])
    if asked.time is not None:
        found.times = [
            _times(record, asked.time, len(each), line)
            for (line, record), each in zip(records, found.inputs, strict=True)
        ]
    if asked.id is not None:
        found.ids = [_value(record, asked.id, line) for line, record in records]
    stored: dict[str, Any] = {"target" if as_numbers else "label": label, "columns": inputs}
    found.read_as = asked.read_as(**stored)
    return gathered(found, [len(each) > 0 for each in found.inputs], "no step")


def _check_keys(names: Sequence[str], asked: Asked) -> None:
    """Raise DataError for a key that no object has; that of the label is looked for later."""
    wanted = [("id", asked.id), ("time", asked.time), *(("columns", name) for name in asked.columns or ())]
    if asked.labelled:
        wanted += [("target" if asked.as_numbers else "label", name) for name in asked.several]
    for role, name in [*wanted, ("group", asked.group if asked.labelled else None)]:
        if name is not None and name not in names:
            raise refusal(DataError, role, f"a key of the objects: {named(names)}", repr(name))


def _times(record: Mapping[str, Any], name: str, steps: int, line: int) -> npt.NDArray[np.float64]:
    """Return the times of a sample's steps. Raises DataError: not as many, or they do not rise."""
    times, where = record.get(name), f"source line {line}"
    if not isinstance(times, list) or len(times) != steps or not all(type(t) in (int, float) for t in times):
        raise refusal(DataError, where, f"a list of {counted(steps, 'number')} in {name!r}", repr(times))
    clock = np.array(times, np.float64)
    if not (np.diff(clock) > 0).all():
        at = int(np.argmin(np.diff(clock) > 0)) + 1
        raise refusal(DataError, where, f"rising times in {name!r}", f"{times[at]} after {times[at - 1]}")
    return clock


def _input_names(names: Sequence[str], lists: Sequence[str], asked: Asked) -> list[str]:
    """Return the keys of the inputs: those asked for; tokens; else every list."""
    if asked.columns is not None:
        return list(asked.columns)
    taken = [asked.label, asked.target, asked.group, asked.id, asked.time, *asked.several]
    words = [name for name in names if name.lower() in (*TOKENS, *TEXTS) and name not in taken]
    if not {asked.label, asked.target, *asked.several} - {None} and len({*words, *lists}) > 1:
        taken += usual_labels(lists)[:1]
    free = [name for name in lists if name not in taken] or words
    if not free:
        raise refusal(DataError, "columns", "a key with a list of numbers or tokens", "none")
    return [name for name in free if name in words][:1] or free


def _holds_texts(records: Sequence[tuple[int, Mapping[str, Any]]], name: str) -> bool:
    first = next((record[name] for _, record in records if record.get(name)), None)
    return isinstance(first, str) or (isinstance(first, list) and isinstance(first[0], str))


def _tokens(records: Sequence[tuple[int, Mapping[str, Any]]], name: str) -> Found:
    texts = []
    for line, record in records:
        tokens = record.get(name) or []
        tokens = [tokens] if isinstance(tokens, str) else tokens
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise refusal(DataError, f"source line {line}", f"texts in {name!r}", repr(tokens))
        texts.append(" ".join(tokens))
    return Found(texts, (), [str(line) for line, _ in records])


def _arrays(records: Sequence[tuple[int, Mapping[str, Any]]], names: Sequence[str]) -> Found:
    """Read one key with [T] or [T, C], or a key with [T] for each channel."""
    inputs = []
    for line, record in records:
        columns = [_array(record.get(name), name, line) for name in names]
        heights = sorted({len(column) for column in columns})
        if len(heights) > 1:
            got = f"{heights[0]} and {heights[-1]}"
            raise refusal(DataError, f"source line {line}", "lists of equal length", got)
        inputs.append(np.hstack(columns) if len(columns) > 1 else columns[0])
    width = max(each.shape[1] for each in inputs)
    for (line, _), each in zip(records, inputs, strict=True):
        if len(each) and each.shape[1] != width:
            raise refusal(DataError, f"source line {line}", f"{width} channels", each.shape[1])
    channels = tuple(names) if len(names) == width else tuple(map(str, range(width)))
    return Found(inputs, channels, [str(line) for line, _ in records])


def _array(value: Any, name: str, line: int) -> Numbers:
    """Return a list of numbers, or of lists of them, as [T, C]; null is missing."""
    where = f"source line {line}"
    try:
        with np.errstate(over="ignore"):
            array = np.array([] if value is None else value, np.float64).astype(np.float32)
    except (ValueError, TypeError):
        raise refusal(DataError, where, f"a list of numbers in {name!r}", repr(value)) from None
    array = array.reshape(len(array), -1) if array.ndim in (1, 2) and array.size else array
    if array.size and (array.ndim != 2 or _has_texts(value)):
        raise refusal(DataError, where, f"a list of numbers in {name!r}", repr(value))
    bad = infinite_at(array) if array.size else None
    if bad is not None:
        raise refusal(DataError, where, f"finite float32 numbers in {name!r}", f"infinity at step {bad[0]}")
    return array if array.size else np.zeros((0, 1), np.float32)


def _has_texts(value: Any) -> bool:
    """Whether texts or truth values stand among numbers; numpy would convert them."""
    rows = value if value and isinstance(value[0], list) else [value]
    return any(isinstance(each, (str, bool)) for row in rows for each in row)


def _label_name(names: Sequence[str], inputs: Sequence[str], asked: Asked) -> str | None:
    name = asked.label or asked.target
    if asked.several:
        return None
    if name is not None:
        if name in names:
            return name
        if asked.labelled:
            raise refusal(DataError, "label", f"a key of the objects: {named(names)}", repr(name))
        return None
    usual = usual_labels([key for key in names if key not in inputs])
    if len(usual) == 1:
        return usual[0]
    if not asked.labelled:
        return None
    raise refusal(
        DataError, "label", f"a key of the objects: {named(names)}", f"none, {len(usual)} candidates"
    )


def _labels(records: Sequence[tuple[int, Mapping[str, Any]]], name: str, as_numbers: bool) -> Any:
    values = [record.get(name) for _, record in records]
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        lines = [line for line, _ in records]
        return label_values(name, np.array(values, np.float64), lines, as_numbers)
    if as_numbers:
        line, value = next(
            (n, v) for (n, _), v in zip(records, values, strict=True) if not isinstance(v, (int, float))
        )
        raise refusal(DataError, f"source line {line}", f"a number in {name!r}", repr(value))
    return np.array([_value(record, name, line) for line, record in records])


def _several(records: Sequence[tuple[int, Mapping[str, Any]]], names: Sequence[str], as_numbers: bool) -> Any:
    """Return [N, K]: numbers, or truth values. Raises DataError: something else is there."""
    columns = []
    for name in names:
        for line, record in records:
            value = record.get(name)
            wrong = (
                isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MOST_NUMBER
            )
            if wrong if as_numbers else value not in (0, 1):
                want = f"a number within ±{MOST_NUMBER:g}"
                want = want if as_numbers else "0 or 1, as there are several labels,"
                raise refusal(DataError, f"source line {line}", f"{want} in {quoted(name)}", repr(value))
        columns.append([record[name] for _, record in records])
    return np.array(columns, np.float64 if as_numbers else bool).T


def _label_lists(
    records: Sequence[tuple[int, Mapping[str, Any]]], name: str, found: Found, as_numbers: bool
) -> None:
    """Read a list for each sample: numbers, or a text for every step; else the labels that it has."""
    lists = []
    for line, record in records:
        value = record.get(name)
        if not isinstance(value, list):
            raise refusal(DataError, f"source line {line}", f"a list in {quoted(name)}", repr(value))
        lists.append(value)
    sizes = all(len(own) == len(x) for own, x in zip(lists, found.inputs, strict=True))
    numbers = as_numbers or any(isinstance(v, float) for own in lists for v in own)
    if found.channels and (numbers or sizes):
        try:
            found.step_labels = steps_of(lists, found.inputs, f"source {name}")
        except ShapeError as error:
            raise refusal(DataError, "source", "a label of each step or of each sample", error) from None
        if as_numbers and found.step_labels[0].dtype.kind != "f":
            found.step_labels = [_as_numbers(each, name) for each in found.step_labels]
        return
    for (line, _), own in zip(records, lists, strict=True):
        if numbers or not all(isinstance(each, str) and each for each in own):
            raise refusal(DataError, f"source line {line}", f"a list of texts in {quoted(name)}", repr(own))
    names = sorted({each for own in lists for each in own})
    number = {each: place for place, each in enumerate(names)}
    if len(names) * len(lists) > most_bytes():
        raise refusal(
            DataError, "label", "labels that fit into memory", f"{len(names)} in {len(lists)} lists"
        )
    found.labels, found.label_names = np.zeros((len(lists), len(names)), bool), tuple(names)
    for row, own in enumerate(lists):
        found.labels[row, [number[each] for each in own]] = True


def _as_numbers(labels: Any, name: str) -> Any:
    """Return whole numbers, which are classes elsewhere, as numbers."""
    try:
        return np.array([float(each) if each else np.nan for each in labels.tolist()])
    except ValueError:
        raise refusal(DataError, "target", f"numbers in {quoted(name)}", "texts") from None


def _value(record: Mapping[str, Any], name: str, line: int) -> str:
    """Return a text, a whole number or a truth value as a text."""
    value = record.get(name)
    if not isinstance(value, (str, int)) or value == "":
        raise refusal(DataError, f"source line {line}", f"a text in {quoted(name)}", repr(value))
    return str(value)
