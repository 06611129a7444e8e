"""What the probe asks a network of sequences: its answers to held-out samples, by column of the source."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from unrolled.data import SampleBatches, Samples, read_samples
from unrolled.errors import DataError, counted, expected
from unrolled.spec import STEP
from unrolled.tasks.calibration import LEAST
from unrolled.tasks.classify.dataset import Sequences
from unrolled.tasks.classify.network import SequenceNetwork
from unrolled.tasks.classify.schema import Schema
from unrolled.tasks.examined import Answers, Columns, Examined, Figure, Step, listed_flag, stored_controls

__all__ = ["examined"]

ROWS, BATCH = 256, 64  # samples that answers are asked of; and those that gradients are measured on
DATES = 1e8  # seconds since 1970: times from here on were dates, and are in seconds
TEXT = "text"  # the one column of texts
HALF = 0.5  # probability from which on one of several labels is answered
SEED = 0

Array: TypeAlias = npt.NDArray[Any]


def examined(
    network: SequenceNetwork,
    dataset: Sequences | None,
    source: str | None,
    directory: Path | None,
    largest: int,
) -> Examined:
    """Return what the probe measures a network on: samples drawn from the validation part, or from a source.

    Args:
        dataset: of the run; None: it has none. source: a file as a user names one. directory: RUN/data.
        largest: elements of the inputs.
    Raises:
        DataError: there are no samples with labels.
    """
    if source is not None:
        assert network.schema is not None
        samples, where = read_samples(source, **dict(network.schema.read_as or {})), source
    elif dataset is not None:
        samples, where = dataset.part("validation"), f"{dataset.name}, validation part"
    else:
        raise DataError(expected("RUN", "a run with its samples, RUN/data, or a file", "a model alone"))
    samples, drawn = _known(network, samples), len(samples)
    widest = max(len(network.schema.scaler.outputs) if network.schema and network.schema.scaler else 1, 1)
    most = max(2, min(ROWS, largest // max(int(samples.steps.max()) * widest, 1)))
    chosen = np.sort(np.random.default_rng(SEED).permutation(len(samples))[:most])
    samples = samples.take(np.random.default_rng(SEED).permutation(chosen))
    batch = _batch(network, samples)
    facts = {"samples": f"{counted(len(samples), 'sample')} of {drawn:,} of {where}"}
    if len(samples) < drawn:
        facts["samples"] += ", drawn at random"
    if network.config.causal:
        facts["gradients, states"] = "of the stack's output at each step, before one answer is made of all"
    answers = _answers(network, samples, batch, None if directory is None else directory.parent)
    return Examined(batch.part(0, len(batch.inputs), slice(0, BATCH)), facts, None, answers, _ByStep(network))


def _known(network: SequenceNetwork, samples: Samples) -> Samples:
    """Return the samples that can be scored: those with a class that occurs in training, or a number."""
    assert network.schema is not None
    truth = network.schema.truth(samples)
    known: Array = np.ones(len(samples), bool)
    if network.schema.per_step:
        parts = np.split(_scored(truth), np.cumsum(samples.steps)[:-1])
        known = np.array([bool(each.any()) for each in parts])
    elif not network.schema.several:
        known = np.asarray(_scored(truth).reshape(len(samples), -1).all(1))
    if known.all():
        return samples
    if known.sum() < 2:
        raise DataError(
            expected(
                "label", "at least 2 samples of classes that occur in the training data", int(known.sum())
            )
        )
    return samples.take(np.flatnonzero(known))


def _scored(truth: Array) -> Array:
    """Return which answers are scored: not those of unseen classes, nor where there is no label."""
    return np.asarray(~np.isnan(truth) if truth.dtype.kind == "f" else truth >= 0)


def _batch(network: SequenceNetwork, samples: Samples) -> Any:
    """Return all samples as one batch, in their order."""
    assert network.schema is not None
    inputs = network.schema.inputs(samples, network.tokens)
    targets = network.schema.targets(samples)
    ordered = SampleBatches(inputs, targets, batch_size=len(inputs), seed=0, shuffle=False)
    (rows,), (batch,) = ordered.indices(0), ordered.epoch(0)
    return batch.part(0, len(batch.inputs), torch.from_numpy(np.argsort(rows)))


def _answers(network: SequenceNetwork, samples: Samples, batch: Any, run: Path | None) -> Answers:
    schema, config = network.schema, network.config
    assert schema is not None
    if schema.scaler is None:
        columns, order = {TEXT: batch.inputs}, None
    else:
        groups = _groups(schema.scaler)
        columns = {name: batch.inputs[..., places] for name, places in groups.items()}
        order = torch.tensor(np.argsort(np.concatenate(list(groups.values()))))

    def inputs(given: Columns) -> Tensor:
        return given[TEXT] if order is None else torch.cat(list(given.values()), -1)[..., order]

    def meant(outputs: Array) -> Array:
        found = schema.answers(outputs.reshape(-1, outputs.shape[-1]))
        return found.reshape(*outputs.shape[:-1], *found.shape[1:])

    def answer(given: Columns, lengths: Tensor | None) -> Array:
        return meant(network(inputs(given), lengths).numpy())

    def after(given: Columns, lengths: Tensor | None) -> Array:
        return meant(network.per_step(inputs(given), lengths).numpy())

    figure, loss, stored = _judged(schema, samples)
    way = "one way" if config.causal else "both ways"
    pools = {"last": "answers from its last state", STEP: "answers at each step"}.get(
        config.pooling, "pools the outputs of all steps"
    )
    return Answers(
        columns=columns,
        lengths=batch.lengths,
        answer=answer,
        figure=figure,
        loss=loss,
        kind=f"reads {way} and {pools}",
        one_way=config.causal,
        per_step=schema.per_step,
        after=after if config.causal and not schema.per_step else None,
        edges=(1, 1) if samples.is_text else (0, 0),
        step=_step(samples, network),
        several=bool(schema.classes) and not schema.several,
        choose=partial(listed_flag, "--columns"),
        **stored_controls(run, stored),
    )


def _groups(scaler: Any) -> dict[str, list[int]]:
    """Return the places of each source column among the channels: its own, its mask's, its "since"'s."""
    place = {name: number for number, name in enumerate(scaler.outputs)}
    found = {name: [place[name]] for name in scaler.channels}
    for name in scaler.masked:
        found[name] += [place[f"has {name}"], place[f"since {name}"]]
    if scaler.gaps:
        found["gap"] = [place["gap"]]
    return found


def _judged(schema: Schema, samples: Samples) -> tuple[Figure, Any, str]:
    """Return the figure of answers, the loss of each sample, and the figure's name in controls.json."""
    truth = schema.truth(samples)
    if schema.per_step:  # [T, B], where nothing is scored past the end of a sample
        parts = np.split(truth, np.cumsum(samples.steps)[:-1])
        padded = np.full((int(samples.steps.max()), len(parts)), np.nan if truth.dtype.kind == "f" else -1)
        for row, part in enumerate(parts):
            padded[: len(part), row] = part
        truth = padded.astype(truth.dtype)
    scored = np.ones(truth.shape, bool) if schema.several else _scored(truth)
    axis = 1 if schema.per_step else 0  # of the samples

    def errors(answers: Array, rows: Array) -> Array:
        """Return what is wrong with the answers for some samples: a number for each that is scored."""
        given, right = np.take(answers, rows, axis), np.take(truth, rows, axis)
        right = right[: len(given)]
        if schema.several:
            return np.asarray(((given >= HALF) != right).any(-1))
        if schema.classes:
            wrong = given.argmax(-1) != right
        else:
            wrong = np.square((given - right) / (np.array(schema.scale) if schema.numbers else 1.0))
        return np.asarray(wrong[np.take(scored, rows, axis)[: len(given)]])

    def loss(answers: Array) -> Array:
        count = answers.shape[axis]
        rows = np.arange(count)
        right, known = np.take(truth, rows, axis)[: len(answers)], np.take(scored, rows, axis)[: len(answers)]
        if schema.several:
            each = -np.log(np.maximum(np.where(right, answers, 1 - answers), LEAST))
        elif schema.classes:
            own = np.take_along_axis(answers, np.maximum(right, 0)[..., None], -1)[..., 0]
            each = -np.log(np.maximum(own, LEAST))
        else:
            each = np.square((answers - right) / (np.array(schema.scale) if schema.numbers else 1.0))
        each = np.moveaxis(np.where(known, each, 0.0), axis, 0).reshape(count, -1).sum(1)
        return np.asarray(each / np.maximum(np.moveaxis(known, axis, 0).reshape(count, -1).sum(1), 1))

    if schema.classes:
        name, stored = (
            ("every label right", "subset_accuracy") if schema.several else ("accuracy", "accuracy")
        )
        return Figure(name, lambda a, rows: 1 - float(errors(a, rows).mean()), True, 1.0), loss, stored
    unit = "deviations" if schema.numbers else ""
    figure = Figure("RMSE", lambda a, rows: float(np.sqrt(errors(a, rows).mean())), False, 0.0, unit)
    return figure, loss, "standardised_rmse" if schema.numbers else "rmse"


def _step(samples: Samples, network: SequenceNetwork) -> Step:
    """Return how long a step is: known where there were dates; a time that is a number has no unit."""
    if samples.is_text:
        kind = getattr(network.tokens, "kind", "char")
        return Step(1.0, {"char": "character", "byte": "byte", "word": "word"}.get(kind, "symbol"))
    assert network.schema is not None
    assert network.schema.scaler is not None
    typical = network.schema.scaler.step
    if typical is None or samples.times is None:
        return Step()
    if samples.times[0][0] >= DATES:
        return Step.of_seconds(typical)
    return Step()


class _ByStep(nn.Module):
    """The outputs of a network's stack at each step, before they are pooled."""

    def __init__(self, network: SequenceNetwork) -> None:
        super().__init__()
        self.config, self.tokens = network.config, network.tokens
        self.embedding, self.dropout, self.recurrent = network.embedding, network.dropout, network.recurrent

    def forward(self, inputs: Tensor) -> Tensor:
        """Return [T, B, D·H]."""
        found: Tensor = MethodType(SequenceNetwork.hidden, self)(inputs)[0]
        return found
