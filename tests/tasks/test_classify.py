"""Classification and regression of whole sequences: what is learnt, kept, resumed and promised."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unrolled import load, spec, tasks, train
from unrolled.data import Samples
from unrolled.errors import ConfigError
from unrolled.tasks import SequenceNetwork
from unrolled.tasks.classify import predicted, storing

CLASSES = ("fall", "flat", "rise")


def series(number: int = 150, seed: int = 0, *, shuffled: bool = False) -> Samples:
    """Noisy ramps of unequal length on one of two channels, which rise, fall or stay."""
    draws = np.random.default_rng(seed)
    inputs, labels = [], []
    for k in range(number):
        steps = int(draws.integers(6, 20))
        ramp = np.linspace(0, 1, steps)[:, None] * (k % 3 - 1) * np.array([1.0, 0.0])
        inputs.append((ramp + draws.normal(0, 0.15, (steps, 2))).astype(np.float32))
        labels.append(CLASSES[k % 3])
    if shuffled:
        draws.shuffle(labels)
    return Samples.from_arrays(inputs, labels, name="ramps")


def texts(number: int = 120) -> Samples:
    """Words whose class is their ending."""
    draws = np.random.default_rng(1)
    stems = ["".join(draws.choice(list("bcdfgaeiou"), draws.integers(2, 7))) for _ in range(number)]
    endings = ("ski", "ov", "ez")
    return Samples.from_arrays(
        [stem + endings[k % 3] for k, stem in enumerate(stems)], [endings[k % 3] for k in range(number)]
    )


def stored(path: Path, samples: Samples) -> str:
    storing.write(path, samples, np.zeros(len(samples)), ())
    return str(path)


def config(path: Path, samples: Samples, **changes: Any) -> spec.TrainConfig:
    data_changes = {k: changes.pop(k) for k in list(changes) if k in spec.ClassifyData.__dataclass_fields__}
    target = samples.labels is not None and samples.labels.dtype.kind == "f"
    kind: Any = spec.RegressData if target else spec.ClassifyData
    data = kind(stored(path / "source", samples), **{"controls": False, **data_changes})
    settings: dict[str, Any] = {"run": str(path / "run"), "cell": "gru", "steps": 60, "hidden_size": 12}
    settings |= {"num_layers": 1, "learning_rate": 0.02, "dtype": "float32", "threads": 1}
    return spec.TrainConfig(data, **{**settings, **changes})


def test_a_series_of_unequal_length_is_learnt_and_stands_beside_controls(tmp_path: Path):
    result = train.run(config(tmp_path, series(), controls=True), observers=[])
    found = result.evaluation
    assert found.test.values["accuracy"] > 0.8
    names = [control.name for control in found.controls]
    assert names == ["most frequent class", "statistics, ridge", "random kernels, ridge"]
    assert found.controls[0].values["accuracy"] < 0.5
    assert "Controls are fitted on the same training part" in str(found)
    for name in ("confusion.png", "reliability.png", "error_by_length.png", "report.md", "controls.json"):
        assert (result.run / name).stat().st_size > 100
    columns = ["id", "label", "prediction", "confidence", "p fall", "p flat", "p rise"]
    if (result.run / "predictions.csv").exists():  # without polars
        table = (result.run / "predictions.csv").read_text().splitlines()
        assert (table[0].split(","), len(table)) == (columns, 16)
    else:
        frame = pytest.importorskip("polars").read_parquet(result.run / "predictions.parquet")
        assert (frame.columns, len(frame)) == (columns, 15)
    written = json.loads((result.run / "evaluation.json").read_text())
    assert written["test"]["samples"] == 15


def budget(path: Path, samples: Samples, **given: Any) -> tuple[int | None, float | None]:
    open_config = config(path, samples, steps=None, **given)
    dataset = tasks.of(open_config.data).prepare(open_config.data, path / "data", seed=0)
    found = train.resolve(open_config, dataset)
    return found.epochs, found.minutes


def test_few_series_and_texts_train_a_number_of_passes_unless_a_budget_is_given(tmp_path: Path):
    long = Samples.from_arrays(["ab" * 1500, "ba" * 1500] * 100, ["a", "b"] * 100)
    cases: dict[str, tuple[Samples, dict[str, Any]]] = {
        "series": (series(), {}),
        "series, minutes": (series(), {"minutes": 2.0}),
        "texts": (texts(), {}),
        "more texts": (texts(3000), {}),
        "large batches": (texts(3000), {"batch_size": 256}),
        "texts, minutes": (texts(), {"minutes": 2.0}),
        "long texts": (long, {}),
    }
    found = {name: budget(tmp_path / name, samples, **given) for name, (samples, given) in cases.items()}
    assert found == {
        "series": (100, None),
        "series, minutes": (None, 2.0),
        "texts": (100, None),
        "more texts": (20, None),
        "large batches": (60, None),
        "texts, minutes": (None, 2.0),
        "long texts": (None, 1.0),
    }


def test_symbols_are_dropped_whole_in_training_alone():
    sizes: dict[str, Any] = {"input_size": 0, "vocab_size": 9, "embedding_size": 4, "outputs": 3}
    network = SequenceNetwork(spec.ClassifyModel(**sizes, hidden_size=5, symbol_dropout=0.25), seed=0)
    plain = SequenceNetwork(spec.ClassifyModel(**sizes, hidden_size=5), seed=0)
    ids = torch.randint(9, (40, 50), generator=torch.Generator().manual_seed(0))
    seen: list[torch.Tensor] = []
    network.recurrent.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    torch.manual_seed(0)
    network.train()(ids)
    dropped = (seen[0] == 0).all(-1)
    assert 0.2 < float(dropped.float().mean()) < 0.3
    torch.testing.assert_close(seen[0][~dropped], network.embedding(ids)[~dropped], rtol=0, atol=0)
    torch.testing.assert_close(network.eval()(ids), plain.eval()(ids), rtol=0, atol=0)
    with pytest.raises(ConfigError, match=r"symbol_dropout: expected 0 for channels of numbers, got 0\.25"):
        spec.ClassifyModel(input_size=2, vocab_size=0, embedding_size=0, outputs=3, hidden_size=5,
                           symbol_dropout=0.25)  # fmt: skip


@pytest.mark.parametrize(
    ("samples", "dropout", "share"), [(texts(), None, 0.1), (texts(), 0.0, 0.0), (series(), None, 0.0)]
)
def test_texts_lose_symbols_unless_dropout_is_turned_off(
    tmp_path: Path, samples: Samples, dropout: float | None, share: float
):
    run = train.run(config(tmp_path, samples, steps=2, dropout=dropout), observers=[], pictures=False).run
    stored_model = json.loads((run / "model" / "config.json").read_text())["model"]
    assert stored_model.pop("symbol_dropout") == share
    older = spec.from_json(spec.ClassifyModel, stored_model, where="config.json model")
    assert older == replace(load(run).model.config, symbol_dropout=0.0)


def test_texts_are_learnt_by_their_characters(tmp_path: Path):
    result = train.run(config(tmp_path, texts()), observers=[], pictures=False)
    assert result.evaluation.test.values["accuracy"] > 0.9
    assert (result.run / "model" / "tokens.json").exists()


def test_a_number_is_predicted_in_its_unit(tmp_path: Path):
    given = series()
    numbers = np.array([1000 + 50 * float(each[-1, 0] - each[0, 0]) for each in given.inputs])
    samples = Samples.from_arrays(given.inputs, numbers)
    result = train.run(config(tmp_path, samples, steps=120), observers=[], pictures=False)
    assert result.evaluation.test.values["r2"] > 0.6
    answers = predicted(result.model, result.model.schema.inputs(samples, None))
    assert abs(float(answers.mean()) - 1000) < 10


def test_labels_that_mean_nothing_are_scored_at_chance(tmp_path: Path):
    result = train.run(
        config(tmp_path, series(300, shuffled=True), test_share=0.3, steps=40), observers=[], pictures=False
    )
    assert abs(result.evaluation.test.values["accuracy"] - 1 / 3) < 0.15


def test_the_test_part_changes_nothing_in_training(tmp_path: Path):
    samples = series()
    first = train.run(config(tmp_path / "a", samples, steps=12), observers=[], pictures=False).run
    parts = storing.read(first / "data").parts
    tested = set(np.flatnonzero(parts == 2).tolist())
    assert tested
    inputs = [7 * each + 3 if k in tested else each for k, each in enumerate(samples.inputs)]
    changed = replace(samples, inputs=inputs)
    other = train.run(config(tmp_path / "b", changed, steps=12), observers=[], pictures=False).run
    for name in ("model/model.safetensors",):
        assert (first / name).read_bytes() == (other / name).read_bytes()
    schemas = [json.loads((run / "model" / "config.json").read_text())["schema"] for run in (first, other)]
    assert schemas[0] == schemas[1]


class Stop(train.Observer):
    def __init__(self, at: int) -> None:
        self.at = at

    def step(self, record: train.StepRecord) -> None:
        if record.step == self.at:
            raise KeyboardInterrupt


def test_stopped_and_resumed_without_its_source_it_ends_at_the_same_bits(tmp_path: Path):
    settings = {"steps": 16, "save_every": 5, "dropout": 0.3}
    whole = train.run(config(tmp_path / "whole", series(), **settings), observers=[], pictures=False).run
    parts = config(tmp_path / "parts", series(), **settings)
    with pytest.raises(KeyboardInterrupt):
        train.run(parts, observers=[Stop(9)], pictures=False)
    (tmp_path / "parts" / "source" / "samples.npz").unlink()
    again = train.run(replace(parts, resume=True), observers=[], pictures=False).run
    for name in ("model/model.safetensors", "evaluation.json"):
        assert (whole / name).read_bytes() == (again / name).read_bytes()


def test_a_model_directory_alone_answers(tmp_path: Path):
    samples = texts()
    result = train.run(config(tmp_path, samples, steps=20), observers=[], pictures=False)
    (result.run / "model").rename(tmp_path / "alone")
    found = load(tmp_path / "alone").model
    want = predicted(result.model, result.model.schema.inputs(samples, result.model.tokens))
    given = predicted(found, found.schema.inputs(samples, found.tokens))
    np.testing.assert_array_equal(given, want)
    assert found.schema.temperature != 1.0
    assert found.schema.classes == ("ez", "ov", "ski")


@pytest.mark.parametrize("pooling", spec.classify.POOLINGS)
def test_rows_side_by_side_are_answered_as_one_by_one_in_any_order(pooling: str):
    sizes: dict[str, Any] = {"input_size": 2, "vocab_size": 0, "embedding_size": 0, "outputs": 3}
    model = spec.ClassifyModel(**sizes, hidden_size=7, num_layers=2, pooling=pooling, neighbours=2)
    network = SequenceNetwork(model, seed=3).eval()
    draws = np.random.default_rng(0)
    rows = [draws.normal(size=(steps, 2)).astype(np.float32) for steps in (9, 1, 4, 17)]
    together = network.answers(rows)
    alone = np.concatenate([network.answers([row]) for row in rows])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(
        network.answers([rows[k] for k in order]), together[order], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("pooling", ["mean+max", "last"])
def test_a_causal_answer_depends_on_no_later_step(pooling: str):
    sizes: dict[str, Any] = {"input_size": 2, "vocab_size": 0, "embedding_size": 0, "outputs": 3}
    model = spec.ClassifyModel(**sizes, hidden_size=7, causal=True, pooling=pooling, neighbours=2)
    network = SequenceNetwork(model, seed=3).eval()
    x = torch.randn(12, 3, 2, generator=torch.Generator().manual_seed(0))
    answers = network.per_step(x)
    for t in (0, 5, 11):
        later = x.clone()
        later[t + 1 :] = 100.0
        torch.testing.assert_close(network.per_step(later)[t], answers[t], rtol=0, atol=0)
        torch.testing.assert_close(network(x[: t + 1]), answers[t])
    lengths = torch.tensor([12, 5, 1])
    torch.testing.assert_close(network.per_step(x, lengths)[-1], network(x, lengths))
