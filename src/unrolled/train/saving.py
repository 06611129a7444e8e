"""What a checkpoint keeps of a run beside the weights, and how a run goes on from it."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from unrolled import checkpoint, tasks
from unrolled.checkpoint import Tensor
from unrolled.errors import CheckpointError, ConfigError, DataError, expected
from unrolled.spec import RunDirectory, TrainConfig, from_json, kind_of, to_json
from unrolled.tasks import Dataset, SequenceModel, State, Task, from_stored, model_tensors, to_stored
from unrolled.train.fit import Feed, Schedule
from unrolled.train.processes import Processes

__all__ = [
    "Progress",
    "Saver",
    "Since",
    "Snapshot",
    "check_stored",
    "moments_of",
    "random_state",
    "restore_moments",
    "restore_random",
    "rows_of_states",
    "state_of",
    "stored_config",
]

FOUND_AT_THE_END = 2**14  # bytes of config.json
LARGEST_WORLD = 2**16  # processes


@dataclass
class Since:
    """Sums over the steps since the last row of `metrics.jsonl`."""

    steps: int = 0
    tokens: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    grad_norm: float = 0.0


@dataclass(frozen=True)
class Progress:
    """`progress.json`."""

    step: int
    steps: int  # of the whole schedule
    save_every: int
    peak: float  # the largest learning rate
    epoch: int
    batch: int  # number of the next one in its epoch
    validation: float | None  # the mean loss; None: saved where no validation was due
    best_step: int
    best: float | None  # of all validations; None: nothing was validated yet
    since: Since
    torch_random_state: str  # hexadecimal
    threads: int
    corpus_sha256: str  # of the text
    ids_sha256: str  # of what was made of it: `tasks.Dataset.identity`
    check_batches: int | None = None  # that a validation scores; None: all
    world_size: int = 1  # processes of the run

    def to_json(self, unit: str) -> dict[str, Any]:
        """Return what `from_json` takes. `unit`: of the loss, which names its figures as in metrics.jsonl."""
        stored = _renamed(asdict(self), _names(unit))
        if self.world_size == 1:
            del stored["world_size"]  # as it was before there could be several
        return {**stored, "since": _renamed(stored["since"], _sum_name(unit))}

    @classmethod
    def from_json(cls, stored: object, where: object, *, unit: str) -> Progress:
        """Read what a checkpoint holds; it may come from a stranger.

        Args:
            stored: the parsed file. where: what messages call it. unit: of the loss.
        Raises:
            CheckpointError: a field is missing, unknown, of another type, or out of range.
        """
        try:
            stored = _renamed(stored, {new: old for old, new in _names(unit).items()})
            if isinstance(stored, dict) and "since" in stored:
                back = {new: old for old, new in _sum_name(unit).items()}
                stored = {**stored, "since": _renamed(stored["since"], back)}
            found = from_json(cls, stored, where="progress")
        except ConfigError as error:
            raise CheckpointError(f"{where}: {error}") from error
        _check_types(found, where)
        _check_types(found.since, f"{where} since")
        if not (found.step <= found.steps and found.save_every > 0 and 0 < found.threads <= 1024):
            want = "step <= steps, save_every from 1 on, threads from 1 to 1024"
            got = f"{found.step}, {found.steps}, {found.save_every}, {found.threads}"
            raise CheckpointError(expected(str(where), want, got))
        if not 0 < found.world_size <= LARGEST_WORLD:
            want, got = f"world_size from 1 to {LARGEST_WORLD}", str(found.world_size)
            raise CheckpointError(expected(str(where), want, got))
        return found


def _names(unit: str) -> dict[str, str]:
    """Return attribute → name in the file: "val_nats_per_token"."""
    return {"validation": f"val_{unit}", "best": f"best_{unit}"}


def _sum_name(unit: str) -> dict[str, str]:
    """Return the same for the sum of losses: "nats" of "nats_per_token"."""
    return {"loss": unit.partition("_per_")[0]}


def _renamed(stored: Any, names: Mapping[str, str]) -> Any:
    return {names.get(k, k): v for k, v in stored.items()} if isinstance(stored, dict) else stored


def _check_types(found: Progress | Since, where: object) -> None:
    """Refuse a field that is not of its annotated type, and numbers that are negative or absurd."""
    kinds: dict[str, tuple[type, ...]] = {
        "int": (int,),
        "int | None": (int, type(None)),
        "float": (int, float),
        "float | None": (int, float, type(None)),
        "str": (str,),
    }
    for each in fields(found):
        value: Any = getattr(found, each.name)
        wanted_name = str(each.type)
        wanted = kinds.get(wanted_name)
        if wanted is None:
            continue  # the nested one
        largest = 10**18 if "int" in wanted_name else math.inf
        absurd = isinstance(value, int | float) and not 0 <= value < largest  # NaN and infinity too
        if not isinstance(value, wanted) or isinstance(value, bool) or absurd:
            want = f"{each.type} from 0 on"
            raise CheckpointError(expected(f"{where} {each.name}", want, reprlib.repr(value)))


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint needs of the loop, beside the model and the optimizer."""

    step: int
    validation: float | None  # the mean loss; None where none was due
    better: bool  # than every validation before
    best: float | None  # of all validations
    feed: Feed
    state: State | None
    since: Since


