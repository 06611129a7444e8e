"""Curves: the loss and families over steps, curves over lags with bands, several on one pair of axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import ShapeError, expected, older_arguments
from unrolled.figures.canvas import (
    BLUE,
    LINES,
    OVER_CURVES,
    RED,
    Look,
    drawing,
    frame,
    logarithmic,
    looks,
    plain,
    theme,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRAIN, VALIDATION = BLUE, RED
SMOOTHED = 40  # windows a curve

FEW = 30  # points, below which each is marked
PANEL = 2.0  # inches
LAGS, MARGIN = 5.8, 0.9  # inches: the width of curves over lags, and what of it lies beside a panel
STEPS = "{x:,.0f}"

Array = npt.NDArray[np.float64]
Points = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


@older_arguments("figures.loss", train_nats_per_token="train", val_nats_per_token="validation")
def loss(
    path: str | Path,
    *,
    step: npt.ArrayLike,
    train: npt.ArrayLike,
    val_step: npt.ArrayLike,
    validation: npt.ArrayLike,
    units: Sequence[tuple[str, float]] = (("nats per token", 1.0), ("bits per token", 1 / math.log(2))),
    best: tuple[int, float] | None = None,
    title: str = "",
) -> None:
    """Draw the training loss, raw and smoothed, and the validation loss over steps.

    Args:
        path: the PNG file; replaced atomically.
        step: [N] optimizer steps, rising. train: [N] losses; what is not finite is left out.
        val_step: [M]. validation: [M] losses.
        units: (unit, factor) of the left axis, and of a right one where there are two.
        best: (step, loss) of the validation to mark; default the lowest one.
        title: above the picture.
    Raises:
        ShapeError: steps and losses differ in number. MissingExtraError: matplotlib is not installed.
        RunError: the file cannot be written.
    """
    trained = _points("train", step, train)
    checked = _points("validation", val_step, validation)
    if best is None and len(checked[1]):
        lowest = int(np.argmin(checked[1]))
        best = int(checked[0][lowest]), float(checked[1][lowest])
    with drawing(path, 8, 4.5) as figure:
        axes = figure.add_subplot()
        _draw(axes, trained, checked)
        if best is not None:
            _mark(axes, best, units)
        _frame(axes, title, units)


def _draw(axes: Axes, train: Points, validation: Points) -> None:
    few: dict[str, Any] = {"marker": "o", "markersize": 3} if len(train[0]) < 3 else {}
    if len(train[0]):
        axes.plot(*train, color=TRAIN, alpha=0.28, linewidth=0.7, **few)
        axes.plot(*_smoothed(train), color=TRAIN, linewidth=1.6, label="training, smoothed")
    if len(validation[0]):
        axes.plot(
            *validation, color=VALIDATION, linewidth=1.4, marker="o", markersize=3.2, label="validation"
        )
    if not axes.has_data():
        _instead(axes, "no step was taken")


def _frame(axes: Axes, title: str, units: Sequence[tuple[str, float]]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(plain(title), loc="left")
    if axes.has_data():
        axes.legend(loc="upper right", **OVER_CURVES)
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_formatter(STEPS)
    unit = units[0][0]
    axes.set_ylabel(unit if "loss" in unit or "error" in unit else f"loss in {unit}")
    frame(axes)
    axes.margins(x=0.02, y=0.12)
    if len(units) > 1:
        unit, factor = units[1]
        convert: Any = (lambda loss: loss * factor, lambda shown: shown / factor)
        other = axes.secondary_yaxis("right", functions=convert)
        other.set_ylabel(unit)
        other.spines["right"].set_visible(False)


def _mark(axes: Axes, best: tuple[int, float], units: Sequence[tuple[str, float]]) -> None:
    """Ring the best validation; its value goes into the legend, where no curve runs through it."""
    step, value = best
    words = ", ".join(f"{value * factor:.3f} {unit.partition(' per ')[0]}" for unit, factor in units)
    words = f"best: {words}, at step {step:,}"
    axes.plot(
        [step],
        [value],
        marker="o",
        markersize=9,
        fillstyle="none",
        color=theme().ink,
        linewidth=0,
        label=words,
    )


def _smoothed(train: Points) -> Points:
    """Return the mean over a centred window, narrower where the curve begins, so that it never lags."""
    steps, values = train
    count, half = len(values), len(values) // (2 * SMOOTHED)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(count)
    reach = np.minimum(half, at)
    first, last = at - reach, np.minimum(at + reach + 1, count)
    return steps, (sums[last] - sums[first]) / (last - first)


def _points(name: str, steps: npt.ArrayLike, values: npt.ArrayLike) -> Points:
    x, y = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ShapeError(expected(name, f"[N] as its steps {list(x.shape)}", list(y.shape)))
    finite = np.isfinite(y)
    return x[finite], y[finite]


def families(
    path: str | Path,
    *,
    step: npt.ArrayLike,
    panels: Mapping[str, Mapping[str, npt.ArrayLike]],
    ylabels: Mapping[str, str],
    logarithmic: frozenset[str] = frozenset(),
    title: str = "",
) -> None:
    """Draw curves over steps, one panel per family; curves of one panel go from dark to light in their order.

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
    checked = {name: _alike(f"panels {name!r}", {"step": steps, **curves}) for name, curves in panels.items()}
    with drawing(path, 8.5, PANEL * len(checked) + 0.9, title) as figure:
        rows = list(figure.subplots(len(checked), 1, sharex=True, squeeze=False)[:, 0])
        for axes, (name, curves) in zip(rows, checked.items(), strict=True):
            axes.set_title(plain(name), loc="left", pad=3)
            axes.set_ylabel(ylabels.get(name, ""))
            _family(axes, steps, curves, name in logarithmic)
        rows[-1].set_xlabel("step")


