"""Several named curves on one pair of axes, with bands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import ShapeError, expected
from unrolled.figures.canvas import MUTED, drawing
from unrolled.figures.symbols import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["series"]

# Paul Tol's bright scheme: colour-blind safe; dashes and marks differ too
LOOKS = (
    ("#4477AA", "-", "o"),
    ("#CC3311", "--", "^"),
    ("#228833", "-.", "s"),
    ("#AA3377", ":", "D"),
    ("#CCBB44", "-", "v"),
    ("#66CCEE", "--", "P"),
    ("#222222", "-.", "X"),
)
FEW = 30  # points, below which each is marked

Array = npt.NDArray[np.float64]


def series(
    path: str | Path,
    *,
    curves: Mapping[str, Mapping[str, npt.ArrayLike]],
    xlabel: str,
    ylabel: str,
    title: str = "",
    levels: Mapping[str, float] | None = None,
    log_x: bool = False,
    log_y: bool = False,
) -> None:
    """Draw curves on one pair of axes, each with a band where it has one.

    Args:
        path: the PNG file; replaced atomically.
        curves: name → "x" [K] and "middle" [K], and "low" and "high" [K] for a band; what is not finite, or
            not above 0 on a logarithmic axis, is left out.
        xlabel, ylabel: with their units. title: above the picture.
        levels: words → a value at which a level line lies.
        log_x, log_y: whether an axis is logarithmic.
    Raises:
        ShapeError: no curves, or parts of unequal length. MissingExtraError: matplotlib is not installed.
        RunError: the file cannot be written.
    """
    checked = {name: _checked(name, curve) for name, curve in curves.items()}
    if not checked:
        raise ShapeError(expected("curves", "at least one", "none"))
    with drawing(path, 8, 4.5) as figure:
        axes = figure.add_subplot()
        _scale(axes, log_x, log_y)
        for place, (name, curve) in enumerate(checked.items()):
            _draw(axes, name, curve, LOOKS[place % len(LOOKS)])
        for place, (words, at) in enumerate((levels or {}).items()):
            axes.axhline(at, color=MUTED, linewidth=1, linestyle=(0, (1, 1 + place)), label=plain(words))
        axes.set_title(plain(title), loc="left")
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.grid(axis="y", color="#e4e4e4", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8)


def _scale(axes: Axes, log_x: bool, log_y: bool) -> None:
    """Make axes logarithmic, with plain numbers at 1, 2 and 5 of each decade."""
    from matplotlib.ticker import LogLocator

    if log_x:
        axes.set_xscale("log")
    if log_y:
        axes.set_yscale("log")
    for axis in [axes.xaxis] * log_x + [axes.yaxis] * log_y:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")


def _draw(axes: Axes, name: str, curve: dict[str, Array], look: tuple[str, str, str]) -> None:
    color, line, mark = look
    good = np.isfinite(curve["x"]) & np.isfinite(curve["middle"])
    good &= (curve["x"] > 0) | (axes.get_xscale() != "log")
    good &= (curve["middle"] > 0) | (axes.get_yscale() != "log")
    few: dict[str, Any] = {"marker": mark, "markersize": 3.5} if good.sum() < FEW else {}
    if "low" in curve:
        low, high = (
            np.where(np.isfinite(curve[end]), curve[end], curve["middle"])[good] for end in ("low", "high")
        )
        axes.fill_between(curve["x"][good], low, high, color=color, alpha=0.18, linewidth=0)
    axes.plot(
        curve["x"][good], curve["middle"][good], color=color, linestyle=line, linewidth=1.6,
        label=plain(name), **few,
    )  # fmt: skip


def _checked(name: str, curve: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
    arrays = {part: np.asarray(values, dtype=np.float64) for part, values in curve.items()}
    size = arrays["x"].shape
    for part, array in arrays.items():
        if array.ndim != 1 or array.shape != size or not array.size:
            raise ShapeError(expected(f"curves {name!r} {part}", f"[K] as x {list(size)}", list(array.shape)))
    return arrays
