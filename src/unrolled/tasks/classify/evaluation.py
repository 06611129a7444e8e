"""How good the answers are, beside those of simple models on the same split."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy.typing as npt

from unrolled.errors import DataError, counted, expected
from unrolled.files import for_json
from unrolled.tasks import controls
from unrolled.tasks.classify.dataset import Sequences
from unrolled.tasks.classify.metrics import classification, regression
from unrolled.tasks.classify.network import SequenceNetwork

__all__ = ["Control", "Evaluation", "Scores", "evaluate", "predictions"]

Array: TypeAlias = npt.NDArray[Any]
LABELS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "macro_f1": "macro F1",
    "nats_per_sample": "log loss",
    "calibration_error": "calibration error",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R²",
}


@dataclass(frozen=True)
class Scores:
    """Figures of one model on one part, by name."""

    samples: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Control:
    """A simple model, trained on the same split."""

    name: str
    parameters: int
    seconds: float  # to fit it and to answer
    values: Mapping[str, float]  # on the part that the network is judged by


@dataclass(frozen=True)
class Evaluation:
    """Scores on the validation part, which chose the network, and on the test part or file, read once."""

    task: str  # "classify" | "regress"
    validation: Scores | None  # None: of a file alone
    test: Scores | None
    parameters: int
    controls: tuple[Control, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def judged(self) -> Scores:
        """The test part's scores, or the validation part's where there is no test part."""
        found = self.validation if self.test is None else self.test
        assert found is not None
        return found

    @property
    def part(self) -> str:
        """The name of the part that `judged` is of."""
        return "validation" if self.test is None else "test"

    @property
    def main(self) -> str:
        """The figure that models are compared by."""
        return "accuracy" if self.task == "classify" else "rmse"

    @property
    def better(self) -> tuple[Control, ...]:
        """The controls that beat the network."""
        sign = 1 if self.main == "accuracy" else -1
        own = sign * self.judged.values[self.main]
        return tuple(each for each in self.controls if sign * each.values[self.main] > own)

    def to_dict(self) -> dict[str, Any]:
        """Return what evaluation.json holds."""
        stored: dict[str, Any] = asdict(self)
        stored["controls"] = list(stored["controls"])
        stored["notes"] = list(self.notes)
        found: dict[str, Any] = for_json(stored)
        return found

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Evaluation:
        """Return the evaluation that `to_dict` described. Raises DataError: it is something else."""
        try:
            return cls(
                task=str(stored["task"]),
                validation=_scores(stored["validation"]),
                test=_scores(stored["test"]),
                parameters=int(stored["parameters"]),
                controls=tuple(
                    Control(**{**each, "values": dict(each["values"])}) for each in stored["controls"]
                ),
                notes=tuple(map(str, stored["notes"])),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(expected("evaluation", "what to_dict gives", repr(error))) from error

    def __str__(self) -> str:
        parts = {"validation": self.validation, "test": self.test}
        lines = [
            _line(name, each.values, counted(each.samples, "sample"))
            for name, each in parts.items()
            if each is not None
        ]
        if self.controls:
            lines.append(f"controls, fitted on the same training part, on the {self.part} part:")
        for each in self.controls:
            size = f"{counted(each.parameters, 'parameter')}, {each.seconds:.1f} s"
            lines.append(_line(each.name, each.values, size))
        return "\n".join([*lines, *self.notes])


def evaluate(network: SequenceNetwork, dataset: Sequences) -> Evaluation:
    """Score a network on the parts that it was not trained on; the test part is read here, once."""
    parts = {}
    for part in ("validation", "test") if dataset.has_test else ("validation",):
        parts[part] = Scores(len(dataset.part(part)), _scored(network, dataset, part))
    found = Evaluation(
        task="classify" if dataset.schema.classes else "regress",
        validation=parts["validation"],
        test=parts.get("test"),
        parameters=sum(weight.numel() for weight in network.parameters()),
        controls=_controls(dataset) if dataset.data.controls else (),
    )
    return Evaluation(**{**found.__dict__, "notes": tuple(_verdict(found, dataset))})


def predictions(network: SequenceNetwork, dataset: Sequences, part: str) -> Array:
    """Return probabilities [N, K], calibrated; or numbers [N] in the target's unit."""
    key = f"predictions of {part}"
    if key not in dataset.scored:
        dataset.scored[key] = predicted(network, dataset.inputs(part))
    found: Array = dataset.scored[key]
    return found


def predicted(network: SequenceNetwork, inputs: list[Array]) -> Array:
    """Return probabilities or numbers for encoded samples."""
    schema = network.schema
    assert schema is not None  # by `load`, and by the task
    return schema.answers(network.answers(inputs))


def _scored(network: SequenceNetwork, dataset: Sequences, part: str) -> dict[str, float]:
    return _figures(predictions(network, dataset, part), dataset, part)


def _figures(given: Array, dataset: Sequences, part: str, *, calibrated: bool = True) -> dict[str, float]:
    """Return the figures of probabilities, or of numbers in the target's unit."""
    if dataset.schema.classes:
        return classification(given, dataset.targets(part), calibrated=calibrated)
    labels = dataset.part(part).labels
    assert labels is not None
    return regression(given, labels)


def _controls(dataset: Sequences) -> tuple[Control, ...]:
    """Fit each control on the training part and score it on the part that the network is judged by."""
    if "controls" in dataset.scored:
        return tuple(dataset.scored["controls"])
    part = "test" if dataset.has_test else "validation"
    train, judged = dataset.part("train"), dataset.part(part)
    classes = len(dataset.schema.classes)
    targets: Any = dataset.targets("train") if classes else train.labels
    found = []
    for name, fit in controls.suited(train, classes).items():
        begin = time.perf_counter()
        fitted = fit(train.inputs, targets)
        answers = fitted.predict(judged.inputs)
        seconds = time.perf_counter() - begin
        values = _figures(answers, dataset, part, calibrated=fitted.calibrated)
        found.append(Control(name, fitted.parameters, seconds, values))
    dataset.scored["controls"] = found
    return tuple(found)


def _verdict(found: Evaluation, dataset: Sequences) -> list[str]:
    """Say plainly where a control wins, and why that may be."""
    if not found.better:
        return []
    number, sizes = len(dataset.part("train")), dataset.part("train").steps
    best = max(
        found.better, key=lambda each: each.values[found.main] * (1 if found.main == "accuracy" else -1)
    )
    figure = LABELS[found.main]
    own, other = found.judged.values[found.main], best.values[found.main]
    notes = [
        f"a control wins: {best.name} has {figure} {other:.4g}, the network {own:.4g}. "
        "Take it, unless the network is needed for what it alone can do"
    ]
    why = []
    if number < 500:
        why.append(
            f"there are {number} training samples, too few for a recurrent network to learn features from"
        )
    if not dataset.part("train").is_text and sizes.min() == sizes.max():
        why.append("all series have equal length")
    if not dataset.part("train").is_text and not dataset.part("train").missing:
        why.append("no value is missing")
    if why:
        notes.append("that is to be expected: " + ", ".join(why))
    return notes


def _scores(stored: Mapping[str, Any] | None) -> Scores | None:
    return None if stored is None else Scores(int(stored["samples"]), dict(stored["values"]))


def _line(name: str, values: Mapping[str, float], more: str) -> str:
    shown = "   ".join(f"{LABELS.get(n, n)} {v:.4g}" for n, v in values.items() if v is not None)
    return f"{name:>10}: {shown}   ({more})"
