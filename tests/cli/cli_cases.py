"""What the tests of the command line train, and how they read what it says."""

from __future__ import annotations

import math
import random

import pytest

from unrolled.cli import main

__all__ = ["QUICK", "SMALL", "TEXT", "gestures", "said"]

TEXT = "the quick brown fox jumps over the lazy dog\n\npack my box with five dozen liquor jugs\n" * 20
SMALL = ["--steps", "4", "--hidden", "8", "--layers", "1", "--batch", "4", "--bptt", "16"]
QUICK = ["--steps", "6", "--hidden", "8", "--no-controls"]
KINDS = ("walk", "sit")


def gestures(samples: int = 24, *, labelled: bool = True) -> str:
    """A long table: rows of a sample, two channels, a person, and what the person does."""
    draw = random.Random(samples)
    rows = ["sample,subject,ax,ay" + ",activity" * labelled]
    for sample in range(samples):
        for step in range(draw.randrange(4, 9)):
            x, y = draw.gauss(0, 0.3) + (sample % 2) * math.sin(step), draw.gauss(0, 0.3)
            rows.append(f"g{sample},p{sample % 6},{x:.3f},{y:.3f}" + f",{KINDS[sample % 2]}" * labelled)
    return "\n".join(rows) + "\n"


def said(capsys: pytest.CaptureFixture[str], argv: list[str]) -> str:
    """Return the one line that a refused command prints."""
    try:
        code = main(argv)
    except SystemExit as stop:
        code = int(str(stop.code))
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.count("\n") == 1, err
    return err.strip().removeprefix("unrolled: ")
