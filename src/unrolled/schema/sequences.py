"""What the inputs and outputs of a classifier or a regressor mean: classes, unit, scaling, calibration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt

from unrolled.errors import CheckpointError, DataError
from unrolled.files import refusal
from unrolled.schema.names import names_of
from unrolled.schema.scaling import Scaler

__all__ = ["CLIP", "SequenceSchema", "sigmoid", "softmax", "temperature_of"]

Array: TypeAlias = npt.NDArray[Any]
FORMAT, VERSION = "unrolled schema", 2  # version 1 knew one label or one number for a sample
MOST_CLASSES = 10_000
LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.01, 100.0
KINDS = ("str", "int", "float", "bool")
READING = ("label", "target", "group", "id", "time", "columns", "static")  # what `read_as` may say
CLIP = 20.0  # standard deviations: a larger value counts as that far


@dataclass(frozen=True)
class SequenceSchema:
    """What a network's inputs and outputs mean; config.json's section "schema"."""

    classes: tuple[str, ...]  # in the order of the outputs; (): the answer is a number
    mean: tuple[float, ...] = (0.0,)  # of the training targets, in their unit
    scale: tuple[float, ...] = (1.0,)  # their standard deviation
    scaler: Scaler | None = None  # of channels; None: inputs are texts
    temperature: float = 1.0  # that logits are divided by, fitted on the validation part
    read_as: Mapping[str, Any] | None = None  # what `data.read_samples` reads another file alike with
    labels: str = "str"  # what Python had as labels: one of KINDS
    several: bool = False  # whether a sample has any number of the classes, and not exactly one
    numbers: tuple[str, ...] = ()  # where there are several numbers; () of one
    per_step: bool = False  # whether there is an answer at each step, and not one for each sample

    def calibrated(self, temperature: float) -> Self:
        """Return the schema with a temperature."""
        return replace(self, temperature=temperature)

    @property
    def outputs(self) -> int:
        """K, the numbers that the network gives for an answer."""
        return len(self.classes) or len(self.mean)

    def answers(self, outputs: Array) -> Array:
        """Return what outputs [N, K] of the network mean; at each step N counts steps.

        A row depends on that row alone, to the bit, however many there are.

        Returns:
            probabilities [N, K], calibrated; numbers [N], or [N, K] of several, in the unit of each.
        """
        if self.classes:
            return sigmoid(outputs, self.temperature) if self.several else softmax(outputs, self.temperature)
        found: Array = outputs.astype(np.float64) * np.array(self.scale) + np.array(self.mean)
        return found if self.numbers else found[:, 0]

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "classes": list(self.classes),
            "mean": list(self.mean),
            "scale": list(self.scale),
            "scaler": None if self.scaler is None else self.scaler.to_json(),
            "temperature": self.temperature,
            "read_as": dict(self.read_as or {}),
            "labels": self.labels,
            "several": self.several,
            "numbers": list(self.numbers),
            "per_step": self.per_step,
        }

    @classmethod
    def from_json(cls, stored: object, *, where: str = "config.json schema") -> Self:
        """Read what a checkpoint holds; it may come from a stranger.

        Raises:
            CheckpointError: a key is missing, unknown, of another type, or out of range.
        """
        keys = (
            "format",
            "version",
            "classes",
            "mean",
            "scale",
            "scaler",
            "temperature",
            "read_as",
            "labels",
            "several",
            "numbers",
            "per_step",
        )
        stored = _upgraded(stored)
        if not isinstance(stored, Mapping) or set(stored) != set(keys):
            raise refusal(CheckpointError, where, "the keys " + ", ".join(keys), "others")
        if (stored["format"], stored["version"]) != (FORMAT, VERSION):
            raise refusal(CheckpointError, where, f"{FORMAT}, version {VERSION}", "another")
        classes, targets = (
            names_of(stored[name], f"{where}.{name}", CheckpointError, most=MOST_CLASSES)
            for name in ("classes", "numbers")
        )
        mean, scale = (_numbers(stored[name], f"{where}.{name}") for name in ("mean", "scale"))
        if len(mean) != len(scale) or min(scale) <= 0 or len(mean) != (len(targets) or 1):
            want = "numbers above 0, as many as means and targets"
            raise refusal(CheckpointError, f"{where}.scale", want, "others")
        temperature = temperature_of(stored["temperature"], f"{where}.temperature")
        for name in ("several", "per_step"):
            if not isinstance(stored[name], bool):
                raise refusal(CheckpointError, f"{where}.{name}", "true or false", stored[name])
        if (stored["several"] and not classes) or (classes and targets):
            raise refusal(CheckpointError, f"{where}.several", "classes, or targets", "others")
        if not _is_reading(stored["read_as"]):
            want = "how another file is read: " + ", ".join(READING)
            raise refusal(CheckpointError, f"{where}.read_as", want, "something else")
        if stored["labels"] not in KINDS:
            raise refusal(CheckpointError, f"{where}.labels", "one of " + ", ".join(KINDS), stored["labels"])
        try:
            scaler = None
            if stored["scaler"] is not None:
                scaler = Scaler.from_json(stored["scaler"], where=f"{where}.scaler")
        except DataError as error:
            raise CheckpointError(str(error)) from None
        return cls(
            classes,
            mean,
            scale,
            scaler,
            temperature,
            dict(stored["read_as"]),
            stored["labels"],
            stored["several"],
            targets,
            stored["per_step"],
        )


def _upgraded(stored: object) -> object:
    """Return what version 1 wrote as the present version does; anything else as it is."""
    if not isinstance(stored, Mapping) or stored.get("version") != 1:
        return stored
    one = {name: [stored[name]] for name in ("mean", "scale") if name in stored}
    return {"several": False, "numbers": [], "per_step": False, **stored, **one, "version": VERSION}


def softmax(logits: Array, temperature: float = 1.0) -> Array:
    """Return probabilities [N, K] in float64; a row's bits do not depend on how many rows there are."""
    scaled = logits.astype(np.float64) / temperature
    scaled = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    found: Array = scaled / np.add.accumulate(scaled, axis=-1)[..., -1:]  # in order, unlike a sum
    return found


def sigmoid(logits: Array, temperature: float = 1.0) -> Array:
    """Return the probability of each label by itself, [N, K] in float64."""
    found: Array = 0.5 + 0.5 * np.tanh(logits.astype(np.float64) / (2 * temperature))
    return found


def _is_reading(value: object) -> bool:
    """Whether a stranger's object holds keywords of `data.read_samples` alone: names, or lists of them."""
    if not isinstance(value, Mapping) or not set(value) <= set(READING):
        return False
    if any(name in value and not isinstance(value[name], list) for name in ("columns", "static")):
        return False
    names = [name for each in value.values() for name in (each if isinstance(each, list) else [each])]
    return all(isinstance(name, str) for name in names)


def temperature_of(value: object, where: str) -> float:
    """Return the temperature that a stranger's file has for logits. Raises CheckpointError: none, or absurd.

    What training fits lies well within: see `tasks.calibration`.
    """
    if not (_is_number(value) and LEAST_TEMPERATURE <= value <= MOST_TEMPERATURE):
        want = f"a number from {LEAST_TEMPERATURE:g} to {MOST_TEMPERATURE:g}"
        raise refusal(CheckpointError, where, want, value)
    return float(value)


def _numbers(value: object, where: str) -> tuple[float, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_CLASSES or not all(map(_is_number, value)):
        raise refusal(CheckpointError, where, "a list of finite numbers", "something else")
    return tuple(map(float, value))


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
