"""Tiny runs of each task, and a seeded stream of ways to forge what lies in them, under digests that agree."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from checkpoint_mutations import dumped, edited, seal

from unrolled import spec, tasks, train
from unrolled.data import Samples, Sentences, Series
from unrolled.tasks.tag import write_sentences

TASKS = ("classify", "steps", "texts", "regress", "tag", "forecast", "causal")
SCALARS = (0, 1, -1, 3, 200, 2**31 - 1, -(2**31), 1e300, -1e300, 5e-324, 0.5, float("nan"), float("inf"))
DTYPES = ("U5", "S3", "f2", "f8", "c16", "?", "i1", "u8", ">i4", "M8[s]")
SIZES = (1, 2, 0, 3, 7, 2**20, 2**31, -1, 1.5)


def trained(task: str, path: Path) -> spec.TrainConfig:
    """Train two steps of a task, and return the config that a third step is asked for with."""
    config = spec.TrainConfig(
        _data(task, path), run=str(path / "run"), cell="gru", steps=2, save_every=1, hidden_size=4,
        num_layers=1, batch_size=4, learning_rate=0.01, dtype="float32", threads=1,
    )  # fmt: skip
    train.run(config, observers=[], pictures=False)
    return replace(config, steps=3, resume=True)


def _data(task: str, path: Path) -> Any:
    draws, place = np.random.default_rng(0), path / "source"
    source: Any = str(place)
    inputs = [draws.normal(size=(int(steps), 2)).astype(np.float32) for steps in draws.integers(2, 6, 16)]
    if task == "classify":
        groups = ["p", "q", "r", "s"] * 4
        tasks.write_samples(place, Samples.from_arrays(inputs, ["a", "b"] * 8, groups))
        return spec.ClassifyData(source, controls=False)
    if task == "steps":
        labels = [np.array(["a", "b"] * 3)[: len(each)] for each in inputs]
        tasks.write_samples(place, Samples.from_arrays(inputs, step_labels=labels))
        return spec.ClassifyData(source, causal=True, controls=False)
    if task == "texts":
        tasks.write_samples(place, Samples.from_arrays([f"w{k}ab" for k in range(16)], ["a", "b"] * 8))
        return spec.ClassifyData(source, causal=True, controls=False)
    if task == "regress":
        times = [np.cumsum(draws.random(len(each)) + 0.1) for each in inputs]
        tasks.write_samples(place, Samples.from_arrays(inputs, draws.normal(size=16), times=times))
        return spec.RegressData(source, controls=False)
    if task == "tag":
        words = [[["the", "cat", "sat", "on"][k] for k in draws.integers(0, 4, 4)] for _ in range(20)]
        tags = [
            [{"the": "B-X", "cat": "I-X", "sat": "B-Y"}.get(word, "O") for word in each] for each in words
        ]
        upper = [[word[0] for word in each] for each in words]
        write_sentences(place, Sentences.from_lists(words, tags, {"first": upper}))
        return spec.TagData(source, controls=False)
    values, past = draws.normal(size=(2, 60)), draws.normal(size=(2, 60, 1)).astype(np.float32)
    tasks.write_series(place, Series.from_arrays(values, past=past, past_names=["p"]))
    causal = task == "causal"
    return spec.ForecastData(source, horizon=2, window=4, intervals="80", causal=causal, controls=False)


class Forger:
    """Copies of a run in which one thing is forged."""

    def __init__(self, run: Path) -> None:
        self.run, self.kept = run, run.with_name("kept")
        shutil.copytree(run, self.kept)

    def forged(self, seed: int, count: int) -> Iterator[str]:
        """Yield what was forged, `count` times, with the run in that state; the same for the same seed."""
        for number in range(count):
            choice = random.Random(f"{seed}/{number}")
            shutil.rmtree(self.run)
            shutil.copytree(self.kept, self.run)
            forge = choice.choice((self._arrays, self._arrays, self._index, self._config, self._config))
            yield f"{seed}/{number} {forge(choice)}"

    def _arrays(self, choice: random.Random) -> str:
        """Forge one or two arrays; the digests in data and checkpoints agree with them."""
        arrays, names = self.read(), []
        for _ in range(choice.choice((1, 1, 2))):
            name = choice.choice(list(arrays))
            try:
                arrays[name] = _array(arrays[name], choice)
            except (ValueError, TypeError, OverflowError):
                continue
            names.append(f"{name} {arrays[name].dtype} {list(arrays[name].shape)}")
        self.write(arrays)
        return f"arrays {names}"

    def read(self) -> dict[str, Any]:
        """Return the arrays of the run's data."""
        with np.load(self.run / "data" / "samples.npz") as file:
            return dict(file.items())

    def write(self, arrays: dict[str, Any]) -> None:
        """Write arrays into the run's data, under digests that agree with them."""
        raw = io.BytesIO()
        np.savez(raw, **arrays)
        (self.run / "data" / "samples.npz").write_bytes(raw.getvalue())
        self._agree(_digest(arrays))

    def _agree(self, digest: str) -> None:
        path = self.run / "data" / "corpus.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "identity": digest}))
        for step in (self.run / "checkpoints").iterdir():
            stored = json.loads((step / "progress.json").read_text())
            (step / "progress.json").write_text(json.dumps({**stored, "ids_sha256": digest}))
            seal(step)

    def _index(self, choice: random.Random) -> str:
        path = self.run / "data" / "corpus.json"
        path.write_bytes(dumped(edited(json.loads(path.read_text()), choice)))
        return "corpus.json"

    def _config(self, choice: random.Random) -> str:
        """Forge config.json, or progress.json, of both checkpoints: sizes and settings, too."""
        name = choice.choice(("config.json", "config.json", "progress.json"))
        seed = choice.random()
        for step in (self.run / "checkpoints").iterdir():
            again = random.Random(seed)
            stored = json.loads((step / name).read_text())
            part = again.choice([key for key, value in stored.items() if isinstance(value, dict)] or [None])
            if name == "config.json" and again.random() < 0.4:
                fields = [key for key, value in stored[part].items() if type(value) in (int, float)] or ["x"]
                stored[part][again.choice(fields)] = again.choice(SIZES)
            else:
                owner = stored if part is None else stored[part]
                edited(owner, again)
            (step / name).write_bytes(dumped(stored))
            seal(step)
        return f"{name} {part}"


def _digest(arrays: dict[str, Any]) -> str:
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(repr((name, array.dtype.str, array.shape)).encode())
        total.update(array.reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def _array(array: Any, choice: random.Random) -> Any:
    """Return another array: of other values, another shape or another type."""
    how = choice.randrange(12)
    if how < 5 and array.size:  # one value
        with np.errstate(all="ignore"):
            value = np.array(choice.choice(SCALARS)).astype(array.dtype)
        copy = array.copy()
        copy.reshape(-1)[choice.randrange(array.size)] = value
        return copy
    if how == 5:
        with np.errstate(all="ignore"):
            return np.full_like(array, np.array(choice.choice(SCALARS)).astype(array.dtype))
    if how == 6 and array.ndim:
        return array[:: choice.choice((-1, 2))].copy()
    if how == 7 and array.ndim:
        return array[: choice.choice((0, 1, -1))].copy()
    if how == 8:
        return np.concatenate([array, array]) if array.ndim else array[None]
    if how == 9:
        return array.reshape(*array.shape, 1)
    if how == 10:
        with np.errstate(all="ignore"):
            return array.astype(choice.choice(DTYPES), casting="unsafe")
    values = array.reshape(-1).copy()
    choice.shuffle(values)
    return values.reshape(array.shape)
