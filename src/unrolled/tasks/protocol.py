"""What a task is, for the rooms that train, load, examine and score it: one protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from unrolled.data import Batch, Batches, Column
from unrolled.errors import DataError, counted, expected
from unrolled.files import for_json
from unrolled.spec import TaskKind, TrainConfig, from_json, kind_named, kind_of, register_task
from unrolled.tasks.examined import Examined
from unrolled.tasks.group import Group
from unrolled.tokens import Tokens

__all__ = [
    "Dataset",
    "Evaluation",
    "Examined",
    "Means",
    "Overview",
    "Predictions",
    "SequenceModel",
    "State",
    "Summed",
    "Task",
    "detach",
    "named",
    "of",
    "register",
]

Summed: TypeAlias = Callable[[Sequence[float]], Sequence[float]]  # numbers → their sums over all processes
State: TypeAlias = Any  # a tensor, or a tuple of tensors; a network's own, see `SequenceModel.initial_state`


class SequenceModel(Protocol):
    """A network that reads batches of sequences and hands its state on.

    It is a `torch.nn.Module` too; the methods of that class that the trainer uses are listed here.
    """

    def initial_state(self, batch_size: int) -> State:
        """Return the zero state of `batch_size` rows: a tensor or a tuple of them, see `TaskKind.states`."""
        ...

    def loss(self, batch: Batch, state: State) -> tuple[Tensor, int, State]:
        """Return the summed loss (with gradient), how many targets it covers, or 0, and the state after."""
        ...

    def evaluate(self, batches: Iterable[Batch], *, carry: bool) -> tuple[float, int]:
        """Return the summed loss and targets over `batches`, in evaluation mode, without gradient."""
        ...

    def train(self, mode: bool = True) -> torch.nn.Module: ...
    def zero_grad(self, set_to_none: bool = True) -> None: ...
    def parameters(self) -> Iterator[torch.nn.Parameter]: ...
    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]: ...
    def named_modules(self) -> Iterator[tuple[str, torch.nn.Module]]: ...
    def state_dict(self) -> Mapping[str, Tensor]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any: ...


class Dataset(Protocol):
    """A task's samples, ready for training. A `unrolled.data.Corpus` is one."""

    @property
    def name(self) -> str:
        """What people call it, on one line."""
        ...

    @property
    def sha256(self) -> str:
        """Of the source: a resumed run must be given the same one."""
        ...

    @property
    def identity(self) -> str:
        """Of the samples made of it: on resume no other samples are taken for them."""
        ...

    @property
    def tokens(self) -> Tokens | None:
        """The vocabulary, where the kind of task has one."""
        ...

    @property
    def validation_is_train(self) -> bool:
        """Whether nothing was held out."""
        ...


class Evaluation(Protocol):
    """How well a network does; its `str` is for people."""

    def to_dict(self) -> dict[str, Any]:
        """Return what evaluation.json holds; None for a number that is not finite."""
        ...


@dataclass(frozen=True)
class Means:
    """The plainest evaluation: a number by name."""

    values: Mapping[str, float | None]

    def to_dict(self) -> dict[str, Any]:
        return {name: for_json(value) for name, value in self.values.items()}

    def __str__(self) -> str:
        return "\n".join(f"{n}: {'none' if v is None else format(v, '.4f')}" for n, v in self.values.items())


@dataclass(frozen=True)
class Predictions:
    """What a network answers for new samples: a table, a row per answer."""

    columns: Mapping[str, Sequence[Any]]  # name → values of equal length: texts, numbers, None where unknown
    notes: tuple[str, ...] = ()  # on what was read: counts of missing values, dropped samples, …

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))


@dataclass(frozen=True)
class Overview:
    """What a task makes of a source, for people to look at before anything is trained: `train.describe`."""

    columns: tuple[Column, ...] = ()
    parts: Mapping[str, int] = field(default_factory=dict)  # {"train": 80, "validation": 10, "test": 10}
    unit: str = "sample"  # what `parts` counts
    controls: tuple[str, ...] = ()  # names of the simple models that are fitted at the end


