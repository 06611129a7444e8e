"""The machine and the versions that figures hold for."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

from unrolled import doctor, kernels


def facts(threads: int, *, limit: bool) -> dict[str, Any]:
    """Return what stands at the head of the figures; two runs with equal facts may share a file."""
    report = doctor.report()
    return {
        "processor": report.processor,
        "cores": report.cores,
        "instruction_sets": list(report.instruction_sets),
        "kernels": kernels.isa() if kernels.available() else None,
        "platform": f"{platform.system()} {platform.machine()}",
        "python": report.python,
        "torch": report.packages["torch"],
        "onnxruntime": _version("onnxruntime"),
        "threads": threads,
        "fma_limit": limit,
    }


def line(machine: dict[str, Any]) -> str:
    """Say it in a sentence or two."""
    peer = machine["onnxruntime"]
    onnx = f"ONNX Runtime {peer}" if peer else "no ONNX Runtime (its columns are left out)"
    said = (
        f"{machine['processor']}, {machine['cores']:g} cores, {' '.join(machine['instruction_sets'])};\n"
        f"{machine['threads']} threads; kernels {machine['kernels']}, torch {machine['torch']}, {onnx}, "
        f"Python {machine['python']}, {machine['platform']}."
    )
    return said if machine["fma_limit"] else f"{said}\nNo C++ compiler, so no limit was measured."


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
