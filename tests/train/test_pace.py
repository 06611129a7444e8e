"""A budget of minutes on a machine whose speed changes, and threads that wait for a processor."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from unrolled import checkpoint
from unrolled.spec import TrainConfig
from unrolled.train import Observer, Schedule, pace, resources, run
from unrolled.train.pace import Crowding, Pace

Make = Callable[..., TrainConfig]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def trained(
    speed: Callable[[float], float], *, seconds: float = 100.0, check_s: float = 1.0
) -> tuple[Schedule, float]:
    """Return the schedule at the end of a run whose steps take `speed(time)`, and when it ended."""
    clock = Clock()
    schedule = Schedule(1000, 100, 1.0)
    held = Pace(seconds, (seconds - 9 * check_s) / 1000, check_s, 1000, clock=clock)
    step = 0
    while step < schedule.steps:
        step += 1
        clock.now += speed(clock.now)
        if held.is_over():
            return Schedule(step, 100, 1.0), clock.now
        if schedule.reports_at(step):
            schedule = held.fitted(schedule, step)
        if schedule.saves_at(step):
            clock.now += check_s
            held.checked(step, check_s)
    return schedule, clock.now


def test_on_a_steady_machine_the_schedule_stays():
    schedule, end = trained(lambda _: 0.091)
    assert schedule.steps == 1000
    assert end == pytest.approx(101)


@pytest.mark.parametrize(
    "speed",
    [
        lambda _: 0.5,
        lambda _: 0.02,
        lambda now: 0.09 if now < 30 else 0.9,
        lambda now: 0.9 if now < 30 else 0.09,
        lambda now: 0.05 + 0.05 * (now % 7 > 3),
    ],
)
def test_whatever_the_speed_the_budget_is_used_and_held(speed: Callable[[float], float]):
    schedule, end = trained(speed)
    assert 95 < end < 103
    assert schedule.learning_rate(schedule.steps - 1) < 0.02


def test_what_changed_a_lot_is_said_once():
    held = Pace(100.0, 0.1, 1.0, 1000, clock=Clock())
    assert held.change(Schedule(900, 100, 1.0)) is None
    assert held.change(Schedule(600, 100, 1.0)) == (
        "pace      the machine is slower than it was: 600 steps fit into the time, not 1,000"
    )
    assert held.change(Schedule(590, 100, 1.0)) is None
    assert "faster than it was: 800 steps" in (held.change(Schedule(800, 100, 1.0)) or "")


def test_threads_are_timed_again_where_steps_take_far_longer_and_not_for_ever():
    held = Pace(100.0, 0.1, 1.0, 1000, clock=Clock())
    asked = 0
    for slower in range(10):
        held.step_s = 0.1 * 2**slower
        if held.is_slower():
            asked += 1
            held.timed()
    assert asked == 3


class Watch(Observer):
    def __init__(self, seconds: float) -> None:
        self.seconds, self.lines, self.schedules = seconds, [], []  # type: ignore[var-annotated]

    def step(self, record: Any) -> None:
        time.sleep(self.seconds)

    def reschedule(self, schedule: Schedule) -> None:
        self.schedules.append(schedule)

    def note(self, text: str) -> None:
        self.lines.append(text)


def test_a_run_that_became_slower_takes_fewer_steps_and_its_checkpoints_say_how_many(
    small: Make, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(resources, "seconds_a_step", lambda *_, **__: 0.001)
    watch = Watch(0.02)
    result = run(small(steps=None, minutes=0.03), observers=[watch])
    planned = next(
        int(line.split("which are ")[1].split()[0].replace(",", ""))
        for line in watch.lines
        if "which are" in line
    )
    assert result.schedule.steps < planned / 4
    assert watch.schedules[-1].steps == result.schedule.steps
    assert any(line.startswith("pace ") and "slower" in line for line in watch.lines)
    last = checkpoint.read(checkpoint.locate(result.run, prefer=("LATEST",))).progress
    assert last is not None
    assert (last["step"], last["steps"]) == (result.schedule.steps, result.schedule.steps)


def test_a_run_by_steps_takes_them_however_long_it_takes(small: Make):
    watch = Watch(0.01)
    assert run(small(steps=20), observers=[watch]).schedule.steps == 20
    assert not watch.schedules


def test_a_run_that_learnt_nothing_says_so(small: Make):
    watch = Watch(0.0)
    result = run(small(learning_rate=1e-30, weight_decay=0.0), observers=[watch])
    assert result.best_step == 0
    assert watch.lines[-1].startswith("warning   no validation after step 0 was better in 6 steps")


# --------------------------------------------------------------------------------------------- crowding


@pytest.mark.parametrize(
    ("waited", "told"), [(0.5, None), (9.0, "threads wait 75% of their time for a processor")]
)
def test_threads_that_wait_for_a_processor_are_told_of_once(
    waited: float, told: str | None, monkeypatch: pytest.MonkeyPatch
):
    seen = [(1.0, 1.0), (4.0, 1.0 + waited), (8.0, 90.0)]
    monkeypatch.setattr(pace, "processor_seconds", lambda: seen[0])
    crowding = Crowding()
    assert crowding.note() is None
    seen.pop(0)
    note = crowding.note()
    assert (note is None) == (told is None)
    if told is not None:
        assert told in (note or "")
        seen.pop(0)
        assert crowding.note() is None


def test_where_the_system_does_not_count_nothing_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pace, "processor_seconds", lambda: None)
    assert Crowding().note() is None
