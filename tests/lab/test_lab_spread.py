"""Median, spread and censoring, and how they are printed."""

from __future__ import annotations

import math

import pytest

from unrolled.errors import ConfigError
from unrolled.lab import number, spread, spread_text, within_cap, within_text
from unrolled.lab.spread import band


def test_a_spread_has_the_median_and_both_ends():
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "low": 1.0, "high": 3.0, "runs": 3}
    assert spread_text(spread([3.0, 1.0, 2.0])) == "2 (1 to 3)"
    assert spread_text(spread([0.5])) == "0.500"


def test_a_band_is_the_median_and_the_ends_of_runs_and_an_early_end_stays_or_leaves_the_median_open():
    long = [0, 1, 2, 3]
    runs = [(long, [1.0, 2.0, 3.0, 4.0]), (long[:2], [5.0, 6.0]), (long, [9.0, 9.0, 9.0, 100.0])]
    assert band(runs) == {"x": long, "middle": [5, 6, 6, 6], "low": [1, 2, 3, 4], "high": [9, 9, 9, 100]}
    assert band(runs, stays=False)["middle"] == [5, 6, None, None]


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_a_spread_of_nothing_or_of_what_is_not_finite_is_refused(values: list[float]):
    with pytest.raises(ConfigError, match="values: expected finite numbers, at least one"):
        spread(values)


def test_runs_that_missed_their_goal_count_as_more_than_the_cap():
    found = within_cap([30, None, 10], 500)
    assert found == {
        "median": 30, "low": 10, "high": None, "runs": 3, "solved": 2, "censored": 1, "cap": 500,
    }  # fmt: skip
    assert within_text(found) == "30 (10 to > 500), solved by 2 of 3, 1 censored"


def test_a_median_among_the_missed_runs_is_over_the_cap():
    assert within_cap([None, 10, None], 500)["median"] is None
    assert within_text(within_cap([None, 10], 500)) == "> 500 (10 to > 500), solved by 1 of 2, 1 censored"
    assert within_text(within_cap([None], 500)) == "> 500, solved by 0 of 1, 1 censored"
    with pytest.raises(ConfigError, match="values: expected at least one run, got none"):
        within_cap([], 500)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0, "0"), (1234, "1,234"), (0.12345, "0.123"), (12.345, "12.3"), (1234.5, "1,234"),
     (-0.5, "-0.500"), (1.23456e-5, "1.23e-05"), (0.00012345, "0.000123"), (0.99999, "1.000")],
)  # fmt: skip
def test_numbers_have_three_digits_that_count_and_whole_ones_stay_whole(value: float, text: str):
    assert number(value) == text
