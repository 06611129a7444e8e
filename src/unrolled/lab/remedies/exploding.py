"""Downside: gradients explode, and with them updates."""

from __future__ import annotations

from typing import Any

from unrolled.lab.remedies.fitting import work
from unrolled.lab.remedies.part import Measure, Part

__all__ = ["PART"]

NORM_CAP, NATS_CAP = 1e6, 100.0  # above it a figure counts as more
SHARED: dict[str, Any] = {
    "task": "recall",
    "symbols": 8,
    "sequence_steps": 30,
    "rows": 32,
    "hidden_size": 32,
    "look_every": 20,
    "optimizer": "sgd",
    "learning_rate": 1.0,
    "clip": None,
    "goal": None,
    "gain": 2.0,
    "cell": "rnn",
    "start": "orthogonal",
    "threads": 1,
}


def _shared(quick: bool) -> dict[str, Any]:
    return {**SHARED, "cap": 120 if quick else 600}


PART = Part(
    name="exploding",
    title="Gradients explode, and with them the updates",
    words=(
        "An RNN whose recurrent weights are orthogonal times {gain} is trained by SGD, at a learning rate of "
        "{learning_rate}, on the same task over {sequence_steps} steps, for {cap} optimizer steps. A run "
        "diverges if its loss is not finite, or ends more than a tenth above its start."
    ),
    shared=_shared,
    variants={
        "no clipping": {},
        "clipped to 1": {"clip": 1.0},
        "clipped to 0.1": {"clip": 0.1},
        "a tenth of the learning rate": {"learning_rate": 0.1},
        "gain 1": {"gain": 1.0},
        "gain 1, clipped to 0.1": {"gain": 1.0, "clip": 0.1},
        "LSTM of the same gain": {"cell": "lstm"},
    },
    work=work,
    measures=(
        Measure("diverged", "diverged", "count"),
        Measure("final_nats", "held-out nats at the end", "within", NATS_CAP),
        Measure("largest_norm", "largest norm of the gradient", "within", NORM_CAP),
    ),
    xlabel="optimizer steps",
    ylabel="held-out nats",
)
