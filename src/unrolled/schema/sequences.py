"""What the inputs and outputs of a classifier or a regressor mean: classes, unit, scaling, calibration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.errors import CheckpointError, DataError
from unrolled.files import refusal
from unrolled.schema.scaling import Scaler

__all__ = ["CLIP", "SequenceSchema", "softmax"]

Array: TypeAlias = npt.NDArray[Any]
FORMAT, VERSION = "unrolled schema", 1
MOST_CLASSES, LONGEST_NAME = 10_000, 10_000
KINDS = ("str", "int", "float", "bool")
CLIP = 20.0  # standard deviations: a larger value counts as that far


@dataclass(frozen=True)
class SequenceSchema:
    """What a network's inputs and outputs mean; config.json's section "schema"."""

    classes: tuple[str, ...]  # in the order of the outputs; (): the answer is a number
    mean: float = 0.0  # of the training targets, in their unit
    scale: float = 1.0  # their standard deviation
    scaler: Scaler | None = None  # of channels; None: inputs are texts
    temperature: float = 1.0  # that logits are divided by, fitted on the validation part
    read_as: Mapping[str, Any] | None = None  # what `data.read_samples` reads another file alike with
    labels: str = "str"  # what Python had as labels: one of KINDS

    @property
    def outputs(self) -> int:
        """K, the numbers that the network gives for an answer."""
        return len(self.classes) or 1

    def calibrated(self, temperature: float) -> Self:
        """Return the schema with a temperature."""
        return replace(self, temperature=temperature)

    def answers(self, outputs: Array) -> Array:
        """Return probabilities [N, K] of the network's outputs [N, K], or numbers [N] in the target's unit.

        A row depends on that row alone, to the bit, however many there are.
        """
        if self.classes:
            return softmax(outputs, self.temperature)
        found: Array = outputs[:, 0].astype(np.float64) * self.scale + self.mean
        return found

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "classes": list(self.classes),
            "mean": self.mean,
            "scale": self.scale,
            "scaler": None if self.scaler is None else self.scaler.to_json(),
            "temperature": self.temperature,
            "read_as": dict(self.read_as or {}),
            "labels": self.labels,
        }

    @classmethod
    def from_json(cls, stored: object, *, where: str = "config.json schema") -> Self:
        """Read what a checkpoint holds; it may come from a stranger.

        Raises:
            CheckpointError: a key is missing, unknown, of another type, or out of range.
        """
        keys = ("format", "version", "classes", "mean", "scale", "scaler", "temperature", "read_as", "labels")
        if not isinstance(stored, Mapping) or set(stored) != set(keys):
            raise refusal(CheckpointError, where, "the keys " + ", ".join(keys), "others")
        if (stored["format"], stored["version"]) != (FORMAT, VERSION):
            raise refusal(CheckpointError, where, f"{FORMAT}, version {VERSION}", "another")
        classes = stored["classes"]
        names = isinstance(classes, list) and all(
            isinstance(name, str) and len(name) <= LONGEST_NAME for name in classes
        )
        if not names or len(set(classes)) < len(classes) or len(classes) > MOST_CLASSES:
            raise refusal(CheckpointError, f"{where}.classes", "a list of different names", "something else")
        for name in ("mean", "scale", "temperature"):
            if not _is_number(stored[name]) or (name != "mean" and stored[name] <= 0):
                raise refusal(CheckpointError, f"{where}.{name}", "a finite number", stored[name])
        if not isinstance(stored["read_as"], Mapping):
            raise refusal(CheckpointError, f"{where}.read_as", "an object", "something else")
        if stored["labels"] not in KINDS:
            raise refusal(CheckpointError, f"{where}.labels", "one of " + ", ".join(KINDS), stored["labels"])
        try:
            scaler = None
            if stored["scaler"] is not None:
                scaler = Scaler.from_json(stored["scaler"], where=f"{where}.scaler")
        except DataError as error:
            raise CheckpointError(str(error)) from None
        mean, scale, temperature = (float(stored[name]) for name in ("mean", "scale", "temperature"))
        read_as = dict(stored["read_as"])
        return cls(tuple(classes), mean, scale, scaler, temperature, read_as, stored["labels"])


def softmax(logits: Array, temperature: float = 1.0) -> Array:
    """Return probabilities [N, K] in float64; a row's bits do not depend on how many rows there are."""
    scaled = logits.astype(np.float64) / temperature
    scaled = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    found: Array = scaled / np.add.accumulate(scaled, axis=-1)[..., -1:]  # in order, unlike a sum
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
