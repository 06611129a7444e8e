"""What a run that reads one way costs in quality: the command that measures it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from unrolled import spec
from unrolled.cli.flags import named_task

__all__ = ["price_of_causal"]

APART = "-without-causal"  # ends the name of the run to compare with
NOT_REPEATED = ("causal", "run", "resume", "overwrite")


def price_of_causal(run: Path, given: dict[str, Any], *, program: str) -> str | None:
    """Return a sentence with the same command without `--causal`; None: it was run, or none is causal.

    Args:
        run: the directory of the run. given: the settings of the command line, by the names of the fields.
    """
    other = run.with_name(run.name + APART)
    if not given.get("causal") or spec.RunDirectory(other).evaluation.is_file():
        return None
    classes = (named_task(given).data, spec.TrainConfig)
    words = [word for cls in classes for word in spec.command_words(cls, given, skip=NOT_REPEATED)]
    command = shlex.join(["train", *words, "--run", str(other)])
    return f"What --causal costs in quality was not measured. To measure it: {program} {command}"
