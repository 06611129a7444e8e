"""A scaler step by step, of many streams at a time, against whole sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.errors import DataError, StateError
from unrolled.schema import RunningScaler, Scaler, ScalerState, merged, rows_of


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.sampled_from(["mask", "drop"]),
    st.booleans(),
    st.integers(0, 99),
)
def test_streams_side_by_side_have_the_bits_of_whole_sequences(lengths, missing, timed, seed):
    rng = np.random.default_rng(seed)
    series = [rng.normal(3, 5, (steps, 3)).astype(np.float32) for steps in lengths]
    for each in series:
        each[rng.random(each.shape) < 0.3] = np.nan
    times = [np.cumsum(rng.integers(1, 4, steps)).astype(float) for steps in lengths] if timed else None
    scaler = Scaler.fit(series, times=times, missing=missing)
    running, rows = RunningScaler(scaler), [[] for _ in series]
    state = running.start(len(series))
    for step in range(max(lengths)):
        active = np.flatnonzero(np.array(lengths) > step)
        x = np.stack([series[number][step] for number in active])
        at = None if times is None else np.array([times[number][step] for number in active])
        found, kept, after = running.step(ScalerState(*rows_of(state, active)), x, at)
        state = ScalerState(*merged(state, after, active))
        for number, row in zip(active[kept], found[kept], strict=True):
            rows[number].append(row)
    running.check(state)
    for number, (each, own) in enumerate(zip(series, rows, strict=True)):
        if own:
            whole = scaler.transform(each, None if times is None else times[number])
            assert np.array_equal(np.stack(own), whole)


def uneven() -> tuple[RunningScaler, ScalerState, Any]:
    """Return a scaler with masks and gaps, the state of two streams after a step at 1, and a step."""
    x = np.array([[1.0, 2.0], [np.nan, 4.0]], np.float32)
    running = RunningScaler(Scaler.fit([x, x], times=[np.array([0.0, 1.0]), np.array([0.0, 5.0])]))
    return running, running.step(running.start(2), x, np.ones(2))[2], x


@pytest.mark.parametrize("time", [1.0, 0.5])
def test_a_step_comes_later_than_the_one_before_in_each_stream(time):
    running, state, x = uneven()
    with pytest.raises(DataError, match=f"time: expected more than that of the step before, 1, got {time:g}"):
        running.step(state, x, np.array([2.0, time]))


@pytest.mark.parametrize(
    "changed",
    [
        {"steps": -1}, {"timed": 2}, {"time": np.nan}, {"clock": np.inf}, {"clock": -1.0}, {"marked": -1.0},
        {"marked": 1e-9}, {"last": np.inf},
    ],
)  # fmt: skip
def test_a_state_that_no_step_leaves_is_refused(changed):
    running, state, _ = uneven()
    running.check(state)
    ((name, value),) = changed.items()
    part = getattr(state, name).copy()
    part[..., -1] = value
    with pytest.raises(StateError, match="state: expected what reading steps leaves, got other numbers"):
        running.check(state._replace(**{name: part}))
