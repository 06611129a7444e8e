"""The .arff format of Weka: numeric attributes as steps, or a relational one with a line for each channel."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from unrolled.data.labelled.source import (
    Array,
    Asked,
    Found,
    check_line,
    gathered,
    label_values,
    named,
    text_of,
)
from unrolled.data.samples import Numbers, infinite_at
from unrolled.errors import DataError, counted
from unrolled.files import quoted, refusal

__all__ = ["samples_of_arff"]

NUMERIC = ("numeric", "real", "integer")
ATTRIBUTE = re.compile(
    r"""@attribute\s+('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s{]+)\s*(.*)""", re.IGNORECASE
)


@dataclass(frozen=True)
class _Attribute:
    name: str
    kind: str  # "numeric", "nominal" or "relational"


def samples_of_arff(path: Path, data: bytes, asked: Asked) -> Found:
    """Return the samples of an .arff file. Raises DataError, with the line: anything that is not one."""
    lines = text_of(data, path).split("\n")
    attributes, begin = _attributes(lines, path)
    label = _label_index(attributes, asked)
    rows = [
        (number, line)
        for number, line in enumerate(lines[begin:], begin + 1)
        if line.strip() and line[0] != "%"
    ]
    if not rows:
        raise refusal(DataError, "source", "samples after @data", f"none in {path}")
    relational = any(attribute.kind == "relational" for attribute in attributes)
    inputs, labels = [], []
    for line, text in rows:
        check_line(text, "\\n", line)
        fields = _split(text, len(attributes), line)
        if label is not None:
            labels.append(fields[label].strip())
        rest = [field for index, field in enumerate(fields) if index != label]
        inputs.append(_relation(rest, line) if relational else _steps(rest, line))
    found = Found(inputs, _channels(inputs, rows), [str(line) for line, _ in rows])
    if label is not None and asked.read_labels:
        numbers = asked.target is not None or attributes[label].kind == "numeric"
        found.labels = _labels(labels, attributes[label].name, rows, numbers, asked)
        key = "target" if asked.target is not None else "label"
        found.read_as = asked.read_as(**{key: attributes[label].name})
    return gathered(found, [len(each) > 0 and not np.isnan(each).all() for each in inputs], "no value")


def _wrong(line: int, want: str, got: str) -> NoReturn:
    raise refusal(DataError, f"source line {line}", want, quoted(got))


def _attributes(lines: Sequence[str], path: Path) -> tuple[list[_Attribute], int]:
    """Return the attributes of a row, and the lines up to @data; those inside a relation are steps."""
    found: list[_Attribute] = []
    inside: str | None = None
    for number, line in enumerate(lines, 1):
        word = line.strip().lower()
        if inside is not None:
            inside = None if word.startswith("@end") else inside
        elif word == "@data":
            if not found:
                _wrong(number, "an @attribute before @data", line)
            return found, number
        elif word.startswith("@attribute"):
            attribute = _attribute(line.strip(), number)
            found.append(attribute)
            inside = attribute.name if attribute.kind == "relational" else None
        elif word and not word.startswith(("%", "@relation")):
            _wrong(number, "@attribute or @data", line)
    raise refusal(DataError, "source", "a line @data", f"none in {path}")


def _attribute(line: str, number: int) -> _Attribute:
    match = ATTRIBUTE.fullmatch(line)
    if match is None:
        _wrong(number, "@attribute NAME TYPE", line)
    name, kind = match[1].strip("'\""), match[2].strip().lower()
    if kind.startswith("{"):
        return _Attribute(name, "nominal")
    if kind.split(" ")[0] in NUMERIC:
        return _Attribute(name, "numeric")
    if kind == "relational":
        return _Attribute(name, "relational")
    _wrong(number, "an attribute that is numeric, nominal or relational", kind)


