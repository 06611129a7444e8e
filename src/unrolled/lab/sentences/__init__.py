"""The ten sentences through one recurrent neuron, a layer of them, and an LSTM.

training.py  trains a model and has it complete   unit.py     the numbers in one unit's equation
summary.py   what the report prints               section.py  the report
pictures.py  the pictures
"""

from __future__ import annotations

from unrolled.lab.cells import Cell
from unrolled.lab.sentences.pictures import figures
from unrolled.lab.sentences.section import report
from unrolled.lab.sentences.summary import MODELS, summary
from unrolled.lab.sentences.training import work
from unrolled.spec import LabConfig

__all__ = ["CONSTANTS", "NAME", "TITLE", "cells", "figures", "report", "summary"]

NAME = "sentences"
TITLE = "The ten sentences: one neuron, a layer, an LSTM"
CONSTANTS: tuple[float, ...] = ()

QUICK_STEPS, STEPS = 300, 2000
LEARNING_RATE = 0.02  # at 0.01 some LSTMs complete fewer within the quick run's steps
LOOK_EVERY = 10  # steps between two points of the curve, each with a look at the completions
SHOWN_STEPS = 4  # of the first sentence, in the equations


def cells(config: LabConfig) -> list[Cell]:
    """Return a cell a model and seed."""
    found = []
    for model, sizes in MODELS.items():
        for seed in range(config.seeds):
            settings = {
                "model": model,
                **sizes,
                "steps": QUICK_STEPS if config.quick else STEPS,
                "learning_rate": LEARNING_RATE,
                "look_every": LOOK_EVERY,
                "shown_steps": SHOWN_STEPS,
                "threads": 1,  # of networks so small, a second thread costs more than it gives
                "seed": seed,
            }
            found.append(Cell(f"{NAME}/{model}/seed={seed}", settings, work))
    return found
