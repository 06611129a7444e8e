"""Several seeds: each is run once, and their figures are those of a sample."""

from __future__ import annotations

import json
import math
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled import train
from unrolled.spec import DataConfig, TrainConfig
from unrolled.tasks.scores import Control, Scores


def test_each_seed_runs_once_and_its_figures_count_as_one_of_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    taken: list[tuple[int, str, bool]] = []
    mse = {7: 0.5, 8: 0.25, 9: 1.0}

    def run(config: TrainConfig, *_: Any, **__: Any) -> Any:
        taken.append((config.seed, Path(str(config.run)).name, config.resume))
        figures = {"mse": mse[config.seed], "mase": math.nan if config.seed == 8 else 1.0}
        control = Control("mean", 1, 0.0, {"mse": 2 * mse[config.seed]})
        found = {"part": "test", "judged": Scores(3, figures), "controls": (control,)}
        return types.SimpleNamespace(evaluation=types.SimpleNamespace(**found))

    monkeypatch.setattr("unrolled.train.seeds.run", run)
    found = train.run_seeds(TrainConfig(DataConfig("sentences"), run=str(tmp_path), seed=7), 3)
    assert taken == [(seed, f"seed-{seed}", True) for seed in (7, 8, 9)]
    assert (found.seeds, found.part) == ((7, 8, 9), "test")
    values = np.array([0.5, 0.25, 1.0])
    assert set(found.figures) == {"mse"}  # one that a run lacks has no mean
    for spread, times in ((found.figures["mse"], 1), (found.controls["mean"]["mse"], 2)):
        assert spread.values == tuple(times * values)
        assert spread.mean == pytest.approx(times * values.mean())
        assert spread.std == pytest.approx(times * values.std(ddof=1))
        assert (spread.min, spread.max) == (times * 0.25, times * 1.0)
    assert json.loads((tmp_path / "seeds.json").read_text()) == json.loads(json.dumps(found.to_dict()))
