"""The progress bar where nobody listens any more."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest

from unrolled.spec import TrainConfig
from unrolled.train import run
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
