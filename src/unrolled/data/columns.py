"""What the columns of a source are, for people: a name, a type, a part in the task, and examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unrolled.files import printable

__all__ = ["Column", "examples_of", "is_number", "of_channels"]

EXAMPLES = 3
LONGEST = 24  # characters of an example


@dataclass(frozen=True)
class Column:
    """One column of a table, one channel of a series, or one key of an object."""

    name: str
    type: str  # "number", "text" or "time"
    role: str  # "input", "label", "target", "tag", "group", "id", "time", "known", "static" or "left out"
    examples: tuple[str, ...] = ()  # different ones, as they are written


def is_number(text: str) -> bool:
    """Whether a text is a number, as Python reads one."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def examples_of(values: Iterable[Any]) -> tuple[str, ...]:
    """Return the first few different values, short and printable; what is missing is passed over."""
    found: dict[str, None] = {}
    for value in values:
        number = isinstance(value, (float, np.floating))
        text = printable(f"{value:.6g}" if number else str(value)) if value is not None else ""
        if text.strip() and value == value:
            found[text if len(text) <= LONGEST else f"{text[:LONGEST]}…"] = None
        if len(found) == EXAMPLES:
            break
    return tuple(found)


def of_channels(names: Sequence[str], inputs: Sequence[Any]) -> list[Column]:
    """Return the columns of series [T_i, C]; () for names: of texts."""
    if not names:
        return [Column("text", "text", "input", examples_of(inputs[: 2 * EXAMPLES]))]
    first = np.asarray(inputs[0])[: 4 * EXAMPLES]
    return [Column(name, "number", "input", examples_of(first[:, c])) for c, name in enumerate(names)]
