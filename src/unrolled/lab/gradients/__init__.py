"""How the gradient fares in an RNN, a GRU and an LSTM: at the start, after training, clipped and not.

starts.py    the networks that are compared   text.py      what they are trained on
training.py  one start, trained at all paces  flow.py      what is left of a gradient, and at what rate
summary.py   what the report prints           answer.py    the question answered, in words that numbers choose
section.py   the report                       pictures.py  the pictures
"""

from __future__ import annotations

from typing import Any

from unrolled.lab.cells import Cell
from unrolled.lab.gradients.pictures import figures
from unrolled.lab.gradients.section import report
from unrolled.lab.gradients.starts import QUICK_STARTS, STARTS
from unrolled.lab.gradients.summary import summary
from unrolled.lab.gradients.text import fingerprint
from unrolled.lab.gradients.training import work
from unrolled.spec import LabConfig

__all__ = ["CONSTANTS", "NAME", "TITLE", "cells", "figures", "report", "summary"]

NAME = "gradients"
TITLE = "Exploding and vanishing gradients"
CONSTANTS: tuple[float, ...] = (1,)  # "gain 1"; of "1/100"

FULL: dict[str, Any] = {"hidden_size": 64, "rows": 16, "steps": 300, "characters": 200_000}
QUICK: dict[str, Any] = {"hidden_size": 32, "rows": 8, "steps": 100, "characters": 50_000}
SHARED: dict[str, Any] = {
    "embedding_size": 16,
    "bptt_steps": 64,
    "lags": 50,  # steps back, at which is asked what is left
    "learning_rates": [1.0, 4.0],  # of plain SGD, which has no normalisation that hides a large gradient
    "clip": 1.0,
    "threads": 1,  # of networks so small, a second thread costs more than it gives
}


def cells(config: LabConfig) -> list[Cell]:
    """Return a cell a start and seed: the start is measured, then trained at all paces."""
    sizes = {**(QUICK if config.quick else FULL), **SHARED}
    sha256 = fingerprint(sizes["characters"])
    names = QUICK_STARTS if config.quick else tuple(STARTS)
    return [
        Cell(
            f"{NAME}/{name}/seed={seed}",
            {"name": name, **STARTS[name], **sizes, "text_sha256": sha256, "seed": seed},
            work,
        )
        for name in names
        for seed in range(config.seeds)
    ]
