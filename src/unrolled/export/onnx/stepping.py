"""One step as a graph: every state an input and an output, in products, sigmoids and hyperbolic tangents."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import ConfigError, expected
from unrolled.export.interface import Feeds, Interface, LayerInterface, Port
from unrolled.export.onnx.drawing import answered, forecast_of, pooled_step, read_out
from unrolled.export.onnx.graph import Graph
from unrolled.export.onnx.layers import Weights, one_step
from unrolled.export.onnx.scaling import refused, scaled_step, scaler_states, spoilt
from unrolled.export.sequences import SequenceInterface, StepsInterface, interface_of
from unrolled.export.subject import Subject

__all__ = ["Stepping"]

Array = npt.NDArray[Any]
AFTER = "_next"  # ends the name of an output that is the next step's input


class Stepping:
    """How a network is called that takes one step: the inputs of a step, and its states.

    Raises:
        ConfigError: it reads both ways, or pools what no step can.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject, self.steps = subject, subject.steps()
        self.whole: Interface = interface_of(subject)
        if self.steps.pooling not in (None, "mean+max"):
            want = "a pooling that a step can continue: last, mean+max"
            raise ConfigError(expected("network", want, self.steps.pooling))

    @property
    def inputs(self) -> dict[str, Port]:
        """The inputs of one step, without states: those of whole sequences without the axis T."""
        return {name: _without_steps(port) for name, port in self.whole.own_inputs.items()}

    @property
    def outputs(self) -> dict[str, Port]:
        """The outputs of one step, without states."""
        return {
            name: _without_steps(port) if port.axes[0] == "T" else port
            for name, port in self.whole.own_outputs.items()
        }

    @property
    def states(self) -> dict[str, Port]:
        """The states by name; all begin at zero."""
        layers = self.subject.layers
        found = {}
        for name in self.whole.state_names:
            width = self.whole.width if name == "h" else layers.hidden_size
            found[name] = Port("float32", (layers.num_layers, "B", width))
        if self.steps.pooling is not None:
            found |= dict.fromkeys(("total", "most"), Port("float32", ("B", layers.hidden_size)))
            found["count"] = Port("float32", ("B", 1))
        if self.steps.neighbours:
            width = layers.input_size // (1 + self.steps.neighbours)
            found["before"] = Port("float32", ("B", self.steps.neighbours * width))
        scaler = self.scaler
        return found if scaler is None else {**found, **scaler_states(scaler)}

    @property
    def scaler(self) -> Any:
        """What standardises raw channels in the graph; None where there is none."""
        return self.whole.scaler if isinstance(self.whole, SequenceInterface) else None

    def draw(self, graph: Graph, weights: Weights) -> None:
        """Draw one step: its inputs, all that is between, and its outputs."""
        given = {name: graph.input(name, port) for name, port in self.inputs.items()}
        before = {name: graph.input(name, port) for name, port in self.states.items()}
        x, after = self._seen(graph, weights, given, before)
        states = [before[name] for name in self.whole.state_names]
        prefix = self.steps.recurrent
        y, held = one_step(graph, weights, self.subject.layers, prefix, x, states)
        after |= dict(zip(self.whole.state_names, held, strict=True))
        if self.steps.pooling is not None:
            y, pooled = pooled_step(graph, y, *(before[name] for name in ("total", "most", "count")))
            after |= pooled
        found = self._answer(graph, weights, given, y)
        if self.scaler is not None:
            wrong = self._refused(graph, given["x"], before["h"])
            found = {
                name: spoilt(graph, value, wrong, self.outputs[name].dtype) for name, value in found.items()
            }
            after["h"] = spoilt(graph, after["h"], wrong, "float32")
        for name, port in self.outputs.items():
            graph.output(name, found[name], port)
        for name, port in self.states.items():
            graph.output(name + AFTER, after[name], port)

    def _refused(self, graph: Graph, x: str, h: str) -> str:
        """Return whether this step, or one before it, held what training never had [B, 1]."""
        before = graph.reduce("ReduceMax", graph.cast(graph.op("IsNaN", h), "float32"), [0, 2])
        before = graph.op("Greater", graph.unsqueeze(before, 1), graph.constant(0.0, "float32"))
        return graph.op("Or", refused(graph, self.scaler, x), before)

    def _seen(
        self, graph: Graph, weights: Weights, given: dict[str, str], before: dict[str, str]
    ) -> tuple[str, dict[str, str]]:
        """Return what the first layer reads [B, I], and what is remembered of it."""
        after: dict[str, str] = {}
        if "ids" in given:
            x = graph.op("Gather", weights.get("embedding.weight"), given["ids"])
        elif self.scaler is not None:
            own = {name: before[name] for name in scaler_states(self.scaler)}
            x, after = scaled_step(graph, self.scaler, given["x"], given.get("times", ""), own)
        else:
            x = given["x"] if "x" in given else given["inputs"]
        if self.steps.neighbours:
            x = graph.op("Concat", before["before"], x, axis=1)
            size = self.subject.layers.input_size
            after["before"] = graph.part(x, size // (1 + self.steps.neighbours), size, axis=1)
        return x, after

    def _answer(self, graph: Graph, weights: Weights, given: dict[str, str], y: str) -> dict[str, str]:
        if isinstance(self.whole, LayerInterface):
            return {"y": y}
        found = read_out(graph, weights, y)
        if isinstance(self.whole, SequenceInterface):
            return answered(graph, self.whole, found)
        if isinstance(self.whole, StepsInterface):
            config = self.subject.config
            found = graph.op("Reshape", found, graph.constant([0, config.horizon, config.outputs]))
            last = config.normalise == "last"
            offset = graph.unsqueeze(graph.part(given["inputs"], 0, 1, axis=1), 2) if last else ""
            return {"given": forecast_of(graph, config, found, offset)}
        return {"logits": found}

    # ------------------------------------------------------------------------------------- comparing

    def run(self, session: Any, feeds: Feeds) -> dict[str, Array]:
        """Run whole sequences step by step; return the outputs that `whole` gives of them."""
        lengths = feeds["lengths"]
        states = {
            name: np.zeros(_sized(port, len(lengths)), port.dtype) for name, port in self.states.items()
        }
        for name in self.whole.state_names:
            states[name] = feeds[f"{name}_0"]
        names = [*self.outputs, *(f"{name}{AFTER}" for name in states)]
        per_step: dict[str, list[Array]] = {name: [] for name in (*self.outputs, *states)}
        for step in range(int(lengths.max())):
            one = {name: np.ascontiguousarray(feeds[name][step]) for name in self.inputs}
            found = dict(zip(names, session.run(names, {**one, **states}), strict=True))
            states = {name: found[f"{name}{AFTER}"] for name in states}
            for name, values in per_step.items():
                values.append(found[name] if name in self.outputs else states[name])
        return self._like_whole(per_step, lengths)

    def _like_whole(self, per_step: dict[str, list[Array]], lengths: Array) -> dict[str, Array]:
        """Return the outputs after each row's last step, or at each of its steps."""
        found, rows = {}, np.arange(len(lengths))
        for name, port in self.whole.own_outputs.items():
            stacked = np.stack(per_step[name])
            found[name] = stacked if port.axes[0] == "T" else stacked[lengths - 1, rows]
        for name in self.whole.state_names:
            stacked = np.stack(per_step[name])
            found[f"{name}_n"] = np.moveaxis(stacked[lengths - 1, :, rows], 0, 1)
        return found


def _without_steps(port: Port) -> Port:
    return Port(port.dtype, port.axes[1:])


def _sized(port: Port, rows: int) -> tuple[int, ...]:
    return tuple(rows if axis == "B" else int(axis) for axis in port.axes)
