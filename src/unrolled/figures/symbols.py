"""Texts from anywhere, in signs that the font of the pictures has."""

from __future__ import annotations

import functools

__all__ = ["FONT", "plain", "signs", "visible"]

FONT = "DejaVu Sans"  # comes with matplotlib
SIGNS = {"\n": "⏎", " ": "␣", "\t": "⇥", "\r": "↵", "": "∅"}
LONGEST = 12  # signs of a label


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


def plain(text: str) -> str:
    """Return a text without signs that the font cannot draw."""
    known = _signs()
    return "".join(_shown(sign, known) for sign in text)


def _shown(sign: str, known: frozenset[int]) -> str:
    return sign if ord(sign) in known and sign.isprintable() else f"U+{ord(sign):04X}"


@functools.cache
def _signs() -> frozenset[int]:
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(findfont(FONT)).get_charmap())
