"""The on-disk format of a run: read, write, verify. No torch, no pickle.

layout.py     names, limits and the format version     refusal.py   one-line CheckpointErrors
tensors.py    (dtype, shape, bytes) ↔ safetensors      documents.py strict JSON
manifest.py   each file's size and sha256              contents.py  what a checkpoint holds, checked
disk.py       durable writes, guarded reads            saving.py    write_step, mark, prune, rewind, …
reading.py    locate, read                             rundir.py    taken, clear
placing.py    write_into
"""

from unrolled.checkpoint.contents import Contents
from unrolled.checkpoint.documents import parse
from unrolled.checkpoint.layout import FORMAT_VERSION, MODEL_FILES, step_path
from unrolled.checkpoint.placing import write_into
from unrolled.checkpoint.reading import locate, read
from unrolled.checkpoint.rundir import clear, clear_data, taken
from unrolled.checkpoint.saving import mark, prune, replace_text, rewind, write_model, write_step
from unrolled.checkpoint.tensors import Tensor

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
    "step_path",
    "taken",
    "write_into",
    "write_model",
    "write_step",
]
