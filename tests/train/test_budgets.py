"""Time, threads and steps: what a run takes when nobody says, and how a finished one is lengthened."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from train_cases import on_disk, stopped

from unrolled.data import Batch
from unrolled.errors import ConfigError
from unrolled.spec import ModelConfig, TrainConfig
from unrolled.tasks import LanguageModel
from unrolled.train import (
    Finished,
    Fresh,
    Observer,
    Resumed,
    StepRecord,
    Stopped,
    fit,
    plan,
    report,
    resources,
    run,
)

Make = Callable[..., TrainConfig]


class Notes(Observer):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def test_a_budget_that_reading_took_trains_for_half_of_it_and_says_so(small: Make):
    notes = Notes()
    result = run(small(steps=None, minutes=1e-6), observers=[notes])
    assert result.schedule.steps >= 1
    warnings = [line for line in notes.lines if line.startswith("warning")]
    assert "reading the data took" in warnings[0]
    assert any("would learn more" in line for line in warnings)


@pytest.mark.parametrize(
    ("spent", "left"), [(0.0, 60.0), (20.0, 40.0), (30.0, 30.0), (50.0, 30.0), (900.0, 30.0)]
)
def test_training_gets_half_of_a_minute_whatever_reading_took(spent: float, left: float):
    seconds, warning = resources.time_to_train(1.0, spent)
    assert seconds == left
    assert (warning is not None) == (spent > 30)


def test_a_small_network_takes_one_thread_and_what_was_taken_is_written_down(small: Make, monkeypatch: Any):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        monkeypatch.setattr(resources, "cpu_limit", lambda: 8.0)
        notes = Notes()
        result = run(small(), observers=[notes])
        assert torch.get_num_threads() == 2
        assert result.config.threads == 1
        assert json.loads((result.run / "config.json").read_text())["training"]["threads"] == 1
        assert any("6 steps, float32, 1 thread" in line for line in notes.lines)
        assert any(line.startswith("threads   1: a step of this network") for line in notes.lines)
        assert run(small(threads=2, overwrite=True), observers=[]).config.threads == 2
        monkeypatch.setattr(resources, "SMALL_STEP", 0)
        assert run(small(overwrite=True), observers=[]).config.threads == 2
        monkeypatch.setattr(resources, "cpu_limit", lambda: 1.5)  # a container's quota
        assert run(small(overwrite=True), observers=[]).config.threads == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("seconds", "chosen"), [({1: 1.0, 2: 0.7}, 2), ({1: 1.0, 2: 0.97}, 1), ({1: 1.0, 2: 5.0}, 1)]
)
def test_more_threads_must_be_clearly_faster(seconds: dict[int, float], chosen: int, monkeypatch: Any):
    before = torch.get_num_threads()
    monkeypatch.setattr(resources, "seconds_a_step", lambda *_, **__: seconds[torch.get_num_threads()])
    stepper: Any = None
    times = resources.seconds_by_threads(stepper, (1, 2), seconds=1.0)
    found, why = resources.faster_threads(times)
    assert found == chosen
    assert f"{1000 * seconds[2]:.3g} ms on 2" in why
    assert torch.get_num_threads() == before


def test_the_seconds_of_a_step_are_without_data_and_telemetry():
    class Slow:
        carries_state, rows = False, 1

        def epoch(self, n: int, **_: Any) -> Any:
            ids = torch.zeros(3, 1, dtype=torch.int64)
            for _ in range(3):
                time.sleep(0.2)
                yield Batch(ids, ids)

        def len_of(self, epoch: int) -> int:
            return 3

        def tokens_of(self, epoch: int) -> int:
            return 9

    network = LanguageModel(ModelConfig(5, 4, 4))
    records = list(fit(network, Slow(), steps=3, before=lambda *_: time.sleep(0.2)))
    assert [record.step for record in records] == [1, 2, 3]
    assert min(record.seconds for record in records) < 0.15


# -------------------------------------------------------------------------------------------- lengthening


def test_a_finished_run_is_lengthened_by_more_steps(small: Make):
    config = small(steps=6, save_every=3)
    first = run(config, observers=[])
    longer = replace(config, resume=True, steps=10)
    assert isinstance(plan(longer), Resumed)
    result = run(longer, observers=[])
    assert (result.schedule.steps, result.schedule.start, result.config.steps) == (10, 6, 10)
    rows = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows]
    assert steps == sorted(set(steps))
    assert steps[-1] == 10
    assert rows[steps.index(7)]["lr"] == pytest.approx(result.schedule.learning_rate(6))
    assert json.loads((result.run / "config.json").read_text())["training"]["steps"] == 10
    assert result.best_step >= 0
    assert first.run == result.run
    assert isinstance(plan(replace(config, resume=True, steps=None)), Finished)


def test_a_lengthened_run_that_is_stopped_and_resumed_ends_at_the_same_bits(small: Make, tmp_path: Path):
    ends = []
    for name, stops in (("whole", ()), ("parts", (8, 10))):
        config = small(steps=6, save_every=3, dropout=0.2, run=str(tmp_path / name))
        run(config, observers=[])
        longer = replace(config, resume=True, steps=12)
        for at in stops:
            stopped(longer, at)
        ends.append(run(longer, observers=[]).run)
    a, b = ((path / "checkpoints" / "step-00000012" / "model.safetensors").read_bytes() for path in ends)
    assert a == b


def test_a_lengthened_run_that_ends_in_its_report_is_not_taken_for_finished(small: Make, monkeypatch: Any):
    config = small(steps=6)
    run(config, observers=[])
    longer = replace(config, resume=True, steps=8)
    with monkeypatch.context() as patch:
        patch.setattr(report, "draw_loss", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Stopped, match=r"^stopped in the report"):
            run(longer, observers=[])
    again = replace(config, resume=True, steps=None)
    assert isinstance(plan(again), Resumed)
    assert run(again, observers=[]).schedule.steps == 8


@pytest.mark.parametrize("budget", [{"epochs": 9}, {"minutes": 0.01}])
def test_epochs_and_minutes_lengthen_too(small: Make, budget: dict[str, float]):
    config = small(steps=6)
    run(config, observers=[])
    result = run(replace(config, resume=True, steps=None, **budget), observers=[], asked=set(budget))
    assert result.schedule.steps > 6


@pytest.mark.parametrize("budget", [{"steps": 4}, {"epochs": 1}])
def test_fewer_steps_than_were_taken_are_refused_and_nothing_changes(small: Make, budget: dict[str, int]):
    config = small(steps=49, save_every=49)
    run(config, observers=[])
    before = on_disk(config.run)
    (name,) = budget
    told = rf"^{name}: expected more than 49 steps, which the run has taken, got \d+ steps$"
    with pytest.raises(ConfigError, match=told):
        run(replace(config, resume=True, **{"steps": None, **budget}), observers=[], asked=set(budget))
    assert on_disk(config.run) == before
    assert isinstance(plan(replace(config, resume=True)), Finished)


# ----------------------------------------------------------------------------------------------- planning


def test_what_was_stopped_before_anything_was_saved_is_taken_again_by_the_same_command(small: Make):
    class Interrupt(Observer):
        def note(self, text: str) -> None:
            raise KeyboardInterrupt

    config = small()
    with pytest.raises(KeyboardInterrupt):
        run(config, observers=[Interrupt()])
    assert (Path(config.run or "") / "config.json").exists()
    assert isinstance(plan(config), Fresh)
    assert run(config, observers=[]).schedule.steps == 6


def test_a_plan_writes_nothing(small: Make, tmp_path: Path):
    config = small()
    assert isinstance(plan(config), Fresh)
    assert not (tmp_path / "run").exists()
    stopped(config, 3)
    before = {p: p.stat().st_mtime_ns for p in Path(config.run or "").rglob("*")}
    found = plan(replace(config, resume=True))
    assert isinstance(found, Resumed)
    assert found.point.progress.step == 3
    assert {p: p.stat().st_mtime_ns for p in Path(config.run or "").rglob("*")} == before


# ---------------------------------------------------------------------------------------------------- fit


def batches(count: int) -> list[Batch]:
    ids = torch.randint(5, (7, 3, count), generator=torch.Generator().manual_seed(0))
    return [Batch(ids[:-1, :, k], ids[1:, :, k]) for k in range(count)]


def test_fit_takes_the_steps_of_a_plain_loop():
    network, twin = (LanguageModel(ModelConfig(5, 4, 6), seed=1) for _ in range(2))
    records: list[StepRecord] = list(fit(network, batches(4), learning_rate=0.1, clip_norm=None))
    adam = torch.optim.AdamW(twin.parameters(), lr=0.1, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    for batch in batches(4):
        adam.zero_grad()
        nats, count, _ = twin.loss(batch, twin.initial_state(3))
        (nats / count).backward()  # type: ignore[no-untyped-call]
        adam.step()
    assert len(records) == 4
    for a, b in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_fit_carries_the_state_where_it_is_told_to():
    class Spy(LanguageModel):
        seen: list[float] = []  # noqa: RUF012

        def loss(self, batch: Batch, state: Any) -> Any:
            self.seen.append(float(state[0].abs().sum()))
            return super().loss(batch, state)

    network = Spy(ModelConfig(5, 4, 6))
    pairs = zip(batches(4), (True, False, True, False), strict=True)
    list(fit(network, pairs))
    assert [value > 0 for value in network.seen] == [False, True, False, True]


def test_fit_is_left_at_any_step_and_scores_between():
    network = LanguageModel(ModelConfig(5, 4, 6, dropout=0.5))
    for record in fit(network, batches(9), learning_rate=lambda step: 0.1 / (step + 1)):
        assert network.training
        network.eval()
        if record.step == 3:
            break
    assert record.lr == pytest.approx(0.1 / 3)