def _label_index(attributes: Sequence[_Attribute], asked: Asked) -> int | None:
    """Return which attribute is the label: the one asked for, or the only nominal one."""
    names = [attribute.name for attribute in attributes]
    name = asked.label or asked.target
    if name is not None and (name in names or asked.labelled):
        if name not in names:
            raise refusal(DataError, "label", f"an attribute: {named(names)}", repr(name))
        return names.index(name)
    nominal = [index for index, attribute in enumerate(attributes) if attribute.kind == "nominal"]
    if len(nominal) == 1:
        return nominal[0]
    if not asked.labelled and not nominal:
        return None
    candidates = [names[index] for index in nominal]
    got = f"none, with {counted(len(candidates), 'candidate')}: {named(candidates)}"
    raise refusal(DataError, "label", "the name of an attribute", got)


def _split(text: str, count: int, line: int) -> list[str]:
    if text.lstrip().startswith("{"):
        _wrong(line, "a row with all of its values", text)
    quote = "'" if "'" in text else '"'
    try:
        reader = csv.reader([text], quotechar=quote, skipinitialspace=True, strict=True)
        fields = next(reader, [])
    except csv.Error as error:
        if "field larger" in str(error):  # csv's own limit, which only a setting of the process changes
            fields = _by_hand(text, quote)
        else:
            _wrong(line, "values between commas", str(error))
    if len(fields) != count:
        _wrong(line, counted(count, "value"), str(len(fields)))
    return fields


def _by_hand(text: str, quote: str) -> list[str]:
    """Split a row whose fields are long: quotes only around whole fields."""
    parts = text.split(quote)
    fields: list[str] = []
    for index, part in enumerate(parts):
        if index % 2:
            fields.append(part)
        else:
            fields += [each for each in part.strip().strip(",").split(",") if each]
    return fields


def _numbers(words: Sequence[str], line: int) -> Numbers:
    """Return numbers, NaN for ?."""
    try:
        with np.errstate(over="ignore"):
            found = np.array([word.strip().replace("?", "nan") or "nan" for word in words], np.float64)
            numbers: Numbers = found.astype(np.float32)
    except ValueError as error:
        _wrong(line, "numbers, or ? for a missing one", str(error).rpartition(":")[2].strip(" '"))
    if infinite_at(numbers[:, None]) is not None:
        _wrong(line, "finite float32 numbers", "infinity")
    return numbers


def _steps(fields: Sequence[str], line: int) -> Numbers:
    """Return the values of a row as steps of one channel; missing ones at the end are none."""
    numbers = _numbers(fields, line)
    has = np.flatnonzero(~np.isnan(numbers))
    return numbers[: has[-1] + 1 if len(has) else 0, None]


def _relation(fields: Sequence[str], line: int) -> Numbers:
    """Return the channels of a relational value, a line each, side by side."""
    if len(fields) != 1:
        _wrong(line, "one relational value beside the label", str(len(fields)))
    channels = [
        _numbers(each.split(","), line) for each in fields[0].replace("\\n", "\n").split("\n") if each
    ]
    lengths = {len(channel) for channel in channels}
    if len(lengths) != 1:
        _wrong(line, "channels of equal length", ", ".join(map(str, sorted(lengths))) or "none")
    array = np.stack(channels, axis=1)
    has = np.flatnonzero(~np.isnan(array).all(axis=1))
    return np.ascontiguousarray(array[: has[-1] + 1 if len(has) else 0])


def _channels(inputs: Sequence[Numbers], rows: Sequence[tuple[int, str]]) -> tuple[str, ...]:
    width = inputs[0].shape[1]
    for (line, _), each in zip(rows, inputs, strict=True):
        if each.shape[1] != width:
            _wrong(line, counted(width, "channel"), str(each.shape[1]))
    return tuple(map(str, range(width)))


def _labels(
    labels: Sequence[str], name: str, rows: Sequence[tuple[int, str]], as_numbers: bool, asked: Asked
) -> Array:
    for (line, _), label in zip(rows, labels, strict=True):
        if label in ("", "?"):
            _wrong(line, f"a label in {quoted(name)}", label)
    if not as_numbers:
        return np.array(labels)
    lines = [line for line, _ in rows]
    values = np.array([_label_number(label, line) for label, line in zip(labels, lines, strict=True)])
    return label_values(name, values, lines, asked.target is not None)


def _label_number(text: str, line: int) -> float:
    try:
        return float(text)
    except ValueError:
        _wrong(line, "a number as label", text)
