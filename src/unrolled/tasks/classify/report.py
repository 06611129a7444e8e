"""What a run on labelled sequences leaves to look at: tables, pictures, and report.md."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled import files
from unrolled.errors import counted
from unrolled.files import for_json
from unrolled.spec import RunDirectory
from unrolled.tasks.classify.dataset import Sequences
from unrolled.tasks.classify.evaluation import LABELS, Evaluation, evaluate, predictions
from unrolled.tasks.classify.metrics import confusion
from unrolled.tasks.classify.network import SequenceNetwork
from unrolled.tasks.classify.pictures import draw
from unrolled.tasks.classify.table import answer_columns
from unrolled.tasks.standing import standing
from unrolled.tasks.streaming import streaming_lines

__all__ = ["write_report", "write_table"]

Array: TypeAlias = npt.NDArray[Any]
EVERY_CLASS = 200  # rows of the report's table of classes


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
    yield write_table(place, answer_columns(dataset.schema, dataset.part(part), given))
    drawn = list(draw(place, network, dataset, part, given))
    yield from drawn
    page = _page(network, dataset, found, given, [path.name for path in drawn], directory.name)
    files.replace(place.report, page)
    yield place.report


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


def _page(
    network: SequenceNetwork,
    dataset: Sequences,
    found: Evaluation,
    given: Array,
    pictures: list[str],
    run: str,
) -> str:
    """Return report.md."""
    lines = [f"# {dataset.name}", ""]
    parts = [f"{counted(len(dataset.part(name)), 'sample')} {verb}" for name, verb in _VERBS.items()]
    lines += [f"{', '.join(parts)}.", ""]
    lines += [f"- {note}" for note in dataset.stored.notes] + [""] * bool(dataset.stored.notes)
    lines += _table(found)
    lines += ["", *found.notes] if found.notes else []
    stands = standing(found)
    lines += [] if stands is None else ["", stands]
    if dataset.schema.classes:
        schema = network.schema
        assert schema is not None
        lines += [
            "",
            f"Probabilities are calibrated on the validation part: temperature {schema.temperature:.2f}.",
        ]
        table = _labels if schema.several else _classes
        lines += ["", *table(dataset, found.part, given)]
    lines += streaming_lines(network.streamed(), run)
    lines += [line for name in pictures for line in ("", f"![{name.removesuffix('.png')}]({name})")]
    return "\n".join(lines) + "\n"


_VERBS = {"train": "train", "validation": "validate", "test": "test"}


def _table(found: Evaluation) -> list[str]:
    """Return the table of the network and its controls."""
    names = list(found.judged.values)
    lines = [
        f"| {found.part} part | "
        + " | ".join(LABELS.get(name, name) for name in names)
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
    counts = confusion(given.argmax(-1), dataset.truth(part), len(dataset.schema.classes))
    noun = "steps" if dataset.schema.per_step else "samples"
    return _found(dataset.schema.classes, noun, counts.sum(1), counts.sum(0), np.diag(counts))


def _labels(dataset: Sequences, part: str, given: Array) -> list[str]:
    """Return the table of labels, the most frequent first."""
    truth, answered = dataset.truth(part), given >= 0.5
    right = (truth & answered).sum(0)
    return _found(dataset.schema.classes, "samples", truth.sum(0), answered.sum(0), right)


def _found(classes: Sequence[str], noun: str, total: Array, answered: Array, right: Array) -> list[str]:
    """Return a table of how many of each class were found, and how many answers are right."""
    lines = [f"| class | {noun} | found | right of those answered |", "| --- | --- | --- | --- |"]
    for number in np.argsort(-total, kind="stable")[:EVERY_CLASS]:
        recall = f"{right[number] / total[number]:.3f}" if total[number] else "–"
        precision = f"{right[number] / answered[number]:.3f}" if answered[number] else "–"
        name = files.printable(classes[number]).replace("|", "\\|")
        lines.append(f"| {name} | {total[number]:,} | {recall} | {precision} |")
    return lines
