"""The progress bar where nobody listens any more."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable

import pytest

from unrolled.spec import TrainConfig
from unrolled.train import Schedule, StepRecord, run
from unrolled.train.progress import ProgressBar


class Gone(io.StringIO):
    """A pipe whose reader has ended, or a terminal that was closed."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal, self.asked = terminal, 0

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        self.asked += 1
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("terminal", [False, True])
def test_a_standard_error_that_went_away_ends_no_run(
    small: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch, terminal: bool
):
    gone = Gone(terminal=terminal)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", gone)
        bar = ProgressBar()
        assert run(small(), observers=[bar]).schedule.steps == 6
    assert gone.asked


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_step_bar_and_time_left_stay_on_a_line_of_any_width(
    small: Callable[..., TrainConfig], monkeypatch: pytest.MonkeyPatch, columns: int
):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for name, value in (("COLUMNS", str(columns)), ("TERM", "xterm")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    schedule = Schedule(2000, 200, 3e-3)
    bar = ProgressBar()
    bar.begin(small(), schedule, None)
    for step in range(1, 4):
        bar.step(StepRecord(step, 0.02 * step, 2.34567, 1024, 0.05, 1.234, 3e-3))
    bar.end()
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    last = [line for line in re.split(r"[\r\n]+", plain) if "step 3/2000" in line][-1]
    assert len(last) <= columns
    assert last.count("━") >= 8
    assert re.search(r"\d:\d\d:\d\d|-:--:--", last)
    assert "2.346 nats" in last or columns == 60
    assert ("|g| 1.23" in last) == (columns == 200)
