"""One run of a model, with every recurrent layer's inputs, states and gates kept.

While the model runs, its recurrent modules are run by `unrolled.ops` in place of their own `forward`, so that
ours and torch.nn's are measured by the same arithmetic. Three ways:

leaves  each module's output is a leaf of the graph: what lies above it can be differentiated, and its
        inside is linearised by `linear.py`. Gates and states come with it.
plain   nothing is kept but the output: for measurements that only read it.
nodes   every h_t and c_t is a node of the graph, made step by step by the reference: slower, and right
        whatever the model does with its recurrent modules.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from unrolled.data import Batch
from unrolled.errors import ConfigError, DtypeError, NonFiniteError, ShapeError, expected
from unrolled.nn import Arguments, run_stack, validate_layer
from unrolled.ops import Call, Output, StepJacobian, execute, linearise, valid_steps
from unrolled.probe.subject import Subject, plain
from unrolled.spec import CELLS

__all__ = ["Inputs", "Layer", "Nodes", "Run", "admit", "answer", "nodes", "output_of", "run"]

States = tuple[Tensor, ...]


@dataclass(frozen=True)
class Inputs:
    """What a model is run on."""

    args: tuple[Any, ...]  # of the model's forward
    targets: Tensor | None = None  # [T, B], of a language model
    lengths: Tensor | None = None  # [B]
    resets: Tensor | None = None  # [T, B]


@dataclass(frozen=True)
class Layer:
    """One layer in one direction, as it ran; everything [T, B, ·], without gradient."""

    name: str
    trace: Any  # a trajectory of unrolled.ops: every gate and state
    call: Call

    @property
    def states(self) -> dict[str, Tensor]:
        """The states after each step, h first."""
        return {name: getattr(self.trace, name) for name in CELLS[self.call.op].states}

    def linear(self) -> StepJacobian:
        """Return the Jacobians of this run."""
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
    """What a run left behind."""

    layers: list[Any] = field(default_factory=list)  # of `Layer`, or of `Nodes`
    modules: list[Passed] = field(default_factory=list)  # one for each call of a recurrent module
    output: Any = None  # the model's
    steps: int = 0
    rows: int = 0


def admit(batch: object) -> Inputs:
    """Bring a batch to the form that the model takes.

    Args:
        batch: a `unrolled.data.Batch`, whose lengths and resets the recurrent layers then keep; or the one
            tensor that the model takes; or a tuple of all its arguments. Half precision becomes float32.
    Raises:
        DtypeError: something else. NonFiniteError: a value is NaN or infinite.
    """
    if isinstance(batch, Batch):
        return Inputs((plain(batch.inputs),), plain(batch.targets), batch.lengths, batch.resets)
    args = batch if isinstance(batch, tuple) and not isinstance(batch, PackedSequence) else (batch,)
    if not args or not isinstance(args[0], Tensor):
        got = type(batch).__name__ if args else "an empty tuple"
        raise DtypeError(expected("batch", "a Batch, a tensor or a tuple of arguments", got))
    return Inputs(tuple(map(_argument, args)))


def _argument(value: Any) -> Any:
    """Return an argument of a forward as the measurement takes it; a state may be a tuple of tensors."""
    if isinstance(value, (tuple, list)) and not isinstance(value, PackedSequence):
        return tuple(map(_argument, value))
    if not isinstance(value, Tensor):
        return value
    if not bool(torch.isfinite(value).all()):
        raise NonFiniteError(expected("batch", "finite values", "NaN or infinity"))
    return plain(value)


def run(subject: Subject, inputs: Inputs) -> Run:
    """Run the model with every recurrent module's output as a leaf. Call within `untouched`."""
    return _run(subject, inputs, _leaves)


@torch.no_grad()
def answer(subject: Subject, inputs: Inputs) -> Tensor:
    """Run the model and return its output, without gradient. Call within `untouched`."""
    return output_of(_run(subject, inputs, _plainly).output)


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
        entry = validate_layer(layer, input, hx, lengths, resets)
        if inputs.lengths is not None or inputs.resets is not None:
            entry = entry._replace(lengths=inputs.lengths, resets=inputs.resets)
        if torch.is_grad_enabled() and not entry.x.requires_grad:
            entry = entry._replace(x=entry.x.detach().requires_grad_())  # so that it can be differentiated by
        times = len(seen)
        seen.append(None)
        y, states = inside(f"{name} call {times + 1}" if times else name, layer, entry, found)
        found.modules.append(Passed(entry.x, y, states))
        return entry.output_as_given(y), entry.states_as_given(states)

    return forward


def _plainly(_: str, layer: torch.nn.RNNBase, entry: Arguments, __: Run) -> tuple[Tensor, States]:
    return run_stack(layer, entry)[:2]


def _leaves(name: str, layer: torch.nn.RNNBase, entry: Arguments, found: Run) -> tuple[Tensor, States]:
    with torch.no_grad():
        seen = run_stack(layer, entry, trajectories=True)
    for each in seen.layers:
        where = f"{name}.{each.name}" if name else each.name
        found.layers.append(Layer(where, each.output.trajectory, each.call))
    states = tuple(state.detach().requires_grad_() for state in seen.states)
    return seen.y.detach().requires_grad_(), states


def _step_by_step(name: str, layer: torch.nn.RNNBase, entry: Arguments, found: Run) -> tuple[Tensor, States]:
    x = entry.x
    valid = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)[..., None]
    if entry.lengths is not None:
        valid = valid_steps(entry.lengths, x.shape[0])[..., None].to(x.device)
        x = x.masked_fill(~valid, 0)

    def walk(part: str, call: Call) -> Output:
        seen = _walk(call, Nodes(f"{name}.{part}" if name else part))
        found.layers.append(seen)
        y = torch.stack([h.view_as(h) for h in seen.states["h"]]).masked_fill(~valid, 0)
        return Output(y, tuple(_final(each, entry.lengths) for each in seen.states.values()), None)

    return run_stack(layer, entry._replace(x=x, lengths=None), execute=walk)[:2]


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
