"""Slices: what came out of many runs, over each setting that differed between them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import ShapeError, expected
from unrolled.figures.canvas import BLUE, RED, drawing, frame, logarithmic, named, plain, theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, PANEL, HEAD = 5.6, 2.3, 0.7  # inches; narrow enough to be read on a telephone
MARK = 5.5  # points
FAR = 3.0  # interquartile ranges beyond the median, from where on a value is drawn at the edge
WIDE = 50.0  # from the lowest value to the highest, from where on only powers of ten are written
LEGEND = ("best", "median", "far out", "no result")
MOST_NAMED = 12  # values that a panel writes below its axis


def slices(
    path: str | Path,
    *,
    axes: Mapping[str, Sequence[Any]],
    values: npt.ArrayLike,
    ylabel: str,
    order: Mapping[str, Sequence[Any]] | None = None,
    logarithmic: Collection[str] = (),
    maximise: bool = False,
    title: str = "",
) -> None:
    """Draw a value over each of several settings, a panel per setting and a point per run.

    A ring marks the best run, a short line the median at each listed value. At the edge where bad runs are, a
    cross is one without a value, a triangle one whose value is far out. Below, a legend names those that
    there are.

    Args:
        path: the PNG file; replaced atomically.
        axes: name of a setting → its value in each of N runs.
        values: [N]; what is not finite is of a run that came to none.
        ylabel: what the values are, with their unit.
        order: name → the values that it may have, side by side in this order; the others are numbers, along a
            number line.
        logarithmic: names whose number line is logarithmic.
        maximise: whether a larger value is a better one. title: above the picture.
    Raises:
        ShapeError: a setting has another number of values. MissingExtraError: matplotlib is not installed.
        RunError: the file cannot be written.
    """
    found = np.asarray(values, dtype=np.float64).reshape(-1)
    for name, each in axes.items():
        if len(each) != len(found):
            raise ShapeError(expected(f"axes {name}", f"{len(found)} values", len(each)))
    if not axes:
        raise ShapeError(expected("axes", "at least one", "none"))
    listed = order or {}
    heights, looks = _placed(found, maximise=maximise)
    best = _best(found, maximise=maximise)
    named_marks: dict[str, Any] = {}  # in the legend: what each mark means
    with drawing(path, WIDTH, PANEL * len(axes) + HEAD, title) as figure:
        panels = figure.subplots(len(axes), 1, squeeze=False)[:, 0]
        for panel, (name, each) in zip(panels, axes.items(), strict=True):
            across = _across(panel, each, listed.get(name), log=name in logarithmic)
            named_marks |= _points(panel, across, heights, looks)
            if name in listed:
                named_marks |= _medians(panel, across, found)
            if best is not None:
                ring: Any = {"markersize": 2.4 * MARK, "fillstyle": "none", "color": theme().ink}
                named_marks["best"] = panel.plot(across[best], heights[best], "o", **ring)[0]
            panel.set_xlabel(plain(name))
            panel.set_ylabel(plain(ylabel))
            panel.margins(y=0.12)
            frame(panel)
        shown = {name: named_marks[name] for name in LEGEND if name in named_marks}
        if shown:
            where: Any = {"loc": "outside lower center", "ncols": len(shown), "frameon": False}
            figure.legend(list(shown.values()), list(shown), **where)


def _best(values: npt.NDArray[np.float64], *, maximise: bool) -> int | None:
    """Return which value is the best; None: there is none."""
    if not np.isfinite(values).any():
        return None
    return int(np.nanargmax(values) if maximise else np.nanargmin(values))


def _placed(
    values: npt.NDArray[np.float64], *, maximise: bool
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.str_]]:
    """Return how high each run is drawn, and as what: "o", "^" or "v" far out, "x" without a value."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.zeros(len(values)), np.full(len(values), "x")
    low, middle, high = np.quantile(finite, [0.25, 0.5, 0.75])
    room = FAR * (high - low)
    if maximise:
        edge = max(finite.min(), middle - room) if room else finite.min()
        far, mark = values < edge, "v"
    else:
        edge = min(finite.max(), middle + room) if room else finite.max()
        far, mark = values > edge, "^"
    none = ~np.isfinite(values)
    marks = np.where(none, "x", np.where(far, mark, "o"))
    return np.where(none | far, edge, values), marks


def _across(panel: Axes, each: Sequence[Any], order: Sequence[Any] | None, *, log: bool) -> Any:
    """Return where each run is drawn along a panel, whose scale is set."""
    if order is None:
        if log:
            panel.set_xscale("log")
            wide = max(each) > WIDE * min(each)
            logarithmic(panel.xaxis, (1.0,) if wide else (1.0, 2.0, 5.0))
        return np.array([float(value) for value in each])
    known = list(order)
    places = np.array([known.index(value) for value in each], dtype=np.float64)
    stride = math.ceil(len(known) / MOST_NAMED)
    panel.set_xticks(range(0, len(known), stride), [_label(value) for value in known[::stride]])
    panel.set_xlim(-0.6, len(known) - 0.4)
    return places


def _label(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else named(str(value))


def _points(panel: Axes, across: Any, heights: Any, looks: Any) -> dict[str, Any]:
    """Draw every run; return the marks of those that a legend names."""
    found: dict[str, Any] = {}
    for mark, name in {"o": "", "^": "far out", "v": "far out", "x": "no result"}.items():
        those = looks == mark
        if those.any():
            color = RED if name else BLUE
            found[name] = panel.plot(
                across[those], heights[those], mark, color=color, markersize=MARK, alpha=0.75
            )[0]
    return found


def _medians(panel: Axes, across: Any, values: Any) -> dict[str, Any]:
    """Draw the median of the runs at each listed value, where there are several; return its line."""
    found: dict[str, Any] = {}
    for place in np.unique(across):
        here = values[(across == place) & np.isfinite(values)]
        if len(here) > 1:
            ends = (place - 0.25, place + 0.25)
            found["median"] = panel.hlines(np.median(here), *ends, color=theme().muted, linewidth=1.2)
    return found
