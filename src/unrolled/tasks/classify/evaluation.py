"""How good the answers are, beside those of simple models on the same split."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data import IGNORED, Samples
from unrolled.errors import DataError, expected
from unrolled.tasks import controls
from unrolled.tasks.classify.dataset import Sequences
from unrolled.tasks.classify.metrics import classification, regression, several_labels, several_numbers
from unrolled.tasks.classify.network import SequenceNetwork
from unrolled.tasks.classify.schema import Schema
from unrolled.tasks.group import Group, gathered
from unrolled.tasks.scores import Control, Judged, Scores, read_controls, read_scores, scores_table
from unrolled.tasks.standing import control_wins

__all__ = [
    "Control",
    "Evaluation",
    "Scores",
    "evaluate",
    "figures",
    "predict_together",
    "predicted",
    "predictions",
]

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
    "subset_accuracy": "every label right",
    "micro_f1": "micro F1",
    "standardised_rmse": "standardised RMSE",
}
COMPARED = ("accuracy", "macro_f1", "rmse", "standardised_rmse")  # by the first of these that there is


@dataclass(frozen=True)
class Evaluation(Judged):
    """Scores on the validation part, which chose the network, and on the test part or file, read once."""

    task: str  # "classify" | "regress"
    validation: Scores | None  # None: of a file alone
    test: Scores | None
    parameters: int
    controls: tuple[Control, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def main(self) -> str:
        """The figure that models are compared by."""
        return next(name for name in COMPARED if name in self.judged.values)

    @property
    def sign(self) -> int:
        """1 where a larger figure is the better one, −1 of an error."""
        return -1 if "rmse" in self.main else 1

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Evaluation:
        """Return the evaluation that `to_dict` described. Raises DataError: it is something else."""
        try:
            return cls(
                task=str(stored["task"]),
                validation=read_scores(stored["validation"]),
                test=read_scores(stored["test"]),
                parameters=int(stored["parameters"]),
                controls=read_controls(stored["controls"]),
                notes=tuple(map(str, stored["notes"])),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(expected("evaluation", "what to_dict gives", repr(error))) from error

    def __str__(self) -> str:
        parts = {"validation": self.validation, "test": self.test}
        table = scores_table("sample", parts, self.parameters, self.controls, label)
        return "\n".join([table, *self.notes])


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
    """Return what `predicted` gives for a part."""
    key = f"predictions of {part}"
    if key not in dataset.scored:
        dataset.scored[key] = predicted(network, dataset.inputs(part))
    found: Array = dataset.scored[key]
    return found


def predict_together(network: SequenceNetwork, dataset: Sequences, group: Group) -> None:
    """Let every process answer its samples of the held-out parts, so that `predictions` has those of all."""
    schema = network.schema
    assert schema is not None  # by `load`
    for part in ("validation", "test") if dataset.has_test else ("validation",):
        given = answered_together(network, dataset, part, group)
        dataset.scored[f"predictions of {part}"] = schema.answers(given)


def answered_together(network: SequenceNetwork, dataset: Sequences, part: str, group: Group) -> Array:
    """Return what `network.answers` gives for a part, of which every process answers its samples."""
    inputs = dataset.inputs(part)
    sizes = np.array([len(each) if dataset.schema.per_step else 1 for each in inputs])
    mine = inputs[group.rank :: group.world_size]
    own = network.answers(mine) if mine else np.zeros((0, network.config.outputs), np.float32)
    return gathered(group, own, sizes)


def predicted(network: SequenceNetwork, inputs: list[Array]) -> Array:
    """Return the answers for encoded samples; see `Schema.answers`."""
    assert network.schema is not None  # by `load`, and by the task
    return network.schema.answers(network.answers(inputs))


def figures(schema: Schema, samples: Samples, given: Array, *, calibrated: bool = True) -> dict[str, float]:
    """Return the figures of answers for samples with labels; of numbers in the target's unit.

    Args:
        given: as `predicted` gives them; where not `calibrated`, scores of classes.
    Raises:
        DataError: the labels are not like those of training, or no step has one.
    """
    truth = schema.truth(samples)
    if schema.per_step:
        known = ~np.isnan(truth) if truth.dtype.kind == "f" else truth != IGNORED
        if not known.any():
            raise DataError(expected("label", "that of at least 1 step", "none"))
        truth, given = truth[known], given[known]
    if schema.several:
        return several_labels(given, truth, calibrated=calibrated)
    if schema.classes:
        return classification(given, truth, calibrated=calibrated)
    if schema.numbers:
        return several_numbers(given, truth, schema.numbers, np.array(schema.scale))
    return regression(given, truth)


def _scored(network: SequenceNetwork, dataset: Sequences, part: str) -> dict[str, float]:
    return figures(dataset.schema, dataset.part(part), predictions(network, dataset, part))


def _controls(dataset: Sequences) -> tuple[Control, ...]:
    """Fit each control on the training part and score it on the part that the network is judged by."""
    if "controls" in dataset.scored:
        return tuple(dataset.scored["controls"])
    part = "test" if dataset.has_test else "validation"
    train, judged = dataset.part("train"), dataset.part(part)
    schema, found = dataset.schema, []
    if schema.per_step:
        suited = controls.suited_steps(len(schema.classes), causal=dataset.data.causal)
    else:
        suited = controls.suited(train, len(schema.classes))
    targets = dataset.truth("train")
    for name, fit in suited.items():
        begin = time.perf_counter()
        fitted = fit(train.inputs, targets)
        answers = fitted.predict(judged.inputs)
        seconds = time.perf_counter() - begin
        values = figures(schema, judged, answers, calibrated=fitted.calibrated)
        found.append(Control(name, fitted.parameters, seconds, values))
    dataset.scored["controls"] = found
    return tuple(found)


def _verdict(found: Evaluation, dataset: Sequences) -> list[str]:
    """Say plainly where a control wins, and why that may be."""
    wins = control_wins(found, LABELS[found.main], sign=found.sign)
    if wins is None:
        return []
    number, sizes = len(dataset.part("train")), dataset.part("train").steps
    notes = [wins]
    why = []
    if number < 500:
        why.append(f"{number} training samples are too few for a recurrent network to learn features from")
    if not dataset.part("train").is_text and sizes.min() == sizes.max():
        why.append("all series have the same length")
    if not dataset.part("train").is_text and not dataset.part("train").missing:
        why.append("no value is missing")
    if why:
        notes.append(f"This is to be expected: {'; '.join(why)}.")
    return notes


def label(name: str) -> str:
    """Return what people call a figure; of one of several numbers with the number's name behind it."""
    kind, _, column = name.partition(" ")
    return f"{LABELS.get(kind, kind)} {column}".rstrip()
