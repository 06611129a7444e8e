"""Forecasts of series: what is learnt, kept, resumed, promised and refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unrolled import load, predict, spec, stream, tasks, train
from unrolled.data import Series
from unrolled.errors import ConfigError, DataError
from unrolled.schema import forecasts
from unrolled.tasks import write_series
from unrolled.tasks.forecast import storing
from unrolled.tasks.forecast.dataset import reopen
from unrolled.tasks.forecast.predicting import backtested
from unrolled.tasks.run_report import comparison_lines

HOUR = np.timedelta64(1, "h")


def waves(count: int = 3, steps: int = 300, **more: Any) -> Series:
    """Return noisy waves of 12 steps, each about a level of its own, with hours as times."""
    draws = np.random.default_rng(0)
    t = np.arange(steps)
    values = [
        10 * k + np.sin(2 * np.pi * t / 12) * (k + 1) + draws.normal(0, 0.1, steps) for k in range(count)
    ]
    times = np.datetime64("2024-01-01T00", "us") + t * HOUR
    ids = [f"s{k}" for k in range(count)]
    return replace(Series.from_arrays(values, ids=ids, times=times, freq="h", **more), season=12)


def config(path: Path, series: Series, **changes: Any) -> spec.TrainConfig:
    own = {k: changes.pop(k) for k in list(changes) if k in spec.ForecastData.__dataclass_fields__}
    write_series(path / "source", series)
    data = spec.ForecastData(str(path / "source"), **{"horizon": 12, "controls": False, **own})
    settings: dict[str, Any] = {"run": str(path / "run"), "cell": "gru", "steps": 60, "hidden_size": 16}
    settings |= {"batch_size": 32, "learning_rate": 0.01, "threads": 1}
    return spec.TrainConfig(data, **{**settings, **changes})


def run(path: Path, series: Series, **changes: Any) -> train.Result:
    return train.run(config(path, series, **changes), observers=[], pictures=False)


def test_waves_are_forecast_beyond_the_end_of_each_series(tmp_path: Path):
    series = waves()
    result = run(tmp_path, series, controls=True)
    found = result.evaluation
    assert found.test.values["mse"] < 0.1
    assert (found.validation.samples, found.test.samples) == (3 * 49, 3 * 49)
    answers = tasks.named("forecast").predict(load(result.run), str(tmp_path / "source"))
    assert list(answers.columns) == ["unique_id", "ds", "Unrolled"]
    assert len(answers) == 36
    assert str(answers.columns["ds"][0]) == "2024-01-13 12:00:00"
    t = np.arange(300, 312)
    wanted = np.concatenate([10 * k + np.sin(2 * np.pi * t / 12) * (k + 1) for k in range(3)])
    assert np.abs(np.array(answers.columns["Unrolled"]) - wanted).max() < 1.5
    scored = tasks.named("forecast").evaluate_source(load(result.run), str(tmp_path / "source"))
    assert scored.judged.samples > found.test.samples


@pytest.mark.parametrize("causal", [False, True])
def test_a_run_that_was_stopped_ends_at_the_same_bits(tmp_path: Path, causal: bool):
    series = waves(2)
    sizes = {"steps": 8, "causal": causal, "dropout": 0.2, "save_every": 4, "intervals": "80"}
    whole = run(tmp_path / "a", series, **sizes).run

    class Stop(train.Observer):
        def step(self, record: train.StepRecord) -> None:
            if record.step == 6:
                raise KeyboardInterrupt

    stopped = config(tmp_path / "b", series, **sizes)
    with pytest.raises(KeyboardInterrupt):
        train.run(stopped, observers=[Stop()], pictures=False)
    (tmp_path / "b" / "source" / "samples.npz").unlink()  # the run has its own
    resumed = train.run(replace(stopped, resume=True), observers=[], pictures=False).run
    for name in ("model/model.safetensors", "checkpoints/step-00000008/optimizer.safetensors"):
        assert (whole / name).read_bytes() == (resumed / name).read_bytes()
    schemas = [json.loads((r / "model" / "config.json").read_text())["schema"] for r in (whole, resumed)]
    assert schemas[0] == schemas[1]


def test_the_test_part_changes_nothing_in_training(tmp_path: Path):
    series = waves()
    first = run(tmp_path / "a", series, steps=12, intervals="80").run
    borders = storing.read(first / "data").borders
    assert borders.tolist() == [[180, 240, 300]] * 3
    changed = [np.where(np.arange(300) >= 240, 7 * v + 3, v) for v in series.values]
    other = run(tmp_path / "b", replace(series, values=changed), steps=12, intervals="80").run
    assert (first / "model/model.safetensors").read_bytes() == (
        other / "model/model.safetensors"
    ).read_bytes()
    schemas = [json.loads((r / "model" / "config.json").read_text())["schema"] for r in (first, other)]
    assert schemas[0] == schemas[1]


def test_series_that_are_too_short_are_named_and_counted(tmp_path: Path):
    series = waves(3)
    series = replace(
        series,
        values=[series.values[0], series.values[1][:100], series.values[2][:30]],
        past=[each[:n] for each, n in zip(series.past, (300, 100, 30), strict=True)],
        known=[each[:n] for each, n in zip(series.known, (300, 100, 30), strict=True)],
        times=[each[:n] for each, n in zip(series.times, (300, 100, 30), strict=True)],
    )
    result = run(tmp_path, series, window=36, horizon=24, steps=2)
    stored = storing.read(result.run / "data")
    assert stored.borders.tolist() == [[180, 240, 300], [100, 100, 100], [0, 0, 0]]
    assert "1 series shorter than window + horizon, 36 + 24 steps, left out: 's2'" in stored.notes
    with pytest.raises(DataError, match=r"^horizon: expected a series of at least \d+ steps, a window of"):
        run(tmp_path / "b", series, window=400, horizon=24)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"intervals": "80,101"}, r"^intervals: expected levels in percent such as 80,95, got '80,101'"),
        ({"intervals": "80", "distribution": "point"}, r"^distribution: expected another than point"),
        ({"known": "a,b", "columns": "b"}, r"^columns: expected columns that are not in `known`, got b"),
        ({"backtest": 2, "test_share": 0.1}, r"^test_share: expected none beside `backtest`, got 0.1"),
        ({"horizon": 0}, r"^horizon: expected at least 1, got 0"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        spec.ForecastData("x.csv", **{"horizon": 4, **settings})


@pytest.mark.parametrize("distribution", ["quantiles", "gaussian", "student-t", "negative-binomial"])
def test_every_distribution_gives_intervals_that_hold_their_median(tmp_path: Path, distribution: str):
    series = waves(2)
    if distribution == "negative-binomial":
        series = replace(series, values=[np.round(np.abs(v) * 3) for v in series.values])
    result = run(tmp_path, series, steps=20, intervals="80,95", distribution=distribution)
    found = result.evaluation
    held = found.validation.values["coverage_80"]  # they were corrected on it; counts are often equal
    assert 0.79 < held < (0.9 if distribution == "negative-binomial" else 0.82)
    assert found.test.values["coverage_95"] > found.test.values["coverage_80"] > 0.5
    assert len(found.by_horizon["width_80"]) == 12
    columns = tasks.named("forecast").predict(load(result.run), str(tmp_path / "source")).columns
    bounds = ("lo-95", "lo-80", None, "hi-80", "hi-95")
    rows = np.array([columns["Unrolled" if each is None else f"Unrolled-{each}"] for each in bounds])
    assert (np.diff(rows, axis=0) >= 0).all()
    if distribution == "negative-binomial":
        assert (rows >= 0).all()
        with pytest.raises(DataError, match=r"^series 's0': expected whole numbers of at least 0"):
            run(tmp_path / "b", waves(), steps=1, distribution=distribution)


def test_a_backtest_scores_each_window_at_the_end(tmp_path: Path):
    result = train.run(config(tmp_path, waves(2), steps=4, backtest=3), observers=[])
    rows = result.evaluation.backtest
    assert [row["windows_from_the_end"] for row in rows] == [3, 2, 1]
    assert result.evaluation.test.samples == 6
    mean = np.mean([row["mse"] for row in rows])
    assert mean == pytest.approx(result.evaluation.test.values["mse"], rel=1e-6)
    assert "| horizons before the end |" in (result.run / "report.md").read_text()
    for name in ("forecasts.png", "error_by_horizon.png"):
        assert (result.run / name).stat().st_size > 1000
    stored = json.loads((result.run / "evaluation.json").read_text())
    assert tasks.named("forecast").evaluation_of(stored).backtest == rows


def test_a_test_file_that_goes_on_is_forecast_from_its_first_value(tmp_path: Path):
    whole = waves(2)
    before = replace(
        whole, values=[v[:240] for v in whole.values], times=[t[:240] for t in whole.times],
        past=[p[:240] for p in whole.past], known=[k[:240] for k in whole.known],
    )  # fmt: skip
    after = replace(
        whole, values=[v[240:] for v in whole.values], times=[t[240:] for t in whole.times],
        past=[p[240:] for p in whole.past], known=[k[240:] for k in whole.known],
    )  # fmt: skip
    write_series(tmp_path / "later", after)
    result = run(tmp_path, before, steps=2, test=str(tmp_path / "later"))
    assert result.evaluation.test.samples == 2 * (60 - 12 + 1)
    assert storing.read(result.run / "data").borders.tolist() == [[192, 240, 240]] * 2


def test_a_series_that_training_had_not_is_scaled_by_its_own_values(tmp_path: Path):
    series = waves(2)
    result = run(tmp_path, series, steps=40)
    new = replace(waves(1), ids=("new",), values=[waves(1).values[0] * 50 + 7000])
    write_series(tmp_path / "new", new)
    answers = tasks.named("forecast").predict(load(result.run), str(tmp_path / "new"))
    assert answers.notes == ("1 series not in the training data, scaled by their own values: 'new'",)
    assert all(6800 < value < 7200 for value in answers.columns["Unrolled"])


@pytest.mark.parametrize(("count", "names"), [(40, "{}"), (1500, "a long name, number {}" + 1000 * "x")])
def test_more_series_than_a_checkpoint_holds_are_scaled_by_their_own_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, names: str
):
    monkeypatch.setattr(forecasts, "MOST_KEPT", 39 if count == 40 else forecasts.MOST_KEPT)
    values = 5 + np.arange(count)[:, None] % 7 + np.random.default_rng(0).normal(0, 1, (count, 8))
    series = Series.from_arrays(list(values), ids=[names.format(k) for k in range(count)])
    result = run(tmp_path, series, horizon=1, window=2, steps=3)
    stored = json.loads((result.run / "model" / "config.json").read_text())
    assert (stored["schema"]["ids"], stored["schema"]["scale"], stored["model"]["series"]) == ([], [], 0)
    answers = tasks.named("forecast").predict(load(result.run), str(tmp_path / "source"))
    assert answers.notes == (
        "each series is scaled by its own values, as training had too many to store their scales",
    )
    network, given = load(result.run).model, np.array(answers.columns["Unrolled"])
    mean, scale = values.mean(1, keepdims=True), values.std(1, keepdims=True)
    own = network(torch.tensor((values - mean) / scale).float().T[-2:, :, None]).detach().numpy()[:, 0]
    np.testing.assert_allclose(given, (own * scale + mean)[:, 0], rtol=1e-4, atol=1e-4)
    (tmp_path / "run" / "LATEST").write_text("step-00000001\n")
    resumed = replace(result.config, resume=True)
    (tmp_path / "run" / "evaluation.json").unlink()
    again = train.run(resumed, observers=[], pictures=False)
    assert again.evaluation.judged == result.evaluation.judged
    dataset = reopen(result.config.data, tmp_path / "run" / "data")
    assert any("too many to store the scale of each" in note for note in dataset.notes)


def test_a_stream_of_series_whose_scales_are_not_stored_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(forecasts, "MOST_KEPT", 1)
    series = Series.from_arrays(list(np.random.default_rng(0).normal(0, 1, (2, 9))))
    result = run(tmp_path, series, horizon=1, window=2, steps=1, causal=True)
    with pytest.raises(ConfigError, match=r"^network: expected a forecaster whose checkpoint has the scale"):
        stream.load(result.run)
    assert result.model.streamed() is None


def test_the_scale_of_a_series_that_training_had_not_is_of_what_comes_before_its_forecasts(tmp_path: Path):
    network = run(tmp_path, waves(2), steps=2).model
    new = replace(waves(1), ids=("new",))
    later = replace(new, values=[np.where(np.arange(300) < 276, new.values[0], 1e6)])
    first, second = (backtested(network, each, 2, 12)["Unrolled"] for each in (new, later))
    np.testing.assert_array_equal(first[:12], second[:12])


@pytest.mark.parametrize("repeating", [3, 2])
def test_series_that_repeat_themselves_are_left_out_of_scaled_errors_and_counted(
    tmp_path: Path, repeating: int
):
    t = np.arange(300)
    periodic = [np.sin(2 * np.pi * t / 12), np.full(300, 0.1), np.cos(2 * np.pi * t / 12)]
    series = replace(waves(), values=[*periodic[:repeating], *waves().values[repeating:]])
    result = run(tmp_path, series, steps=2, controls=True)
    found, first = result.evaluation, "MASE is not defined: in every series before the forecasts"
    if repeating < 3:
        first = "MASE leaves out 2 of 3 series: before the forecasts"
    again = tasks.named("forecast").evaluate_source(load(result.run), str(tmp_path / "source"))
    for each in (found, again):
        assert any(
            note.startswith(f"{first} each value equals the one 12 steps earlier") for note in each.notes
        )
        assert np.isnan(each.judged.values["mase"]) == (repeating == 3)
        assert "nan" not in str(each)
    lines = comparison_lines(found, str)
    assert not any("nan" in line for line in lines)
    assert (" – " in lines[2].split("mse")[-1].rsplit("|", 3)[0]) == (repeating == 3)


def test_an_evaluation_of_a_long_horizon_is_read_again(tmp_path: Path):
    result = run(tmp_path, waves(1, 60), horizon=2, steps=1)
    steps = tuple(np.random.default_rng(0).normal(0, 1, 30_000).tolist())
    names = ("mse", "mae", "coverage_80", "width_80")
    long = replace(result.evaluation, by_horizon=dict.fromkeys(names, steps))
    path = result.run / "evaluation.json"
    train.report.write_evaluation(long, path, validation_is_train=False)
    assert train.report.read_evaluation(path)["by_horizon"]["mae"] == list(steps)
    assert predict.evaluate(result.run).by_horizon["width_80"] == steps


def test_names_that_could_not_be_read_again_are_refused_before_training(tmp_path: Path):
    series = Series.from_arrays([np.arange(40.0)] * 2, past=[np.ones((40, 1))] * 2, past_names=["x" * 2**22])
    with pytest.raises(
        DataError, match=r"^source: expected names of columns that fit into 4 MiB of corpus.json"
    ):
        write_series(tmp_path, series)


def test_what_a_checkpoint_cannot_hold_is_refused_before_training(tmp_path: Path):
    wide = Series.from_arrays(
        [np.arange(40.0)] * 2,
        past=[np.random.default_rng(0).normal(0, 1, (40, 20_000)).astype(np.float32)] * 2,
    )
    with pytest.raises(
        DataError, match=r"^config.json: expected .*; the names of columns, classes or series"
    ):
        run(tmp_path, wide, horizon=1, steps=1, hidden_size=1)
    assert not (tmp_path / "run" / "config.json").exists()
    with pytest.raises(
        DataError, match=r"^config.json: expected .*; the names of columns, classes or series"
    ):
        train.describe(config(tmp_path, wide, horizon=1, steps=1, hidden_size=1))
    with pytest.raises(
        ConfigError, match=r"^intervals: expected at most 1 levels with a horizon of 20000, got 2"
    ):
        spec.ForecastData("x.csv", horizon=20_000, intervals="80,95")


def test_values_that_mean_nothing_are_forecast_no_better_than_by_their_mean(tmp_path: Path):
    draws = np.random.default_rng(3)
    noise = replace(waves(2, 400), values=[draws.normal(0, 1, 400) for _ in range(2)])
    values = run(tmp_path, noise, steps=60, normalise="none").evaluation.test.values
    assert 0.8 < values["mse"] < 1.3
