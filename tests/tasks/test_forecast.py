"""Forecasts of series: what is learnt, kept, resumed, promised and refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled import load, spec, tasks, train
from unrolled.data import Series
from unrolled.errors import ConfigError, DataError
from unrolled.tasks import write_series
from unrolled.tasks.forecast import storing

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
        ({"known": "a,b", "columns": "b"}, r"^columns: expected columns that `known` has not, got b"),
        ({"backtest": 2, "test_share": 0.1}, r"^test_share: expected none beside `backtest`, got 0.1"),
        ({"horizon": 0}, r"^horizon: expected at least 1, got 0"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        spec.ForecastData("x.csv", **{"horizon": 4, **settings})