class Task(ABC):
    """A task: what a sample is, the network that learns it, and what is said of it.

    To define one: a frozen dataclass that says where samples come from, and one of the network's sizes; a
    `spec.TaskKind` of both; a class derived from this one, whose `kind` that is; `register` of an instance.
    Then `train.run(TrainConfig(MyData(...)))` trains it into a run directory, and `unrolled.load`, a resumed
    run and `unrolled.probe` find it by the class of its data config or by the name in config.json.
    `tests/contract/test_toy_task.py` is a whole one. What is not abstract has a default that will do.

    The trainer calls, in this order: `prepare` (in a resumed run `reopen` and `check_source`), `resolve`,
    `model_config`, `bytes_needed`, `network`, `notes`, `batches`; the network's `initial_state`, `loss` and
    `evaluate` on `validation`; at the end `around`, `known_schema`, `evaluate` and `report` (of several
    processes `known_schema_together` and `evaluate_together`). A seed gives the same samples, weights and
    order of batches in every process, so that a resumed run ends at the same bits.
    """

    kind: TaskKind
    sums_over_steps = (
        False  # whether a batch's loss is the sum of its parts', cut in time: `recompute` needs it
    )

    # ------------------------------------------------------------------------------------------ samples

    @abstractmethod
    def prepare(self, data: Any, directory: Path, *, seed: int) -> Dataset:
        """Make the samples.

        Args:
            data: of the class `kind.data`. directory: where files may go (RUN/data), made if missing.
            seed: of whatever is drawn.
        Raises:
            DataError: the source is missing, or nothing can be learnt from it.
        """

    def reopen(self, data: Any, directory: Path, *, seed: int, tokens: Mapping[str, Any] | None) -> Dataset:
        """Return the samples of a run again, from its own files where `prepare` wrote some.

        Args:
            data, directory, seed: as `prepare` had them. tokens: the vocabulary in the checkpoint.
        Raises:
            DataError: files are missing, damaged or another run's; `prepare` makes them anew then.
        """
        return self.prepare(data, directory, seed=seed)

    def check_source(self, data: Any, sha256: str) -> Any:
        """Return a data config under which the source is the one with that `Dataset.sha256`.

        Raises:
            DataError: it is another source.
        """
        return data

    def source(self, data: Any) -> str | None:
        """Return the file or folder that a data config reads, "-" for standard input, None for neither."""
        return None

    def run_name(self, data: Any) -> str:
        """Return the name of a run's directory, where nobody says."""
        return self.kind.name

    # -------------------------------------------------------------------------------------------- sizes

    def resolve(self, config: TrainConfig, dataset: Any) -> TrainConfig:
        """Return the config with every size known that the task uses; what the user set stays.

        At least `batch_size`, `learning_rate` and one of `minutes`, `epochs`, `steps` are known afterwards.

        Raises:
            ConfigError: a setting that is given would have no effect.
        """
        return config

    def open_sizes(self, config: TrainConfig) -> list[str]:
        """Return the settings that `resolve` would have to choose: none, of a config that was resolved."""
        return [name for name in ("batch_size", "learning_rate") if getattr(config, name) is None]

    @abstractmethod
    def model_config(self, config: TrainConfig, dataset: Any) -> Any:
        """Return the network's sizes, of the class `kind.model`."""

    def bytes_needed(self, model: Any, config: TrainConfig, dataset: Any) -> int | None:
        """Return about how many bytes a run takes at its peak; None where that is not known."""
        return None

    def describe(self, model: Any) -> str:
        """Return a model config in a few words: "LSTM 2 x 256"."""
        return self.kind.name

    def notes(self, config: TrainConfig, dataset: Any, network: Any) -> list[str]:
        """Return lines on what was decided, said before training starts."""
        parameters = counted(sum(p.numel() for p in network.parameters()), "parameter")
        return [f"data      {dataset.name}", f"model     {self.describe(network.config)}, {parameters}"]

    def overview(self, dataset: Any) -> Overview:
        """Return what the source was taken for."""
        return Overview()

    # ------------------------------------------------------------------------------------------ network

    @abstractmethod
    def network(self, model: Any, *, seed: int | None, backend: str, dataset: Any = None) -> Any:
        """Return a `SequenceModel` whose `config` is `model`.

        Its state_dict has at least the tensors of `kind.tensors(model)`.

        Args:
            seed: of the starting weights; None: they are about to be loaded.
            backend: of recurrent layers; see `unrolled.explain`.
            dataset: what it will be trained on, where known.
        """

    def around(self, contents: Any, weights: Mapping[str, Tensor], *, backend: str) -> tuple[Any, Any]:
        """Return the network of a checkpoint with these weights, and its vocabulary or None.

        Args:
            contents: of the checkpoint (`checkpoint.Contents`). weights: by the names of `kind.tensors`.
        Raises:
            CheckpointError, TokenError: parts of the checkpoint do not fit one another.
        """
        config: Any = from_json(self.kind.model, contents.config["model"], where="config.json model")
        network = self.network(config, seed=None, backend=backend)
        network.load_state_dict(weights)
        return network, None

    @abstractmethod
    def batches(self, config: TrainConfig, dataset: Any) -> Batches:
        """Return the batches of training, in an order that the seed decides."""

    @abstractmethod
    def validation(self, dataset: Any) -> Batches:
        """Return the batches of a validation, of which epoch 0 is read; quick, as there are ten a run."""

    def validate(
        self, network: Any, batches: Iterable[Batch], *, carry: bool, summed: Summed = list
    ) -> float:
        """Return the mean loss of a validation, while training.

        Args:
            batches: of `validation`; of several processes the rows of this one. carry: the state, between
                them. summed: what adds up numbers of all processes.
        """
        total, count = summed(network.evaluate(batches, carry=carry))
        return float(total / max(count, 1))

    # ------------------------------------------------------------------------------------------- report

    def schema(self, dataset: Any) -> dict[str, Any] | None:
        """Return what config.json's section "schema" holds: what reads new samples as these were read.

        Strict JSON, without NaN. None: the task needs none.
        """
        return None

    def known_schema(self, contents: Any, dataset: Any) -> dict[str, Any] | None:
        """Return the schema of the best network, with what only its outputs say: a calibration.

        Args:
            contents: of its checkpoint (`checkpoint.Contents`).
        """
        return self.schema(dataset)

    def known_schema_together(self, contents: Any, dataset: Any, group: Group) -> dict[str, Any] | None:
        """Find `known_schema` with several processes, all of which call this; None on all but rank 0.

        Here rank 0 does all of it. A task that overrides it comes to the same schema.
        """
        return None if group.rank else self.known_schema(contents, dataset)

    def evaluate(self, network: Any, dataset: Any) -> Evaluation:
        """Score the best network, at the end; evaluation.json is made of it."""
        batches = self.validation(dataset)
        total, count = network.evaluate(batches.epoch(0), carry=batches.carries_state)
        return Means({self.kind.loss: total / max(count, 1)})

    def evaluate_together(self, network: Any, dataset: Any, group: Group) -> Evaluation | None:
        """Score the best network with several processes, all of which call this; None on all but rank 0.

        Here rank 0 does all of `evaluate`. A task that overrides it comes to the same evaluation.
        """
        return None if group.rank else self.evaluate(network, dataset)

    def evaluation_of(self, stored: Mapping[str, Any]) -> Evaluation:
        """Return the evaluation that an evaluation.json holds. Raises DataError: it is something else."""
        return Means({name: value for name, value in stored.items() if name != "validation_is_train"})

    def report(self, network: Any, dataset: Any, directory: Path, *, seed: int) -> Iterator[Path]:
        """Write pictures and samples of the best network into a run, yielding each file's path."""
        return iter(())

    def known_states(self, contents: Any, dataset: Any) -> Mapping[str, Mapping[str, float]] | None:
        """Return what the states are like on the validation part, for `stream.Session.health`; None: unknown.

        Args:
            contents: of the best checkpoint. dataset: what the network was trained on.
        """
        return None

    def predict(self, loaded: Any, source: str) -> Predictions:
        """Answer new samples, which need no label.

        Args:
            loaded: what `unrolled.load` returned. source: as a user names one.
        Raises:
            DataError: the task predicts nothing, or the source does not have the columns of training.
        """
        raise DataError(expected("RUN", "a network that predicts", f"one of the task {self.kind.name}"))

    def evaluate_source(self, loaded: Any, source: str) -> Evaluation:
        """Score a network on samples of another source, such as a test file.

        Args:
            loaded: what `unrolled.load` returned. source: as a user names one; with labels.
        Raises:
            DataError: the task scores no other source, or it does not have the columns of training.
        """
        raise DataError(expected("RUN", "a network that scores a file", f"one of the task {self.kind.name}"))

    def sample(self, directory: Path) -> str:
        """Return a sample among what `report` wrote into a run; empty where it wrote none."""
        return ""

    def examined(
        self, loaded: Any, source: str | None, directory: Path | None, *, lags: int, largest: int
    ) -> Examined:
        """Return what `unrolled.probe` measures a trained network on.

        Args:
            loaded: what `unrolled.load` returned.
            source: as a user names one; None: what the run held out.
            directory: RUN/data, where there is one.
            lags: how far back it is going to look. largest: elements that an input or output may have.
        Raises:
            DataError: there is nothing to measure on.
        """
        if source is not None:
            raise DataError(expected("source", f"none for a task {self.kind.name}", source))
        data: Any = from_json(self.kind.data, loaded.config.get("data"), where="config.json data")
        seed = loaded.config.get("training", {}).get("seed", 0)
        dataset = self.reopen(data, directory or loaded.path, seed=seed, tokens=None)
        return Examined(next(iter(self.validation(dataset).epoch(0))), {"data": dataset.name})


_TASKS: dict[str, Task] = {}


def register(task: Task) -> Task:
    """Make a task known to `train.run`, `load` and the probe. Raises ConfigError: its name is taken."""
    register_task(task.kind)
    _TASKS[task.kind.name] = task
    return task


def of(config: object) -> Task:
    """Return the task that a data config or a model config belongs to, by its class.

    Raises:
        ConfigError: of no registered task.
    """
    return named(kind_of(config).name)


def named(name: str) -> Task:
    """Return the task of a name. Raises ConfigError: none of that name is registered."""
    return _TASKS[kind_named(name).name]


def detach(state: State) -> State:
    """Cut the graph behind a state: the boundary of truncated back-propagation through time."""
    return state.detach() if isinstance(state, Tensor) else tuple(part.detach() for part in state)
