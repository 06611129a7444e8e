"""Nothing of the test part reaches training, and labels that mean nothing are scored as controls are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled import spec, train
from unrolled.data import Samples
from unrolled.tasks.classify import storing
from unrolled.tasks.classify.dataset import prepare
from unrolled.tasks.stored_arrays import PARTS

QUICK: dict[str, Any] = {"hidden_size": 8, "num_layers": 1, "learning_rate": 0.02, "threads": 1}


def walks(number: int = 80, seed: int = 0) -> list[np.ndarray]:
    draws = np.random.default_rng(seed)
    return [draws.normal(size=(int(length), 2)).cumsum(0) for length in draws.integers(5, 12, number)]


def labelled(kind: str, inputs: list[np.ndarray], *, shuffled: bool = False) -> Samples:
    """Samples of each kind of label, all of which follow from the inputs."""
    draws = np.random.default_rng(1)
    order = draws.permutation(len(inputs)) if shuffled else np.arange(len(inputs))
    groups = [k // 4 for k in range(len(inputs))]
    last = np.array([each[-1] for each in inputs])[order]
    if kind == "steps":
        given = [each[:, 0] for each in inputs]
        if shuffled:
            given = [draws.permutation(np.concatenate(given))[: len(each)] for each in inputs]
        return Samples.from_arrays(inputs, None, groups, step_labels=given)
    labels: Any = {"labels": last > 0, "numbers": last}.get(kind, [str(row[0] > 0) for row in last])
    return Samples.from_arrays(inputs, labels, groups)


def run(place: Path, samples: Samples, **changes: Any) -> Any:
    storing.write(place / "source", samples, np.zeros(len(samples)), ())
    kind: Any = spec.RegressData if samples.of_numbers else spec.ClassifyData
    data = kind(
        str(place / "source"),
        test_share=changes.pop("test_share", 0.25),
        controls=changes.pop("controls", False),
    )
    config = spec.TrainConfig(data, run=str(place / "run"), **{"steps": 10, **QUICK, **changes})
    return train.run(config, observers=[], pictures=False)


@pytest.mark.parametrize("kind", ["steps", "labels", "numbers"])
def test_the_test_part_changes_no_weight_and_no_scale(kind: str, tmp_path: Path):
    samples = labelled(kind, walks())
    first = run(tmp_path / "a", samples).run
    tested = np.flatnonzero(storing.read(first / "data").parts == PARTS.index("test")).tolist()
    assert tested
    inputs = [9 * each + 5 if k in tested else each for k, each in enumerate(samples.inputs)]
    changed = replace(samples, inputs=inputs)
    if samples.step_labels is not None:
        steps = [-each if k in tested else each for k, each in enumerate(samples.step_labels)]
        changed = replace(changed, step_labels=steps)
    else:
        labels = samples.labels.copy()
        labels[tested] = ~labels[tested] if kind == "labels" else 100 + labels[tested]
        changed = replace(changed, labels=labels)
    second = run(tmp_path / "b", changed).run
    name = "model/model.safetensors"
    assert (first / name).read_bytes() == (second / name).read_bytes()
    schemas = [json.loads((each / "model" / "config.json").read_text())["schema"] for each in (first, second)]
    assert schemas[0] == schemas[1]


@pytest.mark.parametrize("seed", range(3))
def test_no_group_is_in_two_parts(seed: int, tmp_path: Path):
    samples = labelled("classes", walks(60, seed))
    storing.write(tmp_path / "s", samples, np.zeros(60), ())
    found = prepare(spec.ClassifyData(str(tmp_path / "s"), test_share=0.2), tmp_path / "run", seed=seed)
    parts = [set(found.part(name).groups.tolist()) for name in PARTS]
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classes", "labels", "numbers", "steps"])
def test_labels_in_another_order_are_scored_as_the_trivial_control(kind: str, tmp_path: Path):
    shuffled = labelled(kind, walks(400), shuffled=True)
    found = run(tmp_path, shuffled, steps=80, controls=True, test_share=0.4).evaluation
    trivial, own = found.controls[0].values, found.judged.values
    if kind == "classes":
        assert abs(own["accuracy"] - 0.5) < 0.12
    elif kind == "labels":
        assert abs(own["nats_per_sample"] - trivial["nats_per_sample"]) < 0.25
    else:
        assert own[found.main] > 0.93 * trivial[found.main]
