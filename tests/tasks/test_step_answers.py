"""An answer at each step: what is read, learnt, scored and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unrolled import kernels, load, predict, spec, stream, train
from unrolled.data import IGNORED, SampleBatches, Samples, read_samples
from unrolled.errors import DataError, ShapeError
from unrolled.tasks import SequenceNetwork
from unrolled.tasks.classify import storing
from unrolled.tasks.controls.steps import fit_window

QUICK: dict[str, Any] = {"steps": 60, "hidden_size": 12, "num_layers": 1, "learning_rate": 0.03, "threads": 1}


def pumps(number: int = 60, seed: int = 0) -> Samples:
    """A sensor that rises towards the end, and the steps that are left."""
    draws = np.random.default_rng(seed)
    inputs, left = [], []
    for length in draws.integers(8, 20, number):
        remaining = np.arange(length)[::-1].astype(float)
        inputs.append(np.exp(-remaining / 5)[:, None] + draws.normal(0, 0.03, (length, 1)))
        left.append(remaining)
    return Samples.from_arrays(inputs, step_labels=left, channels=["load"], name="pumps")


def as_csv(samples: Samples, path: Path) -> str:
    rows = ["unit,time,load,rul"]
    assert samples.step_labels is not None
    for name, x, y in zip(samples.ids, samples.inputs, samples.step_labels, strict=True):
        rows += [f"u{name},{t},{x[t][0]},{y[t]:g}" for t in range(len(y))]
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def network(kind: Any, outputs: int, *, causal: bool) -> SequenceNetwork:
    sizes: dict[str, Any] = {"input_size": 2, "vocab_size": 0, "embedding_size": 0, "outputs": outputs}
    model = kind(**sizes, hidden_size=5, num_layers=2, causal=causal, pooling="step", neighbours=1)
    return SequenceNetwork(model, seed=3).eval()


@pytest.mark.parametrize("causal", [False, True])
def test_steps_side_by_side_are_answered_as_one_by_one_sample_after_sample(causal: bool):
    found = network(spec.RegressModel, 1, causal=causal)
    draws = np.random.default_rng(0)
    rows = [draws.normal(size=(steps, 2)).astype(np.float32) for steps in (9, 1, 4, 17)]
    together = found.answers(rows)
    assert together.shape == (31, 1)
    alone = np.concatenate([found(torch.from_numpy(row[:, None]))[:, 0].detach().numpy() for row in rows])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


def test_a_causal_answer_at_a_step_depends_on_no_later_one():
    found = network(spec.RegressModel, 1, causal=True)
    x = torch.randn(12, 3, 2, generator=torch.Generator().manual_seed(0))
    later = x.clone()
    later[6:] = 100.0
    torch.testing.assert_close(found(later)[:6], found(x)[:6], rtol=0, atol=0)
    torch.testing.assert_close(found.per_step(x), found(x))


@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_the_loss_is_of_the_steps_that_have_a_target(kind: str):
    draws = np.random.default_rng(1)
    rows = [draws.normal(size=(steps, 2)).astype(np.float32) for steps in (5, 2, 7)]
    if kind == "numbers":
        found, targets = network(spec.RegressModel, 1, causal=True), [draws.normal(size=len(r)) for r in rows]
        targets[0][2:4] = np.nan
    else:
        found, targets = (
            network(spec.ClassifyModel, 3, causal=True),
            [draws.integers(0, 3, len(r)) for r in rows],
        )
        targets[2][:3] = IGNORED
    batches = SampleBatches(rows, targets, batch_size=3, seed=0, shuffle=False)
    batch = next(batches.epoch(0))
    total, count, _ = found.loss(batch, found.initial_state(3))
    answers, flat = found.answers(rows), np.concatenate(targets)
    if kind == "numbers":
        want = np.nansum((answers[:, 0] - flat) ** 2)
        known = int((~np.isnan(flat)).sum())
    else:
        nats = -torch.from_numpy(answers).log_softmax(-1).numpy()
        want, known = sum(nats[k, y] for k, y in enumerate(flat) if y >= 0), int((flat >= 0).sum())
    assert count == known == batch.count == batches.tokens_of(0)
    assert total.item() == pytest.approx(want, rel=1e-5)


def test_a_target_that_varies_within_a_unit_is_predicted_at_each_step(tmp_path: Path):
    pytest.importorskip("polars")
    source = as_csv(pumps(), tmp_path / "pump.csv")
    data = spec.RegressData(source, target="rul", id="unit", causal=True, test_share=0.2)
    result = train.run(spec.TrainConfig(data, run=str(tmp_path / "run"), **QUICK), observers=[])
    found = result.evaluation
    assert found.test.values["r2"] > 0.5
    assert [each.name for each in found.controls] == ["mean", "the last values, ridge"]
    assert found.controls[0].values["r2"] < 0.05 < found.controls[1].values["r2"]
    for name in ("error_from_start.png", "error_from_end.png", "report.md", "predictions.parquet"):
        assert (result.run / name).stat().st_size > 100
    loaded = load(result.run)
    assert (loaded.model.config.pooling, loaded.model.schema.per_step) == ("step", True)

    other = pumps(7, seed=9)
    new = as_csv(other, tmp_path / "new.csv")
    answers = predict.predict(loaded, new)
    assert list(answers.columns) == ["id", "step", "time", "prediction"]
    assert len(answers) == other.steps.sum()
    score = predict.evaluate(loaded, new).judged.values
    truth = np.concatenate(other.step_labels)
    assert score["mae"] == pytest.approx(np.abs(np.array(answers.columns["prediction"]) - truth).mean())
    if kernels.available():
        session = stream.load(result.run / "model").open()
        streamed = [session.step(row, time=float(t)) for t, row in enumerate(other.inputs[0])]
        assert streamed == answers.columns["prediction"][: len(streamed)]
    unlabelled = tmp_path / "unlabelled.csv"
    unlabelled.write_text("\n".join(line.rpartition(",")[0] for line in Path(new).read_text().split("\n")))
    assert predict.predict(loaded, str(unlabelled)).columns == answers.columns


def test_classes_at_each_step_are_learnt_beside_missing_ones(tmp_path: Path):
    given = pumps(80)
    names = [np.where(y < 6, "late", "early").tolist() for y in given.step_labels or ()]
    for each in names[::3]:
        each[1] = None
    samples = Samples.from_arrays(given.inputs, step_labels=names)
    storing.write(tmp_path / "source", samples, np.zeros(len(samples)), ())
    data = spec.ClassifyData(str(tmp_path / "source"), test_share=0.2, balance=True)
    config = spec.TrainConfig(data, run=str(tmp_path / "run"), **QUICK)
    found = train.run(config, observers=[]).evaluation
    assert found.test.values["accuracy"] > 0.85
    assert [each.name for each in found.controls] == ["most frequent class", "the values around, ridge"]
    assert (tmp_path / "run" / "confusion.png").exists()


@pytest.mark.parametrize("causal", [False, True])
def test_a_window_holds_the_values_before_and_after_a_step(causal: bool):
    draws = np.random.default_rng(0)
    series = [draws.normal(size=(length, 2)) for length in (40, 3)]
    window = fit_window(series, causal=causal)
    assert (window.ahead == 0) == causal
    rows = window(series)
    mean, scale = window.standard.mean, window.standard.scale
    place = 0
    for each in series:
        for t in range(len(each)):
            want = np.zeros((window.back + 1 + window.ahead, 2))
            for k, at in enumerate(range(t - window.back, t + window.ahead + 1)):
                if 0 <= at < len(each):
                    want[k] = (each[at] - mean) / scale
            np.testing.assert_allclose(rows[place, :-2].reshape(2, -1).T, want, rtol=1e-5, atol=1e-5)
            place += 1
    np.testing.assert_array_equal(window(series, np.array([0, 39, 41])), rows[[0, 39, 41]])


def test_labels_of_steps_are_read_kept_and_taken(tmp_path: Path):
    pytest.importorskip("polars")
    path = tmp_path / "t.csv"
    path.write_text("id,v,y\na,1,3\na,2,\na,3,1\nb,4,0\nb,5,0.5\n")
    samples = read_samples(path, target="y")
    assert samples.labels is None
    assert [each.tolist() for each in samples.take(np.array([1])).step_labels] == [[0.0, 0.5]]
    np.testing.assert_array_equal(samples.step_labels[0], [3, np.nan, 1])
    stored = storing.read(storing_of(tmp_path / "s", samples)).samples
    assert [each.tolist() for each in stored.step_labels[1:]] == [[0.0, 0.5]]
    assert (samples.of_numbers, samples.per_step, stored.classes) == (True, True, ())
    path.write_text("id,v,y\na,1,u\na,2,u\na,3,w\nb,4,w\nb,5,\n")
    texts = read_samples(path, label="y")
    assert [each.tolist() for each in texts.step_labels] == [["u", "u", "w"], ["w", ""]]
    assert texts.classes == storing.read(storing_of(tmp_path / "t", texts)).samples.classes == ("u", "w")
    path.write_text("id,v,y\na,1,u\na,2,u\nb,4,w\n")
    assert read_samples(path, label="y").labels.tolist() == ["u", "w"]


def storing_of(path: Path, samples: Samples) -> Path:
    storing.write(path, samples, np.zeros(len(samples)), ())
    return path


def test_lists_of_labels_in_json_lines_are_of_steps_where_the_inputs_are_as_long(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"x": [1, 2], "y": [0.5, null]}\n{"x": [3], "y": [1.5]}\n')
    found = read_samples(path, target="y", columns=["x"])
    np.testing.assert_array_equal(found.step_labels[0], [0.5, np.nan])
    path.write_text('{"x": [1, 2], "y": [0.5]}\n{"x": [3], "y": [1.5]}\n')
    with pytest.raises(DataError, match="a label of each step or of each sample"):
        read_samples(path, target="y", columns=["x"])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[1.0, 2.0]], r"step_labels: expected \[2\], one for each sample, got \[1\]"),
        ([[1.0, 2.0], [1.0]], r"step_labels\[1\]: expected \[2\], one for each step, got \[1\]"),
        ([[None, np.nan], [None, None]], "step_labels: expected a label of at least 1 step, got none"),
        ([[1.0, np.inf], [1.0, 2.0]], "a finite number, got inf"),
    ],
)
def test_labels_of_steps_that_do_not_fit_are_named(labels: Any, message: str):
    with pytest.raises((DataError, ShapeError), match=message):
        Samples.from_arrays([[1.0, 2.0], [3.0, 4.0]], step_labels=labels)
