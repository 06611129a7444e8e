"""What a run would do, before it does anything: the data, its parts, the network, memory and time."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from unrolled import checkpoint, tasks
from unrolled.data import Column
from unrolled.errors import ConfigError, counted, expected
from unrolled.spec import TrainConfig, to_json
from unrolled.tasks import Overview
from unrolled.train.fit import Feed, Stepper, choose_dtype, make_optimizer
from unrolled.train.plan import run_path
from unrolled.train.report import slow_notes
from unrolled.train.resources import seconds_a_step, threads_by_rule, within_memory
from unrolled.train.run import resolve
from unrolled.train.saving import check_stored, stored_config
from unrolled.train.training_run import own_random_state

__all__ = ["Description", "describe"]

TIMED_SECONDS = 0.5
MIB = 2**20
MOST_ALIKE = 6  # columns of one part and type that are shown each; of more, the first and the last


@dataclass(frozen=True)
class Description:
    """What `train.run` would do with a config. Its `str` is for people."""

    task: str  # "language", "classify", …
    source: str  # what people call it
    overview: Overview
    notes: tuple[str, ...]  # what the run would say of data and model
    config: TrainConfig  # every size resolved
    parameters: int
    memory_bytes: int | None  # about what the run takes at its peak, where that is known
    steps: int | None  # None: as many as fit into the time
    seconds: float  # about what training takes, without controls and report
    run: Path
    taken: bool  # whether `run` holds something already

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        found = asdict(replace(self, config=None, overview=None, run=str(self.run)))  # type: ignore[arg-type]
        found["notes"] = list(self.notes)
        found |= {"config": to_json(self.config), **asdict(self.overview)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in found.items()
            if name != "overview"
        }

    def __str__(self) -> str:
        whole = self.overview
        lines = [f"source    {self.source}: task {self.task}"]
        lines += _table(whole.columns)
        sizes = [
            counted(number, f"{KINDS.get(part, part)} {whole.unit}")
            for part, number in whole.parts.items()
            if number
        ]
        lines += [f"parts     {', '.join(sizes)}"] if sizes else []
        lines += self.notes
        lines += [f"controls  {'; '.join(whole.controls)}"] if whole.controls else []
        if self.memory_bytes is not None:
            lines.append(f"memory    about {max(1, self.memory_bytes // MIB):,} MiB beside torch's own")
        lines.append(f"cost      {self._cost()}")
        lines.append(
            f"run       {self.run}{', which is taken' if self.taken else ''}; nothing was trained or written"
        )
        return "\n".join(lines)

    def _cost(self) -> str:
        minutes = self.config.minutes
        if self.steps is None and minutes is not None:
            return f"{minutes:.1f} min by --minutes, for as many steps as fit"
        time = f"{self.seconds:.1f} s" if self.seconds < 60 else f"{self.seconds / 60:.1f} min"
        return f"about {time} for {counted(self.steps or 0, 'step')}, by timing a few"


KINDS = {"train": "training"}


def describe(config: TrainConfig) -> Description:
    """Say what `run` would do with a config; nothing is trained, and nothing stays on the disk.

    The source is read and divided as for a run, and a few steps are timed on a copy of the network.

    Raises:
        As `run`, of what is wrong with the config or the source. ConfigError: `resume` is set.
    """
    if config.resume:
        raise ConfigError(expected("resume", "false, as a resumed run is described by its files", "true"))
    task, path = tasks.of(config.data), run_path(config)
    with tempfile.TemporaryDirectory() as folder, own_random_state(config.seed, config.threads):
        dataset = task.prepare(config.data, Path(folder) / "data", seed=config.seed)
        config, remark = within_memory(task, replace(resolve(config, dataset), run=str(path)), dataset)
        sizes = task.model_config(config, dataset)
        check_stored(stored_config(task, config, sizes, dataset))
        network = task.network(sizes, seed=config.seed, backend=config.backend, dataset=dataset)
        batches = task.batches(config, dataset)
        steps = config.steps
        if config.epochs is not None:
            steps = sum(batches.len_of(epoch) for epoch in range(config.epochs))
        seconds = 60 * (config.minutes or 0)
        if steps is not None:
            seconds = steps * _seconds(network, batches, config)
        return Description(
            task=task.kind.name,
            source=dataset.name,
            overview=task.overview(dataset),
            notes=(
                *task.notes(config, dataset, network),
                *slow_notes(config),
                *(() if remark is None else (remark,)),
            ),
            config=config,
            parameters=sum(each.numel() for each in network.parameters()),
            memory_bytes=task.bytes_needed(sizes, config, dataset),
            steps=steps,
            seconds=seconds,
            run=path,
            taken=path.is_dir() and checkpoint.taken(path),
        )


def _seconds(network: Any, batches: Any, config: TrainConfig) -> float:
    """Return how long a step takes."""
    rate = config.learning_rate or 0.0
    stepper = Stepper(
        network,
        make_optimizer(network, lr=rate, weight_decay=config.weight_decay),
        Feed(batches),
        lambda _: rate,
        clip_norm=config.clip_norm,
        dtype=choose_dtype(config.dtype),
        recompute=config.recompute,
    )
    if config.threads is None:
        torch.set_num_threads(threads_by_rule(stepper)[0])
    return seconds_a_step(stepper, budget=TIMED_SECONDS)


def _table(columns: tuple[Column, ...]) -> list[str]:
    """Return the rows of a table of columns; of many that are alike, the first and the last."""
    rows: list[tuple[str, str, str, str]] = []
    for _, group in itertools.groupby(columns, lambda each: (each.type, each.role)):
        alike = [(each.name, each.type, each.role, ", ".join(each.examples)) for each in group]
        if len(alike) > MOST_ALIKE:
            alike = [*alike[:2], ("…", f"{len(alike) - 3:,} more", "", ""), alike[-1]]
        rows += alike
    widths = [max(len(row[k]) for row in rows) for k in range(3)] if rows else []
    lines = []
    for number, row in enumerate(rows):
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        lines.append(f"{'columns' if number == 0 else '':10}{cells}  {row[3]}".rstrip())
    return lines
