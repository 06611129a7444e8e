"""torch's own threads, lent to the engine.

torch's OpenMP threads spin for milliseconds after each of its parallel regions. An engine with threads of
its own would share the cores with them: a training step then takes twice as long (docs/decisions/0010).
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import torch

from unrolled import kernels

_FUNCTIONS = {"parallel": "GOMP_parallel", "size": "omp_get_num_threads", "in_parallel": "omp_in_parallel"}


def lend() -> None:
    """Hand the engine the functions of the OpenMP runtime that torch has loaded, where there is one.

    GNU's runtime, and LLVM's and Intel's, which speak its language. Elsewhere the engine has its own threads.
    """
    if not kernels.available():
        return
    path = _runtime()
    if path is None:
        return
    try:
        library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
        found = {
            ours: ctypes.cast(getattr(library, name), ctypes.c_void_p) for ours, name in _FUNCTIONS.items()
        }
    except (OSError, AttributeError):
        return
    kernels.borrow_team(**{name: function.value or 0 for name, function in found.items()})


def _runtime() -> str | None:
    """Return the file of the OpenMP runtime in this process; of several, torch's own."""
    if sys.platform != "linux":
        return None
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return None
    files = {line.split(maxsplit=5)[-1] for line in lines if "/" in line}
    runtimes = [file for file in files if Path(file).name.startswith(("libgomp", "libomp", "libiomp"))]
    home = str(Path(torch.__file__).parent)  # and torch.libs beside it, where some wheels keep it
    own = [file for file in runtimes if file.startswith(home)]
    return min(own or runtimes, default=None) if len(own or runtimes) == 1 else None
