"""SequenceClassifier and SequenceRegressor: scikit-learn's conventions, files, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled.errors import CheckpointError, ConfigError, DataError
from unrolled.tasks import SequenceClassifier, SequenceRegressor

QUICK: dict[str, Any] = {"steps": 30, "hidden_size": 8, "num_layers": 1, "learning_rate": 0.03, "threads": 1}


def ramps(number: int = 90) -> tuple[list[np.ndarray], np.ndarray]:
    draws = np.random.default_rng(0)
    kinds = np.arange(number) % 2
    lengths = draws.integers(5, 12, number)
    x = [np.linspace(0, 2 * k - 1, t) + draws.normal(0, 0.1, t) for k, t in zip(kinds, lengths, strict=True)]
    return x, np.array([11, 2])[kinds]


@pytest.fixture(scope="module")
def fitted() -> SequenceClassifier:
    x, y = ramps()
    return SequenceClassifier(**QUICK).fit(x, y)


def test_it_gives_labels_of_the_type_that_it_was_given(fitted: SequenceClassifier):
    x, y = ramps()
    assert fitted.classes_.tolist() == [2, 11]
    assert fitted.predict(x).dtype == y.dtype
    assert fitted.score(x, y) > 0.95
    p = fitted.predict_proba(x)
    np.testing.assert_allclose(p.sum(1), 1.0)
    np.testing.assert_array_equal(fitted.classes_[p.argmax(1)], fitted.predict(x))
    assert (fitted.n_features_in_, fitted.evaluation_.task) == (1, "classify")


def test_saved_and_loaded_in_another_process_it_answers_the_same(fitted: SequenceClassifier, tmp_path: Path):
    x, _ = ramps()
    fitted.save(tmp_path / "model")
    assert {path.suffix for path in (tmp_path / "model").iterdir()} == {".json", ".safetensors"}
    loaded = SequenceClassifier.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(x), fitted.predict_proba(x))
    assert loaded.classes_.tolist() == [2, 11]
    assert loaded.get_params()["cell"] == "gru"
    with pytest.raises(CheckpointError, match="a model of the task regress, got classify"):
        SequenceRegressor.load(tmp_path / "model")
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        tmp_path / "model" / "model.safetensors"
    ).read_bytes()


def test_a_stream_answers_in_the_order_of_the_classes_to_the_bit():
    x, y = ramps(30)  # labels 2 and 11, of which "11" comes first as a name
    model = SequenceClassifier(**QUICK | {"steps": 2}, causal=True).fit(x, y)
    running = model.stream()
    answers = [running.step([value]) for value in x[0]]
    assert np.array_equal(answers[-1], model.predict_proba(x[:1])[0])


def test_the_same_seed_gives_the_same_answers(fitted: SequenceClassifier):
    x, y = ramps()
    again = SequenceClassifier(**QUICK).fit(x, y)
    np.testing.assert_array_equal(again.predict_proba(x), fitted.predict_proba(x))


def test_parameters_are_read_set_and_copied_as_they_were_given():
    model = SequenceClassifier(cell="lstm", minutes=2, random_state=3)
    copy = SequenceClassifier(**model.get_params())
    assert copy.get_params() == model.get_params()
    assert model.set_params(cell="rnn") is model
    assert repr(model) == "SequenceClassifier(cell='rnn', minutes=2, random_state=3)"
    with pytest.raises(ConfigError, match="params: expected among cell"):
        model.set_params(cells="gru")


def test_a_regressor_predicts_in_the_unit_of_its_numbers():
    x, _ = ramps()
    numbers = np.array([300 + 10 * (each[-1] - each[0]) for each in x])
    model = SequenceRegressor(**{**QUICK, "steps": 80}).fit(x, numbers)
    assert model.score(x, numbers) > 0.8
    assert abs(model.predict(x).mean() - numbers.mean()) < 2


def test_what_does_not_fit_is_refused(fitted: SequenceClassifier):
    x, y = ramps(20)
    with pytest.raises(ConfigError, match="SequenceClassifier: expected a call of fit before this one"):
        SequenceClassifier().predict(x)
    with pytest.raises(DataError, match="samples: expected 1 channel, as in training, got 2"):
        fitted.predict([np.zeros((4, 2))])
    with pytest.raises(DataError, match="samples: expected series, as in training, got texts"):
        fitted.predict(["text"])
    with pytest.raises(DataError, match="2 to 10,000 classes to train on"):
        SequenceClassifier(**QUICK).fit(x, np.ones(20, int))
    with pytest.raises(ConfigError, match="random_state"):
        SequenceClassifier(**QUICK, random_state="x").fit(x, y)
