"""The formats onnx and onnx-step: a file is written, run in ONNX Runtime, and says what came out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from unrolled.errors import ConfigError, counted, expected
from unrolled.export.checks import Check
from unrolled.export.interface import Feeds, Interface
from unrolled.export.onnx.drawing import draw
from unrolled.export.onnx.graph import OPSET, Graph, onnx_package, runtime_package
from unrolled.export.onnx.layers import Weights, check_cell
from unrolled.export.onnx.running import session_of
from unrolled.export.onnx.stepping import AFTER, Stepping
from unrolled.export.sequences import interface_of
from unrolled.export.subject import Subject

__all__ = ["OnnxSequences", "OnnxStep"]

Array = npt.NDArray[Any]
LENGTHS, ROWS = (1, 7, 16), (1, 3)  # of what every file is run on
TOLERANCE = 2e-5
LARGEST = 2**31 - 1  # bytes of a protobuf message
Runner = Callable[[Feeds], dict[str, Array]]


class _Onnx:
    """What both formats share."""

    name = ""
    weights = ("float32", "int8")
    directory = False

    def __init__(self, opset: int = OPSET) -> None:
        self.opset = opset

    def at_opset(self, opset: int) -> Self:
        """Return the format at another version of ONNX's operators."""
        return type(self)(opset)

    def check(self, subject: Subject) -> None:
        """Raise where it cannot be exported."""
        onnx_package()
        runtime_package()
        check_cell(subject.layers, whole=self.name == "onnx")
        self._interface(subject)
        Graph(self.opset)

    def write(self, subject: Subject, place: Path, *, weights: str) -> Check:
        """Write the file, run it, and write what came out into it."""
        interface = self._interface(subject)
        graph = Graph(self.opset)
        self._draw(subject, graph, Weights(graph, subject.arrays, weights, subject.matrices()))
        metadata = {**subject.metadata(), "weights": weights, **self._described(subject)}
        made = graph.model(f"unrolled {subject.task}", metadata)
        _save(made, place)
        graph.onnx.checker.check_model(str(place), full_check=True)
        ours = self._interface(subject.rounded(weights))
        found = self._compared(_examples(interface), self._runner(interface, place), ours, _examined())
        graph.onnx.helper.set_model_props(made, {**_props(made), "check": json.dumps(found.to_dict())})
        _save(made, place)
        session_of(place)  # what is kept is read again
        return found

    def compare(self, subject: Subject, place: Path, source: str, *, weights: str) -> Check:
        """Run what was written, and ours, on a user's file."""
        interface, ours = self._interface(subject), self._interface(subject.rounded(weights))
        batches = list(interface.on_file(source))
        count = sum(_rows(feeds) for feeds in batches)
        told = f"{_runtime()}, {counted(count, 'sequence')} of {Path(source).name}"
        return self._compared(batches, self._runner(interface, place), ours, told)

    def _compared(self, batches: Iterable[Feeds], theirs: Runner, ours: Interface, what: str) -> Check:
        def pairs() -> Iterator[tuple[Array, Array]]:
            for feeds in batches:
                yield from ours.pairs(theirs(feeds), ours.ours(feeds), feeds, within=self.name == "onnx-step")

        return Check.of(what, pairs(), TOLERANCE)

    def _interface(self, subject: Subject) -> Interface:
        return interface_of(subject)

    def _draw(self, subject: Subject, graph: Graph, weights: Weights) -> None:
        raise NotImplementedError

    def _described(self, subject: Subject) -> dict[str, Any]:
        raise NotImplementedError

    def _runner(self, interface: Interface, place: Path) -> Runner:
        raise NotImplementedError


class OnnxSequences(_Onnx):
    """Whole sequences, in ONNX's own LSTM, GRU and RNN."""

    name = "onnx"

    def _draw(self, subject: Subject, graph: Graph, weights: Weights) -> None:
        draw(interface_of(subject), graph, weights)

    def _described(self, subject: Subject) -> dict[str, Any]:
        return {"form": "sequences", "states": [f"{name}_0" for name in interface_of(subject).state_names]}

    def _runner(self, interface: Interface, place: Path) -> Runner:
        session, names = session_of(place), list(interface.outputs)
        wanted = [each.name for each in session.get_inputs()]

        def run(feeds: Feeds) -> dict[str, Array]:
            given = {name: feeds[name] for name in wanted}
            return dict(zip(names, session.run(names, given), strict=True))

        return run


class OnnxStep(_Onnx):
    """One step, its states inputs and outputs."""

    name = "onnx-step"
    zoneout = True  # a step may hold it

    def check(self, subject: Subject) -> None:
        """Raise where it cannot be exported: it reads both ways, say."""
        Stepping(subject)
        super().check(subject)

    def _draw(self, subject: Subject, graph: Graph, weights: Weights) -> None:
        Stepping(subject).draw(graph, weights)

    def _described(self, subject: Subject) -> dict[str, Any]:
        return {"form": "step", "states": list(Stepping(subject).states), "state_outputs_end_with": AFTER}

    def _runner(self, interface: Interface, place: Path) -> Runner:
        session, stepping = session_of(place), Stepping(interface.subject)
        return lambda feeds: stepping.run(session, feeds)


def _examples(interface: Interface) -> list[Feeds]:
    draw_numbers = np.random.default_rng(0)
    return [interface.example(draw_numbers, steps, rows) for steps in LENGTHS for rows in ROWS]


def _examined() -> str:
    *steps, longest = map(str, LENGTHS)
    lengths, rows = f"{', '.join(steps)} and {longest}", " and ".join(map(str, ROWS))
    return f"{_runtime()}: sequences of up to {lengths} steps in batches of {rows}, states not zero"


def _runtime() -> str:
    return f"ONNX Runtime {runtime_package().__version__}"


def _rows(feeds: Feeds) -> int:
    return int(next(value.shape[1] for name, value in feeds.items() if name == "h_0"))


def _props(made: Any) -> dict[str, str]:
    return {each.key: each.value for each in made.metadata_props}


def _save(made: Any, place: Path) -> None:
    if made.ByteSize() > LARGEST:
        raise ConfigError(
            expected("network", f"at most {LARGEST:,} bytes in one ONNX file", f"{made.ByteSize():,}")
        )
    place.write_bytes(made.SerializeToString())
