"""One run of a model, with every recurrent layer's inputs, states and gates recorded.

While the model runs, its recurrent modules are run by `unrolled.ops` in place of their own `forward`, so that
ours and torch.nn's are measured by the same arithmetic. Three ways:

record  each module's output is a leaf of the graph: what lies above it can be differentiated, and what lies
        inside is linearised. Gates and states come with it.
output  nothing is kept but the output: for measurements that only read it.
nodes   every state of every step is a node of the graph, computed step by step by the reference: slower, and
        right whatever the model does with its recurrent modules.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from unrolled.errors import ConfigError, ShapeError, expected
from unrolled.nn import Arguments, run_stack, validate_layer
from unrolled.ops import Call, Output, States, StepJacobian, execute, linearise, valid_steps
from unrolled.probe.batch import Inputs, validate
from unrolled.probe.subject import Subject, untouched
from unrolled.spec import CELLS, Cell


@dataclass(frozen=True)
class Layer:
    """One layer in one direction, as it ran; everything [T, B, ·], without gradient."""

    name: str
    mode: str  # as torch spells it: "LSTM", "RNN_RELU"
    trace: Any  # a trajectory of unrolled.ops: every gate and state
    call: Call

    @property
    def cell(self) -> Cell:
        """The cell of the layer."""
        return CELLS[self.call.op]

    @property
    def states(self) -> dict[str, Tensor]:
        """The states after each step, h first."""
        return {name: getattr(self.trace, name) for name in self.cell.states}

    @property
    def valid(self) -> Tensor:
        """[T, B]: the steps within their rows."""
        steps, rows = self.trace.h.shape[:2]
        lengths = self.call.lengths
        return torch.ones(steps, rows, dtype=torch.bool) if lengths is None else valid_steps(lengths, steps)

    @cached_property
    def linear(self) -> StepJacobian:
        """The Jacobians of this run."""
        return linearise(self.call, self.trace)


@dataclass
class Nodes:
    """States of one layer as nodes of the graph, a list over steps of [B, ·] each."""

    name: str
    states: dict[str, list[Tensor]] = field(default_factory=dict)
    carried: dict[str, list[Tensor]] = field(default_factory=dict)  # the same, on their way to the next step


class Passed(NamedTuple):
    """What went into a recurrent module, and what came out."""

    x: Tensor  # [T, B, ·]
    y: Tensor  # [T, B, ·]
    finals: States  # h_n, and c_n


@dataclass
class Run:
    """What was recorded of a run."""

    layers: list[Any] = field(default_factory=list)  # of `Layer`, or of `Nodes`
    modules: list[Passed] = field(default_factory=list)  # one for each call of a recurrent module
    output: Any = None  # the model's
    steps: int = 0
    rows: int = 0


@dataclass
class Recording:
    """A model on a batch, run once, at the first measurement that needs it; others then share the run.

    Attributes:
        subject: the model. inputs: the batch.
    """

    subject: Subject
    inputs: Inputs

    @cached_property
    def run(self) -> Run:
        """The run, with every recurrent module's output as a leaf."""
        with untouched(self.subject.model):
            return _run(self.subject, self.inputs, _leaves)


def record(model: object, batch: object, *, directions: bool = False) -> Recording:
    """Prepare to measure a model on a batch: several measurements that are given the result share one run.

    Args:
        model: any module that holds RNN, LSTM or GRU of unrolled.nn or torch.nn. Its weights must not change
            between the measurements.
        batch: a `Batch`, or the tensor that the model takes, or a tuple of its arguments; or what this
            function returned for them, which is then returned again.
        directions: whether bidirectional layers can be measured.
    Raises:
        ConfigError: no recurrent layer, a bidirectional one where that is not defined, or a recording of
        another model. DtypeError: no module or no batch. NonFiniteError: a weight or an input is NaN or
        infinite.
    """
    if not isinstance(batch, Recording):
        subject = Subject.of(model, directions=directions)
        with untouched(subject.model):
            return Recording(subject, validate(batch))
    if batch.subject.model is not model:
        raise ConfigError(expected("batch", "a recording of this model", "one of another"))
    if not directions:
        batch.subject.check_forward()
    return batch


@torch.no_grad()
def output(subject: Subject, inputs: Inputs) -> Tensor:
    """Run the model and return its output, without gradient. Call within `untouched`."""
    return output_of(_run(subject, inputs, lambda _, layer, given, __: run_stack(layer, given)[:2]).output)


def nodes(subject: Subject, inputs: Inputs) -> Run:
    """Run the model with every state as a node of the graph. Call within `untouched`."""
    return _run(subject, inputs, _step_by_step)


