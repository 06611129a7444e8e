"""How good answers are: which class is taken for which, whether to trust a probability, errors by range."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.errors import ShapeError, expected
from unrolled.figures.canvas import BLUE, RED, drawing, frame, named, plain, theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["confusion", "error_by", "ranking", "reliability"]

Array: TypeAlias = npt.NDArray[np.float64]
OPEN = "cividis"
CELL, LEAST, MOST = 0.42, 3.2, 12.0  # inches: of a class, and of a side
NUMBERED = 30  # classes up to which each cell has its number
SMALL = 9.0  # points
HALF = 0.5  # of a row, from where a cell is so bright that dark ink is read on it


def confusion(
    path: str | Path,
    *,
    counts: npt.ArrayLike,
    classes: Sequence[str],
    noun: str = "class",
    title: str = "",
) -> None:
    """Draw which class is taken for which: colours are shares of a row, numbers are samples.

    Args:
        path: the PNG file; replaced atomically.
        counts: [K, K] whole numbers: row the true class, column the predicted one.
        classes: [K] names. noun: what they are, such as "tag". title: above the picture.
    Raises:
        ShapeError: counts are not [K, K]. MissingExtraError: matplotlib is not installed.
        RunError: the file cannot be written.
    """
    array = np.asarray(counts, dtype=np.float64)
    if array.shape != (len(classes), len(classes)) or not array.size:
        raise ShapeError(expected("counts", f"[{len(classes)}, {len(classes)}]", list(array.shape)))
    share = array / np.maximum(array.sum(1, keepdims=True), 1)
    side = float(np.clip(CELL * len(classes), LEAST, MOST))
    names = [named(name) for name in classes]
    margin = 0.085 * max(map(len, names)) + 0.6
    with drawing(path, side + margin + 0.9, side + margin + 0.3, title) as figure:
        axes = figure.add_subplot()
        picture = axes.imshow(share, cmap=OPEN, vmin=0, vmax=1, interpolation="nearest")
        size = float(np.clip(72 * side / len(classes) * 0.6, 4, SMALL))
        upright = 90 if max(map(len, names)) > 2 else 0
        axes.set_xticks(range(len(names)), labels=names, fontsize=size, rotation=upright)
        axes.set_yticks(range(len(names)), labels=names, fontsize=size)
        axes.tick_params(length=0, pad=2)
        axes.set_xlabel(f"predicted {noun}")
        axes.set_ylabel(f"true {noun}")
        frame(axes, grid=False)
        if len(classes) <= NUMBERED:
            _number(axes, array, share, size)
        bar = figure.colorbar(picture, ax=axes, pad=0.02, fraction=0.04, shrink=0.7, aspect=25)
        bar.set_label(f"share of the true {noun}", fontsize=SMALL)
        bar.ax.tick_params(labelsize=SMALL)
        bar.outline.set_visible(False)


def _number(axes: Axes, counts: Array, share: Array, size: float) -> None:
    """Write the number of samples into each cell that has any."""
    for row, column in np.argwhere(counts > 0):
        ink = "#111111" if share[row, column] > HALF else "#ffffff"
        text = f"{counts[row, column]:.0f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=ink)


def ranking(
    path: str | Path,
    *,
    names: Sequence[str],
    values: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    xlabel: str,
    title: str = "",
) -> None:
    """Draw named values with their intervals, one below the other, and an upright line at 0.

    Args:
        path: the PNG file; replaced atomically.
        names: [M], from top to bottom. values, low, high: [M] of each, and the ends of its interval.
        xlabel: with the unit. title: above the picture.
    Raises:
        ShapeError: unlike sizes, or no name. MissingExtraError: matplotlib is not installed.
        RunError: the file cannot be written.
    """
    x, left, right = _alike(values=values, low=low, high=high)
    if len(names) != len(x) or not len(x):
        raise ShapeError(expected("names", f"[{len(x)}], at least 1", len(names)))
    shown = [named(name) for name in names]
    width = 5.0 + min(0.085 * max(map(len, shown)), 4.0)
    with drawing(path, width, 0.3 * len(x) + 1.2, title) as figure:
        axes = figure.add_subplot()
        place: Any = np.arange(len(x))
        axes.axvline(0, color=theme().muted, linewidth=0.8)
        ends = np.maximum([x - left, right - x], 0)
        axes.errorbar(x, place, xerr=ends, fmt="o", color=BLUE, markersize=6, linewidth=1.4, capsize=3)
        axes.set_yticks(place, labels=shown)
        axes.set_ylim(len(x) - 0.5, -0.5)
        axes.set_xlabel(xlabel)
        frame(axes)


def reliability(
    path: str | Path,
    *,
    confidence: npt.ArrayLike,
    accuracy: npt.ArrayLike,
    samples: npt.ArrayLike,
    error: float,
    title: str = "",
) -> None:
    """Draw the share of right answers over their mean probability, by bins of it, and how many each bin has.

    Args:
        path: the PNG file; replaced atomically.
        confidence, accuracy, samples: [M] of each bin; bins without samples are left out.
        error: the expected calibration error. title: above the picture.
    Raises:
        ShapeError: unlike sizes. MissingExtraError: matplotlib is not installed.
        RunError: the file cannot be written.
    """
    x, y, count = _alike(confidence=confidence, accuracy=accuracy, samples=samples)
    held = count > 0
    with drawing(path, 5.2, 5.8, title) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
        upper.plot([0, 1], [0, 1], color=theme().muted, linewidth=1.0, linestyle="--", label="calibrated")
        spread = np.sqrt(np.maximum(y * (1 - y), 0.25 / np.maximum(count, 1)) / np.maximum(count, 1))
        upper.errorbar(
            x[held], y[held], yerr=spread[held], color=BLUE, marker="o", markersize=5, linewidth=1.6,
            capsize=2, label="network, with standard error",
        )  # fmt: skip
        upper.set_ylim(-0.03, 1.04)  # a mark at 0 or 1 is whole
        upper.set_xlim(0, 1.02)
        upper.set_ylabel("accuracy")
        upper.text(0.98, 0.04, f"calibration error {error:.3f}", ha="right", transform=upper.transAxes)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)  # a curve may run anywhere
        lower.bar(np.arange(len(count)) / len(count) + 0.5 / len(count), count, 0.92 / len(count), color=BLUE)
        lower.set_ylabel("samples")
        lower.set_xlabel("predicted probability")
        for axes in (upper, lower):
            frame(axes)


def error_by(
    path: str | Path,
    *,
    labels: Sequence[str],
    error: npt.ArrayLike,
    spread: npt.ArrayLike,
    samples: npt.ArrayLike | None = None,
    xlabel: str,
    ylabel: str,
    title: str = "",
) -> None:
    """Draw an error for each of a few ranges, with its standard error, and how many samples it holds.

    Args:
        path: the PNG file; replaced atomically.
        labels: [M] names of the ranges: "6 to 9". error, spread: [M] of each.
        samples: [M] of each, written below its name; None: nothing is.
        xlabel, ylabel: with their units. title: above the picture.
    Raises:
        ShapeError: unlike sizes, or no range. MissingExtraError: matplotlib is not installed.
        RunError: the file cannot be written.
    """
    y, e = _alike(error=error, spread=spread)
    count = None if samples is None else _alike(error=error, samples=samples)[1]
    if len(labels) != len(y) or not len(y):
        raise ShapeError(expected("labels", f"[{len(y)}], at least 1", len(labels)))
    with drawing(path, float(np.clip(0.9 * len(y) + 2, 5, 9)), 3.8, title) as figure:
        axes = figure.add_subplot()
        place: Any = np.arange(len(y))
        bars = axes.errorbar(place, y, yerr=e, color=RED, marker="o", markersize=6, linewidth=1.4, capsize=3)
        bars.lines[0].set_clip_on(False)  # a mark at 0 is whole
        names = list(map(plain, labels))
        if count is not None:
            names = [f"{name}\n({number:,.0f})" for name, number in zip(names, count, strict=True)]
        axes.set_xticks(place, labels=names)
        axes.set_xlim(-0.5, len(y) - 0.5)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(xlabel if count is None else f"{xlabel} (samples)")
        axes.set_ylabel(ylabel)
        frame(axes)


def _alike(**arrays: npt.ArrayLike) -> tuple[Array, ...]:
    """Return arrays [M] of one size."""
    found = {name: np.asarray(array, dtype=np.float64) for name, array in arrays.items()}
    size = next(iter(found.values())).shape
    for name, array in found.items():
        if array.ndim != 1 or array.shape != size:
            raise ShapeError(expected(name, f"[M] as {next(iter(found))} {list(size)}", list(array.shape)))
    return tuple(found.values())
