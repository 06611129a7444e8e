"""Names of classes, columns, series and tags in a stored schema: how many, how long, and that they differ."""

from __future__ import annotations

from typing import TypeVar

from unrolled.errors import UnrolledError, counted
from unrolled.files import quoted, refusal

__all__ = ["LONGEST_NAME", "names_of"]

E = TypeVar("E", bound=UnrolledError)
LONGEST_NAME = 10_000  # characters


def names_of(value: object, where: str, error: type[E], *, most: int) -> tuple[str, ...]:
    """Return a list of different names that a file holds; it may come from a stranger.

    Args:
        where: what a message calls it. error: what is raised. most: how many there may be.
    Raises:
        error: something else, too many, too long, two alike, or text that UTF-8 cannot write.
    """
    if not isinstance(value, list):
        raise refusal(error, where, "a list of names", type(value).__name__)
    if len(value) > most:
        raise refusal(error, where, f"at most {most:,} different names", f"{len(value):,}")
    for name in value:
        if not isinstance(name, str):
            raise refusal(error, where, "a list of names", repr(name))
        if len(name) > LONGEST_NAME:
            got = f"{quoted(name)} of {len(name):,}"
            raise refusal(error, where, f"names of at most {counted(LONGEST_NAME, 'character')}", got)
        if not is_unicode(name):
            raise refusal(error, where, "names in Unicode", f"half a character: {name!a}")
    seen: set[str] = set()
    for name in value:
        if name in seen:
            raise refusal(error, where, "different names", f"{quoted(name)} twice")
        seen.add(name)
    return tuple(value)


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can write a text: JSON's escapes can name half a character, a lone surrogate."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
