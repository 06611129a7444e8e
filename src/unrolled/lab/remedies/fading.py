"""Downside: the memory of the first inputs fades."""

from __future__ import annotations

from typing import Any

from unrolled.lab.remedies.fitting import work
from unrolled.lab.remedies.part import Measure, Part

__all__ = ["PART"]

SHARED: dict[str, Any] = {
    "task": "recall",
    "symbols": 8,
    "rows": 32,
    "hidden_size": 32,
    "look_every": 25,
    "optimizer": "adam",
    "learning_rate": 0.01,
    "clip": 1.0,
    "goal": 0.99,
    "threads": 1,
}


def _shared(quick: bool) -> dict[str, Any]:
    return {**SHARED, "sequence_steps": 20 if quick else 50, "cap": 300 if quick else 1500}


def _chrono(cell: str) -> dict[str, Any]:
    return {"cell": cell, "start": "orthogonal", "chrono_steps": 50}


PART = Part(
    name="fading",
    title="The memory of the first inputs fades",
    words=(
        "Of {symbols} symbols one is shown first, with a flag; random ones follow without it, and after "
        "{sequence_steps} steps the first is asked for. A run has solved it when {goal} of held-out rows are "
        "right, within {cap} optimizer steps. By chance 1/{symbols} is right."
    ),
    shared=_shared,
    variants={
        "RNN, torch.nn's own start": {"cell": "rnn", "start": "torch"},
        "RNN, orthogonal start": {"cell": "rnn", "start": "orthogonal"},
        "GRU": {"cell": "gru", "start": "orthogonal"},
        "GRU, chrono start": _chrono("gru"),
        "LSTM, torch.nn's own start": {"cell": "lstm", "start": "torch"},
        "LSTM, forget bias 1": {"cell": "lstm", "start": "orthogonal"},
        "LSTM, chrono start": _chrono("lstm"),
    },
    work=work,
    measures=(
        Measure("solved_at", "steps to solve", "within", "cap"),
        Measure("accuracy", "held-out accuracy at the end", "spread", more_is_better=True),
    ),
    xlabel="optimizer steps",
    ylabel="held-out nats",
)
