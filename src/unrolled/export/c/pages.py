"""README.md and the example beside model.c."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.export.c.check import Compared
from unrolled.export.c.reading import Samples, Symbols
from unrolled.export.c.series import SeriesSteps
from unrolled.export.c.source import Model
from unrolled.export.c.text import array, prefixed

__all__ = ["example", "readme"]

SHOWN = 8  # steps of the example
LARGE = 2 * 2**20  # bytes of weights that few microcontrollers hold


def example(model: Model, inputs: list[Any], answers: npt.NDArray[Any]) -> str:
    """Return main.c: some steps with the answers that are right."""
    reader = model.reader
    symbols, timed = isinstance(reader, Symbols), "time" in reader.parameters
    if timed:
        x, times = np.stack([pair[0] for pair in inputs]), np.array([pair[1] for pair in inputs])
    else:
        x, times = np.asarray(inputs), np.zeros(0)
    kind = np.int32 if symbols else np.float64 if isinstance(reader, SeriesSteps) else np.float32
    missing = not symbols and bool(np.isnan(x).any())
    tables = array("inputs", x.astype(kind), columns=0 if symbols else x.shape[1])
    if timed:
        tables += array("times", times)
    answer_kind = np.float64 if reader.answer_type == "double" else np.float32
    tables += array("wanted", answers.astype(answer_kind), columns=answers.shape[1])
    given = "inputs[i]" + (", times[i]" if timed else "")
    bind = choose = ""
    includes = "#include <math.h>\n" * missing
    if model.apart:
        bind = """    static union {
        uint32_t aligned;
        unsigned char bytes[MODEL_FILE_BYTES];
    } weights;
    FILE *file = fopen("model.bin", "rb");
    if (file == 0 || fread(weights.bytes, 1, MODEL_FILE_BYTES, file) != MODEL_FILE_BYTES) return 1;
    fclose(file);
    if (model_use(weights.bytes, MODEL_FILE_BYTES) != MODEL_OK) return 1;
"""
    if isinstance(reader, SeriesSteps) and len(reader.schema.ids) > 1:
        choose = "    if (code == MODEL_OK) code = model_choose(&state, 0);\n"
    text = Template((Path(__file__).parent / "example.c").read_text(encoding="utf-8")).substitute(
        count=len(inputs),
        includes=includes,
        tables=tables.replace("MODEL_ALIGNED ", ""),
        kind=reader.answer_type,
        bind=bind,
        choose=choose,
        given=given,
        saved=model.saved_bytes,
        tolerance=_allowed(model, answers),
    )
    return prefixed(text, model.prefix)


def _allowed(model: Model, answers: npt.NDArray[Any]) -> str:
    """Return what an answer may differ by on another machine: int8 may round another way there."""
    share = 0.05 if model.network.weights == "int8" else 1e-4
    return f"{share * max(float(np.abs(answers).max()), 1e-6):.3g}"


def readme(model: Model, about: str, found: Compared) -> str:
    """Return README.md; `about` holds nothing of a stranger's."""
    p, size = model.prefix, model.weight_bytes
    files = [
        f"- `{p}.h`, `{p}.c`: the model, in C99; a C++ program includes the header too.",
        f"- `{p}.bin`: the weights; the program gives their bytes to `{p}_use`."
        if model.apart
        else f"- `{p}_weights.h`: the weights, which `{p}.c` includes.",
        "- `main.c`: an example that checks a few steps: "
        f"`cc -std=c99 -O2 main.c {p}.c -o example && ./example`",
    ]
    large = (
        [f"{size / 2**20:.1f} MiB of weights are more than most microcontrollers hold.", ""]
        if size > LARGE
        else []
    )
    time = "" if found.nanoseconds is None else f"{found.nanoseconds / 1000:.2f} µs a step"
    code = "not measured" if found.code_bytes is None else f"{found.code_bytes:,} bytes"
    reset = f"once, and {p}_reset before each new sequence"
    lines = [
        f"# {about}",
        "",
        "Written by `unrolled export --to c`. It allocates nothing and needs no library: of libc no more",
        "than `memcpy` and `memset`, which a compiler may call by itself. Build it with `-O3`, which",
        f"vectorises it. `-D{p.upper()}_LIBM` takes `expf` and `tanhf` of libm in place of its own.",
        "",
        *files,
        "",
        "```c",
        f"static {p}_state state; /* {model.ram_bytes:,} bytes: all that a stream needs */",
        f"{p}_init(&state); /* {reset} */",
        f"{p}_step(&state, {_words(model)}, answer); /* 0: done; other codes are in {p}.h */",
        "```",
        "",
        f"`{p}_save` writes the state as {model.saved_bytes:,} bytes, `{p}_load` takes them, also on another",
        "machine; those of another model, or altered ones, are refused by a code.",
        "",
        *large,
        "| | |",
        "| --- | --- |",
        f"| weights | {model.network.weights}, {size:,} bytes |",
        f"| code and tables, built with -Os for the machine of the export | {code} |",
        f"| RAM of a stream | {model.ram_bytes:,} bytes |",
        f"| multiply-adds of a step | {model.network.multiply_adds:,} |",
        *([f"| CPU time, measured on export, -O3 -march=native | {time} |"] if time else []),
        "",
        "## Checked",
        "",
        told(model, found),
        "",
    ]
    return "\n".join(lines)


def told(model: Model, found: Compared) -> str:
    """Return what the check found, in a sentence or two."""
    if found.compiler is None:
        return f"Not compiled, and so not checked: {found.obstacle}."
    int8 = model.network.weights == "int8"
    if found.equal:
        said = "every bit of the outputs is that of unrolled.stream on its portable kernels"
    elif int8:
        said = f"outputs are within {found.largest:.2g} steps of the scale of unrolled.stream's"
    else:
        said = f"outputs are those of unrolled.stream to {found.largest:.1e} of each one's largest value"
    text = f"1,000 steps, built by {found.compiler}: {said}"
    if found.nearest is not None:
        isa, apart = found.nearest
        unit = "steps of the scale" if int8 else "of the largest value"
        text += f"; its {isa} kernels, which round elsewhere, differ by up to {apart:.1e} {unit}"
    return text + "."


def _words(model: Model) -> str:
    reader = model.reader
    if isinstance(reader, Symbols):
        return "id"
    return "x, time" if isinstance(reader, Samples) and reader.scaler.gaps else "x"
