"""From a source to samples in three parts, kept with the run, and to what the network reads of them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled import tokens as vocabularies
from unrolled.data import SampleBatches, Samples, overlap, partition, read_samples, test_beside
from unrolled.errors import DataError, counted, expected
from unrolled.spec import ClassifyData, RegressData
from unrolled.tasks.classify import storing
from unrolled.tasks.classify.schema import Schema
from unrolled.tasks.stored_arrays import ARRAYS, LEFT_OUT, PARTS
from unrolled.tokens import Tokens

__all__ = ["Sequences", "prepare", "reopen"]

Data: TypeAlias = ClassifyData | RegressData
Array: TypeAlias = npt.NDArray[Any]

ARCHIVED = re.compile(r"_TRAIN\.")
FEW = 100  # samples below which none are held out for a test that nobody asked for
TEST_SHARE = 0.1
MOST_WEIGHT = 100.0  # of a rare class, as a multiple of the mean


class Sequences:
    """Samples of a run in three parts: they train, choose the best network, and test it once."""

    validation_is_train = False

    def __init__(self, stored: storing.Stored, data: Data) -> None:
        self.stored, self.data, self.samples = stored, data, stored.samples
        self.name, self.sha256, self.identity = self.samples.name, self.samples.sha256, stored.identity
        self._parts: dict[str, Samples] = {}
        self._inputs: dict[str, list[Array]] = {}
        train = self.part("train")
        if not len(self.part("validation")):
            raise DataError(expected("validation", "at least 1 sample", "none"))
        self.schema = Schema.fit(train, missing=data.missing)
        self.tokens: Tokens | None = None
        if train.is_text:
            self.tokens = vocabularies.build(data.tokens, map(str, train.inputs))
        self.scored: dict[str, Any] = {}  # what the report has measured so far

    def part(self, name: str) -> Samples:
        """Return the samples of a part: train, validation or test."""
        if name not in self._parts:
            chosen = np.flatnonzero(self.stored.parts == PARTS.index(name))
            self._parts[name] = self.samples.take(chosen)
        return self._parts[name]

    def inputs(self, name: str) -> list[Array]:
        """Return what the network reads of a part."""
        if name not in self._inputs:
            self._inputs[name] = self.schema.inputs(self.part(name), self.tokens)
        return self._inputs[name]

    def targets(self, name: str) -> Array | list[Array]:
        """Return what it is to give, as `SampleBatches` takes it."""
        return self.schema.targets(self.part(name))

    def truth(self, name: str) -> Array:
        """Return what answers for a part are scored against; see `Schema.truth`."""
        return self.schema.truth(self.part(name))

    def batches(self, name: str, *, rows: int, seed: int = 0, shuffle: bool = False) -> SampleBatches:
        """Return the batches of a part."""
        return SampleBatches(
            self.inputs(name), self.targets(name), batch_size=rows, seed=seed, shuffle=shuffle
        )

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the numbers that the network reads at a step; () of symbols."""
        return () if self.schema.scaler is None else self.schema.scaler.outputs

    @property
    def longest(self) -> int:
        """Steps of the longest training sample."""
        return max(map(len, self.inputs("train")))

    @property
    def class_weights(self) -> Array | None:
        """Return the weight of each class [K] where all are to weigh the same: inverse to its frequency."""
        if not getattr(self.data, "balance", False):
            return None
        truth = self.truth("train")
        if self.schema.several:  # of each label that holds, against those that do not
            holds = np.maximum(truth.sum(0), 1)
            against: Array = np.clip((len(truth) - holds) / holds, 1 / MOST_WEIGHT, MOST_WEIGHT)
            return against.astype(np.float32)
        counts = np.bincount(truth[truth >= 0], minlength=len(self.schema.classes))
        weights = np.minimum(counts.mean() / np.maximum(counts, 1), MOST_WEIGHT)
        found: Array = (weights * counts.sum() / (weights * counts).sum()).astype(np.float32)
        return found

    @property
    def has_test(self) -> bool:
        """Whether there is a test part."""
        return bool((self.stored.parts == PARTS.index("test")).any())


