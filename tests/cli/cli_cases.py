"""The small run that the tests of the command line train."""

from __future__ import annotations

__all__ = ["SMALL", "TEXT"]

TEXT = "the quick brown fox jumps over the lazy dog\n\npack my box with five dozen liquor jugs\n" * 20
SMALL = ["--steps", "4", "--hidden", "8", "--layers", "1", "--batch", "4", "--bptt", "16"]