def _family(axes: Axes, steps: Array, curves: dict[str, Array], log: bool) -> None:
    from matplotlib import colormaps

    if log:
        _masked_logarithm(axes)
    shades = colormaps["viridis"](np.linspace(0.3, 0.8, max(len(curves), 2)))
    for number, (name, values) in enumerate(list(curves.items())[1:]):
        good = np.isfinite(values) & ((values > 0) | (not log))
        axes.plot(
            steps[good], values[good], color=shades[number], linewidth=1.4, label=plain(name),
            linestyle=LINES[number % len(LINES)], marker="o" if good.sum() < 20 else None, markersize=2.5,
        )  # fmt: skip
    if any(line.get_xdata().size for line in axes.lines):  # type: ignore[union-attr]
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    else:
        _instead(axes, "nothing above zero")
    _whole_numbers(axes)
    frame(axes)


def _masked_logarithm(axes: Axes) -> None:
    """Make the upright axis logarithmic, with plain numbers; what is not above 0 is left out."""
    axes.set_yscale("log", nonpositive="mask")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")


def _instead(axes: Axes, words: str) -> None:
    """Write words in the place of a curve."""
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", color=theme().muted)


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(STEPS)


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
    """Draw curves over lags 0, 1, 2, …, one panel each, with a band where there is one.

    Args:
        path: the PNG file; replaced atomically.
        curves: name → "middle" [K], and "low" and "high" [K] for a band; what is not finite is left out.
        xlabel, ylabel: with their units. title: above the picture.
        captions: name → a few words beside the curve's name.
        first: the lag of the first value.
        marks: words → the lag at which an upright line is drawn.
        level: words and a value at which a level line is drawn.
        log: whether the upright axis is logarithmic.
    Raises:
        ShapeError: no curves, or a band of another length. MissingExtraError: matplotlib is not installed.
        RunError: the file cannot be written.
    """
    panels = {name: _alike(f"curves {name!r}", curve) for name, curve in curves.items()}
    if not panels:
        raise ShapeError(expected("curves", "at least one", "none"))
    with drawing(path, LAGS, PANEL * len(panels) + 1.2, title) as figure:
        rows = list(figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0])
        for axes, (name, curve) in zip(rows, panels.items(), strict=True):
            _over_lags(axes, curve, first, log)
            words = (captions or {}).get(name)
            caption = plain(f"{name}: {words}" if words else name)
            axes.set_title(wrapped(caption, LAGS - MARGIN), loc="left", pad=3)
            _lines(axes, marks or {}, level)
        figure.supylabel(ylabel, fontsize="medium")
        rows[-1].set_xlabel(xlabel)


def _over_lags(axes: Axes, curve: dict[str, Array], first: int, log: bool) -> None:
    if log:
        _masked_logarithm(axes)
    x = np.arange(len(curve["middle"])) + first
    good = np.isfinite(curve["middle"]) & ((curve["middle"] > 0) | (not log))
    if not good.any():
        _instead(axes, "nothing above zero")
        axes.set_yticks([])
    else:
        few: dict[str, Any] = {"marker": "o", "markersize": 3} if good.sum() < 20 else {}
        if "low" in curve:
            low = np.where(np.isfinite(curve["low"]), curve["low"], curve["middle"])
            high = np.where(np.isfinite(curve["high"]), curve["high"], curve["middle"])
            if log:  # a low end at or below 0 lies below the picture
                low = np.maximum(low, curve["middle"][good].min() / 10)
            axes.fill_between(x[good], low[good], high[good], color=BLUE, alpha=0.22, linewidth=0)
        axes.plot(x[good], curve["middle"][good], color=BLUE, linewidth=1.6, clip_on=False, **few)
        if log:
            axes.set_ylim(bottom=curve["middle"][good].min() / 5)
    axes.set_xlim(*(x[[0, -1]] if len(x) > 1 else (first - 0.5, first + 0.5)))
    _whole_numbers(axes)
    frame(axes)


