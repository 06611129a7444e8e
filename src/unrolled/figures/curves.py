"""loss.png: how training and validation went."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import ShapeError, expected
from unrolled.figures.canvas import INK, MUTED, drawing
from unrolled.figures.symbols import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["loss"]

TRAIN, VALIDATION = "#4477AA", "#CC3311"  # Paul Tol's bright blue and vibrant red: colour-blind safe
SMOOTHED = 40  # windows a curve

Points = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def loss(
    path: str | Path,
    *,
    step: npt.ArrayLike,
    train_nats_per_token: npt.ArrayLike,
    val_step: npt.ArrayLike,
    val_nats_per_token: npt.ArrayLike,
    best: tuple[int, float] | None = None,
    title: str = "",
) -> None:
    """Draw the training loss, raw and smoothed, and the validation loss over steps.

    Args:
        path: the PNG file; replaced atomically.
        step: [N] optimizer steps, rising. train_nats_per_token: [N]; what is not finite is left out.
        val_step: [M]. val_nats_per_token: [M].
        best: (step, nats per token) of the validation to mark; default the lowest one.
        title: above the picture.
    Raises:
        ShapeError: steps and losses differ in number. MissingExtraError: matplotlib is not installed.
        RunError: the file cannot be written.
    """
    train = _points("train_nats_per_token", step, train_nats_per_token)
    validation = _points("val_nats_per_token", val_step, val_nats_per_token)
    if best is None and len(validation[1]):
        lowest = int(np.argmin(validation[1]))
        best = int(validation[0][lowest]), float(validation[1][lowest])
    with drawing(path, 8, 4.5) as figure:
        axes = figure.add_subplot()
        _draw(axes, train, validation)
        if best is not None:
            _mark(axes, best)
        _frame(axes, title)


def _draw(axes: Axes, train: Points, validation: Points) -> None:
    few: dict[str, Any] = {"marker": "o", "markersize": 3} if len(train[0]) < 3 else {}
    if len(train[0]):
        axes.plot(*train, color=TRAIN, alpha=0.28, linewidth=0.7, **few)
        axes.plot(*_smoothed(train), color=TRAIN, linewidth=1.6, label="training, smoothed")
    if len(validation[0]):
        axes.plot(
            *validation, color=VALIDATION, linewidth=1.4, marker="o", markersize=3.2, label="validation"
        )
    if not axes.has_data():
        axes.text(0.5, 0.5, "no step was taken", transform=axes.transAxes, ha="center", color=MUTED)


def _frame(axes: Axes, title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(plain(title), loc="left")
    if axes.has_data():
        axes.legend(loc="upper right", frameon=False)
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylabel("loss in nats per token")
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.02, y=0.12)
    bits = axes.secondary_yaxis("right", functions=(_bits, _nats))
    bits.set_ylabel("bits per token")
    bits.spines["right"].set_visible(False)


def _mark(axes: Axes, best: tuple[int, float]) -> None:
    """Ring the best validation; its value goes into the legend, where no curve runs through it."""
    step, nats = best
    words = f"best: {nats:.3f} nats, {_bits(nats):.3f} bits, at step {step:,}"
    axes.plot([step], [nats], marker="o", markersize=9, fillstyle="none", color=INK, linewidth=0, label=words)


def _smoothed(train: Points) -> Points:
    """Return the mean over a centred window, narrower where the curve begins, so that it never lags."""
    steps, values = train
    count, half = len(values), len(values) // (2 * SMOOTHED)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(count)
    reach = np.minimum(half, at)
    first, last = at - reach, np.minimum(at + reach + 1, count)
    return steps, (sums[last] - sums[first]) / (last - first)


def _points(name: str, steps: npt.ArrayLike, values: npt.ArrayLike) -> Points:
    x, y = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ShapeError(expected(name, f"[N] as its steps {list(x.shape)}", list(y.shape)))
    finite = np.isfinite(y)
    return x[finite], y[finite]


def _bits(nats: Any) -> Any:
    return nats / math.log(2)


def _nats(bits: Any) -> Any:
    return bits * math.log(2)
