"""Networks that take rows of one length: examples for them, and our answers, one array after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.export.interface import Feeds, Interface
from unrolled.export.sequences import SequenceInterface

__all__ = ["FullRows", "examples"]

Array = npt.NDArray[Any]
LENGTHS, ROWS = (1, 7, 16), (1, 3)


class FullRows:
    """How a network is called as f(x, h_0[, c_0]) → outputs, h_n[, c_n].

    x is [T, B, I] of numbers, standardised for a task with a scaler, or ids [T, B]; outputs are y, logits, or
    standardised numbers.
    """

    def __init__(self, interface: Interface) -> None:
        self.interface = interface

    def example(self, draw: np.random.Generator, steps: int, rows: int) -> Feeds:
        """Return inputs drawn at random, of full rows."""
        found = self.interface.example(draw, steps, rows)
        found["lengths"] = np.full(rows, steps)
        return found

    def rows(self, feeds: Feeds) -> Iterator[Feeds]:
        """Yield rows one by one, without what lies past their ends."""
        for row, length in enumerate(feeds["lengths"].tolist()):
            one = {"lengths": feeds["lengths"][row : row + 1]}
            for name, value in feeds.items():
                if name != "lengths":
                    own = value[:, row : row + 1]
                    one[name] = own if name.endswith("_0") else own[:length]
            yield one

    def on_file(self, source: str) -> list[Feeds]:
        """Return the sequences of a user's file, each by itself."""
        return [row for feeds in self.interface.on_file(source) for row in self.rows(feeds)]

    def arguments(self, feeds: Feeds) -> list[Array]:
        """Return what the network takes: x and the states."""
        if isinstance(self.interface, SequenceInterface):
            x = self.interface.read(feeds)
        else:
            x = next(feeds[name] for name in self.interface.own_inputs)
        states = (feeds[f"{name}_0"] for name in self.interface.state_names)
        return [np.ascontiguousarray(each) for each in (x, *states)]

    def ours(self, feeds: Feeds) -> list[Array]:
        """Return what our network gives: the outputs and the states after."""
        found = self.interface.ours(feeds)
        outputs = next(iter(found.values()))
        if "values" in found:
            outputs = self.interface.compared("values", outputs)
        return [outputs, *(found[f"{name}_n"] for name in self.interface.state_names)]


def examples(rows: FullRows) -> list[Feeds]:
    """Return what every export is run on: three lengths, two batches, states that are not zero."""
    draw = np.random.default_rng(0)
    return [rows.example(draw, steps, count) for steps in LENGTHS for count in ROWS]
