"""A matrix of positive numbers, with texts on both axes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from unrolled.errors import ShapeError, expected
from unrolled.figures.canvas import drawing
from unrolled.figures.symbols import plain, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["matrix"]

MAP = "cividis"  # readable with any colour vision
CELL = 0.11  # inches
SMALLEST, LARGEST = 4.0, 24.0  # inches a side
LETTERS = 0.75  # of a cell: the height of the texts
TINIEST, TALLEST = 4.0, 8.0  # points, of the texts
DECADES = 4.0  # below the largest value, that the colours reach down to


def matrix(
    path: str | Path,
    *,
    values: npt.ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    xlabel: str,
    ylabel: str,
    unit: str,
    title: str = "",
) -> None:
    """Draw a matrix in logarithmic colours, four decades of them; what is not above 0 stays white.

    Args:
        path: the PNG file; replaced atomically.
        values: [R, C]. rows: [R] texts, from top to bottom. columns: [C] texts.
        xlabel, ylabel: what columns and rows are. unit: of the values. title: above the picture.
    Raises:
        ShapeError: values are not [R, C]. MissingExtraError: matplotlib is not installed.
        RunError: the file cannot be written.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (len(rows), len(columns)) or not array.size:
        raise ShapeError(expected("values", f"[{len(rows)}, {len(columns)}], above 0", list(array.shape)))
    shown = np.ma.masked_where(~np.isfinite(array) | (array <= 0), array)
    width, height = (min(max(CELL * n, SMALLEST), LARGEST) for n in (len(columns), len(rows)))
    with drawing(path, width + 1.9, height + 0.9) as figure:
        from matplotlib.colors import LogNorm

        axes = figure.add_subplot()
        high = float(shown.max()) if shown.count() else 1.0
        picture = axes.imshow(
            shown, cmap=MAP, norm=LogNorm(high / 10**DECADES, high), interpolation="nearest", aspect="equal"
        )
        axes.set_title(plain(title), loc="left")
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        _label(axes, rows, columns, 72 * min(width / len(columns), height / len(rows)))
        bar = figure.colorbar(picture, ax=axes, pad=0.02, fraction=0.04, shrink=0.6, aspect=30, extend="min")
        bar.ax.yaxis.set_major_formatter("{x:g}")
        bar.ax.yaxis.set_minor_formatter("")
        bar.set_label(plain(unit))
        bar.outline.set_visible(False)


def _label(axes: Axes, rows: Sequence[str], columns: Sequence[str], cell: float) -> None:
    """Write the texts on both axes, so small that none runs into the next; `cell` is a cell in points."""
    size = min(max(LETTERS * cell, TINIEST), TALLEST)
    across, down = [visible(text) for text in columns], [visible(text) for text in rows]
    upright = 90 if max(map(len, across)) > 1 else 0
    axes.set_xticks(range(len(across)), labels=across, fontsize=size, rotation=upright)
    axes.set_yticks(range(len(down)), labels=down, fontsize=size)
    axes.tick_params(length=0, pad=2)
    axes.spines[["top", "right"]].set_visible(False)
