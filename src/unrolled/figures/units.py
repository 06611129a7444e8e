"""A point a unit: gates closed and open, or eigenvalues in the complex plane."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from unrolled.errors import ShapeError, expected
from unrolled.figures.canvas import MUTED, drawing
from unrolled.figures.symbols import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["units"]

LOOKS = (
    ("#4477AA", "o"),
    ("#CC3311", "^"),
    ("#DDAA33", "s"),
    ("#AA3377", "D"),
)  # Paul Tol; shapes differ too, and no green beside the red
PANEL = 3.4  # inches
COLUMNS = 3

Points = tuple[npt.ArrayLike, npt.ArrayLike]


def units(
    path: str | Path,
    *,
    panels: Mapping[str, Mapping[str, Points]],
    xlabel: str,
    ylabel: str,
    title: str = "",
    circles: Collection[str] = (),
    circle_labels: tuple[str, str] = ("real part", "imaginary part"),
) -> None:
    """Draw clouds of points, a panel for each layer.

    Args:
        path: the PNG file; replaced atomically.
        panels: layer → name → (x [N], y [N]), shares from 0 to 1.
        xlabel, ylabel: with their units. title: above the picture.
        circles: panels in the complex plane instead, around the unit circle, with `circle_labels`.
    Raises:
        ShapeError: no panels, or x and y of other lengths. MissingExtraError: matplotlib is not installed.
        RunError: the file cannot be written.
    """
    if not panels:
        raise ShapeError(expected("panels", "at least one", "none"))
    across = min(COLUMNS, len(panels))
    down = -(-len(panels) // across)
    with drawing(path, max(PANEL * across, 4.6), PANEL * down + 0.5) as figure:
        figure.suptitle(plain(title), x=0.01, ha="left", fontsize=10)
        every = list(figure.subplots(down, across, squeeze=False).flat)
        for axes, (name, clouds) in zip(every, panels.items(), strict=False):
            axes.set_title(plain(name), loc="left")
            for (label, points), (colour, marker) in zip(clouds.items(), LOOKS * len(clouds), strict=False):
                x, y = _checked(f"{name} {label}", points)
                axes.scatter(
                    x, y, s=14, color=colour, marker=marker, alpha=0.55, linewidths=0, label=plain(label)
                )
            _frame(axes, name in circles)
            axes.set_xlabel(circle_labels[0] if name in circles else xlabel)
            axes.set_ylabel(circle_labels[1] if name in circles else ylabel)
        for axes in every[len(panels) :]:
            axes.set_visible(False)


def _frame(axes: Axes, circle: bool) -> None:
    if circle:
        around = np.linspace(0, 2 * np.pi, 200)
        axes.plot(
            np.cos(around), np.sin(around), color=MUTED, linewidth=0.8, linestyle=":", label="unit circle"
        )
        axes.set_aspect("equal", adjustable="datalim")
    else:
        axes.plot([0, 1], [1, 0], color=MUTED, linewidth=0.8, linestyle=":", label="always saturated")
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
    axes.legend(loc="upper right", frameon=False, fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _checked(name: str, points: Points) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    x, y = (np.asarray(values, dtype=np.float64) for values in points)
    if x.ndim != 1 or x.shape != y.shape:
        raise ShapeError(expected(f"panels {name!r}", f"x and y [N], x has {list(x.shape)}", list(y.shape)))
    return x, y
