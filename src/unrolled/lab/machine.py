"""Where cells were run: the machine and the versions, as results.json keeps them."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import torch

from unrolled import kernels

__all__ = ["describe", "line"]

PACKAGES = ("unrolled", "torch", "numpy", "matplotlib")
CPUINFO = Path("/proc/cpuinfo")


def describe() -> dict[str, Any]:
    """Return what a figure depends on beside its settings."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "platform": platform.platform(terse=True),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "kernels": kernels.isa() if kernels.available() else None,
    }


def line(found: dict[str, Any]) -> str:
    """Return a machine in one line of a report."""
    packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    native = f"native kernels for {found['kernels']}" if found["kernels"] else "no native kernels"
    return (
        f"{found['processor']}, {found['cores']} cores to use, {found['threads']} torch threads, {native}; "
        f"{found['platform']}, python {found['python']}, {packages}"
    )


def _version(name: str) -> str:
    if name == "torch":
        return str(torch.__version__)  # with the build: +cpu, +cu130
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "(source tree)"


def _processor() -> str:
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (text.partition(":")[2].strip() for text in lines if text.startswith("model name"))
    return next(names, platform.processor() or platform.machine() or "unknown processor")
