"""The on-disk format of a run: read, write, verify. No torch, no pickle.

layout.py     names, limits and the format version     refusal.py   one-line CheckpointErrors
tensors.py    (dtype, shape, bytes) ↔ safetensors      documents.py strict JSON
manifest.py   each file's size and sha256              contents.py  what a checkpoint holds, checked
disk.py       durable writes, guarded reads            saving.py    write_step, mark, write_model, prune
reading.py    locate, read                             rundir.py    taken, clear
"""

from unrolled.checkpoint.contents import Contents
from unrolled.checkpoint.layout import FORMAT_VERSION, step_path
from unrolled.checkpoint.reading import locate, read
from unrolled.checkpoint.rundir import clear, taken
from unrolled.checkpoint.saving import mark, prune, write_model, write_step
from unrolled.checkpoint.tensors import Tensor

__all__ = [
    "FORMAT_VERSION",
    "Contents",
    "Tensor",
    "clear",
    "locate",
    "mark",
    "prune",
    "read",
    "step_path",
    "taken",
    "write_model",
    "write_step",
]
