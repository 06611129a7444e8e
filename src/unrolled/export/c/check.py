"""The code is compiled with the compiler at hand and compared with `unrolled.stream`."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled import stream
from unrolled.errors import BackendError, ConfigError, expected
from unrolled.export.c.reading import Samples, Symbols
from unrolled.export.c.series import SeriesSteps
from unrolled.export.c.source import Model
from unrolled.export.c.text import prefixed
from unrolled.files import quoted

__all__ = ["Compared", "compare", "compiler", "inputs_for", "no_compiler", "run"]

Array = npt.NDArray[Any]
STEPS = 1000
MOST_KEPT = 2**24  # numbers of outputs that are compared
SECONDS = 600
STRICT = ("-std=c99", "-O2", "-ffp-contract=off")
FASTEST = ("-std=c99", "-O3", "-march=native")


@dataclass
class Compared:
    """What the comparison found; `problem` is one line where it failed, None where it did not.

    Attributes:
        compiler: its first line about itself; None where there is none, and `obstacle` says why.
        count: numbers compared. largest: of the differences, as a share of `tolerance`'s unit.
        tolerance: 1e-5 of an output's largest value (float32), or 1: a step of the scale (int8).
        equal: whether every bit is that of the runtime's portable kernels.
        nanoseconds: of a step, CPU time, built with FASTEST.
        nearest: the same difference from the runtime's fastest kernels here, and their name.
        code_bytes: of code and tables beside the weights, built with -Os for this machine.
    """

    compiler: str | None = None
    count: int = 0
    largest: float = 0.0
    tolerance: float = 1e-5
    equal: bool = False
    problem: str | None = None
    nanoseconds: float | None = None
    nearest: tuple[str, float] | None = None
    code_bytes: int | None = None
    obstacle: str = ""


def compiler() -> list[str] | None:
    """Return the command of the C compiler: what $CC says, else cc, gcc or clang; None: there is none.

    Raises:
        ConfigError: a quotation mark in $CC is not closed.
    """
    said = os.environ.get("CC", "")
    try:
        named = shlex.split(said)
    except ValueError:
        raise ConfigError(expected("CC", "the command of a C compiler", quoted(said))) from None
    for words in [named] if named else [["cc"], ["gcc"], ["clang"]]:
        found = shutil.which(words[0])
        if found is not None:
            return [found, *words[1:]]
    return None


def no_compiler() -> str:
    """Return why `compiler` found none."""
    if os.environ.get("CC"):
        return f"$CC is {quoted(os.environ['CC'])}, which is not a command here"
    return "no C compiler (cc, gcc, clang) was found, and $CC names none"


def harness(model: Model) -> str:
    """Return a program that runs model.c on what it reads."""
    reader = model.reader
    symbols, timed = isinstance(reader, Symbols), "time" in reader.parameters
    several = isinstance(reader, SeriesSteps) and len(reader.schema.ids) > 1
    text = Template(_template("harness.c")).substitute(
        rows_out=reader.outputs,
        answer_type=reader.answer_type,
        input_type=_input_type(model),
        input_count=_width(model),
        timed=int(timed),
        given=("x[0]" if symbols else "x") + (", time_of_step" if timed else ""),
        choose=CHOOSE if several else "",
        bind=_template("bind.c") if model.apart else "",
    )
    return prefixed(text, model.prefix)


CHOOSE = """    if (model_choose(&one, series) != MODEL_OK) model_stop("choose", series);
    if (model_choose(&two, series) != MODEL_OK) model_stop("choose", series);"""


def _template(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _width(model: Model) -> int:
    """Return the numbers of an input."""
    reader = model.reader
    if isinstance(reader, Symbols):
        return 1
    if isinstance(reader, Samples):
        return len(reader.scaler.channels)
    return 1 + len(reader.past) if isinstance(reader, SeriesSteps) else model.network.input_size


def _input_type(model: Model) -> str:
    if isinstance(model.reader, Symbols):
        return "int32_t"
    return "double" if isinstance(model.reader, SeriesSteps) else "float"


def run(
    model: Model,
    folder: Path,
    inputs: Sequence[Any],
    *,
    command: Sequence[str],
    flags: Sequence[str] = STRICT,
    launch: Sequence[str] = (),
    keep: int = 1,
    repeats: int = 0,
    series: int = 0,
) -> tuple[Array, Array, float | None]:
    """Compile what lies in a folder, run it on inputs, and return what it gave.

    Args:
        inputs: of each step an id, or numbers, or (numbers, time).
        command: the compiler. launch: what runs the program, of another machine say.
        keep: return the outputs of every so many-th step. series: of a forecaster of several, which one.
    Returns:
        the network's outputs [N, K], answers [N, A], and nanoseconds of a step where repeats are asked for.
    Raises:
        BackendError: the compiler or the program failed; the message is its first line.
    """
    with tempfile.TemporaryDirectory() as scratch:
        program, source = Path(scratch) / "harness", Path(scratch) / "harness.c"
        source.write_text(harness(model), encoding="ascii")
        libm = ["-lm"] if any("LIBM" in flag for flag in flags) else []
        _said([*command, *flags, "-I", str(folder), str(source), "-o", str(program), *libm])
        stdin = _bytes_of(model, inputs)
        words = [*launch, str(program), *map(str, (len(inputs), keep, repeats, series))]
        done = _called(words, stdin, folder)
    reader = model.reader
    answer = np.dtype("<f8" if reader.answer_type == "double" else "<f4")
    row = np.dtype([("raw", "<f4", (reader.outputs,)), ("answer", answer, (reader.answers,))])
    rows = np.frombuffer(done.stdout, row)
    took = float(done.stderr.split()[-1]) if repeats else None
    return rows["raw"], rows["answer"], took


def _called(words: Sequence[str], stdin: bytes, folder: Path) -> subprocess.CompletedProcess[bytes]:
    try:
        done = subprocess.run(
            words, input=stdin, capture_output=True, cwd=folder, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        got = getattr(error, "strerror", None) or type(error).__name__
        raise BackendError(
            expected("exported code", "a program that runs on this machine, to compare it with ours", got)
        ) from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise BackendError(
            expected("exported code", "a program that runs", said[-1] if said else done.returncode)
        )
    return done


def _said(words: Sequence[str]) -> str:
    """Run a tool and return what it printed. Raises BackendError: it failed."""
    try:
        done = subprocess.run(
            words, capture_output=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(expected(words[0], "a compiler that runs", type(error).__name__)) from None
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        wrong = next((line for line in lines if "error" in line), lines[0] if lines else str(done.returncode))
        raise BackendError(expected(words[0], "a compiler that takes C99", wrong))
    return done.stdout.decode("utf-8", "replace")


def _bytes_of(model: Model, inputs: Sequence[Any]) -> bytes:
    kind = {"int32_t": "<i4", "double": "<f8", "float": "<f4"}[_input_type(model)]
    if "time" not in model.reader.parameters:
        return np.asarray(inputs).astype(kind).tobytes()
    return b"".join(np.asarray(x).astype(kind).tobytes() + np.array(t, "<f8").tobytes() for x, t in inputs)


def inputs_for(model: Model, steps: int = STEPS, seed: int = 0) -> list[Any]:
    """Return inputs to compare on: ids, or numbers such as training had, some missing where it had such."""
    rng, reader = np.random.default_rng(seed), model.reader
    if isinstance(reader, Symbols):
        return [int(each) for each in rng.integers(reader.symbols, size=steps)]
    if isinstance(reader, Samples):
        scaler = reader.scaler
        x = _like(scaler, rng, steps)
        if not scaler.gaps:
            return list(x)
        times = np.cumsum(rng.uniform(0.1, 2.5, steps)) * (scaler.step or 1.0)
        return list(zip(x, times.tolist(), strict=True))
    if isinstance(reader, SeriesSteps):
        schema = reader.schema
        value = (schema.mean[0] + schema.scale[0] * rng.normal(size=(steps, 1))).astype(np.float64)
        value[rng.random((steps, 1)) < 0.05 * schema.masked] = np.nan
        if schema.past is None:
            return list(value)
        return list(np.hstack([value, _like(schema.past, rng, steps).astype(np.float64)]))
    return list(rng.standard_normal((steps, model.network.input_size), np.float32))


def _like(scaler: Any, rng: np.random.Generator, steps: int) -> Array:
    """Return numbers [steps, C] as training had them."""
    shape = (steps, len(scaler.channels))
    x: Array = (np.array(scaler.mean) + np.array(scaler.scale) * rng.normal(size=shape)).astype(np.float32)
    masked = np.array([name in scaler.masked for name in scaler.channels])
    x[(rng.random(shape) < 0.05) & masked] = np.nan
    return x


def ours(runtime: Any, inputs: Sequence[Any], keep: int = 1, series: int = 0) -> tuple[Array, Array, float]:
    """Return what `unrolled.stream` gives: outputs, answers, and the largest |h| of the last layer."""
    outputs, answers, most = [], [], 0.0
    if not isinstance(runtime, stream.TaskModel):
        session = runtime.open()
        for number, x in enumerate(inputs):
            y = session.step(x if isinstance(x, int) else np.ascontiguousarray(x))
            most = max(most, float(np.abs(session.state["h"][-1]).max()))
            if number % keep == 0:
                outputs.append(y)
        return np.stack(outputs), np.stack(outputs), most
    ids: Any = getattr(runtime.schema, "ids", ())
    task = runtime.open(series=ids[series] if len(ids) > 1 else None)
    for number, each in enumerate(inputs):
        timed = isinstance(each, tuple)
        answer = task.step(each[0] if timed else each, time=each[1] if timed else None)
        most = max(most, float(np.abs(task.state["h"][-1]).max()))
        if number % keep == 0:
            outputs.append(np.array(task.output[0]))
            answers.append(flat(answer))
    return np.stack(outputs), np.stack(answers), most


def flat(answer: Any) -> Array:
    """Return an answer as the C code writes it."""
    if hasattr(answer, "point"):
        ends = [part for pair in zip(answer.lower, answer.upper, strict=True) for part in pair]
        return np.concatenate([answer.point, *ends])
    return np.atleast_1d(answer)


def compare(model: Model, folder: Path, runtimes: Any, *, steps: int = STEPS) -> Compared:
    """Compile model.c and compare it with `unrolled.stream`, step by step over a stream of its own.

    The judge is the runtime on its portable kernels, whose sums and roundings the C code has; the difference
    from its fastest kernels is told beside it. Answers are compared with those that a schema makes of the
    same outputs.

    Args:
        folder: with what was written. runtimes: weights' model of `unrolled.stream` for an instruction set.
    Raises:
        BackendError: the compiler or the program failed, or this install has no kernels.
    """
    found = Compared()
    tool = compiler()
    if tool is None:
        found.obstacle = no_compiler()
        return found
    found.compiler = Path(tool[0]).name
    with contextlib.suppress(BackendError, IndexError):
        found.compiler = _said([*tool, "--version"]).splitlines()[0]
    inputs = inputs_for(model, steps)
    keep = max(1, steps * model.reader.outputs // MOST_KEPT)
    portable = (f"-D{model.prefix.upper()}_FMA=0", "-ffp-contract=off")
    flags = ("-std=c99", "-O2", *portable)
    outputs, answers, _ = run(model, folder, inputs, command=tool, flags=flags, keep=keep)
    judge = runtimes("baseline")
    wanted, _, most = ours(judge, inputs, keep)
    int8 = model.network.weights == "int8"
    found.tolerance = 1.0 if int8 else 1e-5
    found.count = outputs.size + answers.size
    found.equal = bool(np.array_equal(outputs, wanted))
    unit = one_step(model, most) if int8 else None
    found.largest = difference(outputs, wanted, unit)
    apart = difference(answers, answers_of(judge, outputs))
    if not apart <= 1e-5:
        found.problem = f"answers differ by {apart:.1e} of their largest value, allowed are 1e-5"
    if not found.largest <= found.tolerance:
        share = "steps of the scale" if int8 else "of the largest value"
        found.problem = f"outputs differ by {found.largest:.1e} {share}, allowed are {found.tolerance:g}"
    if found.problem is None:
        _measure(model, folder, inputs, tool, found)
        fastest = runtimes(None)
        if fastest.isa != "baseline":
            theirs, _, _ = ours(fastest, inputs, keep)
            found.nearest = (fastest.isa, difference(outputs, theirs, unit))
    return found


def answers_of(runtime: Any, outputs: Array) -> Array:
    """Return the answers [N, A] that the runtime makes of outputs [N, K], of a first series."""
    reading = getattr(runtime, "reading", None)
    if reading is None:
        return outputs
    found = reading.answers(outputs, (np.zeros(len(outputs), np.int64),))
    if hasattr(found, "point"):
        ends = [
            part
            for pair in zip(found.lower.swapaxes(0, 1), found.upper.swapaxes(0, 1), strict=True)
            for part in pair
        ]
        return np.concatenate([found.point, *ends], axis=1)
    return np.asarray(found).reshape(len(outputs), -1)


def difference(theirs: Array, ours: Array, unit: Array | None = None) -> float:
    """Return the largest difference of outputs [N, K]: in units [K], or as a share of an output's largest."""
    if theirs.shape != ours.shape:
        return float("nan")
    if not ours.size:
        return 0.0
    apart = np.abs(theirs.astype(np.float64) - ours).max(axis=0)
    size = np.abs(ours).max(axis=0).astype(np.float64) if unit is None else unit
    found = float(np.max(np.where(apart > 0, apart / np.maximum(size, 1e-300), 0.0)))
    return found if np.isfinite(ours).all() and np.isfinite(theirs).all() else float("nan")


