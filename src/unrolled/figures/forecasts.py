"""Forecasts with their intervals on held-out windows; errors, coverage and width by steps ahead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.errors import ShapeError, expected
from unrolled.figures.canvas import BLUE, COLOURS, LINES, MARKS, RED, drawing, frame, plain, theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ForecastWindow", "coverage_by_horizon", "error_by_horizon", "forecasts"]

Array: TypeAlias = npt.NDArray[np.float64]
Bands: TypeAlias = Mapping[float, tuple[npt.ArrayLike, npt.ArrayLike]]

MOST = 6  # windows
COLUMNS = 2
SHOWN = 3  # horizons of the history, at most
FEW = 30  # steps, below which each is marked
OPAQUE = 0.5  # of all bands together, where they lie on one another


class ForecastWindow(NamedTuple):
    """One window: its history, the actual values after it, and their forecast."""

    history: npt.ArrayLike  # [W], NaN where missing
    truth: npt.ArrayLike  # [H], NaN where missing
    point: npt.ArrayLike  # [H]
    bands: Bands = MappingProxyType({})  # level in percent → (lower [H], upper [H])
    title: str = ""
    times: npt.ArrayLike | None = None  # [W + H] in seconds since 1970; None: steps


def forecasts(path: str | Path, *, windows: Sequence[ForecastWindow], ylabel: str, title: str = "") -> None:
    """Draw forecasts with their intervals over the actual values, a panel for each of up to six windows.

    Args:
        path: the PNG file; replaced atomically.
        windows: 1 to 6. Of a long history its end is shown. ylabel: with its unit. title: above the picture.
    Raises:
        ShapeError: no window, too many, or parts of unequal length. MissingExtraError: matplotlib is not
            installed. RunError: the file cannot be written.
    """
    if not 1 <= len(windows) <= MOST:
        raise ShapeError(expected("windows", f"1 to {MOST}", len(windows)))
    checked = [_checked(window, f"windows[{index}]") for index, window in enumerate(windows)]
    columns = min(COLUMNS, len(checked))
    rows = -(-len(checked) // columns)
    with drawing(path, 1.0 + 4.6 * columns, 0.9 + 2.3 * rows, title) as figure:
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, window in zip(panels, checked, strict=False):
            _window(axes, window)
        for axes in panels[len(checked) :]:
            axes.set_visible(False)
        figure.supylabel(ylabel, fontsize="medium")
        _legend(figure, panels[0], list(checked[0].bands))


class _Checked(NamedTuple):
    history: Array
    truth: Array
    point: Array
    bands: dict[float, tuple[Array, Array]]
    title: str
    times: Array | None


def _checked(window: ForecastWindow, where: str) -> _Checked:
    """Return the parts of a window as arrays, its history cut to what is shown."""
    history, point = _row(window.history, f"{where} history"), _row(window.point, f"{where} point")
    size = len(point)
    truth = _row(window.truth, f"{where} truth", size)
    bands = {
        level: (_row(low, f"{where} band", size), _row(high, f"{where} band", size))
        for level, (low, high) in sorted(window.bands.items(), reverse=True)
    }
    times = None
    if window.times is not None:
        times = _row(window.times, f"{where} times", len(history) + size)
    first = max(0, len(history) - SHOWN * size)
    return _Checked(
        history[first:], truth, point, bands, window.title, None if times is None else times[first:]
    )


def _row(values: npt.ArrayLike, name: str, size: int | None = None) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size or (size is not None and len(array) != size):
        raise ShapeError(expected(name, "[T], not empty" if size is None else [size], list(array.shape)))
    return array


def _window(axes: Axes, window: _Checked) -> None:
    seen = len(window.history)
    x: Any = np.arange(-seen + 1, len(window.point) + 1)
    if window.times is not None:
        import matplotlib.dates as dates

        x = np.round(window.times * 1e3).astype("datetime64[ms]")
        locator: Any = dates.AutoDateLocator(minticks=3, maxticks=6)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        form: Any = dates.ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_formatter(form)
    else:
        axes.set_xlabel("steps ahead")
    ahead = x[seen:]
    few: dict[str, Any] = {"marker": "o", "markersize": 3} if len(ahead) < FEW else {}
    for low, high in window.bands.values():
        axes.fill_between(ahead, low, high, color=BLUE, alpha=OPAQUE / len(window.bands), linewidth=0)
    whole = np.concatenate([window.history, window.truth])
    axes.plot(x, whole, color=theme().ink, linewidth=1.0, label="actual", **few)
    axes.plot(ahead, window.point, color=RED, linewidth=1.8, linestyle="--", label="forecast", **few)
    axes.axvline(x[seen - 1], color=theme().muted, linewidth=0.8, linestyle=":")
    axes.set_xlim(x[0], x[-1])
    axes.set_title(plain(window.title), loc="left", pad=3)
    frame(axes)


def _legend(figure: Figure, axes: Axes, levels: Sequence[float]) -> None:
    """Name the lines and the bands; a narrow band is as dark as it is with the wide ones below it."""
    from matplotlib.patches import Patch

    handles, labels = axes.get_legend_handles_labels()
    for below, level in enumerate(levels, 1):
        shade = 1 - (1 - OPAQUE / len(levels)) ** below
        handles.append(Patch(color=BLUE, alpha=shade, linewidth=0))
        labels.append(f"{level:g} % interval")
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)


def error_by_horizon(
    path: str | Path,
    *,
    errors: Mapping[str, npt.ArrayLike],
    ylabel: str,
    xlabel: str = "steps ahead",
    title: str = "",
) -> None:
    """Draw the error of a network and of its controls over how far ahead a forecast is.

    Args:
        path: the PNG file; replaced atomically.
        errors: name → [H]; the first one is drawn boldly. ylabel, xlabel: with their units.
        title: above the picture.
    Raises:
        ShapeError: no curve, or unequal lengths. MissingExtraError: matplotlib is not installed.
        RunError: the file cannot be written.
    """
    curves = _curves("errors", errors)
    with drawing(path, 9, 4.2, title) as figure:
        axes = figure.add_subplot()
        bold, *others = curves
        _curve(axes, bold, curves[bold], BLUE, LINES[0], MARKS[0], 2.2)
        for place, name in enumerate(others):
            line, mark = (part[1:][place % (len(part) - 1)] for part in (LINES, MARKS))
            _curve(axes, name, curves[name], COLOURS[1:][place % (len(COLOURS) - 1)], line, mark)
        axes.set_ylim(bottom=0)
        axes.set_ylabel(ylabel)
        _ahead(axes, len(curves[bold]), xlabel)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def coverage_by_horizon(
    path: str | Path,
    *,
    coverage: Mapping[float, npt.ArrayLike],
    width: Mapping[float, npt.ArrayLike],
    ylabel: str,
    xlabel: str = "steps ahead",
    title: str = "",
) -> None:
    """Draw the coverage of each interval beside its level, and its width, by how far ahead a forecast is.

    Args:
        path: the PNG file; replaced atomically.
        coverage, width: level in percent → [H], shares of 1 and widths; the same levels.
        ylabel: of the width, with its unit. xlabel: with its unit. title: above the picture.
    Raises:
        ShapeError: no level, unlike levels, or unequal lengths. MissingExtraError: matplotlib is not
            installed. RunError: the file cannot be written.
    """
    if set(coverage) != set(width):
        raise ShapeError(expected("width", f"the levels {sorted(coverage)}", sorted(width)))
    levels = sorted(coverage)
    shares = _curves("coverage", {f"{level:g} %": coverage[level] for level in levels})
    widths = _curves("width", {f"{level:g} %": width[level] for level in levels})
    with drawing(path, 9, 5.4, title) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True)
        for place, (level, name) in enumerate(zip(levels, shares, strict=True)):
            colour, line, mark = (part[place % len(part)] for part in (COLOURS, LINES, MARKS))
            upper.axhline(level, color=colour, linewidth=0.9, linestyle=(0, (1, 2)))
            _curve(upper, name, 100 * shares[name], colour, line, mark)
            _curve(lower, name, widths[name], colour, line, mark)
        lowest = min(levels[0], *(100 * float(np.nanmin([1.0, *share])) for share in shares.values()))
        upper.set_ylim(max(0.0, lowest - 8), 101.5)
        upper.set_ylabel("coverage, %")
        upper.legend(
            loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, title="interval\n(dotted: nominal)",
            title_fontsize="medium", alignment="left",
        )  # fmt: skip
        frame(upper)
        lower.set_ylim(bottom=0)
        lower.set_ylabel(ylabel)
        _ahead(lower, len(next(iter(widths.values()))), xlabel)


def _curves(argument: str, given: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
    """Return curves [H] of one length."""
    if not given:
        raise ShapeError(expected(argument, "at least one", "none"))
    size = None
    found = {}
    for name, values in given.items():
        found[name] = _row(values, f"{argument} {name!r}", size)
        size = len(found[name])
    return found


def _curve(
    axes: Axes, name: str, values: Array, colour: str, line: str, mark: str, width: float = 1.5
) -> None:
    few: dict[str, Any] = {"marker": mark, "markersize": 4} if len(values) < FEW else {}
    steps = np.arange(1, len(values) + 1)
    axes.plot(steps, values, color=colour, linestyle=line, linewidth=width, label=plain(name), **few)


def _ahead(axes: Axes, horizon: int, xlabel: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(*((1, horizon) if horizon > 1 else (0.5, 1.5)))
    axes.set_xlabel(xlabel)
    frame(axes)
