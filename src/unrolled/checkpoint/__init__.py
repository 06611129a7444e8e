"""The on-disk format of a run: read, write, verify. No torch, no pickle.

layout.py     names, limits and the format version     refusal.py   one-line CheckpointErrors
tensors.py    (dtype, shape, bytes) ↔ safetensors      documents.py strict JSON
manifest.py   each file's size and sha256              contents.py  what a checkpoint holds, checked
disk.py       durable writes, guarded reads            saving.py    write_step, mark, prune, rewind, …
reading.py    locate, read                             rundir.py    taken, clear
placing.py    write_into
"""

from __future__ import annotations

import warnings
from typing import Any

from unrolled.checkpoint.contents import Contents
from unrolled.checkpoint.documents import parse
from unrolled.checkpoint.layout import FORMAT_VERSION, MODEL_FILES
from unrolled.checkpoint.placing import write_into
from unrolled.checkpoint.reading import locate, read
from unrolled.checkpoint.rundir import clear, clear_data, taken
from unrolled.checkpoint.saving import mark, prune, replace_text, rewind, write_model, write_step
from unrolled.checkpoint.tensors import Tensor
from unrolled.spec import RunDirectory

__all__ = [
    "FORMAT_VERSION",
    "MODEL_FILES",
    "Contents",
    "Tensor",
    "clear",
    "clear_data",
    "locate",
    "mark",
    "parse",
    "prune",
    "read",
    "replace_text",
    "rewind",
    "taken",
    "write_into",
    "write_model",
    "write_step",
]


def __getattr__(name: str) -> Any:
    if name != "step_path":
        raise AttributeError(f"module 'unrolled.checkpoint' has no attribute {name!r}")
    text = "unrolled.checkpoint.step_path is now unrolled.spec.RunDirectory(run).step"
    warnings.warn(text, DeprecationWarning, stacklevel=2)
    return lambda run, step: RunDirectory(run).step(step)
