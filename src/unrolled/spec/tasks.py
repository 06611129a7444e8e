"""The kinds of tasks: what their configs are, and what a checkpoint of one holds. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from unrolled.errors import ConfigError, expected
from unrolled.spec.cells import CELLS
from unrolled.spec.fields import setting_of

__all__ = [
    "STORAGES",
    "TASKS",
    "Steps",
    "TaskKind",
    "kind_named",
    "kind_of",
    "kind_of_stored",
    "register_task",
    "tensors",
]

Tensors = dict[str, tuple[str, tuple[int, ...]]]
STORAGES = ("float32", "bfloat16", "int8")  # types in which the weights of a network may be stored
States = dict[str, tuple[int | None, ...]]


@dataclass(frozen=True)
class Steps:
    """Which of a checkpoint's tensors make the network that `unrolled.stream` runs step by step.

    Attributes:
        cell, nonlinearity, num_layers: of the recurrent layers.
        recurrent: what stands before torch's names of their tensors: "recurrent.".
        embedding: [V, I], for a network that takes ids; None where the input is dense.
        head, head_bias: the read-out [O, H] and [O], or [O, 2H] of a pooling; None where the output is h.
        pooling: "mean+max": the read-out reads the mean and the maximum of h over the steps so far; None: it
            reads the h of each step.
        neighbours: steps before that the first layer is shown beside each, the earliest first.
    """

    cell: str
    nonlinearity: str
    num_layers: int
    recurrent: str
    embedding: str | None = None
    head: str | None = None
    head_bias: str | None = None
    pooling: str | None = None
    neighbours: int = 0

    def matrices(self, names: Iterable[str]) -> set[str]:
        """Return those of the names that a step multiplies with in the type of the weights.

        A head that is the embedding is none, nor is one behind a pooling, which is read in float64.
        """
        of_layers = (f"{self.recurrent}weight_{'ih' if CELLS[self.cell].diagonal else ''}",)
        head = self.head if self.pooling is None and self.head != self.embedding else None
        return {name for name in names if name.startswith(of_layers) or name == head}


def check_streams(cell: str, zoneout: float = 0.0) -> None:
    """Raise ConfigError where no kernel runs a network's recurrent layers step by step."""
    if not CELLS[cell].has_kernels:
        want = (
            f"one that has a kernel ({', '.join(each.name for each in CELLS.values() if each.has_kernels)})"
        )
        raise ConfigError(expected("cell", want, cell))
    if zoneout:
        raise ConfigError(expected("zoneout", "0 in a network that runs step by step", zoneout))


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
        vocabulary: whether a checkpoint holds a vocabulary, tokens.json; or model config → whether it does.
        asked_by: the field of `data` whose flag names the task on the command line: "label" makes
            `unrolled train FILE --label COLUMN` a classifier; None: the task is not asked for by a flag.
        steps: model config → how the network runs step by step, with kernels or without them (see
            `streamed`); None where it does not.
        cell: the recurrent cell that is taken where nobody names one.
    """

    name: str
    data: type
    model: type
    tensors: Callable[[Any], Tensors]
    states: Callable[[Any], States]
    loss: str
    units: tuple[tuple[str, float], ...] = ()
    vocabulary: bool | Callable[[Any], bool] = False
    steps: Callable[[Any], Steps] | None = None
    asked_by: str | None = None
    cell: str = "gru"

    def has_vocabulary(self, config: object) -> bool:
        """Whether a checkpoint of a network of these sizes holds a vocabulary."""
        return self.vocabulary if isinstance(self.vocabulary, bool) else self.vocabulary(config)

    def streamed(self, config: object) -> Steps:
        """Return how a network runs step by step on kernels.

        Raises:
            ConfigError: it does not run step by step; its cell has no kernel; it has zoneout.
        """
        if self.steps is None:
            got = f"one of the task {self.name}"
            raise ConfigError(expected("network", "one that runs step by step", got))
        found = self.steps(config)
        check_streams(found.cell, getattr(config, "zoneout", 0.0))
        return found

    def shown(self, loss: float, digits: int = 4) -> str:
        """Return a loss as people read it: "1.4501 nats 2.0921 bits"."""
        units = self.units or ((self.loss, 1.0),)
        return " ".join(f"{loss * factor:.{digits}f} {unit.partition(' per ')[0]}" for unit, factor in units)


_TRAINER: list[Callable[[], Any]] = []


def provide_trainer(find: Callable[[], Any]) -> None:
    """Say how the room `train` is found, for rooms below it; the front door does so when it is imported."""
    _TRAINER[:] = [find]


def trainer() -> Any:
    """Return the room `train`. Estimators of `tasks` train with it, and it stands on `tasks`."""
    if not _TRAINER:
        raise ConfigError(expected("train", "a trainer, which `import unrolled` provides", "none"))
    return _TRAINER[0]()


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


def naming_flag(config: object) -> list[str]:
    """Return the words of a command line that name the task of a data config: ["--label", "activity"]."""
    name = kind_of(config).asked_by
    if name is None:
        return []
    value, flag = getattr(config, name), setting_of(type(config), name).flag
    return [str(flag)] if value is None else [str(flag), str(value)]


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


def tensors(config: object, weights: str = "float32") -> Tensors:
    """Return {name: (dtype, shape)} of every tensor that `model.safetensors` holds, in a fixed order.

    Args:
        config: the model config of a registered task; see `TaskKind.tensors`.
        weights: one of STORAGES. Other than float32 it is the dtype of the matrices that a step multiplies
            (`Steps.matrices`); of int8, "<name>.scale" [rows] float32 stands beside each.
    Raises:
        ConfigError: `weights` is not float32 and the task's network does not run step by step.
    """
    kind = kind_of(config)
    found = kind.tensors(config)
    if weights == "float32":
        return found
    if kind.steps is None:
        raise ConfigError(expected("weights", f"float32 for the task {kind.name}", weights))
    matrices = kind.streamed(config).matrices(found)
    stored: Tensors = {}
    for name, (dtype, shape) in found.items():
        stored[name] = (weights if name in matrices else dtype, shape)
        if name in matrices and weights == "int8":
            stored[f"{name}.scale"] = ("float32", shape[:1])
    return stored
