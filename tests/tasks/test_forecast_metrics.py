"""Scores of forecasts against loops, hand-worked cases and scikit-learn."""

import numpy as np
import pytest

from unrolled.tasks.forecast import metrics


@pytest.fixture
def drawn():
    generator = np.random.default_rng(0)
    truth = generator.normal(size=(7, 5))
    truth[generator.random(truth.shape) < 0.2] = np.nan
    point = generator.normal(size=truth.shape)
    return truth, point, np.abs(generator.normal(size=7)) + 0.1


def loop(truth, term, scale=None):
    """Average a term over truths that are there, one by one."""
    places = [(n, h) for n, row in enumerate(truth) for h, value in enumerate(row) if not np.isnan(value)]
    found = [term(n, h) / (1 if scale is None else scale[n]) for n, h in places]
    return sum(found) / len(found)


def test_every_score_equals_a_loop_over_truths_that_are_there(drawn):
    y, f, q = drawn
    assert metrics.mse(y, f) == pytest.approx(loop(y, lambda n, h: (y[n, h] - f[n, h]) ** 2))
    assert metrics.mae(y, f) == pytest.approx(loop(y, lambda n, h: abs(y[n, h] - f[n, h])))
    assert metrics.rmse(y, f) == pytest.approx(loop(y, lambda n, h: (y[n, h] - f[n, h]) ** 2) ** 0.5)
    assert metrics.smape(y, f) == pytest.approx(
        loop(y, lambda n, h: 200 * abs(y[n, h] - f[n, h]) / (abs(y[n, h]) + abs(f[n, h])))
    )
    assert metrics.mase(y, f, q) == pytest.approx(loop(y, lambda n, h: abs(y[n, h] - f[n, h]), q))
    low, high = f - 0.5, f + 0.7

    def interval(n, h):
        width = high[n, h] - low[n, h]
        if y[n, h] < low[n, h]:
            return width + 2 / 0.2 * (low[n, h] - y[n, h])
        return width + (2 / 0.2 * (y[n, h] - high[n, h]) if y[n, h] > high[n, h] else 0)

    assert metrics.msis(y, low, high, 80, q) == pytest.approx(loop(y, interval, q))
    inside = [
        np.mean([low[n, h] <= y[n, h] <= high[n, h] for n in range(7) if y[n, h] == y[n, h]])
        for h in range(5)
    ]
    assert metrics.coverage(y, low, high) == pytest.approx(inside)
    assert metrics.coverage(y, y, y) == pytest.approx([1.0] * 5)  # an end belongs to its interval
    assert metrics.width(low, high) == pytest.approx([1.2] * 5)
    for name, score in (("mse", metrics.mse), ("mae", metrics.mae)):
        assert metrics.by_horizon(y, f)[name] == pytest.approx(
            [score(y[:, h : h + 1], f[:, h : h + 1]) for h in range(5)]
        )


@pytest.mark.parametrize("q", [0.025, 0.5, 0.9])
def test_pinball_is_that_of_scikit_learn(drawn, q):
    judge = pytest.importorskip("sklearn.metrics")
    y, f, _ = drawn
    there = ~np.isnan(y)
    assert metrics.pinball(y, f, q) == pytest.approx(judge.mean_pinball_loss(y[there], f[there], alpha=q))


def test_hand_worked_cases():
    y, f = np.array([[1.0, 3.0, 0.0]]), np.array([[2.0, 1.0, 0.0]])
    assert metrics.smape(y, f) == pytest.approx((200 / 3 + 100 + 0) / 3)
    assert metrics.naive_scale(np.array([1.0, 2.0, 4.0, 7.0])) == 2
    assert metrics.naive_scale(np.array([1.0, 2.0, 4.0, 7.0]), 2) == 4
    assert metrics.naive_scale(np.array([1.0, np.nan, 4.0, 7.0])) == 3
    assert np.isnan(metrics.naive_scale(np.array([1.0, 2.0]), 2))
    assert metrics.mase(y, f, np.array([2.0])) == pytest.approx(0.5)
    assert metrics.msis(y, f - 1, f + 1, 90, np.array([1.0])) == pytest.approx(2 + 20 * 1 / 3)
    assert metrics.coverage(y, f, f).tolist() == [0, 0, 1]


def test_windows_without_a_scale_are_left_out_and_a_forecast_that_is_no_number_is_seen():
    y, f = np.ones((2, 2)), np.zeros((2, 2))
    assert metrics.mase(y, f, np.array([0.5, np.nan])) == metrics.mase(y, f, np.array([0.5, 0.0])) == 2
    assert np.isnan(metrics.mase(y, f, np.zeros(2)))
    waves = 1e9 + np.sin(2 * np.pi * np.arange(48) / 12)
    scales = np.array([metrics.naive_scale(each, 12) for each in (waves, np.full(48, 0.1), np.arange(3.0))])
    assert scales.tolist()[:2] == [0, 0]  # but for rounding
    assert metrics.usable(scales).tolist() == [False] * 3
    assert metrics.naive_scale(1e9 + np.arange(48.0)) == 1
    assert np.isnan(metrics.mse(np.full((1, 2), np.nan), np.zeros((1, 2))))
    f[0, 1] = np.nan
    assert np.isnan(metrics.mse(y, f))
    assert np.isnan(metrics.coverage(y, f, f + 1)).tolist() == [False, True]
    y[0, 1] = np.nan
    assert metrics.mse(y, f) == 1
