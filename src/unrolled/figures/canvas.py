"""A figure outside of pyplot, and its file: written beside, then put in place."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrolled.errors import MissingExtraError
from unrolled.figures.symbols import FONT
from unrolled.files import replace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["INK", "MUTED", "drawing", "require"]

DPI = 150
INK, MUTED = "#222222", "#666666"
LOOK: Any = {
    "font.family": FONT,
    "font.size": 9,
    "text.usetex": False,
    "text.parse_math": False,  # a "$" in a text is a dollar
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.titlesize": 9,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.bbox": None,
}


def require() -> None:
    """Raise MissingExtraError where matplotlib is not installed; loads nothing but its root."""
    try:
        importlib.import_module("matplotlib")
    except ImportError as error:
        raise MissingExtraError(
            "figures: expected matplotlib, got none installed: pip install 'unrolled[train]'"
        ) from error


@contextlib.contextmanager
def drawing(path: str | Path, width: float, height: float) -> Iterator[Figure]:
    """Give a figure of that size in inches to draw on; it becomes a PNG file when the block ends well.

    Raises:
        MissingExtraError: matplotlib is not installed. RunError: the file cannot be written.
    """
    require()
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(LOOK):
        figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        picture = io.BytesIO()
        # no date, no version: equal arrays give equal bytes
        figure.savefig(picture, format="png", dpi=DPI, metadata={"Software": None})
    replace(path, picture.getvalue())
