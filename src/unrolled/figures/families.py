"""Families of curves over steps, a panel each: one hue a family, from light to dark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from unrolled.errors import ShapeError, expected
from unrolled.figures.canvas import MUTED, drawing
from unrolled.figures.symbols import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["families"]

PANEL = 2.1  # inches
DASHES = ("-", "--", ":", "-.")  # beside the colours, for eyes that do not tell them apart


def families(
    path: str | Path,
    *,
    step: npt.ArrayLike,
    panels: Mapping[str, Mapping[str, npt.ArrayLike]],
    ylabels: Mapping[str, str],
    logarithmic: frozenset[str] = frozenset(),
    title: str = "",
) -> None:
    """Draw curves over steps, a panel a family; curves of one panel go from dark to light in their order.

    Args:
        path: the PNG file; replaced atomically.
        step: [N] rising.
        panels: name → curve → [N]; what is not finite is left out.
        ylabels: name of a panel → words, with the unit.
        logarithmic: names of the panels whose upright axis is.
        title: above the picture.
    Raises:
        ShapeError: no panel, or a curve of another length. MissingExtraError: matplotlib is not installed.
        RunError: the file cannot be written.
    """
    steps = np.asarray(step, dtype=np.float64)
    if not panels:
        raise ShapeError(expected("panels", "at least one", "none"))
    checked = {name: _checked(name, curves, steps) for name, curves in panels.items()}
    with drawing(path, 8, PANEL * len(checked) + 0.9) as figure:
        figure.suptitle(plain(title), x=0.01, ha="left", fontsize=10)
        rows = list(figure.subplots(len(checked), 1, sharex=True, squeeze=False)[:, 0])
        for axes, (name, curves) in zip(rows, checked.items(), strict=True):
            axes.set_title(plain(name), loc="left", pad=3)
            axes.set_ylabel(ylabels.get(name, ""), fontsize=8)
            _panel(axes, steps, curves, name in logarithmic)
        rows[-1].set_xlabel("step")


def _panel(
    axes: Axes, steps: npt.NDArray[np.float64], curves: dict[str, npt.NDArray[np.float64]], log: bool
) -> None:
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator

    if log:
        axes.set_yscale("log", nonpositive="mask")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
    shades = colormaps["cividis"](np.linspace(0.0, 0.85, max(len(curves), 2)))
    for number, (name, values) in enumerate(curves.items()):
        good = np.isfinite(values) & ((values > 0) | (not log))
        axes.plot(
            steps[good], values[good], color=shades[number], linewidth=1.4, label=plain(name),
            linestyle=DASHES[number % len(DASHES)], marker="o" if good.sum() < 20 else None, markersize=2.5,
        )  # fmt: skip
    if any(line.get_xdata().size for line in axes.lines):  # type: ignore[union-attr]
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    else:
        axes.text(0.5, 0.5, "nothing above zero", transform=axes.transAxes, ha="center", color=MUTED)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _checked(
    panel: str, curves: Mapping[str, npt.ArrayLike], steps: npt.NDArray[np.float64]
) -> dict[str, npt.NDArray[np.float64]]:
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in curves.items()}
    for name, array in arrays.items():
        if array.ndim != 1 or array.shape != steps.shape:
            where, want = f"panels {panel!r} {name!r}", f"[N] as its steps {list(steps.shape)}"
            raise ShapeError(expected(where, want, list(array.shape)))
    return arrays
