"""The downsides of recurrent networks, each shown by a measurement, then with each remedy.

part.py         what a downside consists of       tasks.py        recall, majority
network.py      a recurrent layer and a read-out  fitting.py      a network trained on a task
slow.py, fading.py, exploding.py, order.py, sensitivity.py        the downsides
summary.py      what the report prints            section.py      the report
pictures.py     a picture a downside
"""

from __future__ import annotations

from unrolled.lab.cells import Cell
from unrolled.lab.remedies.parts import PARTS
from unrolled.lab.remedies.pictures import figures
from unrolled.lab.remedies.section import report
from unrolled.lab.remedies.summary import summary
from unrolled.spec import LabConfig

__all__ = ["CONSTANTS", "NAME", "TITLE", "cells", "figures", "report", "summary"]

NAME = "remedies"
TITLE = "The downsides of recurrent networks, and their remedies"
CONSTANTS: tuple[float, ...] = (1,)  # of "1/8": one over the symbols


def cells(config: LabConfig) -> list[Cell]:
    """Return a cell a downside, variant and seed."""
    found = []
    for part in PARTS.values():
        for number, (words, change) in enumerate(part.variants.items()):
            for seed in range(config.seeds):
                settings = {
                    **part.shared(config.quick), **change, "part": part.name, "variant": words, "seed": seed,
                }  # fmt: skip
                found.append(Cell(f"{NAME}/{part.name}-{number}/seed={seed}", settings, part.work))
    return found
