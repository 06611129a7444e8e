"""Pictures of a run on labelled sequences: confusion, reliability, and the error by lengths and steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled import figures
from unrolled.data import IGNORED, Samples
from unrolled.spec import RunDirectory, register_picture
from unrolled.tasks.calibration import reliability
from unrolled.tasks.classify.dataset import Sequences
from unrolled.tasks.classify.metrics import confusion
from unrolled.tasks.classify.network import SequenceNetwork
from unrolled.tasks.classify.schema import Schema
from unrolled.tasks.ranges import ranges, standard_error

__all__ = ["PICTURES", "draw"]

Array: TypeAlias = npt.NDArray[Any]
PICTURES = tuple(
    map(
        register_picture,
        (
            "confusion.png",
            "reliability.png",
            "error_by_length.png",
            "error_by_steps.png",
            "error_from_start.png",
            "error_from_end.png",
        ),
    )
)
MOST_DRAWN = 100  # classes of a picture
STEPS = 12  # at which a causal network's answers are scored


def draw(
    place: RunDirectory, network: SequenceNetwork, dataset: Sequences, part: str, given: Array
) -> Iterator[Path]:
    """Draw the answers for a part, yielding each picture's path."""
    samples, schema = dataset.part(part), dataset.schema
    where = f"{dataset.name}, {part} part"
    if schema.classes and not schema.several:
        yield from _draw_classes(place, schema, dataset.truth(part), given, where)
    errors, word = errors_of(schema, samples, given)
    if schema.per_step:
        yield from _draw_positions(place, samples, errors, word, where)
        return
    by_length = ranges(samples.steps, errors)
    unit = "characters" if samples.is_text else "steps"
    if len(by_length.labels) > 1:
        path = place.picture("error_by_length.png")
        figures.error_by(path, **by_length._asdict(), xlabel=f"length in {unit}", ylabel=word, title=where)
        yield path
    if network.config.causal:
        yield _draw_steps(place, network, dataset, part, where)


def _draw_classes(
    place: RunDirectory, schema: Schema, truth: Array, given: Array, where: str
) -> Iterator[Path]:
    known = truth >= 0
    if len(schema.classes) <= MOST_DRAWN:
        counts = confusion(given.argmax(-1), truth, len(schema.classes))
        figures.confusion(place.picture("confusion.png"), counts=counts, classes=schema.classes, title=where)
        yield place.picture("confusion.png")
    bins = reliability(given[known], truth[known])
    figures.reliability(place.picture("reliability.png"), **bins._asdict(), title=where)
    yield place.picture("reliability.png")


def _draw_positions(
    place: RunDirectory, samples: Samples, errors: Array, word: str, where: str
) -> Iterator[Path]:
    """Draw the error of steps by their distance from the start and from the end."""
    known, steps = ~np.isnan(errors), samples.steps
    from_start = np.concatenate([np.arange(number) for number in steps])
    from_end = np.concatenate([np.arange(number)[::-1] for number in steps])
    for name, distance, xlabel in (
        ("error_from_start.png", from_start, "steps from the start"),
        ("error_from_end.png", from_end, "steps from the end"),
    ):
        found = ranges(distance[known], errors[known])
        path = place.picture(name)
        figures.error_by(path, **found._asdict(), xlabel=xlabel, ylabel=word, title=where)
        yield path


def _draw_steps(
    place: RunDirectory, network: SequenceNetwork, dataset: Sequences, part: str, where: str
) -> Path:
    """Draw from which step on the answers of a causal network stand."""
    seen = network.answers_after(dataset.inputs(part), STEPS)
    schema, samples = dataset.schema, dataset.part(part)
    rows = [errors_of(schema, samples, schema.answers(answers)) for answers in seen.values()]
    error = np.array([row.mean() for row, _ in rows])
    spread = np.array([standard_error(row) for row, _ in rows])
    path = place.picture("error_by_steps.png")
    names = [f"{share:.0%}" for share in seen]
    words = {"xlabel": "share of the steps seen", "ylabel": rows[0][1], "title": where}
    figures.error_by(path, labels=names, error=error, spread=spread, **words)
    return path


def errors_of(schema: Schema, samples: Samples, given: Array) -> tuple[Array, str]:
    """Return the error of each sample, or each step, NaN where it has no label; and what it is called."""
    truth = schema.truth(samples)
    if schema.several:
        return np.asarray(((given >= 0.5) != truth).mean(1)), "share of wrong labels"
    if schema.classes:
        wrong = np.where(truth == IGNORED, np.nan, given.argmax(-1) != truth)
        return wrong, "share of wrong answers"
    if schema.numbers:
        error = np.abs(given - truth) / np.array(schema.scale)
        return np.asarray(error.mean(1)), "mean absolute error, in standard deviations"
    return np.abs(given - truth), "mean absolute error"
