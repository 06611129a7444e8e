"""The kinds of tasks: what their configs are, and what a checkpoint of one holds. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from unrolled.errors import ConfigError, expected

__all__ = ["TASKS", "TaskKind", "kind_named", "kind_of", "kind_of_stored", "register_task", "tensors"]

Tensors = dict[str, tuple[str, tuple[int, ...]]]
States = dict[str, tuple[int | None, ...]]


@dataclass(frozen=True)
class TaskKind:
    """The part of a task that needs no torch; `unrolled.tasks.Task` is the rest.

    Attributes:
        name: as config.json spells it: "language".
        data: the frozen dataclass that says where samples come from. A task follows from its class.
        model: the frozen dataclass of the network's sizes.
        tensors: model config → {name: (dtype, shape)} of every tensor that model.safetensors holds, in order.
        states: model config → {name: shape} of the state that is carried from batch to batch, None for the
            axis of the rows.
        loss: the name of its loss with its unit: rows of metrics.jsonl have `train_<loss>` and `val_<loss>`.
        units: (unit, factor) in which a loss is shown to people: ("nats per token", 1.0); default as it is.
        vocabulary: whether a checkpoint holds a vocabulary, tokens.json.
    """

    name: str
    data: type
    model: type
    tensors: Callable[[Any], Tensors]
    states: Callable[[Any], States]
    loss: str
    units: tuple[tuple[str, float], ...] = ()
    vocabulary: bool = False

    def shown(self, loss: float, digits: int = 4) -> str:
        """Return a loss as people read it: "1.4501 nats 2.0921 bits"."""
        units = self.units or ((self.loss, 1.0),)
        return " ".join(f"{loss * factor:.{digits}f} {unit.partition(' per ')[0]}" for unit, factor in units)


TASKS: dict[str, TaskKind] = {}  # by name; `register_task` adds to it


def register_task(kind: TaskKind) -> TaskKind:
    """Make a kind of task known to every room; the same one twice is once.

    Raises:
        ConfigError: its name or one of its config classes belongs to another kind.
    """
    for other in TASKS.values():
        if other != kind and (other.name == kind.name or {other.data, other.model} & {kind.data, kind.model}):
            want = "a name and config classes that no other kind has"
            raise ConfigError(expected("task", want, f"those of {other.name!r}"))
    TASKS[kind.name] = kind
    return kind


def kind_of(config: object) -> TaskKind:
    """Return the kind of task that a data config or a model config belongs to.

    Raises:
        ConfigError: its class is of no registered kind.
    """
    for kind in TASKS.values():
        if type(config) in (kind.data, kind.model):
            return kind
    classes = " or ".join(f"a {kind.data.__name__}" for kind in TASKS.values())
    raise ConfigError(expected("data", classes, repr(config)))


def kind_named(name: object) -> TaskKind:
    """Return the kind of task of a name. Raises ConfigError: no kind of that name is registered."""
    if not isinstance(name, str) or name not in TASKS:
        want = f"a registered one ({', '.join(TASKS)}); import the module that registers it"
        raise ConfigError(expected("task", want, repr(name)))
    return TASKS[name]


def kind_of_stored(config: Mapping[str, Any]) -> TaskKind:
    """Return the kind of task that a config.json names; one without a name is of a language model.

    Raises:
        ConfigError: as `kind_named`.
    """
    return kind_named(config.get("task", "language"))


def tensors(config: object) -> Tensors:
    """Return {name: (dtype, shape)} of every tensor that `model.safetensors` holds, in a fixed order.

    Args:
        config: the model config of a registered task; see `TaskKind.tensors`.
    """
    return kind_of(config).tensors(config)
