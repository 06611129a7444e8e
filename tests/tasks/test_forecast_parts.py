"""The parts of a forecaster, each against a law or an independent judge."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unrolled import spec
from unrolled.data import Series
from unrolled.errors import CheckpointError, DataError
from unrolled.schema import FREEDOM, LEAST
from unrolled.tasks.forecast import Schema, metrics
from unrolled.tasks.forecast.answers import Answers, Table
from unrolled.tasks.forecast.channels import Channels
from unrolled.tasks.forecast.dataset import Forecasts, check_values, prepare
from unrolled.tasks.forecast.distributions import loss
from unrolled.tasks.forecast.evaluation import naive_scales, score
from unrolled.tasks.forecast.network import StepNetwork, build
from unrolled.tasks.forecast.split import choose_window, plan, segment_of
from unrolled.tasks.forecast.steps import StepBatches
from unrolled.tasks.forecast.storing import write_series
from unrolled.tasks.forecast.windows import Windows


def dataset(path: Path, series: Series, **settings: Any) -> Forecasts:
    write_series(path / "source", series)
    data = spec.ForecastData(str(path / "source"), **{"horizon": 4, "window": 12, **settings})
    return prepare(data, path / "data")


def ragged(holes: bool = False) -> Series:
    """Return three series whose values say which series and step they are of."""
    values = [100.0 * k + np.arange(n, dtype=float) for k, n in enumerate((60, 80, 100))]
    known = [np.arange(n + 6, dtype=float)[:, None] + 1000 * k for k, n in enumerate((60, 80, 100))]
    if holes:
        values[1][[3, 20, 21, 50, 70]] = np.nan
    return Series.from_arrays(values, known=known, known_names=["k"], season=4)


# ---------------------------------------------------------------------------------------- windows


def test_no_window_crosses_a_part_or_a_series(tmp_path: Path):
    found = dataset(tmp_path, ragged())
    borders = found.stored.borders
    assert borders.tolist() == [[36, 48, 60], [48, 64, 80], [60, 80, 100]]
    for number, name in enumerate(("train", "validation", "test")):
        series, origins = found.part(name).windows
        begin = borders[series, number - 1] if number else np.full(len(series), 12)
        assert (origins >= begin).all()
        assert (origins + 4 <= borders[series, number]).all()
        counted = sum(int(b[number]) - max(12, int(b[number - 1]) if number else 0) - 3 for b in borders)
        assert len(series) == counted


def test_a_batch_holds_the_rows_that_it_says(tmp_path: Path):
    found = dataset(tmp_path, ragged())
    schema, windows = found.schema, found.part("train").windows
    batch = found.batches(rows=len(windows.series), seed=0, bptt_steps=1).batch(windows)
    mean, scale = np.array(schema.mean)[windows.series], np.array(schema.scale)[windows.series]
    inputs = batch.inputs[:, :, 0].numpy() * scale + mean
    wanted = 100 * windows.series + windows.origins + np.arange(-12, 0)[:, None]
    assert np.allclose(inputs, wanted, atol=1e-3)
    targets = batch.targets.numpy() * scale[:, None] + mean[:, None]
    ahead = windows.origins[:, None] + np.arange(4)
    assert np.allclose(targets, 100 * windows.series[:, None] + ahead, atol=1e-3)
    future = batch.future.numpy()[:, :, 0] * schema.known.scale[0] + schema.known.mean[0]
    assert np.allclose(future.T, 1000 * windows.series[:, None] + ahead, atol=1e-2)


def test_scaling_is_of_training_rows_alone(tmp_path: Path):
    series = ragged()
    found = dataset(tmp_path, series).schema
    for values, rows, mean, scale in zip(series.values, (36, 48, 60), found.mean, found.scale, strict=True):
        assert mean == pytest.approx(values[:rows].mean())
        assert scale == pytest.approx(values[:rows].std())


def test_figures_in_units_are_those_of_the_values_themselves(tmp_path: Path):
    judge = pytest.importorskip("sklearn.metrics")
    series = ragged()
    found = dataset(tmp_path, series, intervals="50,80")
    part = found.part("test")
    numbers, origins = part.windows.series, part.windows.origins
    truth = np.stack([series.values[s][o : o + 4] for s, o in zip(numbers, origins, strict=True)])
    draws = np.random.default_rng(0)
    ends = [truth + draws.normal(shift, 1, truth.shape) for shift in (-2, -1, 0, 1, 2)]
    mean, scale = part.channels.mean[numbers][:, None], part.channels.scale[numbers][:, None]
    low80, low50, point, high50, high80 = ((each - mean) / scale for each in ends)
    given = Answers(point, np.stack([low50, low80], 1), np.stack([high50, high80], 1))
    values = score(part, given, found.schema)
    losses = [
        judge.mean_pinball_loss(truth.ravel(), end.ravel(), alpha=share)
        for share, end in zip((0.1, 0.25, 0.5, 0.75, 0.9), ends, strict=True)
    ]
    assert values["pinball"] == pytest.approx(np.mean(losses), rel=1e-4)
    assert values["mae_units"] == pytest.approx(judge.mean_absolute_error(truth, ends[2]), rel=1e-4)
    assert values["width_80"] == pytest.approx((ends[4] - ends[0]).mean(), rel=1e-4)


def test_errors_are_scaled_by_what_comes_before_the_forecasts(tmp_path: Path):
    plain, wild = ragged(), ragged()
    for each, rows in zip(wild.values, (48, 64, 80), strict=True):
        each[rows:] *= 1000
    parts = [dataset(tmp_path / name, each) for name, each in (("a", plain), ("b", wild))]
    first, second = (naive_scales(each.part("test"), each.schema) for each in parts)
    assert first.tolist() == second.tolist() == [metrics.naive_scale(v[:48], 4) for v in plain.values]


def test_a_missing_value_is_told_and_never_a_target(tmp_path: Path):
    found = dataset(tmp_path, ragged(holes=True))
    assert found.schema.channels == ("value", "has value", "since value", "k")
    channels = found.channels
    one = channels.inputs[channels.starts[1] :][:80]
    assert one[:, 1].sum() == 75
    assert np.allclose(np.expm1(one[19:23, 2]), [0, 1, 2, 0], atol=1e-5)
    assert one[20, 0] == one[21, 0] == one[19, 0]
    part = found.part("train")
    batch = found.batches(rows=9, seed=0, bptt_steps=1).batch(Windows(np.array([1]), np.array([19])))
    assert torch.isnan(batch.targets[0]).tolist() == [False, True, True, False]
    network = build(model_of(found), seed=0, backend="auto")
    total, count, _ = network.loss(batch, network.initial_state(1))
    assert (count, bool(total.isfinite())) == (2, True)
    assert len(part.windows.series) == 21 + 33 + 45


def test_windows_with_missing_inputs_are_left_out_where_asked(tmp_path: Path):
    found = dataset(tmp_path, ragged(holes=True), missing="drop")
    assert found.schema.channels == ("value", "k")
    series, origins = found.part("train").windows
    assert [int(o) for o in origins[series == 1]] == [16, 17, 18, 19, 20, *range(34, 45)]
    with pytest.raises(DataError, match=r"^series '1': expected no missing value, got 3 missing values"):
        dataset(tmp_path / "b", ragged(holes=True), missing="refuse")


def test_infinite_values_are_refused(tmp_path: Path):
    series = ragged()
    series.values[0][7] = np.inf
    with pytest.raises(DataError, match=r"^series '0': expected a finite number, got inf at its step 8"):
        check_values(series)
    with pytest.raises(DataError, match=r"samples\.npz: expected series, got .*an infinite number"):
        dataset(tmp_path, series)


@pytest.mark.parametrize(("freq", "last"), [("YS", 9e12), (None, 1e19)])
def test_forecasts_behind_the_end_of_the_calendar_are_refused(freq: str | None, last: float):
    series = Series.from_arrays([np.arange(4.0)])
    far = replace(series, times=[np.linspace(0, last, 4)], freq=freq and "1000YS")
    schema = Schema.fit(far, [4], spec.ForecastData("x.csv", horizon=1000))
    with pytest.raises(DataError, match=r"^horizon: expected times within .*, got one that ends at "):
        Table.of(far, Windows(np.zeros(1, np.int64), np.full(1, 4)), schema)


def test_the_window_follows_season_horizon_and_length():
    assert choose_window(np.array([8640]), 24, 96) == 96
    assert choose_window(np.array([8640]), 24, 200) == 216  # whole days
    assert choose_window(np.array([3000]), 7, 14) == 28
    assert choose_window(np.array([60]), 12, 18) == 24  # of what 60 months leave
    assert choose_window(np.array([1000]), 1, 10) == 35
    assert (segment_of(96, 24), segment_of(336, 168), segment_of(97, 24)) == (24, 42, 1)
    data = spec.ForecastData("x", horizon=10, backtest=3)
    assert plan(["a"], [200], 1, data).borders.tolist() == [[130, 170, 200]]


# ---------------------------------------------------------------------------------------- a carried state


def model_of(found: Forecasts, **changes: Any) -> spec.ForecastModel:
    schema = found.schema
    sizes = {"horizon": 4, "window": 12, "segment": found.segment, "input_size": len(schema.channels)}
    sizes |= {"known_size": schema.known_channels, "outputs": 1, "hidden_size": 8}
    return spec.ForecastModel(**{**sizes, **changes})


def test_a_carried_state_gives_what_a_whole_series_gives(tmp_path: Path):
    found = dataset(tmp_path, ragged(holes=True), causal=True)
    network = build(model_of(found), seed=0, backend="auto").eval()
    assert isinstance(network, StepNetwork)
    rows = found.stored.borders[:, 0]
    batches = StepBatches(
        found.channels, np.zeros(3, int), rows, horizon=4, batch_size=1, bptt_steps=7, seed=0
    )
    assert sum(len(batch.inputs) for batch in batches.epoch(1)) == rows.sum()
    windows = found.part("train").windows
    answers = network.answers(found.channels, windows)
    state, given = network.initial_state(1), []
    for batch in batches.epoch(1):
        with torch.no_grad():
            step, state = network(batch.inputs, state, batch.resets)
        given.append(step[:, 0].numpy())
    first = np.cumsum(rows) - rows
    assert np.allclose(np.concatenate(given)[first[windows.series] + windows.origins - 1], answers, atol=1e-6)


def test_targets_of_steps_stay_in_their_series(tmp_path: Path):
    found = dataset(tmp_path, ragged(), causal=True)
    rows = found.stored.borders[:, 0]
    batches = StepBatches(
        found.channels, np.zeros(3, int), rows, horizon=4, batch_size=2, bptt_steps=16, seed=3
    )
    known = sum(int((~torch.isnan(batch.targets)).sum()) for batch in batches.epoch(0))
    assert known == sum(4 * n - 10 for n in rows.tolist())  # 3 + 2 + 1 + … beyond each end
    held = StepBatches(
        found.channels,
        np.zeros(3, int),
        rows + 9,
        horizon=4,
        batch_size=1,
        bptt_steps=16,
        seed=3,
        targets_from=rows,
    )
    known = sum(int((~torch.isnan(batch.targets)).sum()) for batch in held.epoch(0))
    assert known == 3 * 4 * 9  # each held-out value is a target after each of the four steps before it
    assert sum(int(batch.resets.sum()) for batch in batches.epoch(0) if batch.resets is not None) == 3


def test_training_teaches_what_a_series_is_that_it_had_not(tmp_path: Path):
    found = dataset(tmp_path, ragged())
    network: Any = build(model_of(found, series=3), seed=0, backend="auto")
    batch = found.batches(rows=99, seed=0, bptt_steps=1).batch(found.part("train").windows)
    for training in (True, False):
        torch.manual_seed(0)
        network.train(training).zero_grad()
        network.loss(batch, network.initial_state(99))[0].backward()
        gradient = network.series.weight.grad
        assert bool(gradient[-1].any()) == training
        assert gradient[:-1].any(1).all()


@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.3), (0.3, 0.1), (0.2, 0.0)])
def test_each_part_has_its_share_of_a_series_and_a_horizon_at_least(validation: float, test: float):
    data = spec.ForecastData("x", horizon=5, window=6, validation_share=validation, test_share=test)
    lengths = [30, 100, 200]
    found = plan("abc", lengths, 1, data).borders
    for length, (train, held, end) in zip(lengths, found.tolist(), strict=True):
        assert end == length
        assert held - train == max(round(validation * length), 5)
        assert end - held == (max(round(test * length), 5) if test else 0)


# ---------------------------------------------------------------------------------------- distributions


def softplus(x: Any) -> Any:
    return np.logaddexp(0.0, x)


def test_losses_are_negative_log_likelihoods():
    stats = pytest.importorskip("scipy.stats")
    raw = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.randn(50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    spread = (softplus(raw[:, 1].numpy()) + LEAST,)
    freedom = softplus(raw[:, 2].numpy()) + FREEDOM
    points = torch.tensor([0.5])
    given = loss("gaussian", raw[:, :2], y, points, None)
    assert np.allclose(given, -stats.norm.logpdf(y, raw[:, 0], *spread))
    given = loss("student-t", raw, y, points, None)
    assert np.allclose(given, -stats.t.logpdf(y, freedom, raw[:, 0], *spread))
    counts = (y.abs() * 10).round()
    scale = torch.full((50,), 5.0, dtype=torch.float64)
    given = loss("negative-binomial", raw[:, :2], counts / 5, points, scale)
    mean, number = softplus(raw[:, 0].numpy()) * 5 + 1e-6, 1 / spread[0]
    assert np.allclose(given, -stats.nbinom.logpmf(counts, number, number / (number + mean)))


# ---------------------------------------------------------------------------------------- schema


def test_a_schema_comes_back_as_it_was(tmp_path: Path):
    schema = dataset(tmp_path, ragged(holes=True), intervals="80").schema.corrected(np.full((1, 4), 0.25))
    stored = json.loads(json.dumps(schema.to_json()))
    assert Schema.from_json(stored) == schema
    for key, value in {
        "mean": [0.0], "scale": [1.0, 0.0, 1.0], "ids": ["0", "0", "1"], "levels": [101], "horizon": 0,
        "corrections": [[1.0]], "read_as": {"source": "/etc/passwd"}, "distribution": "none", "freq": 3,
    }.items():  # fmt: skip
        with pytest.raises(CheckpointError, match=rf"schema\.{key}: expected"):
            Schema.from_json({**stored, key: value})
    with pytest.raises(CheckpointError, match="expected the keys"):
        Schema.from_json({**stored, "more": 1})


def test_channels_of_other_columns_are_refused(tmp_path: Path):
    schema = dataset(tmp_path, ragged()).schema
    other = Series.from_arrays([np.arange(30.0)], season=4)
    with pytest.raises(DataError, match=r"^known: expected k, as in training, got none"):
        Channels(other, schema)
