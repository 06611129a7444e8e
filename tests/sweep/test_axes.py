"""Which settings a trial has, and how they are written on a command line."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled import spec
from unrolled.errors import ConfigError
from unrolled.spec import (
    DataConfig,
    Range,
    SweepConfig,
    TrainConfig,
    command_words,
    read_words,
    setting_of,
)
from unrolled.sweep.axes import Axes

LISTS = st.dictionaries(
    st.sampled_from("abcd"),
    st.integers(2, 5).map(lambda count: tuple(range(count))),
    min_size=1,
)


@settings(max_examples=40)
@given(LISTS, st.integers(0, 2**32 - 1))
def test_trials_of_a_grid_are_every_combination_once(named, seed):
    axes = Axes(named, seed)
    count = axes.combinations
    assert count == math.prod(map(len, named.values()))
    found = {tuple(axes.values(number).values()) for number in range(count)}
    assert len(found) == count
    assert all(value in named[name] for number in range(count) for name, value in axes.values(number).items())


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_trials_of_a_grid_too_large_to_list_differ_too(seed):
    axes = Axes({name: tuple(range(30)) for name in "abcd"}, seed)
    assert len({tuple(axes.values(number).values()) for number in range(100)}) == 100
    for divisor in (
        2,
        3,
        5,
    ):  # of 30⁴: the map of trials to combinations is one to one where none of these repeats it
        assert axes.values(0) != axes.values(30**4 // divisor)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(0, 9999))
def test_a_drawn_number_lies_in_its_range_and_follows_from_seed_and_number(low, width, number):
    span = Range(low, low + width) if low + width > low else Range(0.0, 1.0)
    one, other = (Axes({"a": span, "b": (1, 2)}, 3).values(number) for _ in range(2))
    assert one == other
    assert span.low <= one["a"] <= span.high


def test_whole_ranges_reach_both_ends_and_a_decade_is_drawn_by_its_logarithm():
    axes = Axes({"few": Range(1, 3), "many": Range(1, 1000), "rate": Range(1e-4, 1e-1)})
    drawn = [axes.values(number) for number in range(2000)]
    assert {each["few"] for each in drawn} == {1, 2, 3}
    assert all(type(each["many"]) is int for each in drawn)
    for name, middle in (("many", 10**1.5), ("rate", 10**-2.5)):
        share = sum(each[name] < middle for each in drawn) / len(drawn)
        assert 0.45 < share < 0.55, name  # a standard error is 0.011


def test_each_whole_number_of_a_decade_is_drawn_by_its_logarithm():
    count = 10_000
    drawn = Counter(Axes({"a": Range(1, 10)}).values(number)["a"] for number in range(count))
    assert set(drawn) == set(range(1, 11))
    for number, times in drawn.items():
        share = math.log((number + 0.5) / (number - 0.5)) / math.log(10.5 / 0.5)
        assert abs(times - count * share) < 5 * math.sqrt(count * share)


@pytest.mark.parametrize("extra", [{}, {"c": Range(1e-3, 1.0)}])
def test_the_order_in_which_axes_are_given_does_not_matter(extra):
    named = {"b": (1, 2, 3), "a": (1, 2), **extra}
    one, other = Axes(named, 5), Axes(dict(reversed(named.items())), 5)
    assert [one.values(number) for number in range(6)] == [other.values(number) for number in range(6)]


def test_another_sweep_seed_gives_another_order():
    orders = [
        [Axes({"a": tuple(range(20))}, seed).values(number)["a"] for number in range(20)] for seed in (0, 1)
    ]
    assert orders[0] != orders[1]


def read(name: str, *words, cls: type = TrainConfig):
    return read_words(setting_of(cls, name), words)


def test_words_become_values_lists_and_ranges():
    assert read("learning_rate", "1e-3") == 1e-3
    assert read("learning_rate", "1e-3,3e-3") == (1e-3, 3e-3)
    assert read("learning_rate", "1e-3", "3e-3") == (1e-3, 3e-3)
    assert read("learning_rate", "1e-4..1e-2") == Range(1e-4, 1e-2)
    assert read("hidden_size", "64..512") == Range(64, 512)
    assert read("cell", "lstm,gru") == ("lstm", "gru")
    assert read("tie_weights", "yes,no") == (True, False)
    assert read("tie_weights", True) is True
    assert read("telemetry_every", None) == 100  # the flag alone
    assert read("source", "a,b.txt", cls=DataConfig) == "a,b.txt"  # a name may hold commas


@pytest.mark.parametrize(
    ("name", "word", "told"),
    [
        ("learning_rate", "1e-3,", "learning_rate: expected values separated by commas, got an empty one in '1e-3,'"),
        ("learning_rate", "", "learning_rate: expected values separated by commas, got an empty one in ''"),
        ("learning_rate", "fast,slow", "learning_rate: expected a number, got 'fast'"),
        ("hidden_size", "1.5,2", "hidden_size: expected a whole number, got '1.5'"),
        ("hidden_size", "64..a", "hidden_size: expected a range such as 64..512, its lower end first, got '64..a'"),
        ("learning_rate", "1e-2..1e-4", "learning_rate: expected a range such as 1e-4..1e-2, its lower end first, got '1e-2..1e-4'"),
        ("learning_rate", "1e-4..nan", "learning_rate: expected a range such as 1e-4..1e-2, its lower end first, got '1e-4..nan'"),
        ("learning_rate", "1e-3..1e-2,1", "learning_rate: expected one range alone, got 0.001..0.01 beside other values"),
        ("hidden_size", "64,128,64", "hidden_size: expected values that differ, got 64 twice"),
        ("tie_weights", "book.txt", "tie_weights: expected yes, no or yes,no, got 'book.txt'; write SOURCE before --tie"),
    ],
)  # fmt: skip
def test_what_a_word_cannot_mean_is_one_line(name, word, told):
    with pytest.raises(ConfigError) as caught:
        read(name, word)
    assert str(caught.value) == told


def test_words_of_a_command_line_give_the_settings_back():
    config = {
        "learning_rate": 0.003,
        "hidden_size": 64,
        "tie_weights": True,
        "controls": False,
        "cell": "gru",
    }
    words = command_words(TrainConfig, config)
    assert words == ["--cell", "gru", "--hidden", "64", "--tie", "--lr", "0.003"]
    assert {each.name for each in spec.settings(SweepConfig)} == {
        "study", "trials", "total_minutes", "workers", "sweep_seed", "prune"
    }  # fmt: skip


def test_a_budget_is_needed_where_nothing_else_limits_the_trials():
    grid, draws = Axes({"a": (1, 2), "b": (1, 2, 3)}), Axes({"a": Range(0.0, 1.0)})
    assert [grid.most(n, timed=False) for n in (None, 4, 100)] == [6, 4, 6]
    assert draws.most(5, timed=False) == 5
    assert draws.most(None, timed=True) == 10_000
    with pytest.raises(
        ConfigError, match="trials: expected a number, or `total_minutes`, beside a range, got none"
    ):
        draws.most(None, timed=False)
    with pytest.raises(ConfigError, match="axes: expected a setting with several values"):
        Axes({})