def prepare(data: Data, directory: Path, *, seed: int) -> Sequences:
    """Read a source, divide its samples and write them into a directory.

    Raises:
        DataError, ConfigError: the source, its columns or the split are not right.
    """
    samples = _read(data, data.source)
    given, beside = samples.test, _beside(data, samples)
    if data.test is not None or beside is not None:
        given = _read_test(data, data.test or str(beside))
    samples, notes = replace(samples, test=None), list(samples.notes)
    if beside is not None:
        notes = [note for note in notes if beside.name not in note]
        notes.append(f"{beside.name}, next to the source, is the test part")
    share = data.test_share
    if share is None:
        share = TEST_SHARE if given is None and len(samples) >= FEW else 0.0
    found = partition(samples, split=data.split, validation=data.validation_share, test=share, seed=seed)
    parts = np.full(len(samples), LEFT_OUT)
    for number, name in enumerate(PARTS):
        parts[getattr(found, name)] = number
    notes += found.notes
    if given is not None:
        notes += _notes_on_test(samples, given, data.group)
        parts = np.where(parts == PARTS.index("test"), LEFT_OUT, parts)
        samples = _joined(samples, given)
        tested = np.full(len(given), PARTS.index("test"))
        parts = np.concatenate([parts, tested])
    return Sequences(storing.write(directory, samples, parts, notes), data)


def reopen(data: Data, directory: Path) -> Sequences:
    """Return the samples that `prepare` wrote. Raises DataError: they are damaged or another run's."""
    return Sequences(storing.read(directory), data)


def _read(data: Data, source: str) -> Samples:
    """Read a source: samples that `storing.write` wrote, or a file as `data.read_samples` takes it."""
    if (Path(source) / ARRAYS).is_file():
        samples = storing.read(Path(source)).samples
    else:
        samples = _read_file(data, source)
    if samples.labels is None and not samples.per_step:
        raise DataError(expected(source, "a label for each sample", "none"))
    wants = isinstance(data, RegressData)
    if samples.of_numbers == wants:
        return samples
    if wants:
        raise DataError(expected("target", "a column of numbers", "texts"))
    raise DataError(expected("label", "classes", "numbers with fractions, which RegressData predicts"))


def _read_test(data: Data, source: str) -> Samples:
    """Read the test file; what is wrong with it is said of `test`, whatever it is called elsewhere."""
    try:
        return _read(data, source)
    except DataError as error:
        name, colon, rest = str(error).partition(": expected ")
        where = "test" if name in ("source", "label", "target", "id", "columns") else f"test {name}"
        raise DataError(f"{where}{colon}{rest}") from None


def _read_file(data: Data, source: str) -> Samples:
    name = data.target if isinstance(data, RegressData) else data.label
    names = None if name is None else [each.strip() for each in name.split(",")]
    wanted: dict[str, Any] = {"target" if isinstance(data, RegressData) else "label": names}
    columns = None if data.columns is None else [each.strip() for each in data.columns.split(",")]
    static = [] if data.static is None else [each.strip() for each in data.static.split(",")]
    known: Any = {"group": data.group, "id": data.id, "time": data.time, "columns": columns}
    return read_samples(source, **wanted, **known, static=static)


def _beside(data: Data, samples: Samples) -> Path | None:
    """Return X_TEST beside a source X_TRAIN, as archives have it, where nobody says what the test part is."""
    if data.test is not None or data.test_share is not None or samples.test is not None:
        return None
    return test_beside(Path(data.source)) if ARCHIVED.search(Path(data.source).name) else None


