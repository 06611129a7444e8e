"""ONNX Runtime's layer, forward only, from a graph of one node; optional."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy
import torch
from torch import Tensor

from cases import Case

# torch's gates in ONNX's order: i o f c of i f g o, z r h of r z n.
GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}


def available() -> bool:
    """Whether the `bench` extra is installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("onnx", "onnxruntime"))


def dense(case: Case, threads: int) -> Callable[[Tensor], Tensor]:
    """Run ONNX Runtime's layer with the weights of `case.torch_layer()`."""
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(_graph(case), options, providers=["CPUExecutionProvider"])

    def run(x: Tensor) -> Tensor:
        (y,) = session.run(["y"], {"x": x.numpy()})
        return torch.from_numpy(y)[:, 0]  # [T, directions, B, H]

    return run


def step(layer: torch.nn.RNNBase) -> Callable[[], object]:
    """Run one step of one row with explicit state, on one thread: a user's call of `session.run`."""
    runtime = importlib.import_module("onnxruntime")
    onnx: Any = importlib.import_module("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    size, cell = layer.hidden_size, layer.mode.lower()
    states = ["h", "c"] if cell == "lstm" else ["h"]
    case = Case(cell=cell, T=1, B=1, I=layer.input_size, H=size)
    weights = {name: _reordered(value, case) for name, value in layer.state_dict().items()}
    tensors = {
        "W": weights["weight_ih_l0"][None],
        "R": weights["weight_hh_l0"][None],
        "b": numpy.concatenate([weights["bias_ih_l0"], weights["bias_hh_l0"]])[None],
    }
    extra = {"linear_before_reset": 1} if cell == "gru" else {}
    outputs = ["y", *(f"{name}_n" for name in states)]
    node = helper.make_node(cell.upper(), ["x", *tensors, "", *states], outputs, hidden_size=size, **extra)
    graph = helper.make_graph(
        [node],
        "step",
        [helper.make_tensor_value_info("x", kind, [1, 1, layer.input_size])]
        + [helper.make_tensor_value_info(name, kind, [1, 1, size]) for name in states],
        [helper.make_tensor_value_info(f"{name}_n", kind, [1, 1, size]) for name in states],
        [onnx.numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {name: numpy.zeros((1, 1, size), numpy.float32) for name in states}
    feed["x"] = numpy.random.default_rng(0).standard_normal((1, 1, layer.input_size), numpy.float32)
    wanted = [f"{name}_n" for name in states]
    return lambda: session.run(wanted, feed)


def _graph(case: Case) -> bytes:
    """Return a model of one recurrent node; its weights are initialisers, packed once for all calls."""
    onnx: Any = importlib.import_module("onnx")
    helper = onnx.helper
    weights = {name: _reordered(value, case) for name, value in case.torch_layer().state_dict().items()}
    tensors = {
        "W": weights["weight_ih_l0"][None],
        "R": weights["weight_hh_l0"][None],
        "b": numpy.concatenate([weights["bias_ih_l0"], weights["bias_hh_l0"]])[None],
    }
    extra = {"linear_before_reset": 1} if case.cell == "gru" else {}
    node = helper.make_node(case.cell.upper(), ["x", *tensors], ["y"], hidden_size=case.H, **extra)
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("x", kind, [case.T, case.B, case.I])],
        [helper.make_tensor_value_info("y", kind, [case.T, 1, case.B, case.H])],
        [onnx.numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def _reordered(weight: Tensor, case: Case) -> Any:
    blocks = torch.split(weight, case.H)
    return torch.cat([blocks[gate] for gate in GATES[case.cell]]).numpy()
