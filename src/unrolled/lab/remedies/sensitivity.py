"""Downside: what training comes to depends on the weights that it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from unrolled.lab.remedies.fitting import fit
from unrolled.lab.remedies.network import build
from unrolled.lab.remedies.part import Measure, Part
from unrolled.lab.remedies.tasks import drawing, sizes

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
    "goal": None,
    "threads": 1,
}
NATS_CAP = 100.0


def _shared(quick: bool) -> dict[str, Any]:
    small = {"sequence_steps": 10, "draws": 2, "cap": 150}
    return {**SHARED, **(small if quick else {"sequence_steps": 15, "draws": 4, "cap": 300})}


def _work(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train networks that differ in nothing but the weights they start from, on the same rows."""
    runs = []
    for draw in range(settings["draws"]):
        network = build(settings, *sizes(settings), seed=settings["seed"] * settings["draws"] + draw)
        runs.append(fit(network, drawing(settings), settings))
    finals = [run["final_nats"] for run in runs]
    whole = [value for value in finals if value is not None]
    complete = len(whole) == len(finals)
    return {
        "finals": finals,
        "range": max(whole) - min(whole) if complete else None,
        "best": min(whole) if whole else None,
        "worst": max(whole) if complete else None,
        "curve": {
            "x": runs[0]["curve"]["x"],
            "y": _worst([run["curve"]["y"] for run in runs], len(runs[0]["curve"]["x"])),
        },
    }


def _worst(curves: list[list[float | None]], points: int) -> list[float | None]:
    """Return the highest of several curves at each point; None from where on one has no value."""
    values = np.full((len(curves), points), np.nan)
    for row, curve in zip(values, curves, strict=True):
        row[: min(len(curve), points)] = np.array(curve, dtype=np.float64)[:points]
    return [float(value) if np.isfinite(value) else None for value in values.max(axis=0)]


PART = Part(
    name="sensitivity",
    title="What training comes to depends on the start",
    words=(
        "The first of {symbols} symbols is asked for after {sequence_steps} steps, as above. Each run trains "
        "{draws} networks for {cap} optimizer steps on the same rows; they differ in the weights that they "
        "start from alone. The range is that of their held-out nats at the end; a start is good if the range "
        "is small and the worst network is good too."
    ),
    shared=_shared,
    variants={
        "RNN, torch.nn's own start": {"cell": "rnn", "start": "torch"},
        "RNN, orthogonal": {"cell": "rnn", "start": "orthogonal"},
        "LSTM, torch.nn's own start": {"cell": "lstm", "start": "torch"},
        "LSTM, orthogonal, forget bias 0": {"cell": "lstm", "start": "orthogonal", "forget_bias": 0.0},
        "LSTM, orthogonal, forget bias 1": {"cell": "lstm", "start": "orthogonal"},
        "LSTM, orthogonal, chrono": {"cell": "lstm", "start": "orthogonal", "chrono_steps": 15},
    },
    work=_work,
    measures=(
        Measure("worst", "held-out nats of the worst", "within", NATS_CAP),
        Measure("best", "of the best", "within", NATS_CAP),
        Measure("range", "range", "within", NATS_CAP),
    ),
    xlabel="optimizer steps",
    ylabel="held-out nats of the worst network",
)
