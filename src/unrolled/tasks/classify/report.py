"""What a run on labelled sequences leaves to look at: tables, pictures, and report.md."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled import figures, files
from unrolled.errors import counted
from unrolled.files import for_json
from unrolled.spec import RunDirectory, register_picture
from unrolled.tasks.classify.dataset import Sequences
from unrolled.tasks.classify.evaluation import LABELS, Evaluation, evaluate, predictions
from unrolled.tasks.classify.metrics import confusion, reliability
from unrolled.tasks.classify.network import SequenceNetwork

__all__ = ["PICTURES", "ranges", "write_report", "write_table"]

Array: TypeAlias = npt.NDArray[Any]
PICTURES = tuple(
    map(register_picture, ("confusion.png", "reliability.png", "error_by_length.png", "error_by_steps.png"))
)
MOST_DRAWN = 100  # classes of a picture
RANGES = 6  # of lengths
STEPS = 12  # at which a causal network's answers are scored
EVERY_CLASS = 200  # rows of the report's table of classes


class Ranges(NamedTuple):
    """An error by ranges of something."""

    labels: list[str]
    error: Array
    spread: Array  # the standard error
    samples: Array


def write_report(network: SequenceNetwork, dataset: Sequences, directory: Path) -> Iterator[Path]:
    """Write pictures, predictions, controls.json and report.md into a run, yielding each file's path."""
    place, found = RunDirectory(directory), evaluate(network, dataset)
    part = found.part
    given = predictions(network, dataset, part)
    if dataset.data.controls:
        figures_of = {
            "part": part,
            "network": asdict(found.judged),
            "controls": [asdict(c) for c in found.controls],
        }
        files.replace(place.controls, json.dumps(for_json(figures_of), indent=2) + "\n")
        yield place.controls
    yield write_table(place, prediction_columns(dataset, part, given))
    drawn = list(_draw(place, network, dataset, part, given))
    yield from drawn
    files.replace(place.report, _page(network, dataset, found, given, [path.name for path in drawn]))
    yield place.report


def _draw(
    place: RunDirectory, network: SequenceNetwork, dataset: Sequences, part: str, given: Array
) -> Iterator[Path]:
    samples, schema = dataset.part(part), dataset.schema
    where = f"{dataset.name}, {part} part"
    if schema.classes:
        targets = dataset.targets(part)
        known = targets >= 0
        if len(schema.classes) <= MOST_DRAWN:
            counts = confusion(given.argmax(-1), targets, len(schema.classes))
            figures.confusion(
                place.picture("confusion.png"), counts=counts, classes=schema.classes, title=where
            )
            yield place.picture("confusion.png")
        bins = reliability(given[known], targets[known])
        figures.reliability(place.picture("reliability.png"), **bins._asdict(), title=where)
        yield place.picture("reliability.png")
    errors, word = _errors(dataset, part, given)
    by_length = ranges(samples.steps, errors)
    unit = "characters" if samples.is_text else "steps"
    if len(by_length.labels) > 1:
        path = place.picture("error_by_length.png")
        figures.error_by(path, **by_length._asdict(), xlabel=f"length in {unit}", ylabel=word, title=where)
        yield path
    if network.config.causal:
        yield from _draw_steps(place, network, dataset, part, word, where)


def _draw_steps(
    place: RunDirectory, network: SequenceNetwork, dataset: Sequences, part: str, word: str, where: str
) -> Iterator[Path]:
    """Draw from which step on the answers of a causal network stand."""
    seen = network.answers_after(dataset.inputs(part), STEPS)
    rows = []
    for answers in seen.values():
        given = answers.argmax(-1) if dataset.schema.classes else answers[:, 0]
        rows.append(_error_of(dataset, part, given))
    error = np.array([row.mean() for row in rows])
    spread = np.array([_standard_error(row) for row in rows])
    path = place.picture("error_by_steps.png")
    names = [f"{share:.0%}" for share in seen]
    words = {"xlabel": "share of the steps seen", "ylabel": word, "title": where}
    figures.error_by(path, labels=names, error=error, spread=spread, **words)
    yield path


def _error_of(dataset: Sequences, part: str, given: Array) -> Array:
    """Return the error of each sample, of numbers of classes or standardised numbers."""
    targets = dataset.targets(part)
    if dataset.schema.classes:
        return np.asarray(given != targets, np.float64)
    return np.asarray(np.abs(given - targets) * dataset.schema.scale)


def _errors(dataset: Sequences, part: str, given: Array) -> tuple[Array, str]:
    """Return the error of each sample, and what it is called."""
    if dataset.schema.classes:
        return _error_of(dataset, part, given.argmax(-1)), "share of wrong answers"
    labels: Any = dataset.part(part).labels
    return np.abs(given - labels), "mean absolute error"


