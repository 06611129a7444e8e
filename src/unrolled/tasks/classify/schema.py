"""What reads new samples as training read its own: classes, scaling, columns, calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data import Samples, Scaler
from unrolled.errors import DataError, counted, expected
from unrolled.files import quoted
from unrolled.schema import CLIP, SequenceSchema
from unrolled.tokens import Tokens

__all__ = ["Schema"]

Array: TypeAlias = npt.NDArray[Any]
MOST_CLASSES = 10_000
UNSEEN = -1  # the number of a class that training has not


@dataclass(frozen=True)
class Schema(SequenceSchema):
    """What a network's inputs and outputs mean; config.json's section "schema"."""

    @classmethod
    def fit(cls, train: Samples, *, missing: str) -> Schema:
        """Measure the training samples; those of no other part may be among them.

        Raises:
            DataError: no labels, one class alone, or too many.
        """
        if train.labels is None:
            raise DataError(expected("label", "a label for each sample", "none"))
        scaler = None
        if not train.is_text:
            arrays: Any = train.inputs
            scaler = Scaler.fit(arrays, train.channels, times=train.times, missing=missing)
        if train.labels.dtype.kind == "f":
            scale = float(train.labels.std())
            if not scale > 0:
                raise DataError(expected("target", "numbers that differ", f"{train.labels[0]:g} throughout"))
            return cls((), float(train.labels.mean()), scale, scaler, read_as=dict(train.read_as))
        if not 2 <= len(train.classes) <= MOST_CLASSES:
            want = f"2 to {MOST_CLASSES:,} classes to train on"
            raise DataError(expected("label", want, len(train.classes)))
        return cls(train.classes, scaler=scaler, read_as=dict(train.read_as))

    def targets(self, samples: Samples) -> Array:
        """Return what the network is to give [N]: numbers of classes, `UNSEEN` for others, or float32.

        Raises:
            DataError: no labels, or classes where numbers are expected, or the other way round.
        """
        labels = samples.labels
        want = "classes" if self.classes else "numbers"
        if labels is None or (labels.dtype.kind == "f") == bool(self.classes):
            raise DataError(
                expected("label", f"{want}, as in training", "none" if labels is None else "others")
            )
        if not self.classes:
            return ((labels - self.mean) / self.scale).astype(np.float32)
        number = {name: n for n, name in enumerate(self.classes)}
        return np.array([number.get(name, UNSEEN) for name in labels.tolist()], np.int64)

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