@dataclass
class Saver:
    """Writes step directories, LATEST and BEST, and at the end `model/` from BEST."""

    run: Path
    config: Mapping[str, Any]  # {"task", "model", "data", "training"}, as config.json
    model: Any  # the task's network
    optimizer: torch.optim.Optimizer
    dataset: Dataset
    schedule: Schedule
    keep: int  # newest checkpoints that stay, beside LATEST and BEST
    best_step: int = 0
    check_batches: int | None = None
    processes: Processes = field(default_factory=Processes)

    def save(self, now: Snapshot) -> None:
        """Write one step directory and move the marks; of several processes rank 0 does, for all of them."""
        if now.better:
            self.best_step = now.step
        carried = now.state if now.feed.batches.carries_state else None
        if carried is not None:
            carried = self._of_all_rows(carried, now.feed.batches.rows)
        self.processes.once("it writes a checkpoint", lambda: self._write(now, carried))

    def _of_all_rows(self, state: State, rows: int) -> State:
        """Return a state of the rows of every process, in the order in which one process would have them."""
        axes = rows_of_states(self.model.config)
        parts = state if isinstance(state, tuple) else (state,)
        whole = tuple(self.processes.whole(part, at, rows) for part, at in zip(parts, axes, strict=True))
        return whole if isinstance(state, tuple) else whole[0]

    def _write(self, now: Snapshot, carried: State | None) -> None:
        kind, tokens = kind_of(self.model.config), self.dataset.tokens
        contents = checkpoint.Contents(
            config=dict(self.config),
            model=model_tensors(self.model),
            tokens=None if tokens is None else tokens.to_json(),
            optimizer=moments_of(self.model, self.optimizer, carried, kind.states(self.model.config)),
            progress=self._progress(now).to_json(kind.loss),
        )
        checkpoint.write_step(self.run, now.step, contents)
        checkpoint.mark(self.run, "LATEST", now.step)
        if now.better:
            checkpoint.mark(self.run, "BEST", now.step)
        checkpoint.prune(self.run, self.keep)

    def finish(self) -> Path:
        """Write `model/` from the best checkpoint, with what its task knows of it, and return its path.

        All processes call this; they share the calibration, and rank 0 writes.
        """
        contents = checkpoint.read(RunDirectory(self.run).step(self.best_step))
        task = tasks.of(self.model.config)
        schema = task.known_schema_together(contents, self.dataset, self.processes)

        def write() -> str:
            found = {"states": task.known_states(contents, self.dataset), "schema": schema}
            known = {section: each for section, each in found.items() if each is not None}
            config = {**contents.config, **known}
            return str(checkpoint.write_model(self.run, replace(contents, config=config)))

        return Path(self.processes.once("it writes the network", write))

    def _progress(self, now: Snapshot) -> Progress:
        return Progress(
            step=now.step,
            steps=self.schedule.steps,
            save_every=self.schedule.save_every,
            peak=self.schedule.peak,
            epoch=now.feed.epoch,
            batch=now.feed.index,
            validation=now.validation,
            best_step=self.best_step,
            best=now.best,
            since=now.since,
            torch_random_state=random_state(),
            threads=torch.get_num_threads(),
            corpus_sha256=self.dataset.sha256,
            ids_sha256=self.dataset.identity,
            check_batches=self.check_batches,
            world_size=self.processes.world_size,
        )