def _lines(axes: Axes, marks: Mapping[str, float], level: tuple[str, float] | None) -> None:
    styles = ("-", "--", ":")
    for (words, at), style in zip(marks.items(), styles * len(marks), strict=False):
        axes.axvline(at, color=RED, linewidth=1.1, linestyle=style, label=plain(words))
    if level is not None:
        axes.axhline(level[1], color=theme().ink, linewidth=0.8, linestyle=":", label=plain(level[0]))
    if marks or level is not None:
        axes.legend(loc="best", **OVER_CURVES)


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
    """Draw curves on one pair of axes, each with a band where there is one.

    Args:
        path: the PNG file; replaced atomically.
        curves: name → "x" [K] and "middle" [K], and "low" and "high" [K] for a band; what is not finite, or
            not above 0 on a logarithmic axis, is left out. "unsolved" [K], true where a trial ended at its
            cap: the point is a hollow marker, and no line leads to it. A curve whose name holds that of a
            cell has the colour of that cell in every picture.
        xlabel, ylabel: with their units. title: above the picture.
        levels: words → a value at which a level line is drawn.
        log_x, log_y: whether an axis is logarithmic.
    Raises:
        ShapeError: no curves, or parts of unequal length. MissingExtraError: matplotlib is not installed.
        RunError: the file cannot be written.
    """
    checked = {name: _alike(f"curves {name!r}", curve) for name, curve in curves.items()}
    if not checked:
        raise ShapeError(expected("curves", "at least one", "none"))
    with drawing(path, 9, 4.5, title) as figure:
        axes = figure.add_subplot()
        _scale(axes, log_x, log_y)
        for place, (name, look) in enumerate(looks(checked).items()):
            _one(axes, name, checked[name], look, hollow=max(13 - 2 * place, 5))
        for place, (words, at) in enumerate((levels or {}).items()):
            axes.axhline(
                at, color=theme().muted, linewidth=1, linestyle=(0, (1, 1 + place)), label=plain(words)
            )
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        frame(axes)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def _scale(axes: Axes, log_x: bool, log_y: bool) -> None:
    if log_x:
        axes.set_xscale("log")
    if log_y:
        axes.set_yscale("log")
    for axis in [axes.xaxis] * log_x + [axes.yaxis] * log_y:
        logarithmic(axis)


def _one(axes: Axes, name: str, curve: dict[str, Array], look: Look, hollow: float) -> None:
    x, middle = curve["x"], curve["middle"]
    good = np.isfinite(x) & np.isfinite(middle)
    good &= (x > 0) | (axes.get_xscale() != "log")
    good &= (middle > 0) | (axes.get_yscale() != "log")
    unsolved = good & (curve["unsolved"] > 0 if "unsolved" in curve else False)
    solved = good & ~unsolved
    few: dict[str, Any] = {"marker": look.mark, "markersize": 4} if good.sum() < FEW else {}
    if "low" in curve:
        ends = (np.where(np.isfinite(curve[end]), curve[end], middle) for end in ("low", "high"))
        low, high = (end[solved] for end in ends)
        axes.fill_between(x[solved], low, high, color=look.colour, alpha=0.18, linewidth=0)
    joined = np.where(solved, middle, np.nan)[good]  # no line leads to what was not solved
    axes.plot(
        x[good], joined, color=look.colour, linestyle=look.line, linewidth=1.6, label=plain(name), **few
    )
    axes.plot(
        x[unsolved], middle[unsolved], color=look.colour, linestyle="none", marker=look.mark,
        markersize=hollow, fillstyle="none",
    )  # fmt: skip


def _alike(name: str, curve: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
    """Return the parts of a curve as arrays [K] of one length, that of the first, above 0."""
    arrays = {part: np.asarray(values, dtype=np.float64) for part, values in curve.items()}
    first, size = next((part, array.shape) for part, array in arrays.items())
    for part, array in arrays.items():
        if array.ndim != 1 or array.shape != size or not array.size:
            raise ShapeError(expected(f"{name} {part}", f"[K] as {first} {list(size)}", list(array.shape)))
    return arrays
