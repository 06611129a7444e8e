"""A section of the page: one measurement, its picture, what it shows and the numbers behind it."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from unrolled.probe.page.markup import Markup, paragraph, region, tag

__all__ = ["HEADINGS", "Section", "lay_out"]

INCH, DOTS = 96, 150  # pixels of the page, and of a picture, in an inch
NARROWEST = 0.75  # of its size: below that a picture scrolls, so that its words stay readable
HEADINGS = {
    "gradient_flow": "Gradient flow",
    "memory_horizon": "Memory horizon",
    "context_curve": "What context is worth",
    "gates": "Gates and units",
    "lyapunov": "Lyapunov exponents",
    "memory_map": "Memory map",
    "trajectories": "Gates and states, step by step",
    "long_run": "Loss along a long run",
    "update_norms": "Update norms",
}  # of each measurement, in the order of the page


@dataclass(frozen=True)
class Section:
    """What the page says of one measurement.

    Attributes:
        name: of the report's field.
        kind: of picture, the beginning of its alternative text.
        reading: how to read the picture, in a sentence. shows: what it shows here, in a sentence.
        tables: the numbers behind it. draw: the picture into a file.
        wide: whether the picture has texts so small that it must not shrink.
    """

    name: str
    kind: str
    reading: str
    shows: str
    tables: Sequence[Markup]
    draw: Callable[[Path], None]
    wide: bool = False

    @property
    def heading(self) -> str:
        """The name in words."""
        return HEADINGS[self.name]

    @property
    def id(self) -> str:
        """The name as an address within the page."""
        return self.name.replace("_", "-")


def lay_out(section: Section, picture: bytes | None) -> list[Markup]:
    """Return what stands below a section's heading, with the PNG file, or without one for want of room."""
    if picture is None:
        drawn = paragraph("The picture is left out, as the page would grow too large; the numbers follow.")
    else:
        caption = tag("figcaption", tag("b", "How to read it: "), section.reading)
        drawn = tag("figure", region(f"Picture: {section.heading}", _image(section, picture)), caption)
    numbers = tag("details", tag("summary", f"{section.heading}: the numbers"), *section.tables)
    return [paragraph(tag("b", "Here: "), section.shows), drawn, numbers]


def _image(section: Section, picture: bytes) -> Markup:
    width, height = (size * INCH // DOTS for size in struct.unpack(">II", picture[16:24]))
    least = width if section.wide else int(NARROWEST * width)
    return tag(
        "img",
        src=Markup("data:image/png;base64," + base64.b64encode(picture).decode("ascii")),
        alt=f"{section.kind} {section.shows[:1].upper()}{section.shows[1:]}",
        width=width,
        height=height,
        style=f"min-width:{least}px",
    )
