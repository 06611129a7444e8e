"""What the scheduler makes of what trials say; their processes are stood in for."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest

from unrolled.spec import CLASSIFY, LANGUAGE, DataConfig, SweepConfig, TrainConfig
from unrolled.sweep import scheduler
from unrolled.sweep.results import Ranking


class Process:
    """Keeps what it is told."""

    def __init__(self, *_: Any) -> None:
        self.told: list[str] = []
        self.tell = self.told.append


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A scheduler that has started a trial which took 7.5 s before, and which the pruner would stop."""
    monkeypatch.setattr(scheduler, "Process", Process)
    study: Any = types.SimpleNamespace(place=tmp_path, axes=types.SimpleNamespace(named={}), trials=list)
    claim: Any = types.SimpleNamespace(
        number=0,
        values={},
        begun=True,
        known={"seconds": 7.5},
        report=lambda *_: None,
        is_behind=lambda: True,
    )
    config, ranking = TrainConfig(DataConfig("sentences")), Ranking.of(LANGUAGE, ["learning_rate"])
    made = scheduler.Scheduler(study, config, SweepConfig(), ranking, [], most=1, until=None)
    made._start(claim)
    return made


def test_a_trial_behind_is_pruned_but_not_after_its_last_step(begun: Any):
    ((process, work),) = begun._work.items()
    for step, loss in ((2, 2.0), (4, 0.0), (10, 3.0)):
        begun._take(process, {"step": step, "steps": 10, "loss": loss})
    assert process.told == ["prune", "prune", "on"]
    assert (work.known["step"], work.known["loss"]) == (10, 0.0)
    assert work.seconds >= 7.5


def test_only_losses_of_the_same_data_are_compared_while_trials_run():
    assert Ranking.of(LANGUAGE, ["learning_rate", "hidden_size"]).comparable
    assert not Ranking.of(LANGUAGE, ["learning_rate", "tokens"]).comparable
    assert Ranking.of(CLASSIFY, ["learning_rate"]) == Ranking("nats per sample", None)
    of_data = Ranking.of(CLASSIFY, ["pooling"])
    assert (of_data.figure, of_data.maximise, of_data.comparable) == ("main", True, False)
