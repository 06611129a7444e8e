"""What reads new samples as training read its own: classes, scaling, columns, calibration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data import IGNORED, Samples, Scaler
from unrolled.errors import DataError, counted, expected
from unrolled.files import quoted, refusal, shortened
from unrolled.schema import CLIP, SequenceSchema
from unrolled.tasks.storable import check_storable
from unrolled.tokens import Tokens

__all__ = ["Schema"]

Array: TypeAlias = npt.NDArray[Any]
MOST_CLASSES = 10_000
# Field of the schema → what people call it.
ARGUMENTS = {
    "classes": "label",
    "numbers": "target",
    "mean": "target",
    "scale": "target",
    "scaler": "columns",
}
UNSEEN = -1  # the number of a class that never occurs in training


@dataclass(frozen=True)
class Schema(SequenceSchema):
    """What a network's inputs and outputs mean; config.json's section "schema"."""

    @classmethod
    def fit(cls, train: Samples, *, missing: str) -> Schema:
        """Measure the training samples; those of no other part may be among them.

        Raises:
            DataError: no labels, one class alone, or too many; or what a checkpoint could not hold, such as a
                name that is too long.
        """
        if train.labels is None and train.step_labels is None:
            raise DataError(expected("label", "a label for each sample", "none"))
        scaler = None
        if not train.is_text:
            arrays: Any = train.inputs
            scaler = Scaler.fit(arrays, train.channels, times=train.times, missing=missing)
        if train.per_step and missing == "drop":
            raise DataError(expected("missing", "mask or refuse, with a label of every step", "drop"))
        found = cls((), scaler=scaler, read_as=dict(train.read_as), per_step=train.per_step)
        if train.of_numbers:
            return found._standardised(train)._storable()
        several, classes = train.labels is not None and train.labels.ndim == 2, train.classes
        if not (1 if several else 2) <= len(classes) <= MOST_CLASSES:
            want = f"2 to {MOST_CLASSES:,} classes to train on"
            raise DataError(expected("label", want, len(classes)))
        return replace(found, classes=classes, several=several)._storable()

    def _storable(self) -> Schema:
        """Return the schema. Raises DataError: no checkpoint could hold it."""
        check_storable(self, Schema.from_json, ARGUMENTS)
        return self

    def _standardised(self, train: Samples) -> Schema:
        """Return the schema with mean and deviation of the training targets."""
        values: Any = train.labels
        if train.step_labels is not None:
            values = np.concatenate(train.step_labels)
            values = values[~np.isnan(values)]
        columns = values[:, None] if values.ndim == 1 else values
        with np.errstate(over="ignore", invalid="ignore"):
            mean, scale = columns.mean(0), columns.std(0)
        for name, value, spread in zip(train.label_names or ("target",), mean, scale, strict=True):
            if not np.isfinite(spread):  # nor is the mean then
                want = "numbers whose squares have a sum within the range of a double"
                raise refusal(DataError, shortened(name), want, "larger ones")
            if not spread > 0:
                raise refusal(DataError, shortened(name), "numbers that differ", f"{value:g} throughout")
        return replace(
            self, mean=tuple(mean.tolist()), scale=tuple(scale.tolist()), numbers=train.label_names
        )

    def targets(self, samples: Samples) -> Array | list[Array]:
        """Return what the network is to give, as `data.SampleBatches` takes it.

        Numbers of classes [N], `UNSEEN` for others; 0 and 1 [N, K], float32, of several labels; standardised
        numbers [N] or [N, K], float32. At each step a list of [T_i], `IGNORED` or NaN where there is none.

        Raises:
            DataError: no labels, or classes where numbers are expected, or the other way round.
        """
        truth = self.truth(samples)
        if not self.classes:
            scale, mean = (np.array(each) for each in (self.scale, self.mean))
            one = not self.numbers
            truth = ((truth - (mean[0] if one else mean)) / (scale[0] if one else scale)).astype(np.float32)
        elif self.several:
            truth = truth.astype(np.float32)
        return list(np.split(truth, np.cumsum(samples.steps)[:-1])) if self.per_step else truth

    def truth(self, samples: Samples) -> Array:
        """Return what answers are scored against, [N] or [N, K]; at each step [ΣT_i], sample after sample.

        Numbers of classes, `UNSEEN` for others and `IGNORED` where there is none; truth values [N, K]; or
        numbers in their unit, NaN where there is none. Raises DataError as `targets`.
        """
        labels = self._labels_of(samples)
        if self.several:
            place = {name: k for k, name in enumerate(samples.label_names)}
            found = np.zeros((len(samples), len(self.classes)), bool)
            for column, name in enumerate(self.classes):
                if name in place:
                    found[:, column] = labels[:, place[name]]
            return found
        if not self.classes:
            return labels
        number = {name: n for n, name in enumerate(self.classes)} | {"": IGNORED}
        return np.array([number.get(name, UNSEEN) for name in labels.tolist()], np.int64)

    def _labels_of(self, samples: Samples) -> Array:
        """Return the labels of samples, flat where there is one at each step."""
        labels = samples.labels
        if samples.step_labels is not None:
            labels = np.concatenate(samples.step_labels)
        elif self.per_step and labels is not None and labels.ndim == 1:  # the same at every step
            labels = np.repeat(labels, samples.steps)
        want = f"{'classes' if self.classes else 'numbers'}, as in training"
        if labels is None or samples.of_numbers == bool(self.classes):
            raise DataError(expected("label", want, "none" if labels is None else "others"))
        if samples.per_step and not self.per_step:
            raise DataError(expected("label", "one for each sample, as in training", "one for each step"))
        several = self.several or bool(self.numbers)
        if (labels.ndim == 2) != several or (self.numbers and self.numbers != samples.label_names):
            want = f"the columns {', '.join(self.numbers or self.classes[:5])}" if several else "one column"
            raise DataError(expected("label", f"{want}, as in training", "others"))
        return labels

    def inputs(self, samples: Samples, tokens: Tokens | None) -> list[Array]:
        """Return what the network reads of each sample: float32 [T_i, C'], or ids [T_i] between boundaries.

        Raises:
            DataError: texts where channels are expected, other channels, a value missing as never before.
        """
        if samples.is_text != (self.scaler is None):
            kinds = ("texts", "series") if self.scaler is None else ("series", "texts")
            raise DataError(expected("samples", f"{kinds[0]}, as in training", kinds[1]))
        if self.scaler is None:
            assert tokens is not None
            return [_bounded(tokens, str(text)) for text in samples.inputs]
        if samples.channels != self.scaler.channels:
            raise DataError(_other_channels(self.scaler.channels, samples.channels))
        times: Any = samples.times or [None] * len(samples)
        found = []
        for identifier, each, when in zip(samples.ids, samples.inputs, times, strict=True):
            try:
                array: Any = each
                found.append(np.clip(self.scaler.transform(array, when), -CLIP, CLIP))
            except DataError as error:
                raise DataError(f"sample {quoted(identifier)}: {error}") from None
        return found


def _bounded(tokens: Tokens, text: str) -> Array:
    edge = np.array([tokens.boundary], np.int64)
    return np.concatenate([edge, tokens.encode(text), edge])


def _other_channels(want: tuple[str, ...], got: tuple[str, ...]) -> str:
    if len(want) != len(got):
        return expected("samples", f"{counted(len(want), 'channel')}, as in training", len(got))
    place = next(n for n, pair in enumerate(zip(want, got, strict=True)) if pair[0] != pair[1])
    return expected(f"channel {place + 1}", f"{quoted(want[place])}, as in training", quoted(got[place]))
