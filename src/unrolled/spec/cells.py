"""The recurrent units, and what every room must know of each."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CELLS", "CLOSED", "OPEN", "Cell"]

CLOSED, OPEN = 0.1, 0.9  # a gate below, above: saturated (Karpathy et al. 2015); a tanh: beyond ± 0.9


@dataclass(frozen=True)
class Cell:
    """A kind of recurrent unit."""

    gates: int  # blocks of H rows in weight_ih and weight_hh
    states: tuple[str, ...]  # what is carried from step to step, h first


CELLS = {
    "lstm": Cell(gates=4, states=("h", "c")),
    "gru": Cell(gates=3, states=("h",)),
    "rnn": Cell(gates=1, states=("h",)),
}
