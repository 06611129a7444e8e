"""A run's series in RUN/data: corpus.json and samples.npz, read again without the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled import files
from unrolled.data import Series
from unrolled.errors import DataError
from unrolled.tasks.stored_arrays import (
    ARRAYS,
    LENGTHS,
    MOST_NOTES,
    Form,
    check_finite,
    cut,
    read_arrays,
    read_index,
    write_arrays,
)

__all__ = ["Stored", "read", "write", "write_series"]

FORMAT, VERSION = "unrolled series", 1
PARTS = ("series", "test")
LONGEST_SEASON = 10**9  # steps
FORMS = {"borders": Form("i", (2,)), "test_begin": Form("i", (1,))} | {
    f"{part}.{name}": form
    for part in PARTS
    for name, form in {
        "ids": Form("u", (1,)),
        "id_lengths": LENGTHS,
        "lengths": LENGTHS,
        "all_lengths": LENGTHS,
        "values": Form("f", (1,)),
        "times": Form("f", (1,)),
        "past": Form("f", (2,)),
        "known": Form("f", (2,)),
        "static": Form("f", (2,)),
    }.items()
}

Array: TypeAlias = npt.NDArray[Any]
Arrays: TypeAlias = dict[str, Array]


@dataclass(frozen=True, eq=False)
class Stored:
    """Series, and where the parts of each end."""

    series: Series
    borders: npt.NDArray[np.int64]  # [N, 3], the rows at which training, validation and test end
    test: Series | None  # of a test file
    test_begin: npt.NDArray[np.int64]  # [N'] the row of each of them at which the test begins
    notes: tuple[str, ...]
    identity: str  # a digest of all of it


def write(
    directory: Path,
    series: Series,
    borders: Array,
    notes: Sequence[str] = (),
    test: Series | None = None,
    test_begin: Array | None = None,
) -> Stored:
    """Write series into a directory. Raises RunError where it cannot be written."""
    begin = np.zeros(0 if test is None else len(test), np.int64) if test_begin is None else test_begin
    arrays: Arrays = {"borders": np.asarray(borders, np.int64), "test_begin": np.asarray(begin, np.int64)}
    described: dict[str, Any] = {}
    for name, each in zip(PARTS, (series, test), strict=True):
        described[name] = None if each is None else _described(each)
        if each is not None:
            arrays |= {f"{name}.{key}": array for key, array in _arrays(each).items()}
    index = {
        "format": FORMAT,
        "version": VERSION,
        "name": series.name,
        "sha256": series.sha256,
        **described,
        "notes": list(notes)[:MOST_NOTES],
    }
    identity = write_arrays(directory, arrays, index)
    return Stored(series, arrays["borders"], test, arrays["test_begin"], tuple(notes), identity)


def write_series(directory: Path, series: Series) -> None:
    """Write series as a source: `spec.ForecastData` takes the directory's name."""
    write(directory, series, np.zeros((len(series.ids), 3)))


def read(directory: Path) -> Stored:
    """Read what `write` wrote, every byte of it checked.

    Raises:
        DataError: files are missing, damaged or another program's.
    """
    index, path = read_index(directory)
    _check_index(index, path)
    arrays = read_arrays(directory, index["identity"], "series", FORMS)
    try:
        parts = {
            name: None
            if index[name] is None
            else _series(
                {
                    key.removeprefix(f"{name}."): array
                    for key, array in arrays.items()
                    if key.startswith(f"{name}.")
                },
                index[name],
                index,
            )
            for name in PARTS
        }
        series, borders = parts["series"], arrays["borders"]
        test, begin = parts["test"], arrays["test_begin"]
        if series is None or borders.shape != (len(series.ids), 3):
            raise ValueError("borders of other series")
        if begin.shape != (0 if test is None else len(test.ids),):
            raise ValueError("borders of another test")
        bounds = np.hstack([np.zeros((len(borders), 1), np.int64), borders, series.steps[:, None]])
        if (np.diff(bounds) < 0).any() or (test is not None and ((begin < 0) | (begin > test.steps)).any()):
            raise ValueError("borders that do not rise")
    except (KeyError, ValueError, IndexError, TypeError) as error:  # covered by the digest, written by nobody
        raise files.refusal(DataError, directory / ARRAYS, "series", repr(error)) from None
    return Stored(series, borders, test, begin, tuple(index["notes"]), index["identity"])