def one_step(model: Model, most: float) -> Array:
    """Return by how much each output changes where one number of h is a step of its scale off."""
    step = most / 127
    head = model.network.head
    if head is None:
        return np.full(model.network.output_size, step)
    matrix = np.abs(head.data).max(axis=1).astype(np.float64)
    found: Array = step * (matrix if head.scales is None else matrix * head.scales)
    return found


def _measure(model: Model, folder: Path, inputs: Sequence[Any], tool: list[str], found: Compared) -> None:
    """Measure the time of a step and the size of the code. What fails here is left out."""
    with contextlib.suppress(BackendError):
        _, _, found.nanoseconds = run(
            model, folder, inputs, command=tool, flags=FASTEST, repeats=5, keep=len(inputs)
        )
    size = shutil.which("size")
    if size is None:
        return
    with contextlib.suppress(BackendError, ValueError, IndexError), tempfile.TemporaryDirectory() as scratch:
        every = sum(object_bytes(model, folder, tool, Path(scratch), size))
        found.code_bytes = every - (0 if model.apart else model.weight_bytes)


def object_bytes(
    model: Model, folder: Path, command: Sequence[str], scratch: Path, size: str = "size"
) -> tuple[int, int]:
    """Return the bytes of machine code, and of constants beside it, of model.c built with -Os."""
    target = scratch / "model.o"
    _said([*command, "-std=c99", "-Os", "-c", str(folder / f"{model.prefix}.c"), "-o", str(target)])
    code = constants = 0
    for line in _said([size, "-A", str(target)]).splitlines():
        words = line.split()
        if words[:1] and words[0].startswith(".text"):
            code += int(words[1])
        elif words[:1] and words[0].startswith((".rodata", ".data")):
            constants += int(words[1])
    return code, constants
