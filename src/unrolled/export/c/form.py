"""`--to c`: a folder of C99."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from unrolled import files, kernels, stream
from unrolled.errors import ConfigError, expected
from unrolled.export.c import check as checking
from unrolled.export.c import pages
from unrolled.export.c.fields import Reader
from unrolled.export.c.plan import network_of
from unrolled.export.c.reading import Numbers, Samples, Symbols
from unrolled.export.c.series import SeriesSteps
from unrolled.export.c.source import Model
from unrolled.export.c.text import check_prefix, comment
from unrolled.export.c.user_file import compare_file
from unrolled.export.checks import Check
from unrolled.export.subject import Subject

__all__ = ["CFormat"]

MOST_IN_CODE = 64 * 2**20  # bytes of weights as text, which takes a compiler three times as much and minutes
MOST = 2**31 - 2**20


@dataclass(frozen=True)
class CFormat:
    """A folder of C99 that runs the network step by step.

    Attributes:
        prefix: of every name in it, and of its files, so that two models fit into one program.
        apart: whether the weights are a file that the program loads, and not arrays in the code.
    """

    prefix: str = "model"
    apart: bool = False

    name = "c"
    weights = ("float32", "int8")
    directory = True

    def with_options(self, *, prefix: str | None = None, apart: bool | None = None) -> CFormat:
        """Return the format with other options. Raises ConfigError: the prefix is no name in C."""
        found = replace(
            self,
            prefix=self.prefix if prefix is None else prefix,
            apart=self.apart if apart is None else apart,
        )
        check_prefix(found.prefix)
        return found

    def check(self, subject: Subject) -> None:
        """Raise ConfigError where the network does not run step by step, or is too large for code."""
        check_prefix(self.prefix)
        subject.steps()
        subject.streamed()  # what the runtime cannot do, the code cannot either, and the runtime says why
        _reader(subject)
        size = sum(4 * array.size for array in subject.arrays.values())
        if size > (MOST if self.apart else MOST_IN_CODE):
            most = MOST if self.apart else MOST_IN_CODE
            want = f"weights of at most {most:,} bytes" + ("" if self.apart else " in the code, or as a file")
            raise ConfigError(expected("network", want, f"{size:,} bytes"))

    def model(self, subject: Subject, weights: str) -> Model:
        """Return what is written of a network."""
        steps = subject.steps()
        chosen = steps.matrices(subject.arrays)
        tensors = {
            name: stream.convert(array, weights) if name in chosen else stream.Weight(array)
            for name, array in subject.arrays.items()
        }
        fingerprint = subject.streamed(weights).digest
        return Model(
            network_of(tensors, steps, weights, fingerprint), _reader(subject), self.prefix, self.apart
        )

    def write(self, subject: Subject, place: Path, *, weights: str) -> Check:
        """Write the folder, compile it where there is a compiler, and compare it with `unrolled.stream`."""
        model = self.model(subject, weights)
        about = comment(f"{subject.describe()}, {weights} weights")
        self.put(model, place, about)

        def runtime(isa: str | None) -> stream.Model:
            with kernels.using(isa or kernels.isa()):
                return subject.streamed(weights)

        inputs = checking.inputs_for(model, pages.SHOWN)
        _, answers, _ = checking.ours(runtime("baseline"), inputs)
        _text(place / "main.c", pages.example(model, inputs, answers))
        found = checking.compare(model, place, runtime)
        _text(place / f"{model.prefix}.h", model.header(about, found.code_bytes))
        _text(place / "README.md", pages.readme(model, about, found))
        if found.compiler is None:
            return Check("a C compiler", 0, 0.0, found.tolerance, found.obstacle)
        what = found.problem or pages.told(model, found).rstrip(".")
        largest = float("nan") if found.problem and found.largest <= found.tolerance else found.largest
        return Check(what, found.count, largest, found.tolerance)

    def put(self, model: Model, place: Path, about: str) -> None:
        """Write the model's files; `about` is a line for the header."""
        _text(place / f"{model.prefix}.h", model.header(about))
        _text(place / f"{model.prefix}.c", model.code())
        if model.apart:
            files.replace(place / f"{model.prefix}.bin", model.weights_file())
        else:
            _text(place / f"{model.prefix}_weights.h", model.weights_header())

    def compare(self, subject: Subject, place: Path, source: str, *, weights: str) -> Check:
        """Run what was written, and `unrolled.stream`, on at most 10,000 steps of a file."""
        with kernels.using("baseline"):
            runtime = subject.streamed(weights)
        return compare_file(subject, self.model(subject, weights), place, source, runtime)


def _text(path: Path, text: str) -> None:
    files.replace(path, text)


def _reader(subject: Subject) -> Reader:
    """Return what is read of a step. Raises ConfigError: C does not read it."""
    steps, schema = subject.steps(), subject.schema
    head = None if steps.head is None else subject.arrays[steps.head]
    if subject.task == "layer":
        top = subject.arrays.get(f"weight_hr_l{steps.num_layers - 1}")
        hidden = subject.arrays["weight_hh_l0"].shape[1] if top is None else len(top)
        return Numbers(subject.arrays["weight_ih_l0"].shape[1], hidden)
    assert head is not None  # of every task
    if subject.task == "forecast":
        return SeriesSteps(schema, subject.config.outputs, subject.config.normalise)
    if schema is None or schema.scaler is None:
        assert steps.embedding is not None
        return Symbols(subject.tokens, len(subject.arrays[steps.embedding]), len(head), schema)
    return Samples(schema, schema.scaler)
