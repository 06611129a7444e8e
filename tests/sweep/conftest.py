"""Sweeps whose trials are stood in for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")

FAKE = Path(__file__).with_name("fake_trial.py")


@pytest.fixture
def ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, brief: Callable[[], Any]
) -> Iterator[Callable[..., Counter[str]]]:
    """Let processes of trials be fake ones; call it with what goes wrong, or without for what they noted."""
    from unrolled.sweep import process

    file = tmp_path / "ledger"

    def told(**faults: Any) -> Counter[str]:
        if faults or not file.exists():
            monkeypatch.setenv("FAKE", json.dumps({"ledger": str(file), **faults}))
        lines = file.read_text().splitlines() if file.exists() else []
        return Counter(" ".join(line.split()[:2]) for line in lines)

    told()
    monkeypatch.setattr(process, "WORDS", (str(FAKE),))
    monkeypatch.chdir(tmp_path)
    with brief():
        yield told
