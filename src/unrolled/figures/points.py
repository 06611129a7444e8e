"""Named points with their spread, a panel a family."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import ShapeError, expected
from unrolled.figures.canvas import INK, MUTED, drawing
from unrolled.figures.symbols import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["points"]

FIRST, OTHERS = "#CC3311", "#4477AA"  # Paul Tol; the first also has another mark
GAP = 0.075  # between two labels, in heights of a panel
WIDE, NARROW = (
    (1.0, 2.0, 5.0),
    (1.0, 1.1, 1.2, 1.3, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0),
)  # of a decade

# from the left end of a name to its point
LEADER = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.5, "alpha": 0.7, "relpos": (0, 0.5), "shrinkA": 2}

Named = Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]
Array = npt.NDArray[np.float64]


def points(
    path: str | Path,
    *,
    panels: Mapping[str, Named],
    xlabel: str,
    ylabel: str,
    title: str = "",
    log_x: bool = False,
) -> None:
    """Draw named points, each with its spread along both axes; names stand beside the panel.

    Args:
        path: the PNG file; replaced atomically.
        panels: heading → name → (x, y), each (low, middle, high), finite. The first point is the one that the
            others are compared with: it has another mark, and lines run through it.
        xlabel, ylabel: with their units. title: above the picture.
        log_x: whether the horizontal axis is logarithmic; x is then above 0.
    Raises:
        ShapeError: no panels, one without points, or a point that is not this.
        MissingExtraError: matplotlib is not installed. RunError: the file cannot be written.
    """
    checked = {head: _checked(head, named, log_x) for head, named in panels.items()}
    if not checked:
        raise ShapeError(expected("panels", "at least one", "none"))
    with drawing(path, 9, 3.4 * len(checked) + 0.4) as figure:
        figure.suptitle(plain(title), x=0.01, ha="left", fontsize=10)
        every = figure.subplots(len(checked), 1, squeeze=False)[:, 0]
        for axes, (head, named) in zip(every, checked.items(), strict=True):
            if log_x:
                ends = [(x[0], x[2]) for x, _ in named.values()]
                _logarithmic(axes, max(high for _, high in ends) / min(low for low, _ in ends))
            for place, (x, y) in enumerate(named.values()):
                _mark(axes, x, y, first=place == 0)
            axes.margins(0.06, 0.1)
            axes.set_title(plain(head), loc="left")
            axes.set_ylabel(ylabel)
            axes.spines[["top", "right"]].set_visible(False)
            _name(axes, named)
        every[-1].set_xlabel(xlabel)


def _logarithmic(axes: Axes, ratio: float) -> None:
    """Make the horizontal axis logarithmic, with plain numbers as close as its range asks for."""
    from matplotlib.ticker import LogLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=WIDE if ratio > 3 else NARROW, numticks=99))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")


def _mark(axes: Axes, x: Array, y: Array, *, first: bool) -> None:
    color, mark = (FIRST, "D") if first else (OTHERS, "o")
    spans: dict[str, Any] = {"xerr": [[x[1] - x[0]], [x[2] - x[1]]], "yerr": [[y[1] - y[0]], [y[2] - y[1]]]}
    axes.errorbar([x[1]], [y[1]], **spans, fmt=mark, color=color, markersize=5, elinewidth=1, alpha=0.9)
    if first:
        axes.axvline(x[1], color=MUTED, linewidth=0.8, linestyle=":")
        axes.axhline(y[1], color=MUTED, linewidth=0.8, linestyle=":")


def _name(axes: Axes, named: Mapping[str, tuple[Array, Array]]) -> None:
    """Write the names in a column on the right, from top to bottom as the points lie, a line to each."""
    low, high = axes.get_ylim()
    order = sorted(named, key=lambda name: float(named[name][1][1]))
    wanted = np.array([(named[name][1][1] - low) / (high - low) for name in order])
    for name, height in zip(order, _apart(wanted), strict=True):
        x, y = named[name]
        axes.annotate(
            plain(name),
            xy=(float(x[1]), float(y[1])),
            xytext=(1.04, float(height)),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            color=INK,
            arrowprops=LEADER,
        )


def _apart(wanted: Array) -> Array:
    """Return rising heights, none closer than GAP, as near as can be to rising ones that were wanted."""
    steps: Array = GAP * np.arange(len(wanted), dtype=np.float64)
    blocks: list[list[float]] = []  # labels that stand GAP apart share one shift: the mean of theirs
    for shift in (wanted - steps).tolist():
        blocks.append([shift])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    shifts = np.array([np.mean(block) for block in blocks for _ in block], dtype=np.float64)
    heights = steps + np.clip(shifts, 0.0, max(0.0, 1.0 - float(steps[-1])))
    return np.asarray(heights, dtype=np.float64)


def _checked(head: str, named: Named, log_x: bool) -> dict[str, tuple[Array, Array]]:
    found = {
        name: (np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
        for name, (x, y) in named.items()
    }
    if not found:
        raise ShapeError(expected(f"panels {head!r}", "at least one point", "none"))
    for name, (x, y) in found.items():
        for axis, values in (("x", x), ("y", y)):
            if values.shape != (3,) or not np.isfinite(values).all() or (np.diff(values) < 0).any():
                wanted = "(low, middle, high), finite"
                raise ShapeError(expected(f"panels {head!r} {name!r} {axis}", wanted, values.tolist()))
        if log_x and x[0] <= 0:
            raise ShapeError(expected(f"panels {head!r} {name!r} x", "above 0", x.tolist()))
    return found
