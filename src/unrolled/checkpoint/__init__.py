"""The on-disk format of a run: read, write, verify. No torch, no pickle.

format.py     files, limits, version, JSON, manifest   contents.py  what a checkpoint holds, checked
tensors.py    (dtype, shape, bytes) ↔ safetensors      disk.py      files of known size and sha256
reading.py    locate, read                             writing.py   write_step, write_model, write_into, …
rundir.py     taken, clear
"""

from __future__ import annotations

from typing import Any

from unrolled import files
from unrolled.checkpoint.contents import Contents, weights_dtype
from unrolled.checkpoint.format import FORMAT_VERSION, MODEL_FILES
from unrolled.checkpoint.reading import locate, read
from unrolled.checkpoint.reading import read_run as read_run  # these five: for other rooms; not public
from unrolled.checkpoint.reading import way_on as way_on
from unrolled.checkpoint.rundir import clear, clear_data, taken
from unrolled.checkpoint.tensors import Tensor
from unrolled.checkpoint.tensors import tensor_chunks as tensor_chunks
from unrolled.checkpoint.writing import check_config as check_config
from unrolled.checkpoint.writing import is_run as is_run
from unrolled.checkpoint.writing import mark, prune, rewind, write_into, write_model, write_step
from unrolled.errors import CheckpointError, older_names
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
    "prune",
    "read",
    "rewind",
    "taken",
    "weights_dtype",
    "write_into",
    "write_model",
    "write_step",
]


def _parse(raw: bytes, where: object, *, most: int = 2**22, ascii_only: bool = True) -> dict[str, Any]:
    return files.parse_json(raw, where, CheckpointError, most=most, ascii_only=ascii_only)


_MOVED: dict[str, tuple[str, Any]] = {
    "step_path": ("spec.RunDirectory(run).step", lambda run, step: RunDirectory(run).step(step)),
    "replace_text": ("files.replace", lambda path, text: files.replace(path, text)),
    "parse": ("files.parse_json", _parse),
}
__getattr__ = older_names("unrolled.checkpoint", _MOVED)
