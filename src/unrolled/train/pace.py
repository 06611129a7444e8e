"""How a run keeps its budget of minutes on a machine whose speed changes, and what it changes for that.

A run by `steps` or `epochs` changes nothing by itself: its bits are those of its settings. A run by `minutes`
depends on the clock from the start, since a timing of some steps decides how many it takes. So it may go on
deciding: how many steps its schedule has, and on how many threads it runs. Both are in every checkpoint, and
a resumed run follows what its checkpoint says.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from unrolled.errors import counted
from unrolled.files import cpu_limit, load_average, processor_seconds
from unrolled.train.fit import Schedule

__all__ = ["Crowding", "Pace"]

NEWEST = 0.5  # weight of the newest stretch of steps in the time that a step is reckoned with
UNCHANGED = 0.02  # share of the steps that are left, within which a schedule stays
SAID = 0.25  # by how much the number of steps must differ from the one said last, to be said again
SLOWER = 1.8  # times what a step took: threads are timed again
MOST_TIMINGS = 3
CROWDED = 0.3  # share of the time in which threads wait for a processor: worth a line
SECONDS_SEEN = 2.0  # of work and waiting, before that is judged


@dataclass
class Pace:
    """The time that is left of a budget, and how many steps fit into it."""

    until: float  # by `clock`: when the last step should be over
    step_s: float  # of a step, at first as timed before training
    check_s: float  # of a validation
    planned: int  # steps that were said last
    clock: Callable[[], float] = time.perf_counter
    timings: int = 0  # of threads, since the start
    timed_s: float = 0.0  # of a step, when threads were chosen
    _step: int = 0
    _at: float = field(default=0.0)

    def __post_init__(self) -> None:
        self.timed_s = self.timed_s or self.step_s
        self._at = self.clock()

    def begin(self, step: int) -> None:
        """A stretch of steps begins after this one: nothing before it is counted."""
        self._step, self._at = step, self.clock()

    def checked(self, step: int, seconds: float) -> None:
        """A validation and a checkpoint took so long after this step."""
        self.check_s = seconds
        self.begin(step)

    def is_over(self) -> bool:
        """Whether no time is left for another step."""
        return self.clock() >= self.until

    def fitted(self, schedule: Schedule, step: int) -> Schedule:
        """Return the schedule with as many steps as fit, reckoned from those since `begin`."""
        now = self.clock()
        if step > self._step:
            newest = (now - self._at) / (step - self._step)
            self.step_s += NEWEST * (newest - self.step_s)
        self.begin(step)
        rest, left = schedule.steps - step, self.until - now
        spread = self.step_s + self.check_s / schedule.save_every  # of a step with its share of a validation
        fit = int(min(left / self.step_s, (left + self.check_s) / spread))  # the last validation comes after
        if abs(fit - rest) <= max(1.0, UNCHANGED * rest):
            return schedule
        return replace(schedule, steps=step + max(1, fit))

    def is_slower(self) -> bool:
        """Whether steps take so much longer than when threads were chosen that they should be timed again."""
        return self.timings < MOST_TIMINGS and self.step_s > SLOWER * self.timed_s

    def timed(self) -> None:
        """Threads were chosen again, by the time that a step takes now."""
        self.timings, self.timed_s = self.timings + 1, self.step_s

    def change(self, schedule: Schedule) -> str | None:
        """Return what to say where a schedule has far more or fewer steps than was said last."""
        if abs(schedule.steps - self.planned) <= SAID * self.planned:
            return None
        speed, before = (
            ("slower", self.planned) if schedule.steps < self.planned else ("faster", self.planned)
        )
        self.planned = schedule.steps
        steps = counted(schedule.steps, "step")
        return f"pace      the machine is {speed} than it was: {steps} fit into the time, not {before:,}"


class Crowding:
    """Whether this process's threads get the processors they want, as the system's scheduler counts it."""

    def __init__(self) -> None:
        self._before = processor_seconds()
        self._said = False

    def note(self) -> str | None:
        """Return what to say, once, where threads wait for much of the time since the last look."""
        now = processor_seconds()
        if self._said or now is None or self._before is None:
            return None
        ran, waited = (new - old for new, old in zip(now, self._before, strict=True))
        if ran + waited < SECONDS_SEEN:
            return None
        self._before = now
        share = waited / (ran + waited)
        if share < CROWDED:
            return None
        self._said = True
        cores, load = counted(cpu_limit(), "processor"), load_average()
        return (
            f"crowded   threads wait {share:.0%} of their time for a processor: {cores} to use, "
            f"a load of {load:.1f} on the machine"
        )
