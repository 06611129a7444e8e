"""The processor's limit in fused multiply-adds, measured beside everything else; see fma.cpp."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("fma.cpp")
FLAGS = ("-O3", "-std=c++17", "-ffp-contract=fast", "-shared", "-fPIC", "-pthread")
LANES = {"bfloat16": 32, "avx512": 16, "avx2": 8}
PIECES = 400  # for each thread: some ten milliseconds a call, so that starting threads is little of it


class Limit:
    """A call that does nothing but fused multiply-adds on registers, on `threads` threads."""

    def __init__(self, library: ctypes.CDLL, threads: int, isa: str | None = None) -> None:
        self._library, self._threads = library, threads
        self._lanes = LANES[isa] if isa else int(library.fma_widest())
        self._pieces = ctypes.c_int64(threads * PIECES)
        self.flops = float(library.fma_operations(self._lanes, self._pieces))

    def __call__(self) -> None:
        if self._library.fma_run(self._lanes, self._threads, self._pieces):
            raise RuntimeError(f"fma.cpp: expected {self._lanes} lanes to run here, got a processor without")


def build() -> ctypes.CDLL | None:
    """Compile and load fma.cpp; None where there is no C++ compiler."""
    names = [os.environ.get("CXX", ""), "g++", "c++", "clang++"]
    compiler = next((path for name in names if name and (path := shutil.which(name))), None)
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "fma.so"
        subprocess.run([compiler, *FLAGS, str(SOURCE), "-o", str(library)], check=True)
        loaded = ctypes.CDLL(str(library))  # stays mapped when the file is gone
    loaded.fma_operations.restype = ctypes.c_double
    return loaded