def ranges(lengths: Array, errors: Array) -> Ranges:
    """Return the mean error of about equally many samples each, by length."""
    borders = np.unique(np.quantile(lengths, np.linspace(0, 1, RANGES + 1)).astype(int))
    found = Ranges([], *(np.zeros(0) for _ in range(3)))
    rows: list[tuple[str, float, float, int]] = []
    low = int(borders[0])
    for high in borders[1:] if len(borders) > 1 else borders:
        held = errors[(lengths >= low) & (lengths <= high)]
        if len(held):
            name = f"{low} to {high}" if low < high else f"{low}"
            rows.append((name, float(held.mean()), _standard_error(held), len(held)))
        low = int(high) + 1
    return (
        found
        if not rows
        else Ranges([row[0] for row in rows], *(np.array(c) for c in list(zip(*rows, strict=True))[1:]))
    )


def _standard_error(values: Array) -> float:
    return float(values.std() / np.sqrt(max(len(values), 1)))


def write_table(place: RunDirectory, columns: Mapping[str, Sequence[Any]]) -> Path:
    """Write a table of predictions: a Parquet file with polars, else CSV."""
    try:
        import polars
    except ImportError:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        files.replace(place.predictions, text.getvalue())
        return place.predictions
    raw = io.BytesIO()
    polars.DataFrame(dict(columns)).write_parquet(raw)
    files.replace(place.parquet, raw.getvalue())
    return place.parquet


def prediction_columns(dataset: Sequences, part: str, given: Array) -> dict[str, list[Any]]:
    """Return the columns of the table of predictions: id, label, prediction, and probabilities of classes."""
    samples, classes = dataset.part(part), dataset.schema.classes
    labels = [] if samples.labels is None else samples.labels.tolist()
    columns: dict[str, list[Any]] = {"id": list(samples.ids), "label": labels}
    if not classes:
        return {**columns, "prediction": given.tolist()}
    columns["prediction"] = [classes[number] for number in given.argmax(-1)]
    columns["confidence"] = [round(float(value), 6) for value in given.max(-1)]
    if len(classes) <= MOST_DRAWN:
        columns |= {f"p {name}": [round(float(v), 6) for v in given[:, k]] for k, name in enumerate(classes)}
    return columns


def _page(
    network: SequenceNetwork, dataset: Sequences, found: Evaluation, given: Array, pictures: list[str]
) -> str:
    """Return report.md."""
    lines = [f"# {dataset.name}", ""]
    parts = [f"{counted(len(dataset.part(name)), 'sample')} {verb}" for name, verb in _VERBS.items()]
    lines += [f"{', '.join(parts)}.", ""]
    lines += [f"- {note}" for note in dataset.stored.notes] + [""] * bool(dataset.stored.notes)
    lines += _table(found)
    lines += ["", *found.notes] if found.notes else []
    if found.controls and not found.notes:
        lines += ["", f"The network beats every control on the {found.part} part."]
    if dataset.schema.classes:
        schema = network.schema
        assert schema is not None
        lines += [
            "",
            f"Probabilities are calibrated on the validation part: temperature {schema.temperature:.2f}.",
        ]
        lines += ["", *_classes(dataset, found.part, given)]
    lines += [line for name in pictures for line in ("", f"![{name.removesuffix('.png')}]({name})")]
    return "\n".join(lines) + "\n"


_VERBS = {"train": "train", "validation": "validate", "test": "test"}


def _table(found: Evaluation) -> list[str]:
    """Return the table of the network and its controls."""
    names = list(found.judged.values)
    lines = [
        f"| {found.part} part | "
        + " | ".join(LABELS[name] for name in names)
        + " | parameters | seconds to fit |",
        "| --- |" + " --- |" * (len(names) + 2),
        _row("network", found.judged.values, names, f"{found.parameters:,}", ""),
    ]
    lines += [
        _row(each.name, each.values, names, f"{each.parameters:,}", f"{each.seconds:.1f}")
        for each in found.controls
    ]
    if found.test is not None and found.validation is not None:
        lines.append(_row("network, validation part", found.validation.values, names, "", ""))
    return lines


def _row(name: str, values: Any, names: list[str], size: str, seconds: str) -> str:
    shown = [format(values[n], ".4g") if values.get(n) is not None else "–" for n in names]
    return f"| {name} | " + " | ".join([*shown, size or "–", seconds or "–"]) + " |"


def _classes(dataset: Sequences, part: str, given: Array) -> list[str]:
    """Return the table of classes, the most frequent first."""
    classes, targets = dataset.schema.classes, dataset.targets(part)
    counts = confusion(given.argmax(-1), targets, len(classes))
    total, answered, right = counts.sum(1), counts.sum(0), np.diag(counts)
    lines = ["| class | samples | found | right of those answered |", "| --- | --- | --- | --- |"]
    for number in np.argsort(-total, kind="stable")[:EVERY_CLASS]:
        recall = f"{right[number] / total[number]:.3f}" if total[number] else "–"
        precision = f"{right[number] / answered[number]:.3f}" if answered[number] else "–"
        name = files.printable(classes[number]).replace("|", "\\|")
        lines.append(f"| {name} | {total[number]:,} | {recall} | {precision} |")
    return lines
