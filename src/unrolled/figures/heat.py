"""Colours for numbers: gates and states as strips over the steps of a text, and matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from unrolled.errors import ShapeError, expected
from unrolled.figures.canvas import RED, drawing, frame, named, plain, theme, visible, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OPEN, SIGNED = "cividis", "RdBu_r"  # both readable with any colour vision
COLUMN, STRIP, ROW = 0.17, 1.05, 0.21  # inches: a token, a strip, a row of a named unit
NARROWEST, WIDEST = 7.5, 24.0  # inches of the picture
UNITS = 64  # of a strip: more units than that are thinned out evenly, so that each row can be seen
CLIPPED = 99.0  # percentile of the magnitudes that a diverging map reaches to
SMALL = 9.0  # points

CELL, LEAST_CELL = 0.18, 0.11  # inches, of a matrix: of a small and of a large one
SMALLEST, WHOLE, LARGEST = 4.0, 8.0, 24.0  # inches a side: up to `WHOLE` cells are as large as they may be
LETTERS = 0.75  # of a cell: the height of the texts
TINIEST, TALLEST = 4.0, 10.0  # points, of the texts
MAP, LANE = 6.5, 0.3  # inches, of a map by lag: its width, and the height of a row
DECADES = 4.0  # below the largest value, that the colours reach down to

Array = npt.NDArray[np.float64]
Order = npt.NDArray[np.intp]


def strips(
    path: str | Path,
    *,
    tokens: Sequence[str],
    strips: Mapping[str, npt.ArrayLike],
    title: str = "",
    ranges: Mapping[str, tuple[float, float]] | None = None,
    captions: Mapping[str, str] | None = None,
    ends: Mapping[str, tuple[str, str]] | None = None,
    predicted: Sequence[str] | None = None,
    named: int = 0,
    reading: str = "",
) -> None:
    """Draw one heat strip per gate or state: one row per unit, one column per token.

    A row is the same unit in every strip. Units are in the order of their mean in the last strip that has
    both signs (the state), so that units which keep to one sign gather at the top and the bottom.

    Args:
        path: the PNG file; replaced atomically.
        tokens: [T] texts, drawn below the strips, white space as ⏎ ␣ ⇥.
        strips: name → [T, units], in the order from top to bottom.
        title: above the picture.
        ranges: name → (low, high) of the colours; a range from 0 up (a gate's) has a sequential map. A strip
            without one has a diverging map, centred on 0, to the 99th percentile of its magnitudes.
        captions: name → a few words beside the strip's name.
        ends: name → words at the low and the high end of its colour bar: ("closed", "open").
        predicted: [T] texts below the tokens: what was predicted before each was read, "" for nothing. Those
            that were wrong are red.
        named: how many units are drawn again below each strip, by their number: those that change most in
            the strip that gives the order.
        reading: how to read the picture, below it.
    Raises:
        ShapeError: no strips, or one that is not [T, units]; predictions of another number than the tokens.
        MissingExtraError: matplotlib is not installed. RunError: the file cannot be written.
    """
    drawn = _planned(strips, len(tokens), ranges or {}, captions or {}, ends or {}, named)
    if predicted is not None and len(predicted) != len(tokens):
        raise ShapeError(expected("predicted", f"{len(tokens)}, one per token", len(predicted)))
    texts = _texts(tokens, predicted)
    longest = max(len(label) for labels in texts.values() for label in labels)
    line, turned = (0.1 * longest + 0.1, 90) if longest > 2 else (0.24, 0)  # inches, degrees
    heights = [height for strip in drawn for height in (STRIP, ROW * len(strip.named)) if height]
    heights += [line] * len(texts)
    width = min(max(COLUMN * len(tokens) + 2.6, NARROWEST), WIDEST)
    words = wrapped(plain(reading), width)
    height = sum(heights) + 0.34 * len(drawn) + 0.5 + 0.2 * (words.count("\n") + 1 if words else 0)
    with drawing(path, width, height, title) as figure:
        figure.get_layout_engine().set(h_pad=0.02, w_pad=0.04, hspace=0.02)  # type: ignore[union-attr,call-arg]
        grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
        rows = iter([figure.add_subplot(grid[n, 0]) for n in range(len(heights))])
        for strip in drawn:
            _draw(figure, next(rows), strip)
            if len(strip.named):
                _few(next(rows), strip)
        for (label, labels), axes in zip(texts.items(), rows, strict=True):
            _text(axes, label, labels, next(iter(texts.values())), turned)
        if words:
            figure.supxlabel(words, x=0.01, ha="left", fontsize=SMALL + 1, color=theme().muted)


class _Strip(NamedTuple):
    """One strip, as it is drawn."""

    title: str
    array: Array  # [T, units]
    order: Order  # the units from top to bottom
    named: Order  # those that are drawn again by their number
    limits: tuple[float, float]  # of the colours
    extend: str  # at which ends values lie beyond them
    ends: tuple[str, str] | None  # words for the limits


def _planned(
    strips: Mapping[str, npt.ArrayLike],
    steps: int,
    ranges: Mapping[str, tuple[float, float]],
    captions: Mapping[str, str],
    ends: Mapping[str, tuple[str, str]],
    named: int,
) -> list[_Strip]:
    """Return what is drawn of each strip. Raises ShapeError: there are none, or one is not [T, units]."""
    values = {name: _checked(name, array, steps) for name, array in strips.items()}
    if not values:
        raise ShapeError(expected("strips", "at least one", "none"))
    limits = {name: ranges.get(name) or _symmetric(array) for name, array in values.items()}
    rows = {units: _rows(array, named) for units, array in _deciding(values, limits).items()}
    return [
        _Strip(
            f"{name}: {captions[name]}" if captions.get(name) else name,
            array,
            *rows[array.shape[1]],
            limits[name],
            "neither" if name in ranges else "both",
            ends.get(name),
        )
        for name, array in values.items()
    ]


def _rows(array: Array, named: int) -> tuple[Order, Order]:
    """Return the units of [T, units], the largest mean first; and as many as are `named`, those that change
    most, where there are more."""
    order = np.argsort(-array.mean(axis=0), kind="stable")
    moving = np.argsort(-np.nan_to_num(array.std(axis=0)), kind="stable")
    return order, moving[: named if len(moving) > named else 0]


def _texts(tokens: Sequence[str], predicted: Sequence[str] | None) -> dict[str, list[str]]:
    """Return the rows of texts below the strips, by what is written beside them."""
    true = [visible(token) for token in tokens]
    if predicted is None:
        return {"": true}
    return {"text": true, "predicted": [visible(token) if token else "" for token in predicted]}


def _draw(figure: Figure, axes: Axes, strip: _Strip) -> None:
    """Draw a strip, and the key to its colours."""
    units = len(strip.order)
    shown = strip.order[np.linspace(0, units - 1, min(units, UNITS)).round().astype(int)]
    words = f"{units} units" if len(shown) == units else f"{len(shown)} of\n{units} units"
    if units > 1:
        axes.set_ylabel(words, color=theme().muted, fontsize=SMALL, rotation=0, ha="right", va="center")
    picture = _image(axes, strip.array[:, shown], strip.limits)
    axes.set_title(plain(strip.title), loc="left", pad=3)
    bar = figure.colorbar(picture, ax=axes, pad=0.008, fraction=0.05, aspect=9, extend=strip.extend)
    _key(bar, strip.limits, strip.ends)


def _few(axes: Axes, strip: _Strip) -> None:
    """Draw a few units by their number."""
    _image(axes, strip.array[:, strip.named], strip.limits)
    labels = [f"unit {unit}" for unit in strip.named]
    axes.set_yticks(range(len(labels)), labels=labels, fontsize=SMALL)


def _image(axes: Axes, array: Array, limits: tuple[float, float]) -> Any:
    low, high = limits
    picture = axes.imshow(
        array.T,
        aspect="auto",
        interpolation="nearest",
        cmap=OPEN if low >= 0 else SIGNED,
        vmin=low,
        vmax=high,
    )
    axes.set_yticks([])
    axes.tick_params(length=0, labelbottom=False)
    for side in axes.spines.values():
        side.set_visible(False)
    return picture


def _key(bar: Any, limits: tuple[float, float], words: tuple[str, str] | None) -> None:
    """Write numbers, and words where there are some, beside a colour bar."""
    low, high = limits
    middle = 0.0 if low < 0 < high else (low + high) / 2
    labels = [f"{value:.2g}".replace("-", "−") for value in (low, middle, high)]
    if words is not None:
        labels[0], labels[2] = f"{labels[0]} {plain(words[0])}", f"{labels[2]} {plain(words[1])}"
    bar.set_ticks([low, middle, high], labels=labels)
    bar.ax.tick_params(labelsize=SMALL, length=2)
    bar.outline.set_visible(False)


def _text(axes: Axes, name: str, labels: list[str], true: list[str], rotation: int) -> None:
    """Write one text per column; those that differ from the true ones are red."""
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.set_ylim(0, 1)
    axes.set_xticks([])
    axes.set_yticks([0.5] if name else [], labels=[name] if name else [], fontsize=SMALL)
    axes.tick_params(length=0)
    axes.set_facecolor("none")
    for side in axes.spines.values():
        side.set_visible(False)
    for t, (label, right) in enumerate(zip(labels, true, strict=True)):
        ink = theme().ink if label == right else RED
        axes.text(t, 0.5, label, ha="center", va="center", rotation=rotation, color=ink, fontsize=SMALL)


def _deciding(values: Mapping[str, Array], limits: Mapping[str, tuple[float, float]]) -> dict[int, Array]:
    """Return {number of units: the strip that gives their order}, the last with both signs or the first."""
    found: dict[int, Array] = {}
    signed = [name for name in values if limits[name][0] < 0]
    for name in [*reversed(signed), *values]:
        found.setdefault(values[name].shape[1], values[name])
    return found


def _symmetric(array: Array) -> tuple[float, float]:
    finite = array[np.isfinite(array)]
    largest = float(np.percentile(np.abs(finite), CLIPPED)) if finite.size else 0.0
    return -(largest or 1.0), largest or 1.0


def _checked(name: str, values: npt.ArrayLike, steps: int) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] != steps or 0 in array.shape:
        raise ShapeError(expected(f"strips {name!r}", f"[{steps}, units], none of them 0", list(array.shape)))
    return array


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
    """Draw a matrix in logarithmic colours, four decades of them; what is not above 0 stays empty.

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
    width, height = (_side(n) for n in (len(columns), len(rows)))
    with drawing(path, width + 2.2, height + 1.1, title) as figure:
        from matplotlib.colors import LogNorm

        axes = figure.add_subplot()
        high = float(shown.max()) if shown.count() else 1.0
        picture = axes.imshow(
            shown, cmap=OPEN, norm=LogNorm(high / 10**DECADES, high), interpolation="nearest", aspect="equal"
        )
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        _label(axes, rows, columns, 72 * min(width / len(columns), height / len(rows)))
        bar = figure.colorbar(picture, ax=axes, pad=0.02, fraction=0.04, shrink=0.6, aspect=30, extend="min")
        bar.ax.yaxis.set_major_formatter("{x:g}")
        bar.ax.yaxis.set_minor_formatter("")
        bar.set_label(plain(unit))
        bar.outline.set_visible(False)


def by_lag(
    path: str | Path,
    *,
    values: npt.ArrayLike,
    rows: Sequence[str],
    first: int,
    width: int,
    xlabel: str,
    unit: str,
    title: str = "",
) -> None:
    """Draw a map with a row for each name and a column for each range of lags, in even colours from 0 up.

    Args:
        path: the PNG file; replaced atomically.
        values: [R, K]. rows: [R] names, from top to bottom.
        first: the lag at which the first range begins. width: lags of a range.
        xlabel: what a lag is. unit: of the values. title: above the picture.
    Raises:
        ShapeError: values are not [R, K]. MissingExtraError: matplotlib is not installed.
        RunError: the file cannot be written.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or len(array) != len(rows) or not array.size:
        raise ShapeError(expected("values", f"[{len(rows)}, K], K above 0", list(array.shape)))
    names = [named(name) for name in rows]
    margin = min(0.085 * max(map(len, names)), 4.0)
    high = float(array.max())
    with drawing(path, MAP + margin, LANE * len(rows) + 1.4, title) as figure:
        axes = figure.add_subplot()
        ends = (first - 0.5, first + width * array.shape[1] - 0.5, len(rows) - 0.5, -0.5)
        picture = axes.imshow(
            array, cmap=OPEN, vmin=0, vmax=high if high > 0 else 1, extent=ends, aspect="auto",
            interpolation="nearest",
        )  # fmt: skip
        axes.set_yticks(range(len(rows)), labels=names)
        axes.tick_params(length=2, pad=2)
        axes.xaxis.get_major_locator().set_params(integer=True)  # type: ignore[call-arg]
        axes.set_xlabel(xlabel)
        frame(axes, grid=False)
        bar = figure.colorbar(picture, ax=axes, pad=0.02, fraction=0.05, aspect=15)
        bar.set_label(plain(unit), fontsize=SMALL)
        bar.ax.tick_params(labelsize=SMALL)
        bar.outline.set_visible(False)


def _side(cells: int) -> float:
    """Return the inches of a side of a matrix."""
    return min(max(LEAST_CELL * cells, min(CELL * cells, WHOLE), SMALLEST), LARGEST)


def _label(axes: Axes, rows: Sequence[str], columns: Sequence[str], cell: float) -> None:
    """Write the texts on both axes, so small that none runs into the next; `cell` is a cell in points."""
    size = min(max(LETTERS * cell, TINIEST), TALLEST)
    across, down = [visible(text) for text in columns], [visible(text) for text in rows]
    upright = 90 if max(map(len, across)) > 1 else 0
    axes.set_xticks(range(len(across)), labels=across, fontsize=size, rotation=upright)
    axes.set_yticks(range(len(down)), labels=down, fontsize=size)
    axes.tick_params(length=0, pad=2)
    frame(axes, grid=False)
