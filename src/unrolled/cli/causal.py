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
    words, flags = [], []
    for cls in (named_task(given).data, spec.TrainConfig):
        for each in spec.settings(cls):
            if each.flag is None or each.name not in given or each.name in NOT_REPEATED:
                continue
            value = given[each.name]
            if not each.flag.startswith("-"):
                words.append(str(value))
            elif isinstance(value, bool):
                flags.append(each.flag if value else each.flag.replace("--", "--no-", 1))
            else:
                flags += [each.flag] if value is None else [each.flag, str(value)]
    command = shlex.join(["train", *words, *flags, "--run", str(other)])
    return f"What --causal costs in quality was not measured. To measure it: {program} {command}"