def _described(series: Series) -> dict[str, Any]:
    return {
        "past_names": list(series.past_names),
        "known_names": list(series.known_names),
        "static_names": list(series.static_names),
        "freq": series.freq,
        "season": series.season,
        "read_as": dict(series.read_as),
    }


def _arrays(series: Series) -> Arrays:
    encoded = [name.encode("utf-8", "surrogatepass") for name in series.ids]
    found: Arrays = {
        "ids": np.frombuffer(b"".join(encoded), np.uint8),
        "id_lengths": np.array([len(each) for each in encoded], np.int64),
        "lengths": np.array([len(each) for each in series.values], np.int64),
        "all_lengths": np.array([len(each) for each in series.times], np.int64),
        "values": np.concatenate([np.zeros(0), *series.values]),
        "times": np.concatenate([np.zeros(0), *series.times]),
        "past": np.concatenate([np.zeros((0, len(series.past_names)), np.float32), *series.past]),
        "known": np.concatenate([np.zeros((0, len(series.known_names)), np.float32), *series.known]),
    }
    if series.static is not None:
        found["static"] = series.static
    return found


def _series(arrays: Arrays, described: Mapping[str, Any], index: Mapping[str, Any]) -> Series:
    """Return the series of the arrays. Raises KeyError, ValueError, TypeError: they are none."""
    check_finite(arrays, "values", "times", "past", "known", "static")
    names = cut(arrays["ids"], arrays["id_lengths"])
    lengths, every = arrays["lengths"], arrays["all_lengths"]
    if len(lengths) != len(names) or len(every) != len(names) or (every < lengths).any():
        raise ValueError("lengths of other series")
    static = arrays.get("static")
    widths = [arrays["past"].shape[1], arrays["known"].shape[1], 0 if static is None else static.shape[1]]
    if widths != [len(described[f"{name}_names"]) for name in ("past", "known", "static")]:
        raise ValueError("columns of other names")
    if static is not None and len(static) != len(names):
        raise ValueError("numbers of other series")
    times = cut(arrays["times"], every)
    if not all(np.isfinite(each).all() and (np.diff(each) > 0).all() for each in times):
        raise ValueError("times that do not rise")
    return Series(
        ids=tuple(each.tobytes().decode("utf-8", "surrogatepass") for each in names),
        values=cut(arrays["values"], lengths),
        past=cut(arrays["past"], lengths),
        past_names=tuple(described["past_names"]),
        known=cut(arrays["known"], every),
        known_names=tuple(described["known_names"]),
        static=static,
        static_names=tuple(described["static_names"]),
        times=times,
        freq=described["freq"],
        season=described["season"],
        name=index["name"],
        sha256=index["sha256"],
        notes=(),
        read_as=described["read_as"],
    )


def _check_index(index: Mapping[str, Any], path: Path) -> None:
    texts = ("format", "name", "sha256", "identity")
    right = (
        set(index) == {*texts, *PARTS, "version", "notes"}
        and all(isinstance(index[name], str) for name in texts)
        and (index["format"], index["version"]) == (FORMAT, VERSION)
        and isinstance(index["notes"], list)
        and len(index["notes"]) <= MOST_NOTES
        and all(isinstance(note, str) for note in index["notes"])
        and _is_described(index["series"])
        and (index["test"] is None or _is_described(index["test"]))
    )
    if not right:
        raise files.refusal(DataError, path, f"{FORMAT}, version {VERSION}", "something else")


def _is_described(stored: object) -> bool:
    """Whether an object is what `_described` gives."""
    lists = ("past_names", "known_names", "static_names")
    return (
        isinstance(stored, dict)
        and set(stored) == {*lists, "freq", "season", "read_as"}
        and all(isinstance(stored[name], list) for name in lists)
        and all(isinstance(each, str) for name in lists for each in stored[name])
        and isinstance(stored["freq"], str | None)
        and type(stored["season"]) is int
        and 1 <= stored["season"] <= LONGEST_SEASON
        and isinstance(stored["read_as"], dict)
    )
