"""The weights of a cell that a plain cell's kernels compute, as that cell has them (`ops` does so too)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.spec import CELLS, Cell, Steps
from unrolled.stream.weights import Weight, convert

__all__ = ["as_plain"]

_KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def as_plain(tensors: Mapping[str, Weight], steps: Steps, weights: str) -> tuple[dict[str, Weight], Steps]:
    """Return the tensors and the layers of the plain cell that computes the same; of others as they are."""
    cell, found = CELLS[steps.cell], dict(tensors)
    if cell.plain is None:
        return found, steps
    for layer in range(steps.num_layers):
        for kind in _KINDS:
            name = f"{steps.recurrent}{kind}_l{layer}"
            if name not in found:
                continue
            if cell.diagonal and kind == "weight_hh":
                found[name] = convert(np.diag(found[name].data), weights)
            elif cell.blocks:
                found[name] = _in_blocks(found[name], cell)
    return found, replace(steps, cell=cell.plain)


def _in_blocks(weight: Weight, cell: Cell) -> Weight:
    def arranged(values: npt.NDArray[Any], *, signed: bool) -> npt.NDArray[Any]:
        parts = dict(zip(cell.gates, np.split(values, len(cell.gates)), strict=True))
        blocks = [_negated(parts[gate]) if sign < 0 and signed else parts[gate] for sign, gate in cell.blocks]
        return np.ascontiguousarray(np.concatenate(blocks))

    scales = None if weight.scales is None else arranged(weight.scales, signed=False)
    return Weight(arranged(weight.data, signed=True), scales)


def _negated(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values ^ np.uint16(0x8000) if values.dtype == np.uint16 else -values  # the sign bit of a bfloat16
