"""Curves over lags, with bands: a panel each."""

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

__all__ = ["lags"]

CURVE = "#4477AA"  # Paul Tol's bright blue: colour-blind safe
LINE = "#CC3311"
PANEL = 1.9  # inches


def lags(
    path: str | Path,
    *,
    curves: Mapping[str, Mapping[str, npt.ArrayLike]],
    xlabel: str,
    ylabel: str,
    title: str = "",
    captions: Mapping[str, str] | None = None,
    first: int = 0,
    marks: Mapping[str, float] | None = None,
    level: tuple[str, float] | None = None,
    log: bool = False,
) -> None:
    """Draw curves over lags 0, 1, 2, …, a panel each, with a band where it has one.

    Args:
        path: the PNG file; replaced atomically.
        curves: name → "middle" [K], and "low" and "high" [K] for a band; what is not finite is left out.
        xlabel, ylabel: with their units. title: above the picture.
        captions: name → a few words beside the curve's name.
        first: the lag of the first value.
        marks: words → the lag at which an upright line stands.
        level: words and a value at which a level line lies.
        log: whether the upright axis is logarithmic.
    Raises:
        ShapeError: no curves, or a band of another length. MissingExtraError: matplotlib is not installed.
        RunError: the file cannot be written.
    """
    panels = {name: _checked(name, curve) for name, curve in curves.items()}
    if not panels:
        raise ShapeError(expected("curves", "at least one", "none"))
    with drawing(path, 7.5, PANEL * len(panels) + 1.2) as figure:
        figure.suptitle(plain(title), x=0.01, ha="left", fontsize=10)
        rows = list(figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0])
        for axes, (name, curve) in zip(rows, panels.items(), strict=True):
            _panel(axes, curve, first, log)
            words = (captions or {}).get(name)
            axes.set_title(plain(f"{name}: {words}" if words else name), loc="left", pad=3)
            _lines(axes, marks or {}, level)
        figure.supylabel(ylabel, fontsize=9)
        rows[-1].set_xlabel(xlabel)


def _panel(axes: Axes, curve: dict[str, npt.NDArray[np.float64]], first: int, log: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    if log:
        axes.set_yscale("log", nonpositive="mask")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    x = np.arange(len(curve["middle"])) + first
    good = np.isfinite(curve["middle"]) & ((curve["middle"] > 0) | (not log))
    if not good.any():
        axes.text(0.5, 0.5, "nothing above zero", transform=axes.transAxes, ha="center", color=MUTED)
        axes.set_yticks([])
    else:
        few: dict[str, Any] = {"marker": "o", "markersize": 3} if good.sum() < 20 else {}
        if "low" in curve:
            low = np.where(np.isfinite(curve["low"]), curve["low"], curve["middle"])
            high = np.where(np.isfinite(curve["high"]), curve["high"], curve["middle"])
            if log:  # a low end at or below 0 lies below the picture
                low = np.maximum(low, curve["middle"][good].min() / 10)
            axes.fill_between(x[good], low[good], high[good], color=CURVE, alpha=0.22, linewidth=0)
        axes.plot(x[good], curve["middle"][good], color=CURVE, linewidth=1.6, clip_on=False, **few)
        if log:
            axes.set_ylim(bottom=curve["middle"][good].min() / 5)
    axes.set_xlim(*(x[[0, -1]] if len(x) > 1 else (first - 0.5, first + 0.5)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _lines(axes: Axes, marks: Mapping[str, float], level: tuple[str, float] | None) -> None:
    styles = ("-", "--", ":")
    for (words, at), style in zip(marks.items(), styles * len(marks), strict=False):
        axes.axvline(at, color=LINE, linewidth=1.1, linestyle=style, label=plain(words))
    if level is not None:
        axes.axhline(level[1], color=INK, linewidth=0.8, linestyle=":", label=plain(level[0]))
    if marks or level is not None:
        axes.legend(loc="best", frameon=False, fontsize=8)


def _checked(name: str, curve: Mapping[str, npt.ArrayLike]) -> dict[str, npt.NDArray[np.float64]]:
    arrays = {part: np.asarray(values, dtype=np.float64) for part, values in curve.items()}
    size = arrays["middle"].shape
    for part, array in arrays.items():
        if array.ndim != 1 or array.shape != size or not array.size:
            raise ShapeError(
                expected(f"curves {name!r} {part}", f"[K] as middle {list(size)}", list(array.shape))
            )
    return arrays
