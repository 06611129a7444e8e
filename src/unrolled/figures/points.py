"""Points: named ones with their spread, and one per unit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import ShapeError, expected
from unrolled.figures.canvas import BLUE, RED, drawing, frame, logarithmic, plain, theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GAP = 0.075  # between two labels, in heights of a panel
WIDE = (1.0, 2.0, 5.0)  # of a decade: where numbers are written on a logarithmic axis
NARROW = (1.0, 1.1, 1.2, 1.3, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)

LOOKS = ((BLUE, "o"), (RED, "^"), ("#B8860B", "s"), ("#8A6FC8", "D"))  # of clouds: shapes differ too
PANEL = 3.6  # inches
COLUMNS = 3

Points = tuple[npt.ArrayLike, npt.ArrayLike]
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
    """Draw named points, each with its spread along both axes; names are beside the panel.

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
    with drawing(path, 9.5, 3.6 * len(checked) + 0.4, title) as figure:
        every = figure.subplots(len(checked), 1, squeeze=False)[:, 0]
        for axes, (head, named) in zip(every, checked.items(), strict=True):
            if log_x:
                ends = [(x[0], x[2]) for x, _ in named.values()]
                ratio = max(high for _, high in ends) / min(low for low, _ in ends)
                axes.set_xscale("log")
                logarithmic(axes.xaxis, WIDE if ratio > 3 else NARROW)
            for place, (x, y) in enumerate(named.values()):
                _mark(axes, x, y, first=place == 0)
            axes.margins(0.06, 0.1)
            axes.set_title(plain(head), loc="left")
            axes.set_ylabel(ylabel)
            frame(axes, grid=False)
            _name(axes, named)
        every[-1].set_xlabel(xlabel)


def _mark(axes: Axes, x: Array, y: Array, *, first: bool) -> None:
    color, mark = (RED, "D") if first else (BLUE, "o")
    spans: dict[str, Any] = {"xerr": [[x[1] - x[0]], [x[2] - x[1]]], "yerr": [[y[1] - y[0]], [y[2] - y[1]]]}
    axes.errorbar([x[1]], [y[1]], **spans, fmt=mark, color=color, markersize=5, elinewidth=1, alpha=0.9)
    if first:
        axes.axvline(x[1], **_dotted())
        axes.axhline(y[1], **_dotted())


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
            color=theme().ink,
            arrowprops={  # from the left end of a name to its point
                "arrowstyle": "-",
                "color": theme().muted,
                "linewidth": 0.5,
                "alpha": 0.7,
                "relpos": (0, 0.5),
                "shrinkA": 2,
            },
        )


def _apart(wanted: Array) -> Array:
    """Return rising heights, none closer than GAP, as near as can be to rising ones that were wanted."""
    steps: Array = GAP * np.arange(len(wanted), dtype=np.float64)
    blocks: list[list[float]] = []  # labels that are GAP apart share one shift: the mean of theirs
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
    """Draw clouds of points, one panel per layer.

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
    with drawing(path, max(PANEL * across, 4.6), (PANEL + 0.8) * down + 0.3, title) as figure:
        every = list(figure.subplots(down, across, squeeze=False).flat)
        for axes, (name, clouds) in zip(every, panels.items(), strict=False):
            axes.set_title(plain(name), loc="left")
            for (label, points), (colour, marker) in zip(clouds.items(), LOOKS * len(clouds), strict=False):
                x, y = _cloud(f"{name} {label}", points)
                axes.scatter(
                    x, y, s=18, color=colour, marker=marker, alpha=0.7, linewidths=0, label=plain(label)
                )
            _axes_of_units(axes, name in circles)
            axes.set_xlabel(circle_labels[0] if name in circles else xlabel)
            axes.set_ylabel(circle_labels[1] if name in circles else ylabel)
        for axes in every[len(panels) :]:
            axes.set_visible(False)


def _axes_of_units(axes: Axes, circle: bool) -> None:
    if circle:
        around = np.linspace(0, 2 * np.pi, 200)
        axes.plot(np.cos(around), np.sin(around), label="unit circle", **_dotted())
        axes.set_aspect("equal", adjustable="datalim")
    else:
        axes.plot([0, 1], [1, 0], label="always saturated", **_dotted())
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
    axes.legend(loc="upper left", bbox_to_anchor=(-0.05, -0.2), frameon=False, borderpad=0)
    frame(axes, grid=False)


def _dotted() -> dict[str, Any]:
    """Return the look of a line that points are compared with."""
    return {"color": theme().muted, "linewidth": 0.8, "linestyle": ":"}


def _cloud(name: str, points: Points) -> tuple[Array, Array]:
    x, y = (np.asarray(values, dtype=np.float64) for values in points)
    if x.ndim != 1 or x.shape != y.shape:
        raise ShapeError(expected(f"panels {name!r}", f"x and y [N], x has {list(x.shape)}", list(y.shape)))
    return x, y
