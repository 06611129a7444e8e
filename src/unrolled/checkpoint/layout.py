"""Names, limits and the version of the format.

RUN/
    LATEST, BEST                   one line: the name of a step directory
    checkpoints/step-00001200/     immutable: the six files of `FILES["step"]`
    checkpoints/.writing-*         a save that was cut off; never read, removed by `prune`
    checkpoints/.removing-*        a removal that was cut off; likewise
    model/                         the four files of `FILES["model"]`, written at the end from BEST
"""

from __future__ import annotations

import re
from pathlib import Path

__all__ = [
    "CONFIG",
    "DOCUMENT_BYTES",
    "FILES",
    "FORMAT",
    "FORMAT_VERSION",
    "MANIFEST",
    "MODEL",
    "OPTIMIZER",
    "PROGRESS",
    "REMOVING",
    "SECTIONS",
    "TOKENS",
    "WRITING",
    "step_of",
    "step_path",
]

FORMAT = "unrolled checkpoint"
FORMAT_VERSION = 1

CONFIG, MODEL, TOKENS = "config.json", "model.safetensors", "tokens.json"
OPTIMIZER, PROGRESS, MANIFEST = "optimizer.safetensors", "progress.json", "manifest.json"

# What each kind of directory holds beside its manifest: all of it, and nothing else.
FILES = {"step": (CONFIG, MODEL, TOKENS, OPTIMIZER, PROGRESS), "model": (CONFIG, MODEL, TOKENS)}
DOCUMENT_BYTES = {CONFIG: 2**20, TOKENS: 2**26, PROGRESS: 2**24, MANIFEST: 2**16}  # largest legal sizes
SECTIONS = ("model", "data", "training")  # of config.json; only "model" is required

WRITING, REMOVING = ".writing-", ".removing-"
_STEP = re.compile(r"step-(\d{8}|[1-9]\d{8,17})", re.ASCII)


def step_path(run: str | Path, step: int) -> Path:
    """Return RUN/checkpoints/step-00001200 for step 1200, whether it is there or not."""
    return Path(run) / "checkpoints" / f"step-{step:08d}"


def step_of(name: str) -> int | None:
    """Return the step that a directory's name declares, or None when it is no step directory's name."""
    match = _STEP.fullmatch(name)
    return int(match[1]) if match else None
