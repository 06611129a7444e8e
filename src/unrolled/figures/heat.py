"""gates.png: what gates and states do over one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import ShapeError, expected
from unrolled.figures.canvas import MUTED, drawing
from unrolled.figures.symbols import plain, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["strips"]

OPEN, SIGNED = "cividis", "RdBu_r"  # both readable with any colour vision
COLUMN, STRIP = 0.155, 1.05  # inches a token, and a strip
NARROWEST, WIDEST = 7.5, 24.0  # inches of the picture
ROWS = 64  # of a strip: more units than that are thinned out evenly, so that each row can be seen
CLIPPED = 99.0  # percentile of the magnitudes that a diverging map reaches to


def strips(
    path: str | Path,
    *,
    tokens: Sequence[str],
    strips: Mapping[str, npt.ArrayLike],
    title: str = "",
    ranges: Mapping[str, tuple[float, float]] | None = None,
    captions: Mapping[str, str] | None = None,
) -> None:
    """Draw one heat strip a gate or state: a row a unit, a column a token.

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
    Raises:
        ShapeError: no strips, or one that is not [T, units]. MissingExtraError: matplotlib is not installed.
        RunError: the file cannot be written.
    """
    values = {name: _checked(name, array, len(tokens)) for name, array in strips.items()}
    if not values:
        raise ShapeError(expected("strips", "at least one", "none"))
    limits = {name: (ranges or {}).get(name) or _symmetric(array) for name, array in values.items()}
    order = _order(values, limits)
    labels = [visible(token) for token in tokens]
    longest = max(len(label) for label in labels)
    width = min(max(COLUMN * len(tokens) + 1.7, NARROWEST), WIDEST)
    height = STRIP * len(values) + 0.9 + 2 * 0.06 * (longest if longest > 2 else 1)
    with drawing(path, width, height) as figure:
        figure.suptitle(plain(title), x=0.01, ha="left", fontsize=10)
        figure.get_layout_engine().set(h_pad=0.02, w_pad=0.04, hspace=0.02)  # type: ignore[union-attr,call-arg]
        rows = list(figure.subplots(len(values), 1, sharex=True, squeeze=False)[:, 0])
        for axes, (name, array) in zip(rows, values.items(), strict=True):
            picture = _strip(axes, array, order[array.shape[1]], limits[name])
            axes.set_title(plain(_heading(name, captions)), loc="left", pad=3)
            extend = "neither" if name in (ranges or {}) else "both"
            bar = figure.colorbar(picture, ax=axes, pad=0.008, fraction=0.05, aspect=9, extend=extend)
            _trim(bar, limits[name])
        _label(rows, labels, longest)


def _strip(
    axes: Axes, array: npt.NDArray[np.float64], order: npt.NDArray[np.intp], limits: tuple[float, float]
) -> Any:
    low, high = limits
    units = len(order)
    shown = order[np.linspace(0, units - 1, min(units, ROWS)).round().astype(int)]
    picture = axes.imshow(
        array[:, shown].T,
        aspect="auto",
        interpolation="nearest",
        cmap=OPEN if low >= 0 else SIGNED,
        vmin=low,
        vmax=high,
    )
    axes.set_yticks([])
    words = f"{units} units" if len(shown) == units else f"{len(shown)} of {units} units"
    axes.set_ylabel(words if units > 1 else "", color=MUTED, fontsize=7)
    return picture


def _trim(bar: Any, limits: tuple[float, float]) -> None:
    low, high = limits
    middle = 0.0 if low < 0 < high else (low + high) / 2
    bar.set_ticks([low, middle, high], labels=[f"{value:.2g}" for value in (low, middle, high)])
    bar.ax.tick_params(labelsize=7, length=2)
    bar.outline.set_visible(False)


def _label(rows: Sequence[Axes], labels: list[str], longest: int) -> None:
    """Write the tokens below the last strip, upright where they are short."""
    for axes in rows:
        axes.tick_params(axis="x", bottom=False, top=False, labelbottom=False, labeltop=False)
    last = rows[-1]
    last.tick_params(axis="x", labelbottom=True, pad=2)
    last.set_xticks(range(len(labels)), labels=labels, fontsize=8, rotation=90 if longest > 2 else 0)


def _heading(name: str, captions: Mapping[str, str] | None) -> str:
    words = (captions or {}).get(name)
    return f"{name}: {words}" if words else name


def _order(
    values: Mapping[str, npt.NDArray[np.float64]], limits: Mapping[str, tuple[float, float]]
) -> dict[int, npt.NDArray[np.intp]]:
    """Return {number of units: order of the rows, largest mean first}."""
    found: dict[int, npt.NDArray[np.intp]] = {}
    signed = [name for name in values if limits[name][0] < 0]
    for name in [*reversed(signed), *values]:
        array = values[name]
        found.setdefault(array.shape[1], np.argsort(-array.mean(axis=0), kind="stable"))
    return found


def _symmetric(array: npt.NDArray[np.float64]) -> tuple[float, float]:
    finite = array[np.isfinite(array)]
    largest = float(np.percentile(np.abs(finite), CLIPPED)) if finite.size else 0.0
    return -(largest or 1.0), largest or 1.0


def _checked(name: str, values: npt.ArrayLike, steps: int) -> npt.NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] != steps or 0 in array.shape:
        raise ShapeError(expected(f"strips {name!r}", f"[{steps}, units], none of them 0", list(array.shape)))
    return array
