"""Scores by hand: accuracy, balance, F1, log loss, calibration, and those of numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unrolled.schema import softmax
from unrolled.tasks.calibration import fit_temperature, reliability
from unrolled.tasks.classify.metrics import (
    classification,
    confusion,
    regression,
    several_labels,
    several_numbers,
)


def test_figures_of_classes_are_those_by_hand():
    p = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.5, 0.4, 0.1]])
    found = classification(p, np.array([0, 1, 1, 0]))
    assert found["accuracy"] == 0.75
    assert found["balanced_accuracy"] == pytest.approx((1 + 0.5) / 2)
    assert found["macro_f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)  # the third class never occurs
    assert found["nats_per_sample"] == pytest.approx(-np.mean(np.log([0.7, 0.3, 0.8, 0.5])))


def test_a_class_that_training_has_not_is_always_wrong():
    p = np.array([[0.9, 0.1], [0.2, 0.8]])
    found = classification(p, np.array([0, -1]))
    assert found["accuracy"] == 0.5
    assert found["macro_f1"] == 0.5  # of 1 and 0: the second was answered, and never right
    assert found["nats_per_sample"] == pytest.approx(-math.log(0.9))
    assert confusion(p.argmax(-1), np.array([0, -1]), 2).tolist() == [[1, 0], [0, 0]]


def test_samples_of_a_class_that_training_has_not_count_against_what_they_are_taken_for():
    sklearn = pytest.importorskip("sklearn.metrics")
    draws = np.random.default_rng(0)
    targets, p = draws.integers(-1, 3, 80), draws.dirichlet(np.ones(3), 80)
    found, answers, known = classification(p, targets), p.argmax(-1), [0, 1, 2]
    assert found["macro_f1"] == pytest.approx(
        sklearn.f1_score(targets, answers, labels=known, average="macro")
    )
    assert found["balanced_accuracy"] == pytest.approx(
        sklearn.recall_score(targets, answers, labels=known, average="macro")
    )


def test_scores_that_are_no_probabilities_have_no_log_loss():
    assert set(classification(np.array([[2.0, -3.0]]), np.array([0]), calibrated=False)) == {
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
    }


def test_calibration_error_is_the_distance_of_confidence_and_share():
    p = np.array([[0.95, 0.05]] * 4 + [[0.65, 0.35]] * 6)
    targets = np.array([0, 0, 0, 1, 0, 0, 0, 1, 1, 1])
    found = reliability(p, targets)
    assert found.error == pytest.approx(0.4 * abs(0.95 - 0.75) + 0.6 * abs(0.65 - 0.5))
    assert found.samples.sum() == 10


def test_the_temperature_undoes_what_logits_were_multiplied_by():
    draws = np.random.default_rng(0)
    logits = draws.normal(0, 2, (4000, 3))
    targets = np.array([draws.choice(3, p=p) for p in softmax(logits)])
    assert fit_temperature(3 * logits, targets) == pytest.approx(3, rel=0.1)
    assert fit_temperature(logits / 2, targets) == pytest.approx(0.5, rel=0.1)


def test_answers_that_are_all_right_ask_for_no_temperature_of_zero():
    logits = np.tile([4.0, 0.0, 0.0], (100, 1))
    assert 0.2 < fit_temperature(logits, np.zeros(100, int)) < 2


def test_few_answers_move_the_temperature_little():
    logits = np.tile([8.0, 0.0], (1000, 1))
    found = [fit_temperature(logits[:number], np.zeros(number, int)) for number in (1, 4, 12, 1000)]
    assert 1 < found[0] < 1.3
    assert all(1 < each < 2 for each in found)


def test_figures_of_numbers_are_those_by_hand():
    found = regression(np.array([1.0, 3.0, 5.0]), np.array([2.0, 3.0, 7.0]))
    assert found["mae"] == pytest.approx(1.0)
    assert found["rmse"] == pytest.approx(math.sqrt(5 / 3))
    assert found["r2"] == pytest.approx(1 - 5 / 14)
    assert "r2" not in regression(np.array([1.0]), np.array([2.0]))


def test_several_labels_are_scored_as_scikit_learn_does():
    sklearn = pytest.importorskip("sklearn.metrics")
    draws = np.random.default_rng(0)
    truth, given = draws.random((50, 4)) < 0.3, draws.random((50, 4))
    truth[:, 3] = False
    given[:, 3] = 0.1  # a label that occurs nowhere
    found, answered = several_labels(given, truth), given >= 0.5
    assert found["subset_accuracy"] == pytest.approx(sklearn.accuracy_score(truth, answered))
    assert found["micro_f1"] == pytest.approx(sklearn.f1_score(truth, answered, average="micro"))
    assert found["macro_f1"] == pytest.approx(
        sklearn.f1_score(truth[:, :3], answered[:, :3], average="macro")
    )
    nats = sum(sklearn.log_loss(truth[:, k], given[:, k], labels=[False, True]) for k in range(4))
    assert found["nats_per_sample"] == pytest.approx(nats)


def test_several_numbers_are_scored_each_by_itself():
    sklearn = pytest.importorskip("sklearn.metrics")
    draws = np.random.default_rng(0)
    truth = draws.normal(size=(50, 2)) * [1, 100]
    given = truth + draws.normal(size=(50, 2)) * [0.1, 10]
    found = several_numbers(given, truth, ("a", "b"), np.array([1.0, 100.0]))
    each = sklearn.r2_score(truth, given, multioutput="raw_values")
    assert (found["r2 a"], found["r2 b"]) == (pytest.approx(each[0]), pytest.approx(each[1]))
    assert found["standardised_rmse"] == pytest.approx(np.sqrt((((given - truth) / [1, 100]) ** 2).mean()))
