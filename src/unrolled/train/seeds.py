"""The same training with several seeds: the mean and spread of its figures, and of the controls'."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from unrolled import checkpoint, files
from unrolled.errors import ConfigError, RunError, counted, expected
from unrolled.spec import TrainCall, TrainConfig
from unrolled.train.observers import Observer
from unrolled.train.plan import run_path
from unrolled.train.result import Result
from unrolled.train.run import run
from unrolled.train.signals import Stopped

__all__ = ["Seeds", "Spread", "run_seeds"]

FILE = "seeds.json"


@dataclass(frozen=True)
class Spread:
    """A figure over seeds."""

    mean: float
    std: float  # of a sample of seeds: divided by their number less one
    min: float
    max: float
    values: tuple[float, ...]  # in the order of the seeds

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        std = statistics.stdev(values) if len(values) > 1 else 0.0
        return cls(statistics.fmean(values), std, min(values), max(values), tuple(values))


@dataclass(frozen=True)
class Seeds:
    """What several runs came to, on the part that their networks are judged by. Its `str` is for people."""

    run: Path  # runs lie in its folders seed-0, seed-1, …; this is written to seeds.json
    seeds: tuple[int, ...]
    part: str  # "validation" or "test"
    figures: Mapping[str, Spread]
    controls: Mapping[str, Mapping[str, Spread]]

    def to_dict(self) -> dict[str, Any]:
        """Return what seeds.json holds."""
        found: dict[str, Any] = files.for_json({**asdict(self), "run": str(self.run)})
        return found

    def __str__(self) -> str:
        seeds = f"{self.seeds[0]} to {self.seeds[-1]}"
        lines = [f"{counted(len(self.seeds), 'seed')} ({seeds}) in {self.run}, on the {self.part} part:"]
        rows = dict(self.figures)
        for control, figures in self.controls.items():  # the first figure; seeds.json has all
            rows |= {f"{name} of {control}": found for name, found in list(figures.items())[:1]}
        width = max(map(len, rows), default=0)
        lines.append(f"{'':{width}}" + "".join(f"{word:>11}" for word in ("mean", "std", "min", "max")))
        for name, each in rows.items():
            cells = "".join(f"{value:>11.4g}" for value in (each.mean, each.std, each.min, each.max))
            lines.append(f"{name:{width}}{cells}")
        return "\n".join(lines)


def run_seeds(
    config: TrainConfig,
    seeds: int,
    observers: Sequence[Observer] | None = None,
    *,
    asked: Collection[str] = (),
) -> Seeds:
    """Train a network with each of some seeds, as `run` does, into RUN/seed-0, RUN/seed-1, ….

    A run that is finished is kept, one that was stopped goes on; with `overwrite` all start anew. What they
    came to is written to RUN/seeds.json.

    Args:
        config: of all of them; seeds are its own and those that follow.
        seeds: how many, at least 2. observers, asked: as `run` takes them.
    Raises:
        RunError: RUN is a run itself. As `run` for the rest.
    """
    TrainCall(seeds=seeds)
    root = run_path(config)
    if checkpoint.taken(root):
        raise RunError(expected("run", "a directory for several runs", f"{root}, which is a run itself"))
    if config.seed + seeds > 2**32:
        raise ConfigError(expected("seed", f"room for {seeds} seeds", config.seed))
    numbers = tuple(range(config.seed, config.seed + seeds))
    results = []
    for seed in numbers:
        place = str(root / f"seed-{seed}")
        one = replace(config, run=place, seed=seed, resume=not config.overwrite)
        try:
            results.append(run(one, observers, asked={*asked, "seed"}))
        except Stopped as stopped:
            text = f"{str(stopped).partition('; go on with')[0]}, with seed {seed}; the same command goes on"
            raise Stopped(text, stopped.signum) from None
    found = Seeds(
        run=root,
        seeds=numbers,
        part=getattr(results[0].evaluation, "part", "validation"),
        figures=_spreads([_figures(each.evaluation) for each in results]),
        controls=_controls(results),
    )
    files.replace(root / FILE, json.dumps(found.to_dict(), indent=2) + "\n")
    return found


def _figures(evaluation: Any) -> Mapping[str, Any]:
    """Return the figures by which a network is judged; of an evaluation without such, every fraction."""
    judged = getattr(evaluation, "judged", None)
    if judged is not None:
        return dict(judged.values)
    return {name: value for name, value in evaluation.to_dict().items() if isinstance(value, float)}


def _controls(results: Sequence[Result]) -> dict[str, dict[str, Spread]]:
    """Return the spread of the figures of each control that every run has."""
    each = [{c.name: c.values for c in getattr(result.evaluation, "controls", ())} for result in results]
    names = [name for name in each[0] if all(name in others for others in each)]
    return {name: _spreads([controls[name] for controls in each]) for name in names}


def _spreads(rows: Sequence[Mapping[str, Any]]) -> dict[str, Spread]:
    """Return the spread of the figures that every row has, as finite numbers."""
    found = {}
    for name in rows[0]:
        values = [row.get(name) for row in rows]
        if all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
            found[name] = Spread.of([float(value) for value in values if value is not None])
    return found