def output_of(returned: Any) -> Tensor:
    """Return the output of a model: what it returned, or the first of it."""
    while isinstance(returned, (tuple, list)) and returned and not isinstance(returned, PackedSequence):
        returned = returned[0]
    if not isinstance(returned, Tensor):
        raise ConfigError(expected("model", "an output that is a tensor", type(returned).__name__))
    return returned


def _run(subject: Subject, inputs: Inputs, inside: Callable[..., tuple[Tensor, States]]) -> Run:
    found = Run()
    with _patched(subject, inputs, found, inside):
        found.output = subject.model(*inputs.args)
    if not found.modules:
        raise ConfigError(expected("model", "a forward that runs its recurrent layers", "one that runs none"))
    sizes = [list(passed.x.shape[:2]) for passed in found.modules]
    if any(size != sizes[0] for size in sizes):
        want = "recurrent layers that run over the same steps and rows"
        other = next(size for size in sizes if size != sizes[0])
        raise ConfigError(expected("model", want, f"{sizes[0]} and {other}"))
    found.steps, found.rows = sizes[0]
    if found.steps == 0 or found.rows == 0:
        raise ShapeError(expected("batch", "at least one step and one row", [found.steps, found.rows]))
    return found


@contextlib.contextmanager
def _patched(
    subject: Subject, inputs: Inputs, found: Run, inside: Callable[..., tuple[Tensor, States]]
) -> Iterator[None]:
    try:
        for name, layer in subject.layers:
            vars(layer)["forward"] = _forward(name, layer, inputs, found, inside)
        yield
    finally:
        for _, layer in subject.layers:
            vars(layer).pop("forward", None)


def _forward(
    name: str, layer: torch.nn.RNNBase, inputs: Inputs, found: Run, inside: Callable[..., Any]
) -> Callable[..., Any]:
    seen: list[None] = []  # one for each call: a module may be run more than once

    def forward(input: Any, hx: Any = None, *, lengths: Any = None, resets: Any = None) -> tuple[Any, Any]:
        given = validate_layer(layer, input, hx, lengths, resets)
        if inputs.lengths is not None or inputs.resets is not None:
            given = given._replace(lengths=inputs.lengths, resets=inputs.resets)
        if torch.is_grad_enabled() and not given.x.requires_grad:
            given = given._replace(x=given.x.detach().requires_grad_())  # so that it can be differentiated by
        times = len(seen)
        seen.append(None)
        y, states = inside(f"{name} call {times + 1}" if times else name, layer, given, found)
        found.modules.append(Passed(given.x, y, states))
        return given.output_as_given(y), given.states_as_given(states)

    return forward


def _leaves(name: str, layer: torch.nn.RNNBase, given: Arguments, found: Run) -> tuple[Tensor, States]:
    with torch.no_grad():
        seen = run_stack(layer, given, trajectories=True)
    for each in seen.layers:
        where = f"{name}.{each.name}" if name else each.name
        found.layers.append(Layer(where, layer.mode, each.output.trajectory, each.call))
    states = tuple(state.detach().requires_grad_() for state in seen.states)
    return seen.y.detach().requires_grad_(), states


def _step_by_step(name: str, layer: torch.nn.RNNBase, given: Arguments, found: Run) -> tuple[Tensor, States]:
    x = given.x
    valid = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)[..., None]
    if given.lengths is not None:
        valid = valid_steps(given.lengths, x.shape[0])[..., None].to(x.device)
        x = x.masked_fill(~valid, 0)

    def walk(part: str, call: Call) -> Output:
        seen = _walk(call, Nodes(f"{name}.{part}" if name else part))
        found.layers.append(seen)
        y = torch.stack([h.view_as(h) for h in seen.states["h"]]).masked_fill(~valid, 0)
        return Output(y, tuple(_final(each, given.lengths) for each in seen.states.values()), None)

    return run_stack(layer, given._replace(x=x, lengths=None), execute=walk)[:2]


def _walk(call: Call, seen: Nodes) -> Nodes:
    states = tuple(state.detach().requires_grad_() for state in call.states)
    seen.states |= {name: [] for name in CELLS[call.op].states}
    seen.carried |= {name: [] for name in seen.states}
    for t in range(len(call.x)):
        cut = None if call.resets is None else call.resets[t : t + 1]
        step = call._replace(x=call.x[t : t + 1], states=states, resets=cut)
        new = execute(step, "reference").states
        states = tuple(state.view_as(state) for state in new)
        for name, state, onward in zip(seen.states, new, states, strict=True):
            seen.states[name].append(state)
            seen.carried[name].append(onward)
    return seen


def _final(states: list[Tensor], lengths: Tensor | None) -> Tensor:
    if lengths is None:
        return states[-1]
    last = (lengths - 1).clamp(min=0)
    return torch.stack(states)[last, torch.arange(len(last))]
