"""The estimators inside scikit-learn: what it clones, searches, scores and checks, and what it cannot check."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from unrolled.errors import DataError
from unrolled.tasks import SequenceClassifier, SequenceRegressor

base = pytest.importorskip("sklearn.base")
checks = pytest.importorskip("sklearn.utils.estimator_checks")
selection = pytest.importorskip("sklearn.model_selection")
pipeline = pytest.importorskip("sklearn.pipeline")
preprocessing = pytest.importorskip("sklearn.preprocessing")

QUICK: dict[str, Any] = {"steps": 3, "hidden_size": 4, "num_layers": 1, "threads": 1}
LENGTH = "a row of numbers is a series: its length is of no account, and its one channel is n_features_in_"
WORDS = "refused, in one line of our own words"
REASONS = {
    "check_fit_score_takes_y": "y is called labels or numbers, X sequences",
    "check_estimators_unfitted": "ConfigError, a ValueError, as nothing of scikit-learn is imported",
    "check_n_features_in_after_fitting": LENGTH,
    "check_n_features_in": LENGTH,
    "check_classifiers_train": LENGTH,
    "check_regressors_train": LENGTH,
    "check_complex_data": WORDS,
    "check_dtype_object": "arrays of objects are refused: nothing is converted silently",
    "check_estimators_empty_data_messages": WORDS,
    "check_classifiers_regression_target": "every number is a class, as the docstring of fit says",
    "check_classifier_data_not_an_array": "a data frame is given as data.read_samples(df, label=…)",
    "check_regressor_data_not_an_array": "the same",
    "check_supervised_y_2d": "y of [N, 1] is taken without a warning",
    "check_fit2d_1sample": WORDS,
    "check_fit2d_predict1d": WORDS,
    "check_requires_y_none": WORDS,
}


def ramps(number: int = 40) -> tuple[list[np.ndarray], np.ndarray]:
    draws = np.random.default_rng(0)
    kinds = np.arange(number) % 2
    lengths = draws.integers(5, 12, number)
    x = [np.linspace(0, 2 * k - 1, t) + draws.normal(0, 0.1, t) for k, t in zip(kinds, lengths, strict=True)]
    return x, np.array([11, 2])[kinds]


def test_it_is_cloned_searched_and_scored_by_cross_validation():
    x, y = ramps(30)
    model = base.clone(SequenceClassifier(**QUICK, random_state=4))
    assert base.is_classifier(model)
    assert base.is_regressor(SequenceRegressor())
    found = selection.GridSearchCV(model, {"cell": ["gru", "rnn"]}, cv=2).fit(x, y)
    assert set(found.cv_results_["param_cell"]) == {"gru", "rnn"}
    assert found.best_estimator_.classes_.tolist() == [2, 11]
    scores = selection.cross_val_score(model, x, y, cv=2, scoring="neg_log_loss")
    assert np.isfinite(scores).all()


def test_it_ends_a_pipeline():
    x = np.random.default_rng(0).normal(size=(24, 6))
    steps = [("scale", preprocessing.StandardScaler()), ("model", SequenceRegressor(**QUICK))]
    model = pipeline.Pipeline(steps).fit(x, x[:, 0])
    assert model.predict(x).shape == (24,)
    assert model.set_params(model__cell="rnn").get_params()["model__cell"] == "rnn"


def test_a_fitted_one_is_copied_with_its_answers():
    x, y = ramps(20)
    model = SequenceClassifier(**QUICK).fit(x, y)
    other = copy.deepcopy(model)  # by the protocol of pickle
    np.testing.assert_array_equal(other.predict_proba(x), model.predict_proba(x))
    assert other.classes_.tolist() == [2, 11]


def test_the_state_of_a_generator_gives_the_seed():
    x, y = ramps(20)
    answers = [
        SequenceClassifier(**QUICK, random_state=given).fit(x, y).predict_proba(x)
        for given in (np.random.RandomState(1), np.random.RandomState(1), np.random.RandomState(2))
    ]
    np.testing.assert_array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[0], answers[2])


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceRegressor])
def test_the_checks_that_fit_nothing_pass(kind: Any):
    for name in (
        "check_estimator_cloneable",
        "check_estimator_tags_renamed",
        "check_valid_tag_types",
        "check_estimator_repr",
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_do_not_raise_errors_in_init_or_set_params",
        "check_get_params_invariance",
        "check_set_params",
        "check_mixin_order",
    ):
        getattr(checks, name)(kind.__name__, kind(**QUICK))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceRegressor])
def test_every_other_check_passes_or_has_a_reason_not_to(kind: Any):
    failed = checks.check_estimator(kind(**QUICK), on_fail=None, on_skip=None)
    assert {each["check_name"] for each in failed if each["status"] == "failed"} <= set(REASONS)


@pytest.mark.parametrize("seed", range(3))
def test_several_labels_of_a_sample_are_learnt_and_given_as_they_were(seed: int):
    draws = np.random.default_rng(seed)
    y = draws.random((60, 2)) < 0.5
    x = [draws.normal(0, 0.2, (6, 2)) + row for row in y]
    model = SequenceClassifier(steps=60, hidden_size=8, num_layers=1, threads=1, learning_rate=0.03)
    model.fit(x, y.astype(int))
    assert model.score(x, y) > 0.9
    assert model.predict(x).tolist() == (model.predict_proba(x) >= 0.5).astype(int).tolist()
    assert model.classes_.tolist() == ["0", "1"]
    if seed == 0:
        assert selection.cross_val_score(base.clone(model).set_params(steps=2), x, y, cv=2).shape == (2,)
        with pytest.raises(DataError, match=r"labels: expected 0 and 1 in \[N, K\], of several labels"):
            model.fit(x, 2 * y.astype(int))


def test_several_numbers_are_predicted_each_in_its_unit():
    draws = np.random.default_rng(0)
    y = draws.normal(size=(80, 2)) * [1, 1000] + [0, 5000]
    x = [np.tile((row - [0, 5000]) / [1, 1000], (5, 1)) for row in y]
    model = SequenceRegressor(steps=80, hidden_size=12, num_layers=1, threads=1, learning_rate=0.03)
    assert model.fit(x, y).score(x, y) > 0.7
    assert model.predict(x).shape == (80, 2)
    assert abs(model.predict(x)[:, 1].mean() - 5000) < 300


def test_an_answer_at_each_step_is_a_list(tmp_path: Any):
    draws = np.random.default_rng(0)
    x = [draws.normal(size=(length, 1)) for length in draws.integers(3, 9, 40)]
    y = [(each[:, 0] > 0).astype(int) for each in x]
    model = SequenceClassifier(steps=60, hidden_size=8, num_layers=1, threads=1, learning_rate=0.05)
    model.fit(x, y)
    assert model.score(x, y) > 0.9
    assert [len(each) for each in model.predict(x)] == [len(each) for each in x]
    assert model.predict(x)[0].dtype == np.int64
    loaded = SequenceClassifier.load(model.save(tmp_path / "m"))
    np.testing.assert_array_equal(loaded.predict_proba(x)[3], model.predict_proba(x)[3])
    numbers = [np.where(each[:, 0] > 1, np.nan, each[:, 0]) for each in x]
    regressor = SequenceRegressor(steps=80, hidden_size=8, num_layers=1, threads=1, learning_rate=0.05)
    assert regressor.fit(x, numbers).score(x, numbers) > 0.8
