"""How much of a number a linear map reads from other numbers, and how well two groups are told apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["explained", "told_apart"]

FITTED = 0.75  # share of the rows that the map is fitted to; the others say how good it is

Array = npt.NDArray[np.float64]


def explained(read: npt.ArrayLike, wanted: npt.ArrayLike) -> float:
    """Return R² of the best linear map with an offset, on rows that it was not fitted to.

    1 is all of it, 0 is what knowing the mean gives; below 0 the map was fitted to chance.

    Args:
        read: [N, H] what is read from. wanted: [N] what is to be read.
    """
    x, y = np.asarray(read, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    cut = int(FITTED * len(y))
    # by torch, which keeps to the cell's threads; gelsd bears units that never change
    a, b = torch.from_numpy(x[:cut]), torch.from_numpy(y[:cut, None])
    weights = torch.linalg.lstsq(a, b, driver="gelsd").solution[:, 0]
    return _share(y[cut:] - x[cut:] @ weights.numpy(), y[cut:])


def _share(missed: Array, wanted: Array) -> float:
    return float(1 - (missed**2).sum() / ((wanted - wanted.mean()) ** 2).sum())


def told_apart(high: npt.ArrayLike, low: npt.ArrayLike) -> float:
    """Return the share of pairs in which the one of `high` is the larger, equals counted half: 0.5 is chance.

    Source: Mann & Whitney 1947; the area under the receiver's curve.
    """
    one, other = np.asarray(high, dtype=np.float64), np.sort(np.asarray(low, dtype=np.float64))
    below = np.searchsorted(other, one, "left") + np.searchsorted(other, one, "right")
    return float(below.mean() / (2 * len(other)))
