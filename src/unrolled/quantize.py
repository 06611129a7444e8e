"""A trained network with smaller weights, and what that costs: loss before and after, size, speed."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from unrolled import checkpoint, data, stream
from unrolled.errors import ConfigError, DataError, counted, expected
from unrolled.spec import DataConfig, QuantizeConfig, RunDirectory, from_json, kind_of_stored

__all__ = ["Quantized", "quantize"]

MOST_SCORED = 262_144  # tokens of the text
STEPS = 300  # that are timed


@dataclass(frozen=True)
class Measured:
    """A network in one type of weights."""

    weights: str
    nats_per_token: float
    nbytes: int  # packed for this machine
    us_per_step: float  # median of single steps on one thread


@dataclass(frozen=True)
class Quantized:
    """What `quantize` found, and where the network is."""

    path: Path
    text: str  # that was scored
    tokens: int
    before: Measured  # in float32
    after: Measured
    most_loss: float

    @property
    def loss(self) -> float:
        """By which share the nats per token have grown."""
        return self.after.nats_per_token / self.before.nats_per_token - 1

    @property
    def warning(self) -> str | None:
        """One line where the loss has grown by more than `most_loss`."""
        if self.loss <= self.most_loss:
            return None
        hint = "; bfloat16 loses less" if self.after.weights == "int8" else ""
        return f"warning: the loss grew by {self.loss:.2%}, more than {self.most_loss:.2%}{hint}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "path": str(self.path), "text": self.text, "tokens": self.tokens, "loss_share": self.loss,
            "before": vars(self.before), "after": vars(self.after),
        }  # fmt: skip

    def __str__(self) -> str:
        rows = [f"{'':10}{'nats per token':>16}{'weights':>12}{'step':>12}"]
        for each in (self.before, self.after):
            size, step = f"{each.nbytes / 2**20:.2f} MiB", f"{each.us_per_step:.1f} µs"
            rows.append(f"{each.weights:10}{each.nats_per_token:16.4f}{size:>12}{step:>12}")
        smaller = self.before.nbytes / self.after.nbytes
        faster = self.before.us_per_step / self.after.us_per_step
        rows.append(f"{self.loss:+.3%} loss, {smaller:.1f} times smaller, {faster:.1f} times as fast")
        rows.append(f"scored on {counted(self.tokens, 'token')}: {self.text}")
        return "\n".join(rows)


def quantize(
    run: str | Path,
    *,
    weights: str = "int8",
    source: str | None = None,
    most_loss: float = 0.005,
    overwrite: bool = False,
    show: Callable[[str], object] | None = None,
) -> Quantized:
    """Write RUN/model-int8/ (or -bfloat16/), having scored a text by the streaming runtime before and after.

    Args:
        run: a run, or a checkpoint or model directory; the result then stands beside it.
        weights: "int8" or "bfloat16".
        source: a text to score; default the part that the run held out.
        most_loss: share by which the loss may grow without a warning.
        overwrite: replace an earlier result.
        show: is called with each line on what is being done.
    Returns:
        What was measured; the scores are in the new config.json too.
    Raises:
        ConfigError: a setting is out of range, the result is there already, or the network is no language
        model or is quantised already.
        RunError: there is no run. DataError: there is nothing to score.
        CheckpointError: a file of the run is damaged.
    """
    QuantizeConfig(str(run), weights, source, most_loss, overwrite)
    place = checkpoint.locate(Path(run))
    contents = checkpoint.read(place)
    task = kind_of_stored(contents.config).name
    if task != "language":
        got = (
            f"a model of the task {task}, which unrolled.stream.load(run, weights={weights!r}) takes as it is"
        )
        raise ConfigError(expected("run", "a language model, whose loss can be scored", got))
    if checkpoint.weights_dtype(contents.config) != "float32":
        raise ConfigError(expected("run", "a model of float32 weights", f"{place}, which is quantised"))
    home = Path(run) if place != Path(run) else place.parent
    target = RunDirectory(home).model_of(weights)
    if os.path.lexists(target) and not overwrite:
        raise ConfigError(expected("overwrite", "true to replace an earlier result", f"false, with {target}"))
    plain, small = stream.load(place), stream.load(place, weights=weights)
    if plain.tokens is None:
        raise ConfigError(expected("run", "a model of text", "one without a vocabulary"))
    with tempfile.TemporaryDirectory() as folder:
        ids, starts, text = _scored(home, plain, source, Path(folder))
        measured = []
        for model in (plain, small):
            if show is not None:
                show(f"scoring   {counted(len(ids) - 1, 'token')} with {model.weights} weights")
            measured.append(_measured(model, ids, starts))
    found = Quantized(target, text, len(ids) - 1, measured[0], measured[1], most_loss)
    checkpoint.write_model(home, stream.converted(contents, weights, _section(found)))
    return found


def _section(found: Quantized) -> dict[str, Any]:
    return {
        "dtype": found.after.weights,
        "nats_per_token": found.after.nats_per_token,
        "float32_nats_per_token": found.before.nats_per_token,
        "scored_tokens": found.tokens,
    }


def _scored(
    home: Path, model: stream.Model, source: str | None, folder: Path
) -> tuple[np.ndarray[Any, Any], list[int], str]:
    """Return the ids to score, where the state starts from zero, and what they are."""
    config = from_json(DataConfig, model.config.get("data"), where="config.json data")
    assert model.tokens is not None
    if source is not None:
        split, name = data.encode_source(source, model.tokens, config.shape, folder), source
    else:
        directory = RunDirectory(home).data
        if not directory.is_dir():
            raise DataError(expected("source", "a text, as there is no data beside the model", "none"))
        corpus = data.reopen(directory, model.tokens)
        split = corpus.validation
        name = f"{corpus.name}, {'the training text' if corpus.validation_is_train else 'held out'}"
    if split.num_targets < 1:
        raise DataError(expected("text", "at least two tokens", split.num_targets + 1))
    size = min(split.num_targets, MOST_SCORED) + 1
    return np.array(split.ids[:size]), [int(s) for s in split.starts if s < size], name


def _measured(model: stream.Model, ids: np.ndarray[Any, Any], starts: list[int]) -> Measured:
    nats, count = stream.score(model, ids, starts=starts)
    return Measured(model.weights, nats / count, model.nbytes, _microseconds(model, ids))


def _microseconds(model: stream.Model, ids: np.ndarray[Any, Any]) -> float:
    session, out, took = model.open(), np.empty(model.output_size, np.float32), []
    for i in range(STEPS):
        token = int(ids[i % len(ids)])
        begin = time.perf_counter_ns()
        session.step(token, out)
        took.append((time.perf_counter_ns() - begin) / 1000)
    return median(took)
