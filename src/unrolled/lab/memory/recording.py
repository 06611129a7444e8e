"""What an LSTM does while it reads sequences of the adding problem: everything, with the marks' places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unrolled import probe
from unrolled.lab.network import Network
from unrolled.lab.tasks import Adding

__all__ = ["Recording", "around", "drawn", "placed"]

ROWS_AT_ONCE = 128  # so that what is recorded in double precision stays small

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Recording:
    """Sequences, and every gate and state over them."""

    inputs: Tensor  # [T, B, 2]
    marks: Places  # [2, B] the steps that are marked, the first first
    trace: dict[str, Floats]  # i, f, g, o, c, h: [T, B, H]

    @property
    def values(self) -> Floats:
        """[T, B]: the number at each step."""
        found: Floats = self.inputs[..., 0].numpy()
        return found

    @property
    def marked(self) -> npt.NDArray[np.bool_]:
        """[T, B]: whether a step is marked."""
        found: npt.NDArray[np.bool_] = self.inputs[..., 1].numpy() > 0
        return found

    @property
    def changes(self) -> Floats:
        """[T, B, H]: c_t − c_(t−1), from c = 0."""
        c = self.trace["c"]
        found: Floats = np.diff(c, axis=0, prepend=np.zeros_like(c[:1]))
        return found

    def values_at(self, places: Places) -> Floats:
        """Return [B]: each row's number at its step of `places`."""
        found: Floats = self.values[places, np.arange(len(places))]
        return found


def drawn(network: Network, task: Adding, rows: int, seed: int) -> Recording:
    """Record sequences as the task draws them."""
    return _record(network, task.draw(rows, torch.Generator().manual_seed(seed)).inputs)


def placed(network: Network, task: Adding, rows: int, seed: int, steps: tuple[int, int]) -> Recording:
    """Record drawn sequences with their marks moved to two steps, the same of all rows."""
    inputs = task.draw(rows, torch.Generator().manual_seed(seed)).inputs
    inputs[..., 1] = 0
    inputs[list(steps), :, 1] = 1
    return _record(network, inputs)


def around(values: npt.ArrayLike, places: Places, offsets: range) -> npt.NDArray[np.float64]:
    """Return [K, B, …]: what each row has at its place plus each offset; NaN outside of the sequence.

    Args:
        values: [T, B, …]. places: [B].
    """
    array = np.asarray(values, dtype=np.float64)
    steps, rows = array.shape[:2]
    at = places[None] + np.array(offsets)[:, None]  # [K, B]
    found: npt.NDArray[np.float64] = array[at.clip(0, steps - 1), np.arange(rows)]
    found[(at < 0) | (at >= steps)] = np.nan
    return found


def _record(network: Network, inputs: Tensor) -> Recording:
    parts: list[dict[str, Floats]] = []
    for part in torch.split(inputs, ROWS_AT_ONCE, dim=1):
        (layer,) = probe.trajectories(network, part).layers.values()
        parts.append({name: values.astype(np.float32) for name, values in layer.items()})
    trace = {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
    places = inputs[..., 1].T.nonzero()[:, 1]  # row by row, in rising steps
    return Recording(inputs, places.view(-1, 2).T.numpy(), trace)
