"""What this machine has, and which paths the package takes on it. Works, and says so, without torch."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unrolled import kernels
from unrolled.errors import BackendError, counted
from unrolled.files import cpu_limit, for_json, load_average, memory_limit
from unrolled.spec import CELLS

__all__ = ["Backend", "Report", "report"]

BACKENDS = ("reference", "torch", "native")
PACKAGES = ("unrolled", "torch", "numpy", "matplotlib", "rich")
TRAINING = ("matplotlib", "rich")  # what `unrolled train` needs beside torch
GIB = 2**30
BUSY = 1.25  # threads to a core, above which programs wait for one another
THREADS = "`unrolled train` takes 1 for a small network: on a busy machine threads wait for one another"
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
INSTALL = "pip install 'unrolled[train]'"
CPUINFO = Path("/proc/cpuinfo")
# our name → the flag of Linux; the first six of x86, the others of ARM
SETS = {
    "avx2": "avx2",
    "fma": "fma",
    "avx512f": "avx512f",
    "avx512_bf16": "avx512_bf16",
    "avx512_vnni": "avx512_vnni",
    "amx": "amx_tile",
    "neon": "asimd",
    "bf16": "bf16",
    "i8mm": "i8mm",
    "sve": "sve",
}


@dataclass(frozen=True)
class Backend:
    """Whether a backend can run here, and why, or why not."""

    available: bool
    reason: str


@dataclass(frozen=True)
class Report:
    """The machine as this package sees it; printed, a page of text."""

    problems: tuple[str, ...]  # what a user should fix, worst first
    python: str
    platform: str
    processor: str
    cores: float  # whose time this process may use: fewer in a container, 1.5 where it was given 1.5
    load: float | None  # threads of all programs that want a processor, over a minute; None where unknown
    memory_bytes: int | None  # that this process may use; None where the system does not say
    instruction_sets: tuple[str, ...]
    caches_bytes: tuple[int, int, int] | None  # first and second of each core, third; None: not known
    packages: Mapping[str, str | None]  # name → version; None: not installed
    torch_threads: int | None  # None without torch
    waiting: str  # how the environment lets torch's threads wait for one another; "" where it does not say
    backends: Mapping[str, Backend]
    auto: Mapping[str, str]  # cell → what "auto" takes on this CPU in float32; empty without torch
    auto_reasons: Mapping[str, str]  # cell → why
    auto_dtype: Mapping[str, str]  # cell → what --dtype auto trains in
    auto_training: Mapping[str, str]  # cell → the backend that "auto" takes in that dtype

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON has it."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        lines = [f"PROBLEM: {problem}" for problem in self.problems]
        lines += [
            f"python       {self.python} on {self.platform}",
            "packages     " + ", ".join(f"{name} {v or '(missing)'}" for name, v in self.packages.items()),
            f"processor    {self.processor}, {counted(self.cores, 'core')} to use",
            f"load         {_load(self.load, self.cores)}",
            "memory       "
            + ("unknown" if self.memory_bytes is None else f"{self.memory_bytes / GIB:.1f} GiB to use"),
            f"instructions {' '.join(self.instruction_sets) or 'none that matter here'}",
            f"caches       {_sizes(self.caches_bytes)}",
            f"threads      torch uses {self.torch_threads}; {THREADS} (unrolled train --threads)"
            if self.torch_threads
            else "threads      no torch",
            "waiting      "
            + (self.waiting or "by spinning, as the OpenMP runtime does by default: slow on a busy machine")
            + " (the commands set GOMP_SPINCOUNT for themselves; for your own programs set it yourself)",
            "backends",
        ]
        lines += [
            f"  {name:<11}{'yes' if b.available else 'no ':<5}{b.reason}" for name, b in self.backends.items()
        ]
        lines += ["auto takes"] if self.auto else []
        lines += [f"  {cell:<11}{backend}: {self.auto_reasons[cell]}" for cell, backend in self.auto.items()]
        lines += self._variants() if self.auto else []
        lines += ["training in"] if self.auto_training else []
        lines += [
            f"  {cell:<11}{self.auto_dtype[cell]} takes {name}" for cell, name in self.auto_training.items()
        ]
        return "\n".join(lines)

    def _variants(self) -> list[str]:
        """Return which variants of the cells have kernels: those of their cell, or none."""
        variants = [cell for cell in CELLS.values() if cell.variant_of is not None]
        with_kernels = [cell.name for cell in variants if cell.has_kernels]
        others = [cell.name for cell in variants if not cell.has_kernels]
        return [
            f"  variants   as their cell: {', '.join(with_kernels)}",
            f"             reference, several times as slow: {', '.join(others)}, and any cell with zoneout",
            "             or, while training, with recurrent dropout",
        ]


def report() -> Report:
    """Look at this machine. Nothing is raised for what is missing: the report says it."""
    torch, why_not = _torch()
    packages = {name: _version(name) for name in PACKAGES}
    packages["torch"] = None if torch is None else str(torch.__version__)  # with the build: +cpu, +cu130
    threads = None if torch is None else int(torch.get_num_threads())
    native, wrong_isa = _native()
    needs = f"needs torch: {INSTALL}"
    backends = {name: Backend(False, needs) for name in BACKENDS}
    backends["native"] = Backend(False, f"{needs}; {native.reason}")
    auto: dict[str, Any] = {}
    dtypes: dict[str, str] = {}
    if torch is not None:
        backends = {name: native if name == "native" else _backend(torch, name) for name in BACKENDS}
    if torch is not None and not wrong_isa:
        dtypes = _dtypes()
        kinds = [name for name, cell in CELLS.items() if cell.variant_of is None]
        auto = {cell: _explain(torch, cell, "auto") for cell in kinds}
    training = {cell: _explain(torch, cell, "auto", dtype).backend for cell, dtype in dtypes.items()}
    cores = cpu_limit()
    return Report(
        problems=_problems(packages, why_not, wrong_isa, threads, cores),
        python=platform.python_version(),
        platform=platform.platform(terse=True),
        processor=_processor(),
        cores=cores,
        load=for_json(load_average()),
        memory_bytes=memory_limit(),
        instruction_sets=_instruction_sets(torch),
        caches_bytes=_caches(),
        packages=packages,
        torch_threads=threads,
        waiting=", ".join(f"{name}={os.environ[name]}" for name in WAITING if os.environ.get(name)),
        backends=backends,
        auto={cell: explanation.backend for cell, explanation in auto.items()},
        auto_reasons={cell: explanation.reason for cell, explanation in auto.items()},
        auto_dtype=dtypes,
        auto_training=training,
    )


def _load(load: float | None, cores: float) -> str:
    """Say how busy the machine is, and what a run does about it."""
    if load is None:
        return "unknown"
    if load <= BUSY * cores:
        return f"{load:.1f}: the machine is quiet"
    return (
        f"{load:.1f} on {counted(cores, 'core')}: other programs run too. `unrolled train --minutes` times "
        "one thread and all, and takes as many steps as its time allows; its notes say which"
    )


def _torch() -> tuple[Any, str]:
    """Return (torch, "") or (None, why it cannot be loaded)."""
    try:
        return importlib.import_module("torch"), ""
    except ModuleNotFoundError:
        return None, "is not installed"
    except (ImportError, OSError) as error:  # installed, but a library of it does not load
        return None, f"cannot be loaded ({' '.join(str(error).split())})"


def _native() -> tuple[Backend, str]:
    """Return what there is of the native kernels, and what is wrong with UNROLLED_ISA, "" for nothing."""
    if not kernels.available():
        return Backend(False, str(kernels.why_not())), ""
    try:
        chosen = kernels.isa()
    except BackendError as error:
        return Backend(False, str(error)), str(error)
    others = [name for name in kernels.isas() if name != chosen]
    asked = "as UNROLLED_ISA says" if os.environ.get("UNROLLED_ISA") else "the fastest that runs here"
    return Backend(True, f"kernels for {chosen}, {asked}; also {', '.join(others) or 'none'}"), ""


def _problems(
    packages: Mapping[str, str | None], why_not: str, wrong_isa: str, threads: int | None, cores: float
) -> tuple[str, ...]:
    found = []
    if why_not:
        found.append(f"torch {why_not}; training, sampling and evaluation need it: {INSTALL}")
    if wrong_isa:
        found.append(wrong_isa)
    if not kernels.available():
        found.append(f"{kernels.why_not()}; until then layers run on torch, slower")
    missing = [name for name in TRAINING if packages[name] is None]
    if missing:
        found.append(f"{' and '.join(missing)} not installed; training needs it: {INSTALL}")
    limits = [name for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ]
    # fewer threads than cores is torch's own choice where two cores are one with hyper-threading
    if threads is not None and threads <= cores - 1 and (limits or threads == 1):
        cause = f"{' and '.join(limits)} is set" if limits else "unrolled train --threads takes more"
        found.append(f"torch uses only {counted(threads, 'thread')} of {counted(cores, 'core')}: {cause}")
    if threads is not None and threads >= cores + 1:
        uses = f"torch uses {counted(threads, 'thread')} on {counted(cores, 'usable core')}"
        found.append(f"{uses}: unrolled train --threads takes fewer")
    return tuple(found)


def _explain(torch: Any, cell: str, backend: str, dtype: str = "float32") -> Any:
    """Ask which way a plain call takes on this CPU: two steps of one row, one unit."""
    from unrolled import nn

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        layer = nn.layer(cell, 1, 1, backend=backend, dtype=getattr(torch, dtype))
        return nn.explain(layer, torch.zeros(2, 1, 1, dtype=layer.weight_ih_l0.dtype)).calls["l0"]


def _caches() -> tuple[int, int, int] | None:
    found = kernels.caches()
    return found[:3] if found is not None and found.known else None


def _sizes(caches: tuple[int, int, int] | None) -> str:
    """Say what the caches hold, and what follows from it."""
    if caches is None:
        return "unknown; where there are kernels, they take small ones for granted"
    first, second, third = (f"{size // 1024:,} KiB" for size in caches)
    whole = f", {third} in all" if caches[2] else ""
    return f"{first} and {second} for each core{whole}; the kernels' blocks follow them"


def _backend(torch: Any, name: str) -> Backend:
    cell = next(iter(CELLS))  # a backend has all of them, or none
    try:
        return Backend(True, _explain(torch, cell, name).reason.removeprefix("asked for by name; "))
    except BackendError:
        return Backend(False, _explain(torch, cell, "auto").refused[name])


def _dtypes() -> dict[str, str]:
    try:
        from unrolled.train import choose_dtype
    except ImportError:  # an optional dependency of the trainer; named among the problems
        return {}
    kinds = {name: cell for name, cell in CELLS.items() if cell.variant_of is None}
    return {name: choose_dtype("auto", has_kernels=cell.has_kernels) for name, cell in kinds.items()}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "(source tree)" if name == "unrolled" else None


def _processor() -> str:
    facts = _cpuinfo()
    return facts.get("model name") or platform.processor() or platform.machine() or "unknown processor"


def _instruction_sets(torch: Any) -> tuple[str, ...]:
    facts = _cpuinfo()
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    if flags:
        return tuple(name for name, flag in SETS.items() if flag in flags)
    if torch is None:
        return ()
    return (str(torch.backends.cpu.get_cpu_capability()).lower(),)


def _cpuinfo() -> dict[str, str]:
    """Return what Linux says of the first core; nothing elsewhere."""
    try:
        first = CPUINFO.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
