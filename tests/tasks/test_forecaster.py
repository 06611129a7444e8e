"""Forecaster: the conventions of scikit-learn, the columns of Nixtla's packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled.data import Series
from unrolled.errors import CheckpointError, ConfigError, DataError
from unrolled.tasks import Forecaster, SequenceClassifier

QUICK: dict[str, Any] = {"steps": 40, "hidden_size": 16, "learning_rate": 0.01, "threads": 1}


def columns(count: int = 2, steps: int = 240, drop: int = 0) -> dict[str, Any]:
    """Return a long table of daily waves that a known column drives."""
    t = np.arange(steps)
    days = np.datetime64("2023-01-01", "us") + t * np.timedelta64(1, "D")
    push = (t // 5 % 2).astype(float)
    draws = np.random.default_rng(0)
    found: dict[str, list[Any]] = {"unique_id": [], "ds": [], "y": [], "push": [], "size": []}
    for k in range(count):
        y = np.sin(2 * np.pi * t / 7) + 3 * push + 20 * k + draws.normal(0, 0.05, steps)
        found["unique_id"] += [f"s{k}"] * steps
        found["ds"] += days.tolist()
        found["y"] += [float(v) if n < steps - drop else None for n, v in enumerate(y)]
        found["push"] += push.tolist()
        found["size"] += [float(k)] * steps
    return found


def frame(**changes: Any) -> Any:
    polars = pytest.importorskip("polars")
    return polars.DataFrame(columns(**changes))


def test_what_comes_next_is_a_frame_of_the_same_library(tmp_path: Path):
    made = Forecaster(h=7, level=[80], known=["push"], static=["size"], **QUICK)
    df = frame()
    fitted = made.fit(df)
    assert fitted is made
    ahead = frame(steps=260).select("unique_id", "ds", "push", "size")
    answers = fitted.predict(X_df=ahead)
    assert answers.columns == ["unique_id", "ds", "Unrolled", "Unrolled-lo-80", "Unrolled-hi-80"]
    assert (len(answers), str(answers["ds"][0])) == (14, "2023-08-29 00:00:00")
    assert (answers["Unrolled-lo-80"] <= answers["Unrolled"]).all()
    assert (answers["Unrolled"] <= answers["Unrolled-hi-80"]).all()
    again = Forecaster.load(made.save(tmp_path / "model"))
    assert (again.h, again.level, tuple(again.known)) == (7, [80.0], ("push",))
    assert again.predict(df, X_df=ahead).equals(answers)
    with pytest.raises(DataError, match=r"^known push: expected 7 rows after the last value of 's0', got 0"):
        fitted.predict()
    with pytest.raises(DataError, match=r"^df: expected what came before the forecast"):
        again.predict()
    with pytest.raises(CheckpointError, match="expected a model of the task classify, got forecast"):
        SequenceClassifier.load(tmp_path / "model")


def test_a_known_column_is_used():
    df = frame()
    fitted = Forecaster(h=7, known=["push"], **{**QUICK, "steps": 300}).fit(df)
    ahead = frame(steps=260).select("unique_id", "ds", "push")
    low = fitted.predict(X_df=ahead.with_columns(push=ahead["push"] * 0))["Unrolled"].to_numpy()
    high = fitted.predict(X_df=ahead.with_columns(push=ahead["push"] * 0 + 1))["Unrolled"].to_numpy()
    assert 1.5 < (high - low).mean() < 4.5  # a step of 3


def test_cross_validation_forecasts_what_training_did_not_see():
    df = frame()
    found = Forecaster(h=5, **QUICK).fit(df).cross_validation(df.select("unique_id", "ds", "y"), 3, 2)
    assert found.columns == ["unique_id", "ds", "cutoff", "y", "Unrolled"]
    assert len(found) == 2 * 3 * 5
    cutoffs = found["cutoff"].unique().sort().to_list()
    assert [str(moment)[:10] for moment in cutoffs] == ["2023-08-19", "2023-08-21", "2023-08-23"]
    assert ((found["ds"] - found["cutoff"]).dt.total_days() <= 5).all()
    joined = found.join(df, on=["unique_id", "ds"])
    assert np.allclose(joined["y"], joined["y_right"], atol=1e-4)
    changed = df.with_columns(y=np.where((df["ds"] > cutoffs[0]).to_numpy(), 99.0, df["y"].to_numpy()))
    first = Forecaster(h=5, **QUICK)
    other = first.cross_validation(changed.select("unique_id", "ds", "y"), 3, 2)
    earliest = [f.filter(f["cutoff"] == f["cutoff"].min())["Unrolled"].to_list() for f in (found, other)]
    assert earliest[0] == earliest[1]
    with pytest.raises(ConfigError, match=r"^n_windows: expected a whole number of at least 1, got 0"):
        first.cross_validation(df, 0)


def test_parameters_follow_scikit_learns_conventions():
    base = pytest.importorskip("sklearn.base")
    made = base.clone(Forecaster(h=3, level=[90], steps=5))
    assert made.get_params()["level"] == [90]
    assert repr(made.set_params(h=4)) == "Forecaster(h=4, level=[90], steps=5)"


def test_series_of_arrays_give_a_dictionary():
    series = Series.from_arrays([np.sin(np.arange(120) / 3)], season=19)
    answers = Forecaster(h=4, **QUICK).fit(series).predict()
    assert answers["ds"].tolist() == [120, 121, 122, 123]
    assert answers["unique_id"] == ["0"] * 4
