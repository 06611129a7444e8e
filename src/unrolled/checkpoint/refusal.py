"""How a bad checkpoint is refused: one printable line, of bounded length."""

from __future__ import annotations

from unrolled.errors import CheckpointError, expected

__all__ = ["printable", "quoted", "refusal"]

LONGEST = 160  # characters of what came; the rest of a hostile text helps nobody


def refusal(where: object, want: object, got: object) -> CheckpointError:
    """Return a CheckpointError `where: expected want, got got` on one line."""
    return CheckpointError(printable(expected(str(where), want, shortened(str(got)))))


def quoted(text: str) -> str:
    """Quote a name that came from a file."""
    return shortened(repr(text))


def shortened(text: str) -> str:
    """Cut a text to a length that fits in a message."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def printable(text: str) -> str:
    """Return a text on one line, with what cannot be printed escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
