"""What a forecaster's steps and outputs mean, against loops over steps, levels and values."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.schema import ForecastSchema, SeriesReading, rising

LAW = settings(deadline=None, max_examples=30)


def schema_of(**changes) -> ForecastSchema:
    made = {
        "horizon": 3,
        "freq": None,
        "season": 1,
        "ids": ("a", "b"),
        "mean": (10.0, -5.0),
        "scale": (2.0, 3.0),
    }
    made |= {"levels": (), "distribution": "point", "missing": "mask", "masked": True}
    return ForecastSchema(**(made | changes))


@LAW
@given(st.integers(0, 999))
def test_corrected_intervals_hold_the_median_and_lie_within_one_another(seed):
    rng = np.random.default_rng(seed)
    corrections = tuple(map(tuple, rng.normal(size=(3, 3))))
    schema = schema_of(levels=(50.0, 80.0, 95.0), distribution="quantiles", corrections=corrections)
    given = rising(rng.normal(0, 0.5, (4, 3, 7)))
    point, lower, upper = schema.forecasts(given, np.ones((4, 1)))
    plain = schema.forecasts(given, np.ones((4, 1)), corrected=False)
    for window, step in np.ndindex(4, 3):
        values = given[window, step]
        low = high = values[3]
        assert point[window, step] == values[3]
        for level in range(3):
            low = min(low, values[2 - level] - corrections[level][step])
            high = max(high, values[4 + level] + corrections[level][step])
            assert (lower[window, level, step], upper[window, level, step]) == (low, high)
            sides = [each[window, level, step] for each in plain[1:]]
            assert sides == [values[2 - level], values[4 + level]]


@LAW
@given(
    st.lists(st.tuples(*[st.one_of(st.floats(-100, 100), st.just(math.nan))] * 2), min_size=1, max_size=9),
    st.booleans(),
)
def test_steps_of_series_are_read_and_answered_as_a_loop_over_their_values_does(values, relative):
    reading = SeriesReading(schema_of(), outputs=1, normalise="last" if relative else "none")
    _, *rest = reading.start(2)
    state = (np.array([reading.place("a"), reading.place("b")]), *rest)
    last, seen = [0.0, 0.0], [0, 0]
    for step, both in enumerate(values):
        rows, kept, state = reading.step(state, np.array(both)[:, None], None)
        reading.check(state)
        assert kept.all()
        given = np.array([[1.0, -1.0, 0.5]] * 2, np.float32)
        answer = reading.answers(reading.finish(given, rows), state)
        for series, (value, mean, scale) in enumerate(zip(both, (10.0, -5.0), (2.0, 3.0), strict=True)):
            if not math.isnan(value):
                last[series], seen[series] = (value - mean) / scale, step
            wanted = [last[series], not math.isnan(value), math.log1p(step - seen[series])]
            assert np.allclose(rows[series], wanted, atol=1e-5)
            ahead = (given[series] + relative * last[series]) * scale + mean
            assert np.allclose(answer.point[series], ahead, atol=1e-3)
    again = reading.again(state)
    assert again[0].tolist() == [0, 1]
    assert not any(part.any() for part in again[1:])
