"""Conformal intervals: coverage on exchangeable windows, the rank in small samples, and their file."""

import json

import numpy as np
import pytest

from unrolled.errors import CheckpointError, ConfigError, DataError, ShapeError
from unrolled.tasks.forecast.conformal import Conformal, corrections, least_windows

LEVELS = (50, 80, 95)


def drawn(seed, windows, horizon=3):
    """Return heavy-tailed truths and bounds that are far too narrow, or too wide."""
    generator = np.random.default_rng(seed)
    point = generator.normal(size=(windows, horizon))
    truth = point + generator.standard_t(2, size=point.shape) * np.arange(1, horizon + 1)
    reach = np.array([0.1, 0.2, 30.0])[:, None]
    return truth, point[:, None] - reach, point[:, None] + 2 * reach


def test_coverage_on_exchangeable_windows_is_the_level_within_binomial_bounds():
    for seed in range(20):
        truth, lower, upper = drawn(seed, 400)
        held, new = slice(0, 199), slice(199, None)
        low, high = Conformal.fit(truth[held], lower[held], upper[held], LEVELS).apply(lower[new], upper[new])
        inside = ((low <= truth[new, None]) & (truth[new, None] <= high)).mean(0)
        for share, level in zip(inside, (0.5, 0.8, 0.95), strict=True):
            spread = (level * (1 - level) * (1 / 200 + 1 / 201)) ** 0.5  # of the held-out and of the new ones
            assert (np.abs(share - level) < 4.5 * spread + 1 / 200).all()


def test_the_mean_coverage_is_at_least_the_level_and_less_than_one_window_above_it():
    covered, windows = [], 19
    for seed in range(1000):
        truth, lower, upper = drawn(seed, windows + 1, 1)
        (fix,) = corrections(truth[:-1], lower[:-1], upper[:-1], LEVELS).T
        covered.append((lower[-1, :, 0] - fix <= truth[-1, 0]) & (truth[-1, 0] <= upper[-1, :, 0] + fix))
    for share, level in zip(np.mean(covered, axis=0), (0.5, 0.8, 0.95), strict=True):
        spread = 4 * (level * (1 - level) / 1000) ** 0.5
        assert level - spread <= share <= level + 1 / (windows + 1) + spread


def test_the_rank_is_that_of_small_samples():
    levels = (50, 80, 90, 95)
    for windows in range(19, 60):  # the next truth is within the k-th of n residuals with chance k/(n + 1)
        truth = np.arange(1.0, windows + 1)[:, None]
        found = Conformal.fit_points(truth, np.zeros((windows, 1)), levels).corrections[:, 0]
        chances = [100 * k / (windows + 1) for k in range(1, windows + 1)]
        assert found.tolist() == [1 + sum(chance < level for chance in chances) for level in levels]
    truth = truth[:19]
    assert [least_windows(level) for level in (50, 80, 90, 95, 99)] == [1, 4, 9, 19, 99]
    truth[3] = np.nan
    with pytest.raises(DataError, match=r"level: expected 19 held-out windows for 95 %, at least, got 18"):
        Conformal.fit_points(truth, np.zeros((19, 1)), (95,))


def test_bounds_are_never_crossed_and_levels_lie_within_one_another():
    conformal = Conformal((50.0, 80.0), np.array([[-3.0, 1.0], [0.0, -1.0]]))
    low, high = conformal.apply(np.array([[[-1.0, -1], [-2, -1]]]), np.array([[[1.0, 1], [2, 1.0]]]))
    assert (low <= high).all()
    assert (low[:, 1] <= low[:, 0]).all()
    assert (high[:, 1] >= high[:, 0]).all()
    assert low[0].tolist() == [[0, -2], [-2, -2]]
    point = np.zeros((1, 2))
    assert Conformal((50.0,), np.array([[1.0, 2.0]])).around(point)[1].tolist() == [[[1, 2]]]


def test_a_conformal_correction_goes_through_json():
    truth, lower, upper = drawn(0, 50)
    first = Conformal.fit(truth, lower, upper, LEVELS)
    again = Conformal.from_json(json.loads(json.dumps(first.to_json())))
    assert again.levels == first.levels
    assert (again.corrections == first.corrections).all()


@pytest.mark.parametrize(
    "stored",
    [
        None,
        {"levels": [80]},
        {"levels": [80], "corrections": [[1.0]], "more": 1},
        {"levels": [], "corrections": []},
        {"levels": [95, 80], "corrections": [[1.0], [1.0]]},
        {"levels": [100], "corrections": [[1.0]]},
        {"levels": ["80"], "corrections": [[1.0]]},
        {"levels": [True], "corrections": [[1.0]]},
        {"levels": [80], "corrections": [[]]},
        {"levels": [80], "corrections": [[float("nan")]]},
        {"levels": [80], "corrections": [[1e400]]},
        {"levels": [80], "corrections": [1.0]},
        {"levels": [80, 95], "corrections": [[1.0], [1.0, 2.0]]},
        {"levels": [80], "corrections": [[1.0], [2.0]]},
    ],
)
def test_a_file_that_holds_something_else_is_refused(stored):
    with pytest.raises(CheckpointError, match=r"config\.json schema\.conformal"):
        Conformal.from_json(stored)


def test_wrong_arguments_are_refused():
    truth, lower, upper = drawn(0, 50)
    with pytest.raises(ConfigError, match="levels: expected rising ones"):
        Conformal.fit(truth, lower, upper, (80, 50, 95))
    with pytest.raises(ConfigError, match="level: expected percent between 0 and 100, got 100"):
        corrections(truth, lower, upper, (50, 80, 100))
    with pytest.raises(ShapeError, match=r"lower: expected \[50, 2, 3\], got \[50, 3, 3\]"):
        corrections(truth, lower, upper, (50, 80))
    with pytest.raises(ShapeError, match=r"lower: expected \[N, 3, 3\]"):
        Conformal.fit(truth, lower, upper, LEVELS).apply(lower[:, :2], upper[:, :2])
