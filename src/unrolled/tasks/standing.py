"""How a network stands among the simple models that were fitted on the same split."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

__all__ = ["beats", "control_wins", "standing"]

DIGITS = 4  # in which figures are shown; two that look alike are a tie


class Named(Protocol):
    """A control."""

    @property
    def name(self) -> str: ...
    @property
    def values(self) -> Mapping[str, float]: ...


class Compared(Protocol):
    """An evaluation of a network beside controls."""

    @property
    def controls(self) -> Sequence[Named]: ...
    @property
    def better(self) -> Sequence[Named]: ...
    @property
    def judged(self) -> Any: ...
    @property
    def main(self) -> str: ...
    @property
    def part(self) -> str: ...


def beats(figure: float | None, other: float, *, sign: int = 1) -> bool:
    """Whether a figure is better than another one, in the digits that are shown.

    Args:
        figure: None, or NaN: unknown, which beats nothing. sign: 1 where more is better, −1 of an error.
    """
    if figure is None or math.isnan(figure):
        return False
    return sign * figure > sign * other and not _alike(figure, other)


def control_wins(found: Compared, label: str, *, sign: int = 1) -> str | None:
    """Return a sentence on the best control where one beats the network; None: none does.

    Args:
        label: what people call the main figure. sign: 1 where more of it is better, −1 of an error.
    """
    if not found.better:
        return None
    best = max(found.better, key=lambda each: sign * each.values[found.main])
    own, other = found.judged.values[found.main], best.values[found.main]
    return (
        f'A control wins: the {label} of "{best.name}" is {other:.{DIGITS}g}, that of the network '
        f"{own:.{DIGITS}g}. Use the control unless you need something that only the network offers."
    )


def standing(found: Compared) -> str | None:
    """Return a sentence on a network that no control beats; None: there are none, or one does."""
    if not found.controls or found.better:
        return None
    own = found.judged.values[found.main]
    ties = [each.name for each in found.controls if _alike(each.values.get(found.main), own)]
    outcome = f"is as good as {', '.join(ties)}" if ties else "beats every control"
    further = ", and beats the other controls" if ties and len(ties) < len(found.controls) else ""
    return f"The network {outcome}{further} on the {found.part} part."


def _alike(figure: float | None, other: float) -> bool:
    return figure is not None and f"{figure:.{DIGITS}g}" == f"{other:.{DIGITS}g}"
