"""Channels standardised by the training rows; missing values masked, dropped or refused."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.data import Scaler
from unrolled.errors import ConfigError, DataError, ShapeError, UnrolledError

LAW = settings(deadline=None, max_examples=60)
values = st.one_of(st.floats(-1e6, 1e6, width=32), st.just(math.nan))
sequences = st.lists(
    st.lists(st.tuples(values, values), min_size=1, max_size=9).map(lambda rows: np.array(rows, np.float32)),
    min_size=1,
    max_size=6,
)


def gru_d(has, times):
    """Return the time since the last value, by the recursion of Che et al. 2018."""
    since = np.zeros(has.shape)
    for t in range(1, len(has)):
        since[t] = times[t] - times[t - 1] + np.where(has[t - 1], 0, since[t - 1])
    return since


@LAW
@given(sequences)
def test_training_rows_get_mean_zero_and_deviation_one_and_no_nan(rows):
    scaler = Scaler.fit(rows)
    scaled = [scaler.transform(each) for each in rows]
    assert all(np.isfinite(each).all() and each.dtype == np.float32 for each in scaled)
    assert {each.shape[1] for each in scaled} == {len(scaler.outputs)}
    for channel, name in enumerate(scaler.channels):
        there = np.concatenate(
            [s[~np.isnan(r[:, channel]), channel] for r, s in zip(rows, scaled, strict=True)]
        )
        if name not in scaler.constant:
            assert abs(there.astype(np.float64).mean()) < 1e-3
            assert abs(there.astype(np.float64).std() - 1) < 1e-3


@LAW
@given(sequences, st.data())
def test_masks_and_times_since_are_those_of_gru_d(rows, data):
    steps = [
        np.cumsum(data.draw(st.lists(st.sampled_from([1.0, 2.0, 5.0]), min_size=len(r), max_size=len(r))))
        for r in rows
    ]
    scaler = Scaler.fit(rows, times=steps)
    for each, times in zip(rows, steps, strict=True):
        result = dict(zip(scaler.outputs, scaler.transform(each, times).T, strict=True))
        has = ~np.isnan(each)
        since = gru_d(has, times / (scaler.step or 1))
        for channel, name in enumerate(scaler.channels):
            if name in scaler.masked:
                assert np.array_equal(result[f"has {name}"], has[:, channel])
                assert np.allclose(result[f"since {name}"], np.log1p(since[:, channel]), atol=1e-5)
            else:
                assert has[:, channel].all()
        if scaler.gaps:
            gap = np.diff(times, prepend=times[0]) / scaler.step
            assert np.allclose(result["gap"], np.log1p(gap), atol=1e-5)


@LAW
@given(sequences)
def test_a_step_depends_on_those_before_it_alone(rows):
    scaler = Scaler.fit(rows)
    for each in rows:
        whole = scaler.transform(each)
        for steps in range(1, len(each) + 1):
            assert np.array_equal(scaler.transform(each[:steps]), whole[:steps])


@LAW
@given(sequences)
def test_a_scaler_survives_json_to_the_bit(rows):
    scaler = Scaler.fit(rows, ["a", "b"])
    again = Scaler.from_json(json.loads(json.dumps(scaler.to_json(), allow_nan=False)))
    assert again == scaler
    assert all(np.array_equal(again.transform(r), scaler.transform(r)) for r in rows)


def test_a_missing_value_takes_the_last_one_and_the_mean_before_the_first():
    rows = np.array([[np.nan], [1.0], [np.nan], [3.0]], np.float32)
    scaler = Scaler.fit([rows], ["x"])
    assert (scaler.mean, scaler.scale) == ((2.0,), (1.0,))
    assert scaler.transform(rows)[:, 0].tolist() == [0.0, -1.0, -1.0, 1.0]


def test_constant_and_empty_channels_are_named_and_become_zero():
    rows = np.array([[0.1, 1.0, np.nan], [0.1, 2.0, np.nan]], np.float32)
    scaler = Scaler.fit([rows] * 7, ["flat", "x", "empty"])
    assert scaler.constant == ("flat", "empty")
    assert (scaler.transform(rows)[:, [0, 2]] == 0).all()


def test_a_large_offset_costs_no_digits():
    rows = (1e6 + np.random.default_rng(0).normal(size=(5000, 1))).astype(np.float32)
    scaler = Scaler.fit(list(rows.reshape(50, 100, 1)))
    assert scaler.scale[0] == pytest.approx(np.std(rows.astype(np.float64)), rel=1e-9)
    assert scaler.mean[0] == pytest.approx(np.mean(rows.astype(np.float64)), rel=1e-12)


def test_steps_with_missing_values_are_dropped_where_that_is_asked_for():
    rows = np.array([[1.0, 1.0], [np.nan, 2.0], [3.0, 3.0]], np.float32)
    scaler = Scaler.fit([rows], missing="drop")
    assert scaler.outputs == ("0", "1")
    assert scaler.transform(rows).shape == (2, 2)
    times = np.array([0.0, 1.0, 5.0])
    timed = Scaler.fit([rows], times=[times], missing="drop")
    assert timed.step is not None
    assert np.allclose(timed.transform(rows, times)[:, 2], np.log1p([0, 5 / timed.step]))
    with pytest.raises(DataError, match="sequence: expected a step without missing values, got none"):
        scaler.transform(rows[1:2])


def test_missing_values_that_training_did_not_have_are_refused():
    rows = np.array([[1.0, 1.0], [2.0, 2.0]], np.float32)
    hole = np.array([[1.0, np.nan]], np.float32)
    with pytest.raises(DataError) as caught:
        Scaler.fit([rows], ["x", "y"]).transform(hole)
    assert str(caught.value) == "channel 'y': expected no missing value in a sequence, got 1 missing value"
    with pytest.raises(DataError, match="channel 'y': expected no missing value in training rows"):
        Scaler.fit([hole], ["x", "y"], missing="refuse")


def test_a_value_far_off_stays_finite():
    scaler = Scaler.fit([np.array([[0.0], [1e-30]], np.float32)])
    assert scaler.transform(np.array([[3e38], [-3e38]], np.float32)).tolist() == [[1e6], [-1e6]]


def test_uneven_times_must_be_given_again_and_even_ones_need_not():
    rows = [np.array([[1.0], [2.0], [3.0], [4.0]], np.float32)]
    uneven = Scaler.fit(rows, times=[np.array([0.0, 60.0, 120.0, 3600.0])])
    assert (uneven.outputs, uneven.step) == (("0", "gap"), 60.0)
    with pytest.raises(DataError, match="times: expected a time for each step, as in training, got none"):
        uneven.transform(rows[0])
    assert Scaler.fit(rows, times=[np.array([0.0, 60.0, 120.0, 180.0])]).outputs == ("0",)


def test_times_that_do_not_rise_are_refused():
    rows = np.array([[1.0], [2.0]], np.float32)
    scaler = Scaler.fit([rows])
    with pytest.raises(DataError, match=r"times: expected rising numbers within ±4.6e\+18, got others"):
        scaler.transform(rows, np.array([1.0, 1.0]))
    with pytest.raises(ShapeError, match=r"times: expected \[2\], got \[3\]"):
        scaler.transform(rows, np.arange(3.0))


def test_where_sequences_are_cut_changes_no_mean(monkeypatch):
    rows = np.random.default_rng(0).normal(5, 3, (500, 2)).astype(np.float32)
    whole = Scaler.fit([rows])
    monkeypatch.setattr("unrolled.schema.scaling.BLOCK", 64)
    parts = Scaler.fit(list(rows.reshape(50, 10, 2)))
    assert np.allclose(parts.mean, whole.mean, rtol=1e-12)
    assert np.allclose(parts.scale, whole.scale, rtol=1e-12)


def test_bad_arguments_are_named():
    rows = [np.zeros((3, 2), np.float32)]
    with pytest.raises(ConfigError, match="missing: expected one of mask, drop, refuse, got 'fill'"):
        Scaler.fit(rows, missing="fill")
    with pytest.raises(ShapeError, match=r"sequence: expected \[T, 2\], got \[3, 1\]"):
        Scaler.fit(rows).transform(np.zeros((3, 1), np.float32))
    with pytest.raises(DataError, match="sequences: expected at least 1 to measure, got none"):
        Scaler.fit([])


KEYS = sorted(Scaler.fit([np.zeros((2, 2), np.float32)]).to_json())
JUNK = [
    None,
    True,
    -1,
    0,
    1e400,
    math.nan,
    "x" * 2000,
    [],
    {},
    ["0", "0"],
    [1.0],
    [0.0, math.nan],
    [0.0, -1.0],
    [{}, []],
]


@pytest.mark.parametrize("key", KEYS)
def test_what_is_no_scaler_is_refused_in_one_line(key):
    rows = np.array([[1.0, np.nan], [2.0, 3.0]], np.float32)
    good = Scaler.fit([rows]).to_json()
    for junk in JUNK:
        try:
            Scaler.from_json({**good, key: junk})
        except UnrolledError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017
            assert len(str(error)) < 400  # noqa: PT017
    with pytest.raises(DataError):
        Scaler.from_json({name: value for name, value in good.items() if name != key})
    with pytest.raises(DataError):
        Scaler.from_json({**good, "more": 1})
    with pytest.raises(DataError):
        Scaler.from_json([good])