def _notes_on_test(samples: Samples, given: Samples, group: str | None) -> list[str]:
    """Return what is to be known about a test file. Raises DataError: a group is on both sides."""
    shared = overlap(samples, given)
    notes = []
    if shared.groups and group is not None:
        got = f"{counted(len(shared.groups), 'group')} on both sides: {', '.join(shared.groups[:3])}"
        raise DataError(expected("test", f"values of {group!r} that do not occur in the training data", got))
    if shared.duplicates:
        notes.append(
            f"{shared.duplicates} of {counted(len(given), 'test sample')} have the same input as "
            "another sample"
        )
    if shared.groups:
        notes.append(
            f"{counted(len(shared.groups), 'group')} of the test part also occur in the training data"
        )
    unseen = sorted(set(given.classes) - set(samples.classes))
    if unseen and samples.labels is not None and samples.labels.ndim == 2:
        notes.append(f"{counted(len(unseen), 'label')} of the test part left out: {', '.join(unseen[:3])}")
    elif unseen:
        count = sum(bool(set(unseen) & _classes_of(given, index)) for index in range(len(given)))
        notes.append(
            f"{counted(count, 'test sample')} of classes that never occur in the training data: "
            f"{', '.join(unseen[:3])}"
        )
    return notes


def _classes_of(samples: Samples, index: int) -> set[str]:
    """Return the classes of one sample: several at its steps."""
    labels = samples.labels if samples.step_labels is None else samples.step_labels[index]
    assert labels is not None
    return set(labels.tolist()) if samples.per_step else {str(labels[index])}


def _joined(samples: Samples, test: Samples) -> Samples:
    """Return both, one after the other; test ids are marked where training has the same."""
    if samples.channels != test.channels:
        names = [", ".join(each.channels[:5]) or "texts" for each in (samples, test)]
        raise DataError(expected("test", f"the channels of training, {names[0]}", names[1]))
    known = set(samples.ids)
    ids = [f"test {each}" if each in known else each for each in test.ids]
    labels, label_names, step_labels = _joined_labels(samples, test)
    groups = None
    if samples.groups is not None and test.groups is not None:
        groups = np.concatenate([samples.groups, test.groups])
    inputs: Any = [*samples.inputs, *test.inputs]
    times = None
    if samples.times is not None and test.times is not None:
        times = [*samples.times, *test.times]
    return replace(
        samples,
        inputs=inputs,
        ids=(*samples.ids, *ids),
        labels=labels,
        groups=groups,
        times=times,
        label_names=label_names,
        step_labels=step_labels,
    )


def _joined_labels(
    samples: Samples, test: Samples
) -> tuple[Array | None, tuple[str, ...], list[Array] | None]:
    """Return the labels of both, with the names of several."""
    if samples.per_step:
        steps = test.step_labels
        if steps is None and test.labels is not None and test.labels.ndim == 1:
            steps = np.split(np.repeat(test.labels, test.steps), np.cumsum(test.steps)[:-1])
        if steps is None or test.of_numbers != samples.of_numbers:
            raise DataError(expected("test", "a label of each step, as in training", "others"))
        return None, (), [*(samples.step_labels or ()), *steps]
    if samples.labels is None or test.labels is None or test.labels.ndim != samples.labels.ndim:
        raise DataError(
            expected("test", "labels as in training", "none" if test.labels is None else "others")
        )
    if samples.labels.ndim == 1:
        return np.concatenate([samples.labels, test.labels]), (), None
    names = samples.label_names  # others, which the test part has alone, are noted and left out
    if samples.of_numbers and set(test.label_names) != set(names):
        raise DataError(expected("test", f"the targets {', '.join(names)}", "others"))
    place = {name: column for column, name in enumerate(test.label_names)}
    labels = np.zeros((len(samples) + len(test), len(names)), samples.labels.dtype)
    labels[: len(samples)] = samples.labels
    for column, name in enumerate(names):
        if name in place:
            labels[len(samples) :, column] = test.labels[:, place[name]]
    return labels, names, None
