"""A user's file, step by step, in the C code and in `unrolled.stream`: what `--check FILE` compares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from unrolled.errors import DataError, counted, expected
from unrolled.export.c import check as checking
from unrolled.export.c.reading import Samples, Symbols
from unrolled.export.c.series import SeriesSteps
from unrolled.export.c.source import Model
from unrolled.export.c.text import comment
from unrolled.export.checks import Check
from unrolled.export.subject import Subject
from unrolled.files import quoted

__all__ = ["compare_file"]

Array = npt.NDArray[Any]
MOST_STEPS, MOST_SEQUENCES = 10_000, 20
TOLERANCE = 1e-5


class Part(NamedTuple):
    """A sequence of a file."""

    inputs: list[Any]  # of each step, as `model_step` takes it
    series: int = 0  # of a forecaster of several, which one


def compare_file(subject: Subject, model: Model, place: Path, source: str, runtime: Any) -> Check:
    """Run what was written, and ours, on at most MOST_STEPS steps of a file.

    Raises:
        DataError: it does not have the columns of training, or the network reads no file.
    """
    parts = _parts(subject, model, source)
    tool = checking.compiler()
    if tool is None:
        return Check("a C compiler", 0, 0.0, TOLERANCE, checking.no_compiler())
    flags = ("-std=c99", "-O2", "-ffp-contract=off", f"-D{model.prefix.upper()}_FMA=0")
    pairs: list[tuple[Array, Array]] = []
    count, left = 0, MOST_STEPS
    for inputs, series in parts:
        some = inputs[:left]
        if not some:
            continue
        theirs, answers, _ = checking.run(model, place, some, command=tool, flags=flags, series=series)
        outputs, wanted, _ = checking.ours(runtime, some, series=series)
        pairs.append((theirs, outputs))
        if wanted is not outputs:
            size = np.maximum(np.abs(wanted).max(axis=0), 1e-300)  # in their unit, which may be any
            pairs.append((answers / size, wanted / size))
        count, left = count + 1, left - len(some)
        if left <= 0 or count >= MOST_SEQUENCES:
            break
    told = f"{counted(count, 'sequence')}, {MOST_STEPS - left:,} steps of {comment(Path(source).name)}"
    return Check.of(told, pairs, TOLERANCE)


def _parts(subject: Subject, model: Model, source: str) -> list[Part]:
    reader = model.reader
    if isinstance(reader, Symbols):
        found = [[int(each) for each in ids] for ids in subject.sequences(source)]
        if subject.schema is not None:
            boundary = subject.tokens.boundary  # which init has read, and which no step may repeat
            found = [ids[1:] if ids[:1] == [boundary] else ids for ids in found]
        return list(map(Part, found))
    if isinstance(reader, Samples):
        samples = subject.samples(source)
        return [Part(_sample(reader, samples, index)) for index in range(len(samples))]
    if isinstance(reader, SeriesSteps):
        return list(_series(reader, subject.time_series(source)))
    raise DataError(expected("check", "none for layers alone, which read no file", Path(source).name))


def _sample(reader: Samples, samples: Any, index: int) -> list[Any]:
    rows = np.asarray(samples.inputs[index], np.float32)
    names = list(samples.channels)
    if set(reader.scaler.channels) - set(names):
        raise DataError(
            expected("check", f"the columns {', '.join(reader.scaler.channels)}", ", ".join(names))
        )
    rows = rows[:, [names.index(name) for name in reader.scaler.channels]]
    kept: Any = np.ones(len(rows), np.bool_)
    if reader.scaler.missing == "drop":
        kept = ~np.isnan(rows).any(axis=1)
    if not reader.scaler.gaps:
        return list(rows[kept])
    if samples.times is None:
        raise DataError(expected("check", "a time for each step, as in training", "none"))
    return list(zip(rows[kept], np.asarray(samples.times[index])[kept].tolist(), strict=True))


def _series(reader: SeriesSteps, found: Any) -> Iterator[Part]:
    """Yield the values and past columns of each series that training had; of one it does not matter which."""
    places = {name: place for place, name in enumerate(reader.schema.ids)}
    known = [name for name in found.ids if len(places) == 1 or name in places]
    if not known:
        want = f"series of training, such as {quoted(reader.schema.ids[0])}"
        raise DataError(expected("check", want, ", ".join(map(quoted, found.ids[:3]))))
    for number, name in enumerate(found.ids):
        if name in known:
            values = np.asarray(found.values[number], np.float64)[:, None]
            past = np.asarray(found.past[number], np.float64) if reader.past else values[:, :0]
            yield Part(list(np.hstack([values, past])), 0 if len(places) == 1 else places[name])
