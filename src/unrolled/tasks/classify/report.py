"""What a run on labelled sequences leaves to look at: tables, pictures, and report.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled import files
from unrolled.spec import RunDirectory
from unrolled.tasks.classify.dataset import Sequences
from unrolled.tasks.classify.evaluation import Evaluation, evaluate, label, predictions
from unrolled.tasks.classify.metrics import confusion
from unrolled.tasks.classify.network import SequenceNetwork
from unrolled.tasks.classify.pictures import draw
from unrolled.tasks.classify.table import answer_columns
from unrolled.tasks.run_report import (
    comparison_lines,
    parts_line,
    picture_lines,
    write_controls,
    write_predictions,
)
from unrolled.tasks.stored_arrays import PARTS
from unrolled.tasks.streaming import streaming_lines

__all__ = ["write_report"]

Array: TypeAlias = npt.NDArray[Any]
EVERY_CLASS = 200  # rows of the report's table of classes


def write_report(network: SequenceNetwork, dataset: Sequences, directory: Path) -> Iterator[Path]:
    """Write pictures, predictions, controls.json and report.md into a run, yielding each file's path."""
    place, found = RunDirectory(directory), evaluate(network, dataset)
    part = found.part
    given = predictions(network, dataset, part)
    if dataset.data.controls:
        yield write_controls(place, found)
    yield write_predictions(place, answer_columns(dataset.schema, dataset.part(part), given))
    drawn = list(draw(place, network, dataset, part, given))
    yield from drawn
    page = _page(network, dataset, found, given, drawn, str(directory))
    files.replace(place.report, page)
    yield place.report


def _page(
    network: SequenceNetwork,
    dataset: Sequences,
    found: Evaluation,
    given: Array,
    pictures: Sequence[Path],
    run: str,
) -> str:
    """Return report.md."""
    lines = [f"# {files.printable(dataset.name)}", ""]
    sizes = {name: len(dataset.part(name)) for name in PARTS}
    lines += [f"{parts_line(sizes, 'sample')}.", ""]
    lines += [f"- {note}" for note in dataset.stored.notes] + [""] * bool(dataset.stored.notes)
    lines += comparison_lines(found, label)
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
    lines += picture_lines(pictures)
    return "\n".join(lines) + "\n"


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
    lines = [f"| class | {noun} | recall | precision |", "| --- | --- | --- | --- |"]
    for number in np.argsort(-total, kind="stable")[:EVERY_CLASS]:
        recall = f"{right[number] / total[number]:.3f}" if total[number] else "–"
        precision = f"{right[number] / answered[number]:.3f}" if answered[number] else "–"
        name = files.printable(classes[number]).replace("|", "\\|")
        lines.append(f"| {name} | {total[number]:,} | {recall} | {precision} |")
    return lines
