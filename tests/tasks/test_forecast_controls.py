"""Controls of forecasts: what they give, ridge against scikit-learn, published figures of ETTh1."""

import os
from pathlib import Path

import numpy as np
import pytest

from unrolled.data import read_series
from unrolled.tasks.controls.forecasts import (
    fit_window_ridge,
    last_values,
    seasonal_mean,
    suited_forecasts,
)
from unrolled.tasks.forecast import metrics


@pytest.fixture
def windows():
    generator = np.random.default_rng(0)
    steps = np.arange(400)
    series = np.sin(steps * 2 * np.pi / 7) + 0.1 * generator.normal(size=400) + steps / 100
    cut = np.lib.stride_tricks.sliding_window_view(series, 21 + 5)
    return cut[:, :21], cut[:, 21:]


def test_a_control_that_needs_a_season_is_left_out_without_one():
    assert list(suited_forecasts(season=1, window=21, horizon=5)) == ["last value", "ridge on the window"]
    assert list(suited_forecasts(season=24, window=30, horizon=5)) == [
        "last value",
        "seasonal naive, 24 steps",
        "ridge on the window",
    ]
    assert list(suited_forecasts(season=50, window=30, horizon=5)) == ["last value", "ridge on the window"]


def test_controls_give_the_horizon_and_their_size(windows):
    x, y = windows
    found = {name: fit(x, y) for name, fit in suited_forecasts(season=7, window=21, horizon=5).items()}
    assert [fitted.parameters for fitted in found.values()] == [0, 0, 1, 22 * 5]
    errors = {name: metrics.mse(y, fitted.predict(x)) for name, fitted in found.items()}
    assert min(errors, key=errors.get) == "ridge on the window"
    assert (found["last value"].predict(x) == x[:, -1:]).all()
    assert (found["seasonal naive, 7 steps"].predict(x) == x[:, 14:19]).all()


def test_seasonal_means_are_those_of_a_loop_with_and_without_missing_values(windows):
    x = windows[0][:, :20].copy()  # no whole number of seasons
    mean = seasonal_mean(x, season=6, seasons=3, horizon=9)
    for h in range(9):
        assert mean[:, h] == pytest.approx(
            np.mean([x[:, 20 - 6 * back + h % 6] for back in (1, 2, 3)], axis=0)
        )
    x[:, [14, 8]] = np.nan  # a phase whose last two values are missing
    assert seasonal_mean(x, season=6, seasons=2, horizon=1)[:, 0] == pytest.approx(x[:, 2])
    x[:, 2] = np.nan
    assert seasonal_mean(x, season=6, seasons=2, horizon=1)[:, 0] == pytest.approx(x[:, 19])
    x[:, 19] = np.nan
    assert last_values(x) == pytest.approx(x[:, 18])
    assert last_values(np.full((2, 3), np.nan)).tolist() == [0, 0]


@pytest.mark.parametrize("penalty", [1e-3, 1.0, 100.0])
def test_ridge_is_that_of_scikit_learn(windows, penalty, monkeypatch):
    judge = pytest.importorskip("sklearn.linear_model")
    monkeypatch.setattr("unrolled.tasks.controls.forecasts.ROWS", 50)  # blocks
    x, y = windows
    last = x[:, -1:]
    other = judge.Ridge(alpha=penalty).fit(x - last, y - last)
    mine = fit_window_ridge(x, y, penalty)
    assert mine.weights == pytest.approx(other.coef_.T, abs=1e-9)
    assert mine(x) == pytest.approx(other.predict(x - last) + last, abs=1e-9)


@pytest.mark.parametrize("seed", range(2))
def test_the_penalty_is_the_one_with_the_least_error_on_runs_left_out(windows, seed):
    judge = pytest.importorskip("sklearn.linear_model")
    selection = pytest.importorskip("sklearn.model_selection")
    x, y = windows[0][:20, -4:], windows[1][:20]
    x = x + np.random.default_rng(seed).normal(size=x.shape) + 3 * np.arange(4)
    last = x[:, -1:]
    mine = fit_window_ridge(x, y)
    tried = np.logspace(-6, 1, 8) * ((x - last) ** 2).sum() / x.shape[1]
    errors = [
        -selection.cross_val_score(
            judge.Ridge(alpha=alpha),
            x - last,
            y - last,
            cv=selection.KFold(5),
            scoring="neg_mean_squared_error",
        ).mean()
        for alpha in tried
    ]
    assert mine.penalty == pytest.approx(tried[int(np.argmin(errors))])


def test_missing_targets_lead_to_the_fit_of_those_that_are_there(windows):
    x, y = windows[0], windows[1].copy()
    y[np.random.default_rng(2).random(y.shape) < 0.3] = np.nan
    found = fit_window_ridge(x, y, 1e-6)
    for h in range(5):
        there = ~np.isnan(y[:, h])
        alone = fit_window_ridge(x[there], y[there, h : h + 1], 1e-6)
        assert found(x)[:, h] == pytest.approx(alone(x)[:, 0], abs=5e-3)


def test_missing_inputs_count_as_the_value_before(windows):
    x, y = windows[0].copy(), windows[1]
    ridge = fit_window_ridge(x, y)
    gap = x.copy()
    gap[:, [0, 9, 20]] = np.nan
    x[:, 0], x[:, 9], x[:, 20] = x[:, 1], x[:, 8], x[:, 19]
    assert ridge(gap) == pytest.approx(ridge(x))
    assert np.isfinite(fit_window_ridge(gap, y)(np.full((1, 21), np.nan))).all()


def test_one_window_is_enough_for_an_answer():
    assert np.isfinite(fit_window_ridge(np.ones((1, 4)), np.ones((1, 2)))(np.ones((1, 4)))).all()
    assert np.isfinite(fit_window_ridge(np.eye(2, 4), np.ones((2, 2)))(np.ones((1, 4)))).all()


def test_etth1_gives_the_figures_that_others_found():
    root = os.environ.get("UNROLLED_DATA")
    path = Path(root or "", "etth1", "ETTh1.csv")
    if not root or not path.exists():
        pytest.skip("needs UNROLLED_DATA")
    pytest.importorskip("polars")
    train, test = [], []
    for values in read_series(path).values:
        scaled = (values[:14400] - values[:8640].mean()) / values[:8640].std()
        train.append(np.lib.stride_tricks.sliding_window_view(scaled[:8640], 192))
        test.append(np.lib.stride_tricks.sliding_window_view(scaled[11520 - 96 :], 192))
    x, y = np.split(np.concatenate(train), 2, 1)
    tx, ty = np.split(np.concatenate(test), 2, 1)
    found = {}
    for name, fit in suited_forecasts(season=24, window=96, horizon=96).items():
        point = fit(x, y).predict(tx)
        found[name] = round(metrics.mse(ty, point), 3), round(metrics.mae(ty, point), 3)
    assert found == {
        "last value": (1.294, 0.713),
        "seasonal naive, 24 steps": (0.512, 0.433),
        "mean of the last seasons": (0.406, 0.396),
        "ridge on the window": (0.383, 0.392),
    }
