"""Frequencies: times and steps are inverses, and regular times show their frequency; names."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.data.frequency import DAY, Frequency, infer, parse
from unrolled.errors import ConfigError

FIXED = ["W", "D", "h", "min", "s", "ms"]
MONTHS = ["MS", "ME", "QS", "QE", "YS", "YE"]
STEPS = np.arange(40)


def starting(unit, count, day, clock):
    """Return a frequency and forty times of it, from a day that suits it on."""
    freq = Frequency(unit, count)
    date = np.datetime64("1970-01-01") + day
    if unit == "B":
        date = np.busday_offset(date, 0, roll="forward")
    if unit.endswith("E"):
        month = date.astype("datetime64[M]")
        date = (month + 1).astype("datetime64[D]") - 1
    if unit.endswith("S"):
        date = date.astype("datetime64[M]").astype("datetime64[D]") + day % 28
    first = date.astype("datetime64[s]").astype(float) + clock
    return freq, freq.after(np.array([first]), STEPS)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([*FIXED, *MONTHS, "B"]),
    st.integers(1, 6),
    st.integers(0, 30_000),
    st.sampled_from([0.0, 3600.0, 86399.0]),
    st.sets(st.integers(1, 39), min_size=1),
)
def test_steps_are_found_again_whatever_is_missing(unit, count, day, clock, kept):
    freq, times = starting(unit, 1 if unit == "B" else count, day, clock)
    chosen = np.array([0, *sorted(kept)])
    places, right = freq.positions(times[chosen])
    if unit in MONTHS and (times[chosen] // DAY != freq.after(times[chosen], chosen) // DAY).any():
        return  # times that lie at the ends of short months alone: a later one would tell
    assert right.all()
    assert places.tolist() == chosen.tolist()
    assert freq.after(times[chosen], STEPS)[chosen] == pytest.approx(times[chosen])


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([*FIXED, *MONTHS, "B"]),
    st.integers(1, 6),
    st.integers(0, 30_000),
    st.sampled_from([0.0, 3600.0, 86399.0]),
)
def test_regular_times_show_their_frequency(unit, count, day, clock):
    freq, times = starting(unit, 1 if unit == "B" else count, day, clock)
    found = infer([times], clock=True)
    assert found is not None
    assert found.positions(times)[0].tolist() == STEPS.tolist()
    assert (found.months, found.seconds) == pytest.approx((freq.months, freq.seconds))
    assert found.season == freq.season
    shown = parse(str(found))
    assert shown.fitted([times]) == found


def test_a_time_between_two_steps_is_seen():
    for unit in (*FIXED, *MONTHS, "B"):
        freq, times = starting(unit, 1, 10_000, 0.0)
        moved = times.copy()
        moved[7] += freq.seconds / 3
        assert freq.positions(moved)[1].tolist() == [step != 7 for step in STEPS], unit
    monthly = starting("MS", 1, 10_000, 0.0)[1]
    for months in (2, 3):  # a month between two steps, on the right day
        places, right = parse(f"{months}MS").positions(monthly)
        assert right.tolist() == [step % months == 0 for step in STEPS]
        assert places[right].tolist() == list(range(len(STEPS[::months])))


@pytest.mark.parametrize(
    ("text", "name", "season"),
    [
        ("H", "h", 24), ("2h", "2h", 12), ("5h", "5h", 1), ("T", "min", 1440), ("30T", "30min", 48), ("W-SUN", "W", 52),
        ("M", "MS", 12), ("Q-DEC", "QS", 4), ("A", "YS", 1), ("QE-DEC", "QE", 4), ("2W", "2W", 26), ("s", "s", 1),
    ],
)  # fmt: skip
def test_the_names_of_pandas_are_known(text, name, season):
    assert (str(parse(text)), parse(text).season) == (name, season)


@pytest.mark.parametrize("text", ["", "x", "0h", "-1h", "1.5h", "2B", "h2", "1" * 30 + "h", None, 5, "W-sun"])
def test_what_is_no_frequency_is_refused(text):
    with pytest.raises(ConfigError, match="freq: expected"):
        parse(text)
