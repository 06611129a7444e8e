"""Downside: the order of time is strict, so that what comes later cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unrolled.lab.remedies.fitting import work
from unrolled.lab.remedies.part import Measure, Part
from unrolled.lab.remedies.tasks import forward_ceiling

__all__ = ["PART"]

REACH = 2
SHARED: dict[str, Any] = {
    "task": "majority",
    "reach": REACH,
    "delay": 0,
    "sequence_steps": 30,
    "rows": 16,
    "look_every": 20,
    "optimizer": "adam",
    "learning_rate": 0.01,
    "clip": 1.0,
    "goal": 0.99,
    "cell": "lstm",
    "start": "orthogonal",
    "threads": 1,
}


def _shared(quick: bool) -> dict[str, Any]:
    return {**SHARED, "hidden_size": 16 if quick else 32, "cap": 300 if quick else 800}


def _numbers(settings: Mapping[str, Any]) -> dict[str, float]:
    return {"ceiling": forward_ceiling(settings["reach"]), "window": 2 * settings["reach"] + 1}


PART = Part(
    name="order",
    title="The order of time is strict: what comes later is not seen",
    words=(
        "At each step t is asked what most of the {window} signs from t - {reach} to t + {reach} are. "
        "Without those after t, no network can be right more often than {ceiling}. A run has solved it when "
        "{goal} of held-out answers are right, within {cap} optimizer steps. A delayed answer to t is given "
        "at t + {reach}."
    ),
    shared=_shared,
    variants={
        "LSTM, forward": {},
        "LSTM, bidirectional": {"bidirectional": True},
        "LSTM, forward, delayed answer": {"delay": REACH},
    },
    work=work,
    measures=(
        Measure("accuracy", "held-out accuracy at the end", "spread", more_is_better=True),
        Measure("solved_at", "steps to solve", "within", "cap"),
    ),
    xlabel="optimizer steps",
    ylabel="held-out nats",
    numbers=_numbers,
)
