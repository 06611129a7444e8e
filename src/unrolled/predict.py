"""What a trained network says of new files: its answers as a table, and its score where labels are known."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unrolled import files
from unrolled.errors import ConfigError, MissingExtraError, RunError, expected
from unrolled.files import quoted
from unrolled.spec import LANGUAGE, RunDirectory, kind_of_stored
from unrolled.tasks import Loaded, Predictions, Task, evaluate_text, load, named

__all__ = ["as_csv", "as_json_lines", "evaluate", "predict", "write"]

SUFFIXES = (".parquet", ".csv", ".jsonl")
LARGEST = 2**23  # bytes of an evaluation.json


def predict(loaded: Loaded | str | Path, source: str, *, out: str | Path | None = None) -> Predictions:
    """Answer the samples of a source, which need no label.

    Args:
        loaded: what `unrolled.load` returns, or a run, checkpoint or model directory.
        source: a file or folder like that of training.
        out: where to write the answers as well, see `write`.
    Raises:
        ConfigError: the network predicts nothing, or `out` is the source or no file that can be written.
        DataError: the source does not have the columns of training.
    """
    if out is not None:
        _check_out(Path(out), source)
    loaded = _loaded(loaded)
    found = _task(loaded).predict(loaded, source)
    if out is not None:
        write(found, out)
    return found


def evaluate(loaded: Loaded | str | Path, source: str | None = None, *, cold_steps: int | None = None) -> Any:
    """Score a network on a source with labels, or a text.

    Args:
        loaded: as `predict` takes it.
        source: a file or folder like that of training; None: what the run wrote at its end is returned.
        cold_steps: of a language model, see `tasks.evaluate_text`.
    Raises:
        DataError: the source does not fit, or has no labels. ConfigError: `cold_steps` of another task, or no
            source, with a model that lies in no finished run.
    """
    loaded = _loaded(loaded)
    task = _task(loaded)
    if source is None:
        if cold_steps is not None:
            raise ConfigError(expected("cold_steps", "a source beside it", "none"))
        return task.evaluation_of(_stored(loaded.path))
    if cold_steps is None:
        return task.evaluate_source(loaded, source)
    if task.kind is not LANGUAGE:
        raise ConfigError(expected("cold_steps", "a model of text", f"one of the task {task.kind.name}"))
    return evaluate_text(loaded, source, cold_steps=cold_steps)


def _loaded(loaded: Loaded | str | Path) -> Loaded:
    return loaded if isinstance(loaded, Loaded) else load(loaded)


def _task(loaded: Loaded) -> Task:
    return named(kind_of_stored(loaded.config).name)


def _stored(path: Path) -> dict[str, Any]:
    """Return the evaluation that a run wrote at its end."""
    place = RunDirectory.around(path).evaluation
    if not place.is_file():
        raise ConfigError(expected("source", "a file to score, as there is no evaluation.json", "none"))
    return files.parse_json(files.read_regular(place, LARGEST, RunError), place, RunError, most=8 * LARGEST)


def write(found: Predictions, out: str | Path) -> Path:
    """Write answers, a row each, in one step: a reader sees the old file or the new one.

    Args:
        out: .csv, .jsonl (an object a line) or .parquet, which needs the extra `tables`. Of a link, the file
            that it leads to is written.
    Raises:
        ConfigError: another ending, or no place for a file. RunError: it cannot be written.
    """
    path = Path(out)
    real = _check_out(path)
    real = real if path.is_symlink() else path  # as the user names it
    if path.suffix.lower() == ".parquet":
        files.replace(real, _parquet(found))
    else:
        lines = as_csv(found) if path.suffix.lower() == ".csv" else as_json_lines(found)
        files.replace(real, "".join(lines))
    return path


def as_csv(found: Predictions) -> Iterator[str]:
    """Yield the lines of a CSV file, each with its end. What is unknown is empty; a list is JSON."""
    yield _csv_line(found.columns)
    for row in zip(*found.columns.values(), strict=True):
        yield _csv_line(["" if cell is None else _text(cell) for cell in map(_plain, row)])


def as_json_lines(found: Predictions) -> Iterator[str]:
    """Yield an object for each row, with the line's end. What is unknown, or not finite, is null."""
    for row in zip(*found.columns.values(), strict=True):
        values = files.for_json(dict(zip(found.columns, map(_plain, row), strict=True)))
        yield json.dumps(values, ensure_ascii=False, default=str) + "\n"


def _csv_line(cells: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _plain(cell: Any) -> Any:
    """Return a value of numpy as Python's own."""
    return cell.tolist() if hasattr(cell, "tolist") else cell


def _text(cell: Any) -> str:
    return json.dumps(cell, ensure_ascii=False) if isinstance(cell, (list, tuple)) else str(cell)


def _parquet(found: Predictions) -> bytes:
    polars = _polars()
    raw = io.BytesIO()
    columns = {name: list(map(_plain, values)) for name, values in found.columns.items()}
    polars.DataFrame(columns).write_parquet(raw)
    return raw.getvalue()


def _polars() -> Any:
    try:
        import polars
    except ImportError as error:
        want = ".csv or .jsonl, or the package polars, pip install 'unrolled[tables]'"
        raise MissingExtraError(expected("out", want, ".parquet without it")) from error
    return polars


def _check_out(path: Path, source: str | None = None) -> Path:
    """Return what is to be written, at the end of all links.

    Raises ConfigError, before anything is read: another ending, no place for it, or the source itself.
    """
    suffix, got = path.suffix.lower(), quoted(str(path))
    if suffix not in SUFFIXES or "\0" in str(path):
        raise ConfigError(expected("out", f"a file {', '.join(SUFFIXES)}", got))
    try:
        real = Path(os.path.realpath(path, strict=False))
        if real.is_dir() or not real.parent.is_dir():
            raise ConfigError(expected("out", "a file in a directory that exists", got))
        if os.path.lexists(real) and not real.is_file():
            raise ConfigError(expected("out", "a regular file, or none yet", got))
        if source is not None and os.path.exists(source):
            if real.exists() and os.path.samefile(real, source):
                raise ConfigError(expected("out", "another file than the source", got))
            if real.is_relative_to(os.path.realpath(source)):  # it would be read as a sample next time
                raise ConfigError(expected("out", "a place outside of the folder that is the source", got))
        if _is_a_runs(real):
            raise ConfigError(expected("out", "a file that is none of a run's own", got))
    except OSError as error:  # a name that is too long, no permission
        raise ConfigError(expected("out", "a file that can be written", f"{got}: {error.strerror}")) from None
    if suffix == ".parquet":
        _polars()
    return real


def _is_a_runs(real: Path) -> bool:
    """Whether a path is one that a run writes, or is within a directory that a run writes."""
    own = RunDirectory(real.parent)
    if real in own.files and own.config.exists():
        return True
    around = [RunDirectory(each.parent) for each in real.parents if each.name in RunDirectory.DIRECTORIES]
    return any(run.config.exists() and run.checkpoints.is_dir() for run in around)
