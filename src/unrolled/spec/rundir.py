"""What lies where in a run; nothing here looks at the disk.

RUN/
    config.json                    the model, the data, the training; marks a directory as a run
    metrics.jsonl                  one line per row, or telemetry
    LATEST, BEST                   one line: the name of a step directory
    checkpoints/step-00001200/     immutable: the six files of a step (see `unrolled.checkpoint`)
    model/                         the four files of the best model
    model-int8/, model-bfloat16/   the same with smaller weights, by `unrolled quantize`
    data/                          corpus.json, and the ids (memory-mapped) or a task's samples
    evaluation.json, samples.txt   written at the end, evaluation.json last of all; of other tasks than text
    controls.json, predictions.csv, report.md
    loss.png, gates.png, …         pictures
    tensorboard/                   with --tensorboard
    .lock                          while a process is at work
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unrolled.errors import ConfigError, expected

__all__ = ["RunDirectory", "register_picture"]

_STEP = re.compile(r"step-(\d{8}|[1-9]\d{8,17})", re.ASCII)
_PICTURE = re.compile(r"[a-z][a-z0-9_-]{0,60}\.png", re.ASCII)
_PICTURES = ["loss.png", "gates.png", "telemetry.png"]  # `register_picture` adds to it


def register_picture(name: str) -> str:
    """Let runs hold a picture of this name, which `--overwrite` may then replace; returns the name.

    Raises ConfigError: it is no plain lower-case name that ends in .png.
    """
    if not _PICTURE.fullmatch(name):
        raise ConfigError(expected("picture", "a lower-case name such as loss.png", repr(name)))
    if name not in _PICTURES:
        _PICTURES.append(name)
    return name


class _Place:
    """The place of one name inside a run."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, run: Any, owner: Any = None) -> Path:
        place: Path = run.path / self.name
        return place


@dataclass(frozen=True, init=False)
class RunDirectory:
    """The places of a run's files; `RunDirectory("runs/book").latest` is the path runs/book/LATEST."""

    path: Path

    def __init__(self, path: str | Path) -> None:
        object.__setattr__(self, "path", Path(path))

    POINTERS = ("LATEST", "BEST")
    DIRECTORIES = ("checkpoints", "model", "model-int8", "model-bfloat16", "data", "tensorboard")
    DATA_FILES = ("corpus.json", "train.npy", "train_starts.npy", "val.npy", "val_starts.npy")  # of a text
    SAMPLE_FILES = ("samples.npz",)  # of labelled sequences, beside corpus.json
    EVENTS = "events.out.tfevents."  # how the names of TensorBoard's files begin

    def model_of(self, weights: str) -> Path:
        """Return the place of the model with weights of this type."""
        return self.model if weights == "float32" else self.path / f"model-{weights}"

    @property
    def models(self) -> tuple[Path, ...]:
        """The places of the best model, in each type of weights."""
        return tuple(self.path / name for name in self.DIRECTORIES if name.startswith("model"))

    config = _Place("config.json")
    metrics = _Place("metrics.jsonl")
    latest = _Place("LATEST")
    best = _Place("BEST")
    checkpoints = _Place("checkpoints")
    model = _Place("model")
    data = _Place("data")
    corpus = _Place("data/corpus.json")
    evaluation = _Place("evaluation.json")  # written last: where it is, the run is finished
    samples = _Place("samples.txt")
    controls = _Place("controls.json")
    predictions = _Place("predictions.csv")
    parquet = _Place("predictions.parquet")
    report = _Place("report.md")
    tensorboard = _Place("tensorboard")
    lock = _Place(".lock")

    def step(self, step: int) -> Path:
        """RUN/checkpoints/step-00001200 for step 1200."""
        return self.checkpoints / f"step-{step:08d}"

    def picture(self, name: str) -> Path:
        """The place of a picture by its name, "loss.png" or one that was given to `register_picture`."""
        if name not in _PICTURES:
            raise ConfigError(expected("picture", "one of " + ", ".join(_PICTURES), repr(name)))
        return self.path / name

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that a run may write beside its directories, in the order in which to remove them.

        The pointers come first, since what they name goes next, and config.json last: while it is there,
        the directory shows whose it is.
        """
        pictures = (self.path / name for name in _PICTURES)
        tables = (self.controls, self.predictions, self.parquet, self.report)
        return (
            self.latest,
            self.best,
            self.metrics,
            self.evaluation,
            self.samples,
            *tables,
            *pictures,
            self.config,
        )

    @property
    def directories(self) -> tuple[Path, ...]:
        """Every directory that a run may make."""
        return tuple(self.path / name for name in self.DIRECTORIES)

    @staticmethod
    def step_of(name: str) -> int | None:
        """Return the step that a directory's name declares: 1200 of step-00001200; None of another name."""
        match = _STEP.fullmatch(name)
        return int(match[1]) if match else None

    @classmethod
    def around(cls, path: str | Path) -> RunDirectory:
        """Return the run of RUN/model, of a step directory, or of a run itself.

        Names alone decide; resolve links before.
        """
        path = Path(path)
        if path.name == "model":
            return cls(path.parent)
        if cls.step_of(path.name) is not None and path.parent.name == "checkpoints":
            return cls(path.parent.parent)
        return cls(path)
