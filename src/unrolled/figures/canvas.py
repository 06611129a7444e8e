"""What all pictures share: a figure outside of pyplot and its file, colours, texts that the font can show."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import itertools
import re
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from unrolled.errors import MissingExtraError
from unrolled.files import replace
from unrolled.spec import CELLS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
FONT = "DejaVu Sans"  # comes with matplotlib
SIZE = 10.5  # points: 14 pixels of a page


class Theme(NamedTuple):
    """The colours of a picture's ground, of its words, of its axes and of its grid."""

    ground: str
    ink: str
    muted: str
    grid: str


LIGHT = Theme("#ffffff", "#222222", "#666666", "#e4e4e4")
DARK = Theme("#15181c", "#e6e8eb", "#a9b1ba", "#33393f")
_THEME: ContextVar[Theme] = ContextVar("theme", default=LIGHT)


class Look(NamedTuple):
    """How a curve is drawn: each differs from every other in more than its colour."""

    colour: str
    line: str
    mark: str


# Of Okabe and Ito 2008, and others that keep a contrast of 3 to both grounds: colour-blind safe, the same in
# light and dark. Cells have the first ones everywhere, in the order in which they were registered.
BLUE, GREEN, RED = "#0072B2", "#009E73", "#D55E00"
COLOURS = (
    BLUE, GREEN, RED, "#CC79A7", "#888888", "#B8860B", "#8A6FC8", "#CC3311", "#3F8FD2", "#228833",
)  # fmt: skip
# of a legend that curves may run through: they are dimmed behind its words
OVER_CURVES: Any = {"frameon": True, "framealpha": 0.85, "edgecolor": "none", "borderpad": 0.2}
LINES, MARKS = ("-", "--", "-.", ":"), ("o", "^", "s", "D", "v", "P", "X")


def theme() -> Theme:
    """Return the colours that pictures are drawn in."""
    return _THEME.get()


@contextlib.contextmanager
def dark() -> Iterator[None]:
    """Within, pictures are drawn for a dark page."""
    before = _THEME.set(DARK)
    try:
        yield
    finally:
        _THEME.reset(before)


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Return a look for each curve: one that names a cell ("LSTM, clipped") has the colour of that cell.

    All differ in line or mark, further curves of one cell in nothing else.
    """
    found: dict[str, Look] = {}
    kinds = [cell.name for cell in CELLS.values() if cell.variant_of is None]
    of_kinds = dict(zip(kinds, COLOURS, strict=False))
    of_cells = {name: of_kinds.get(cell.variant_of or name) for name, cell in CELLS.items()}
    others = itertools.cycle(COLOURS[len(kinds) :] or COLOURS)
    for place, name in enumerate(names):
        words = re.findall(r"\w+", name.lower())
        colour = next((of_cells[word] for word in words if of_cells.get(word)), None) or next(others)
        found[name] = Look(colour, LINES[place % len(LINES)], MARKS[place % len(MARKS)])
    return found


def require() -> None:
    """Raise MissingExtraError where matplotlib is not installed; loads nothing but its root."""
    try:
        importlib.import_module("matplotlib")
    except ImportError as error:
        raise MissingExtraError(
            "figures: expected matplotlib, got none installed: pip install 'unrolled[train]'"
        ) from error


@contextlib.contextmanager
def drawing(path: str | Path, width: float, height: float, title: str = "") -> Iterator[Figure]:
    """Give a figure of that size in inches to draw on; it becomes a PNG file when the block ends well.

    Raises:
        MissingExtraError: matplotlib is not installed. RunError: the file cannot be written.
    """
    require()
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image  # matplotlib needs it too

    with matplotlib.rc_context(_settings(theme())):
        figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        if title:
            figure.suptitle(wrapped(plain(title), width), x=0.01, ha="left", fontsize=SIZE + 1)
        yield figure
        canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    picture, file = Image.fromarray(pixels).convert("RGB"), io.BytesIO()
    # 256 colours take a third of the bytes; no date, no version: equal arrays give equal bytes
    picture.quantize(256, dither=Image.Dither.NONE).save(file, "png", dpi=(DPI, DPI))
    replace(path, file.getvalue())


def _settings(colours: Theme) -> Any:
    return {
        "font.family": FONT,
        "font.size": SIZE,
        "text.usetex": False,
        "text.parse_math": False,  # a "$" in a text is a dollar
        "text.color": colours.ink,
        "axes.edgecolor": colours.muted,
        "axes.facecolor": colours.ground,
        "axes.labelcolor": colours.ink,
        "axes.linewidth": 0.6,
        "axes.titlesize": SIZE,
        "grid.color": colours.grid,
        "legend.facecolor": colours.ground,
        "legend.fontsize": SIZE,
        "xtick.color": colours.muted,
        "ytick.color": colours.muted,
        "xtick.labelcolor": colours.ink,
        "ytick.labelcolor": colours.ink,
        "figure.facecolor": colours.ground,
    }


def frame(axes: Axes, *, grid: bool = True) -> None:
    """Leave two sides of a panel open, and draw level lines behind its curves."""
    if grid:
        axes.grid(axis="y", linewidth=0.6)
        axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def logarithmic(axis: Any, subs: tuple[float, ...] = (1.0, 2.0, 5.0)) -> None:
    """Label a logarithmic axis with plain numbers at these parts of each decade."""
    from matplotlib.ticker import LogLocator

    axis.set_major_locator(LogLocator(subs=subs, numticks=99))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


def wrapped(text: str, width: float) -> str:
    """Return a text in lines that fit into a width in inches."""
    import textwrap

    return "\n".join(textwrap.wrap(text, int(width * 12.5), break_long_words=True))


SIGNS = {"\n": "⏎", " ": "␣", "\t": "⇥", "\r": "↵", "": "∅"}
LONGEST = 12  # signs of a token's label
LONGEST_NAME = 28  # signs of the name of a class or a column, beside the sign for what is left out


def visible(token: str) -> str:
    """Return a label for a token: white space as a sign, what the font lacks as its code point.

    >>> [visible(token) for token in ("a", " ", " the", "字")]
    ['a', '␣', '␣the', 'U+5B57']
    """
    return plain(signs(token))


def signs(token: str) -> str:
    """Return a token with its white space as signs, cut to `LONGEST` of them."""
    if token in SIGNS:
        return SIGNS[token]
    label = "".join(SIGNS.get(sign, sign) for sign in token)
    return label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…"


def named(name: str) -> str:
    """Return the name of a class or a column: its spaces as they are, the middle of a long one left out.

    >>> [named(name) for name in ("walking upstairs", " ", "a\\nb")]
    ['walking upstairs', '␣', 'a⏎b']
    """
    if not name.strip(" "):
        return signs(name)
    label = "".join(sign if sign == " " else SIGNS.get(sign, sign) for sign in name)
    if len(label) > LONGEST_NAME + 1:
        half = LONGEST_NAME // 2
        label = f"{label[:half]}…{label[-half:]}"
    return plain(label)


def plain(text: str) -> str:
    """Return a text without signs that the font cannot draw."""
    known = _known_signs()
    shown = (ord(sign) in known and sign.isprintable() for sign in text)
    return "".join(sign if can else f"U+{ord(sign):04X}" for sign, can in zip(text, shown, strict=True))


@functools.cache
def _known_signs() -> frozenset[int]:
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(findfont(FONT)).get_charmap())
