"""A graph of ONNX's operators in the making."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import ConfigError, MissingExtraError, expected
from unrolled.export.interface import Port

__all__ = ["LEAST_OPSET", "OPSET", "Graph", "onnx_package", "runtime_package"]

Array = npt.NDArray[Any]
OPSET = 17  # what is written where nobody says: ONNX Runtime of 2022, and onnxruntime-web, read it
LEAST_OPSET = 13  # Softmax over one axis, and axes as inputs, came with it
IR_VERSIONS = {13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10}  # by opset; beyond: the newest
REDUCED_BY_INPUT = {"ReduceSum": 13}  # from which opset the axes are an input; of the others from 18 on
PRODUCER = "unrolled"


def onnx_package() -> ModuleType:
    """Return the package onnx. Raises MissingExtraError: it is not installed."""
    return _package("onnx")


def runtime_package() -> ModuleType:
    """Return the package onnxruntime. Raises MissingExtraError: it is not installed."""
    return _package("onnxruntime")


def _package(name: str) -> ModuleType:
    try:
        if name == "onnx":
            import onnx

            return onnx  # type: ignore[no-any-return, unused-ignore]
        import onnxruntime

        return onnxruntime  # type: ignore[no-any-return, unused-ignore]
    except ModuleNotFoundError as error:
        want = f"{name}, from the extra: pip install 'unrolled[export]'"
        raise MissingExtraError(expected("to", want, "an install without it")) from error


class Graph:
    """Nodes, and the weights and constants that they read. Values are known by their names.

    Args:
        opset: of ONNX's own operators.
        parent: of the body of a Scan, the graph around it, whose values it sees.
    """

    def __init__(self, opset: int = OPSET, parent: Graph | None = None) -> None:
        self.onnx: Any = onnx_package()
        newest = self.onnx.defs.onnx_opset_version()
        if not LEAST_OPSET <= opset <= newest:
            want = f"{LEAST_OPSET}, the first one that has what is needed, to {newest}, the newest one here"
            raise ConfigError(expected("opset", want, opset))
        self.opset, self._parent = opset, parent
        self._root: Graph = self if parent is None else parent._root
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._initializers: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._count = 0

    def fresh(self, stem: str) -> str:
        """Return a name that nothing has yet."""
        self._root._count += 1
        return f"{stem}_{self._root._count}"

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; return its name. An input of "" is absent."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node with so many outputs; return their names."""
        names = [self.fresh(kind.lower()) for _ in range(count)]
        self._nodes.append(
            self.onnx.helper.make_node(kind, list(inputs), names, name=self.fresh(kind), **attributes)
        )
        return names

    def constant(self, value: Any, dtype: str = "int64") -> str:
        """Return the name of a constant; an equal one is kept once."""
        array = np.asarray(value, dtype)
        key = (str(array.dtype), array.shape, array.tobytes())
        root = self._root
        if key not in root._constants:
            root._constants[key] = root.weight(self.fresh("constant"), array)
        return root._constants[key]

    def weight(self, name: str, array: Array) -> str:
        """Add a tensor by name; return the name."""
        made = self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
        self._root._initializers.append(made)
        return name

    def input(self, name: str, port: Port) -> str:
        """Add an input; return its name."""
        self._inputs.append(self._value(name, port))
        return name

    def output(self, name: str, value: str, port: Port) -> None:
        """Name a value as an output."""
        self._nodes.append(self.onnx.helper.make_node("Identity", [value], [name], name=self.fresh("output")))
        self._outputs.append(self._value(name, port))

    def _value(self, name: str, port: Port) -> Any:
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(port.dtype))
        return self.onnx.helper.make_tensor_value_info(name, kind, list(port.axes))

    # ------------------------------------------------------------------------- in which versions differ

    def reduce(self, kind: str, value: str, axes: Sequence[int], *, keepdims: bool = False) -> str:
        """Add a ReduceSum, ReduceMax or ReduceMean over some axes."""
        if self.opset >= REDUCED_BY_INPUT.get(kind, 18):
            return self.op(kind, value, self.constant(list(axes)), keepdims=int(keepdims))
        return self.op(kind, value, axes=list(axes), keepdims=int(keepdims))

    # ------------------------------------------------------------------------------------------ shapes

    def squeeze(self, value: str, *axes: int) -> str:
        """Remove axes of size 1."""
        return self.op("Squeeze", value, self.constant(list(axes)))

    def unsqueeze(self, value: str, *axes: int) -> str:
        """Add axes of size 1."""
        return self.op("Unsqueeze", value, self.constant(list(axes)))

    def part(self, value: str, begin: int, end: int, axis: int = 0) -> str:
        """Return begin … end of an axis."""
        return self.op("Slice", value, self.constant([begin]), self.constant([end]), self.constant([axis]))

    def split(self, value: str, sizes: Sequence[int], axis: int) -> list[str]:
        """Return the parts of an axis."""
        return self.ops("Split", len(sizes), value, self.constant(list(sizes)), axis=axis)

    def size(self, value: str, axis: int) -> str:
        """Return the size of an axis, [1] int64."""
        return self.op("Slice", self.op("Shape", value), self.constant([axis]), self.constant([axis + 1]))

    def cast(self, value: str, dtype: str) -> str:
        """Return a value in another type."""
        return self.op("Cast", value, to=self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    # --------------------------------------------------------------------------------------- the whole

    def body(self, name: str) -> Any:
        """Return the graph, for a node that runs it: a Scan."""
        return self.onnx.helper.make_graph(self._nodes, name, self._inputs, self._outputs)

    def model(self, name: str, metadata: Mapping[str, Any]) -> Any:
        """Return the finished model; each value of `metadata` is stored as JSON by its name."""
        helper = self.onnx.helper
        graph = helper.make_graph(self._nodes, name, self._inputs, self._outputs, self._initializers)
        made = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], producer_name=PRODUCER,
            ir_version=IR_VERSIONS.get(self.opset, self.onnx.IR_VERSION),
        )  # fmt: skip
        helper.set_model_props(made, {key: json.dumps(value) for key, value in metadata.items()})
        return made