def rows_of_states(config: object) -> list[int]:
    """Return the axis of the rows in each part of a network's state."""
    return [shape.index(None) for shape in kind_of(config).states(config).values()]


def stored_config(task: Task, config: TrainConfig, model: Any, dataset: Dataset) -> dict[str, object]:
    """Return what config.json holds of a run.

    Args:
        config: every size resolved. model: the network's sizes.
    """
    training = to_json(replace(config, resume=False))
    data = training.pop("data")
    stored = {"task": task.kind.name, "model": to_json(model), "data": data, "training": training}
    schema = task.schema(dataset)
    return stored if schema is None else {**stored, "schema": schema}


def check_stored(config: Mapping[str, object]) -> None:
    """Raise DataError where what has to be known of the data does not fit into a checkpoint.

    There must be room, too, for what only the trained network says: its states and a calibration.
    """
    try:
        checkpoint.check_config({**config, "states": {"": "x" * FOUND_AT_THE_END}})
    except CheckpointError as error:
        reason = "the names of columns, classes or series are too many or too long to be stored"
        raise DataError(f"{error}; {reason}") from None


def random_state() -> str:
    """Return the state of torch's generator."""
    return bytes(torch.get_rng_state().tolist()).hex()


def restore_random(stored: str, where: object) -> None:
    """Set torch's generator. Raises CheckpointError: that is no state of it."""
    try:
        torch.set_rng_state(torch.tensor(list(bytes.fromhex(stored)), dtype=torch.uint8))
    except (ValueError, RuntimeError, TypeError) as error:
        raise CheckpointError(expected(str(where), "a state of torch's generator", "another text")) from error


def moments_of(
    model: SequenceModel, optimizer: torch.optim.Optimizer, state: State | None, names: Iterable[str]
) -> dict[str, Tensor]:
    """Return what optimizer.safetensors holds: AdamW's moments, and the carried state where there is one.

    Args:
        state: as the network's `loss` returned it. names: of its parts, `spec.TaskKind.states`.
    """
    stored: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        for moment, tensor in optimizer.state.get(parameter, {}).items():
            stored[f"{moment}.{name}"] = to_stored(tensor)
    if state is not None:
        parts = state if isinstance(state, tuple) else (state,)
        for name, part in zip(names, parts, strict=True):
            stored[f"state.{name}"] = to_stored(part)
    return stored


def restore_moments(
    model: SequenceModel, optimizer: torch.optim.Optimizer, stored: Mapping[str, Tensor]
) -> None:
    """Give an optimizer the moments of `moments_of`. Raises CheckpointError: they are not complete."""
    for name, parameter in model.named_parameters():
        found = {m: stored.get(f"{m}.{name}") for m in ("step", "exp_avg", "exp_avg_sq")}
        if all(tensor is None for tensor in found.values()):
            continue  # before the first step, and weights that no gradient reached
        missing = [moment for moment, tensor in found.items() if tensor is None]
        if missing:
            raise CheckpointError(expected(f"optimizer {name}", "all of AdamW's moments", f"no {missing[0]}"))
        optimizer.state[parameter] = {m: from_stored(t).clone() for m, t in found.items() if t is not None}


def state_of(stored: Mapping[str, Tensor], names: Iterable[str]) -> State | None:
    """Return the carried state of `moments_of`: a tensor, a tuple of several, or None where there is none."""
    parts = tuple(from_stored(stored[f"state.{n}"]).clone() for n in names if f"state.{n}" in stored)
    return parts if len(parts) > 1 else parts[0] if parts else None
