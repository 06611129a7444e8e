"""What can be done to sequences to speed up training: one factor at a time, by speed and by loss.

variants.py  the families compared         text.py      the text, and what is held out
batching.py  batches, and what counts      front.py     several frames made one step
frames.py    text, several a step          signals.py   the generated signals
training.py  training in turn, in rounds   clock.py     loss at equal wall-clock, ratios, verdicts
summary.py   what the report prints        section.py   the tables
answer.py    the answer in plain words     pictures.py  speed against loss
"""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import Any

from unrolled.lab.cells import Cell
from unrolled.lab.speed.pictures import figures
from unrolled.lab.speed.section import report
from unrolled.lab.speed.summary import summary
from unrolled.lab.speed.text import texts
from unrolled.lab.speed.training import work
from unrolled.lab.speed.variants import FAMILIES, available
from unrolled.spec import LabConfig

__all__ = ["CONSTANTS", "NAME", "TITLE", "cells", "figures", "report", "summary"]

NAME = "speed"
TITLE = "Question 1: what can you do to sequences to speed up training?"
CONSTANTS: tuple[float, ...] = ()

# Of a quick run: a fixed number of targets, so that a seed gives the same again; two threads can cost
# tenfold where the cores are busy, so it takes one.
QUICK: dict[str, Any] = {
    "embedding_size": 32,
    "hidden_size": 64,
    "train_targets": 2**15,
    "held_targets": 2**13,
    "targets": 80_000,  # of a variant with share 1
    "seconds": None,
    "warmup_targets": 20_000,
    "rounds": 4,
    "threads": 1,
}
FULL: dict[str, Any] = {
    "embedding_size": 32,
    "hidden_size": 128,
    "train_targets": 2**17,
    "held_targets": 2**14,
    "targets": None,
    "seconds": 10.0,  # of each variant
    "warmup_targets": 200_000,
    "rounds": 8,
    "threads": 2,
}
LONGEST = 256  # characters of a sequence
LEARNING_RATE = 0.004


def cells(config: LabConfig) -> list[Cell]:
    """Return a cell a family and seed: its variants are trained in turn, so that a busy moment hits all."""
    sizes = {**(QUICK if config.quick else FULL), "longest": LONGEST, "learning_rate": LEARNING_RATE}
    texts(sizes["train_targets"], sizes["held_targets"], LONGEST)  # refused here, where it is not there
    return [
        Cell(f"{NAME}/{family.name}/seed={seed}", {**_family(family.name), **sizes, "seed": seed}, work)
        for family in FAMILIES
        for seed in range(config.seeds)
    ]


def _family(name: str) -> dict[str, Any]:
    """Return the settings of a family; the text is that of this Python."""
    family = next(family for family in FAMILIES if family.name == name)
    variants = [asdict(variant) for variant in available(family)]
    return {"family": name, "variants": variants, "python": platform.python_version()}
