"""How a bad checkpoint is refused: one printable line, of bounded length."""

from __future__ import annotations

from unrolled import files
from unrolled.errors import CheckpointError

__all__ = ["refusal"]


def refusal(where: object, want: object, got: object) -> CheckpointError:
    """Return a CheckpointError `where: expected want, got got` on one line."""
    return files.refusal(CheckpointError, where, want, got)
