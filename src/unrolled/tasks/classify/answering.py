"""Answers for samples of another file, and how good they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled.data import Samples, read_samples
from unrolled.errors import DataError, counted, expected
from unrolled.files import printable
from unrolled.tasks.classify.evaluation import Evaluation, Scores, predicted
from unrolled.tasks.classify.metrics import classification, regression
from unrolled.tasks.classify.network import SequenceNetwork
from unrolled.tasks.classify.schema import UNSEEN, Schema
from unrolled.tasks.protocol import Predictions

__all__ = ["evaluate_file", "predict_file"]

MOST_COLUMNS = 100  # classes whose probabilities have a column each
DIGITS = 6  # of a probability
NAMED = 3


def predict_file(network: SequenceNetwork, source: str) -> Predictions:
    """Return an answer for each sample of a source, which needs no label.

    Columns are id, prediction and, of a classifier, confidence and "p CLASS" for each of up to 100 classes.

    Raises:
        DataError: the source cannot be read, or is not like that of training.
    """
    schema = _schema(network)
    samples = _read(schema, source)
    given = predicted(network, schema.inputs(samples, network.tokens))
    columns: dict[str, list[Any]] = {"id": list(samples.ids)}
    if not schema.classes:
        return Predictions({**columns, "prediction": given.tolist()}, samples.notes)
    columns["prediction"] = [schema.classes[number] for number in given.argmax(-1)]
    columns["confidence"] = np.round(given.max(-1), DIGITS).tolist()
    if len(schema.classes) <= MOST_COLUMNS:
        columns |= {
            f"p {name}": np.round(given[:, k], DIGITS).tolist() for k, name in enumerate(schema.classes)
        }
    return Predictions(columns, samples.notes)


def evaluate_file(network: SequenceNetwork, source: str) -> Evaluation:
    """Score a network on the samples of a source, which have labels.

    Raises:
        DataError: as `predict_file`, or there are no labels.
    """
    schema = _schema(network)
    samples = _read(schema, source)
    name = (schema.read_as or {}).get("label", (schema.read_as or {}).get("target"))
    if samples.labels is None:
        want = (
            "a label for each sample" if name is None else f"a column {name!r} with a label for each sample"
        )
        raise DataError(expected("source", want, "none"))
    targets = schema.targets(samples)
    given = predicted(network, schema.inputs(samples, network.tokens))
    values = classification(given, targets) if schema.classes else regression(given, samples.labels)
    return Evaluation(
        task="classify" if schema.classes else "regress",
        validation=None,
        test=Scores(len(samples), values),
        parameters=sum(weight.numel() for weight in network.parameters()),
        notes=(*samples.notes, *_unseen(schema, samples, targets)),
    )


def _unseen(schema: Schema, samples: Samples, targets: Any) -> list[str]:
    """Return a note on the samples of classes that training has not."""
    if not schema.classes or not (targets == UNSEEN).any():
        return []
    assert samples.labels is not None
    names = sorted(set(samples.labels[targets == UNSEEN].tolist()))
    shown = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
    count = counted(int((targets == UNSEEN).sum()), "sample")
    return [printable(f"{count} of classes that training has not, which count as wrong: {shown}")]


def _schema(network: SequenceNetwork) -> Schema:
    assert network.schema is not None  # by `load`
    return network.schema


def _read(schema: Schema, source: str) -> Samples:
    return read_samples(source, **(schema.read_as or {}), labelled=False)
