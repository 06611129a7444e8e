"""Memory: RNN, GRU and LSTM on tasks that need it, and what the gates of a trained LSTM do at the marks.

plan.py       what is trained             kinds.py       the kinds of cell
learning.py   one run to the solution     curvefile.py   the file of MNIST-1D
inside.py     the gates at the marks      extracting.py  what the answer is made of
recording.py  gates and states, recorded  readout.py     what can be read from them
summary.py    what the report prints      claims.py      the claims, pair by pair
answer.py     the claims in words         words.py       the four words of an LSTM's work
section.py    the report                  pictures.py    the pictures
"""

from __future__ import annotations

from unrolled.lab.memory.pictures import figures
from unrolled.lab.memory.plan import NAME, cells
from unrolled.lab.memory.section import report
from unrolled.lab.memory.summary import summary

__all__ = ["CONSTANTS", "NAME", "TITLE", "cells", "figures", "report", "summary"]

TITLE = "Memory: what is learnt over many steps, by which cell, and how an LSTM does it"
CONSTANTS: tuple[float, ...] = (0, 1)  # slopes asked for, 1/e, a forget bias, the name MNIST-1D
