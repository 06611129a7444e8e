"""Answers for samples of another file, and how good they are."""

from __future__ import annotations

from dataclasses import replace

from unrolled.data import Samples, read_samples
from unrolled.errors import DataError, counted, expected
from unrolled.files import printable
from unrolled.tasks.classify.evaluation import Evaluation, figures, predicted
from unrolled.tasks.classify.network import SequenceNetwork
from unrolled.tasks.classify.schema import UNSEEN, Schema
from unrolled.tasks.classify.table import answer_columns
from unrolled.tasks.protocol import Predictions
from unrolled.tasks.scores import Scores

__all__ = ["evaluate_file", "predict_file"]

NAMED = 3


def predict_file(network: SequenceNetwork, source: str) -> Predictions:
    """Return an answer for each sample of a source; what a column of labels holds is not read.

    Columns are those of `answer_columns`, without labels.

    Raises:
        DataError: the source cannot be read, or is not like that of training.
    """
    schema = _schema(network)
    samples = _read(schema, source, read_labels=False)
    given = predicted(network, schema.inputs(samples, network.tokens))
    samples = replace(samples, labels=None, label_names=(), step_labels=None)  # a folder's are its names
    return Predictions(answer_columns(schema, samples, given), samples.notes)


def evaluate_file(network: SequenceNetwork, source: str) -> Evaluation:
    """Score a network on the samples of a source, which have labels.

    Raises:
        DataError: as `predict_file`, or there are no labels.
    """
    schema = _schema(network)
    samples = _read(schema, source)
    name = (schema.read_as or {}).get("label", (schema.read_as or {}).get("target"))
    if samples.labels is None and not samples.per_step:
        want = "a label for each sample" if name is None else f"{name!r} with a label for each sample"
        raise DataError(expected("source", want, "none"))
    given = predicted(network, schema.inputs(samples, network.tokens))
    values = figures(schema, samples, given)
    return Evaluation(
        task="classify" if schema.classes else "regress",
        validation=None,
        test=Scores(len(samples), values),
        parameters=sum(weight.numel() for weight in network.parameters()),
        notes=(*samples.notes, *_unseen(schema, samples)),
    )


def _unseen(schema: Schema, samples: Samples) -> list[str]:
    """Return a note on the samples, or steps, of classes that never occur in training."""
    names = sorted(set(samples.classes) - set(schema.classes)) if schema.classes else []
    if not names:
        return []
    shown = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
    if schema.several:
        return [printable(f"{counted(len(names), 'label')} left out, not in the training data: {shown}")]
    noun = "step" if schema.per_step else "sample"
    count = counted(int((schema.truth(samples) == UNSEEN).sum()), noun)
    return [printable(f"{count} of classes that never occur in the training data, counted as wrong: {shown}")]


def _schema(network: SequenceNetwork) -> Schema:
    assert network.schema is not None  # by `load`
    return network.schema


def _read(schema: Schema, source: str, *, read_labels: bool = True) -> Samples:
    return read_samples(source, **(schema.read_as or {}), labelled=False, read_labels=read_labels)
