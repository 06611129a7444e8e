"""What a command exits with, and leaves behind, where what it calls went wrong."""

from __future__ import annotations

import io
import types
from pathlib import Path
from typing import Any

import pytest

from unrolled.cli import main


@pytest.mark.parametrize(("passed", "code"), [(None, 0), (True, 0), (False, 1)])
def test_an_export_that_differs_on_the_users_file_exits_with_1(
    passed: bool | None, code: int, monkeypatch: pytest.MonkeyPatch
):
    check = None if passed is None else types.SimpleNamespace(passed=passed)
    found = types.SimpleNamespace(file_check=check, warning=None)
    monkeypatch.setattr("unrolled.export.export", lambda *_, **__: found)
    assert main(["export", "run", "--to", "onnx", "--out", "m.onnx"]) == code


@pytest.mark.parametrize(("best", "failed", "code"), [(None, 2, 1), (None, 0, 0), ("trial", 1, 0)])
def test_a_sweep_exits_with_1_where_trials_failed_and_none_is_best(
    best: str | None, failed: int, code: int, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("optuna")
    trial = None if best is None else types.SimpleNamespace(run=best)
    found: Any = types.SimpleNamespace(best=trial, count=lambda _: failed, to_dict=dict)
    monkeypatch.setattr("unrolled.sweep.run", lambda *_, **__: found)
    assert main(["sweep", "sentences", "--lr", "1e-3,1e-2", "--json"]) == code


class Interrupted(io.StringIO):
    """Ctrl-C at the end of what is there."""

    def readline(self, size: int | None = -1, /) -> str:
        return super().readline(-1 if size is None else size) or _interrupt()


def _interrupt() -> str:
    raise KeyboardInterrupt


def test_a_stream_that_is_interrupted_keeps_its_state(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    states = []
    for stdin, code in ((io.StringIO("the quick\n"), 0), (Interrupted("the quick\n"), 130)):
        monkeypatch.setattr("sys.stdin", stdin)
        state = tmp_path / f"{code}.state"
        assert main(["stream", str(trained), "--state", str(state)]) == code
        states.append(state.read_bytes())
    assert states[0] == states[1]
