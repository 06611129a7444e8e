"""A step of an exported LSTM in C: its time, its bytes of flash and RAM.

    python bench/c_export.py                      # a minute
    python bench/c_export.py --json out.json

Times are CPU time of 1,000 steps, the least of 20, of a program built by gcc with -std=c99 -O3, with and
without -march=native; `unrolled.stream` beside it is called from Python. Sizes are those of model.c built
with -Os for this machine, and for a Cortex-M4 where arm-linux-gnueabihf-gcc is installed, which takes it too.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import machine
from unrolled.export import CFormat, subject_of
from unrolled.export.c import check

SIZES = ((32, 1), (64, 1), (128, 2))
BUILDS = {"-O3 -march=native": ("-std=c99", "-O3", "-march=native"), "-O3": ("-std=c99", "-O3")}
ARM = "arm-linux-gnueabihf"
CORTEX_M4 = ("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")


def microseconds_of_stream(model: Any, size: int) -> float:
    """Return the CPU time of one call from Python."""
    session, x, out = model.open(), np.ones(size, np.float32), np.empty(size, np.float32)
    best = float("inf")
    for _ in range(20):
        begin = time.process_time_ns()
        for _ in range(1000):
            session.step(x, out)
        best = min(best, (time.process_time_ns() - begin) / 1e6)
    return best


def measured(size: int, layers: int, weights: str) -> dict[str, Any]:
    """Return the figures of one network."""
    torch.manual_seed(0)
    subject, form = subject_of(torch.nn.LSTM(size, size, layers)), CFormat()
    model = form.model(subject, weights)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        form.put(model, folder, "a network to measure")
        inputs = check.inputs_for(model)
        times = {}
        for name, flags in BUILDS.items():
            _, _, took = check.run(model, folder, inputs, command=["gcc"], flags=flags, repeats=20)
            assert took is not None
            times[name] = took / 1000
        sizes = {"x86-64": check.object_bytes(model, folder, ["gcc"], folder)}
        if shutil.which(f"{ARM}-gcc"):
            command = [f"{ARM}-gcc", *CORTEX_M4]
            sizes["Cortex-M4"] = check.object_bytes(model, folder, command, folder, f"{ARM}-size")
    return {
        "network": f"{layers} x {size}",
        "weights": weights,
        "microseconds": times,
        "stream_microseconds": microseconds_of_stream(subject.streamed(weights), size),
        "bytes": {name: {"code": code, "constants": constants} for name, (code, constants) in sizes.items()},
        "ram_bytes": model.ram_bytes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    rows = [measured(size, layers, weights) for weights in ("float32", "int8") for size, layers in SIZES]
    columns = ("LSTM", "weights", *BUILDS, "stream, from Python", "RAM", "flash, Cortex-M4: weights, code")
    print(f"| {' | '.join(columns)} |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        native, plain = (f"{row['microseconds'][build]:.2f} µs" for build in BUILDS)
        arm = row["bytes"].get("Cortex-M4")
        flash = "–" if arm is None else f"{arm['constants']:,}, {arm['code']:,}"
        stream = f"{row['stream_microseconds']:.2f} µs"
        cells = (row["network"], row["weights"], native, plain, stream, f"{row['ram_bytes']:,}", flash)
        print(f"| {' | '.join(cells)} |")
    if args.json:
        facts = machine.facts(1, limit=False)
        args.json.write_text(json.dumps({"machine": facts, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
