"""An exported file in ONNX Runtime: what it takes and gives by name, and what its metadata says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import CheckpointError, DataError, ShapeError, expected
from unrolled.export.onnx.graph import runtime_package
from unrolled.files import refusal

__all__ = ["OnnxModel", "session_of"]

Array = npt.NDArray[Any]
TYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(int64)": "int64"}


class OnnxModel:
    """A file that `export` wrote, in ONNX Runtime.

    Attributes:
        metadata: what the file says of itself: task, fingerprint, vocabulary, schema (scaler, classes,
            columns), which inputs are states, and what the check found.
        inputs, outputs: name → axes; an axis of any size has a name ("T", "B").
    """

    def __init__(self, path: str | Path, *, threads: int = 1) -> None:
        """Open a file. Raises CheckpointError: it is none that this package wrote; MissingExtraError."""
        want = "a file that unrolled has exported"
        if not Path(path).is_file():
            raise refusal(CheckpointError, path, want, "no such file")
        runtime_package()
        try:
            self._session = session_of(path, threads)
            stored = self._session.get_modelmeta().custom_metadata_map
            self.metadata: dict[str, Any] = {name: json.loads(value) for name, value in stored.items()}
            self._types = {each.name: TYPES[each.type] for each in self._session.get_inputs()}
        except Exception as error:  # ONNX Runtime has errors of its own, which share no other class
            raise refusal(CheckpointError, path, want, "another") from error
        if not {"fingerprint", "task", "states"} <= self.metadata.keys():
            raise refusal(CheckpointError, path, want, "another")
        self.inputs = {each.name: tuple(each.shape) for each in self._session.get_inputs()}
        self.outputs = {each.name: tuple(each.shape) for each in self._session.get_outputs()}

    def run(self, **given: npt.ArrayLike) -> dict[str, Array]:
        """Run it on inputs by name; return its outputs by name.

        A state that is not given is zero, and `lengths` are those of full rows.

        Raises:
            ShapeError: an input is missing, unknown, or has other axes.
        """
        for name in given:
            if name not in self.inputs:
                raise ShapeError(expected("inputs", f"some of {', '.join(self.inputs)}", name))
        feeds = {name: np.asarray(value, self._types[name]) for name, value in given.items()}
        sizes = self._sizes(feeds)
        for name, axes in self.inputs.items():
            if name not in feeds:
                feeds[name] = self._absent(name, axes, sizes)
        found = self._session.run(list(self.outputs), feeds)
        return dict(zip(self.outputs, found, strict=True))

    def _sizes(self, feeds: Mapping[str, Array]) -> dict[str, int]:
        """Return the sizes of the named axes. Raises ShapeError: inputs disagree."""
        sizes: dict[str, int] = {}
        for name, array in feeds.items():
            axes = self.inputs[name]
            right = array.ndim == len(axes) and all(
                sizes.setdefault(axis, size) == size if isinstance(axis, str) else axis == size
                for axis, size in zip(axes, array.shape, strict=True)
            )
            if not right:
                raise ShapeError(expected(name, list(axes), list(array.shape)))
        return sizes

    def _absent(self, name: str, axes: Sequence[str | int], sizes: Mapping[str, int]) -> Array:
        if name not in (*self.metadata["states"], "lengths"):
            raise ShapeError(expected(name, f"an array {list(axes)}", "none"))
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in axes]
        return np.full(shape, sizes["T"] if name == "lengths" else 0, self._types[name])

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of probabilities; () where there are none."""
        return tuple((self.metadata.get("schema") or {}).get("classes", ()))

    def tag(
        self,
        sentences: Sequence[Sequence[str]],
        columns: Mapping[str, Sequence[Sequence[str]]] | None = None,
    ) -> list[list[str]]:
        """Return the tag of each word: the best path of each sentence, by Viterbi.

        Args:
            sentences: their words.
            columns: by the names of training, a value for each word of each sentence, of a tagger that reads
                further columns (`self.metadata["schema"]["features"]`).
        Raises:
            DataError: the file holds no tagger; other columns than those of training, or values for other
                words than there are.
        """
        from unrolled.export.tagging import best_tags

        if self.metadata["task"] != "tag":
            raise DataError(expected("file", "a tagger", self.metadata["task"]))
        return best_tags(self.metadata["schema"], sentences, columns or {}, self.run)


def session_of(source: str | Path | bytes, threads: int = 1) -> Any:
    """Return a session of a file, or of its bytes, on the CPU."""
    runtime = runtime_package()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    given = source if isinstance(source, bytes) else str(source)
    return runtime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
