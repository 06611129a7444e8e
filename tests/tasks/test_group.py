"""What several processes find is put together in the order of the samples, and comes to what one finds."""

from __future__ import annotations

import copy
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor

from unrolled import checkpoint, spec, tasks
from unrolled.tasks import Group, SequenceNetwork, TagNetwork
from unrolled.tasks.forecast.network import SegmentNetwork, StepNetwork
from unrolled.tasks.group import gathered
from unrolled.train import resolve
from unrolled.train.saving import stored_config

T = TypeVar("T")


class Rank(Group):
    """A rank that is a thread; what each has for the others lies in `sent`."""

    def __init__(self, rank: int, sent: list[Any], meeting: threading.Barrier) -> None:
        self.rank, self.world_size, self._sent, self._meeting = rank, len(sent), sent, meeting

    def _exchanged(self, own: Any) -> list[Any]:
        self._sent[self.rank] = own
        self._meeting.wait()
        every = list(self._sent)
        self._meeting.wait()
        return every

    def summed(self, values: Any) -> list[float]:
        return [sum(each) for each in zip(*self._exchanged(values), strict=True)]

    def whole(self, part: Tensor, axis: int, rows: int) -> Tensor:
        assert (axis, rows, len(part)) == (0, self.world_size, 1)
        return torch.cat(self._exchanged(part))


def together(ranks: int, work: Callable[[Group], T]) -> list[T]:
    """Return what each of several ranks finds."""
    sent, meeting = [None] * ranks, threading.Barrier(ranks, timeout=60)
    with ThreadPoolExecutor(ranks) as threads:
        return list(threads.map(work, [Rank(rank, sent, meeting) for rank in range(ranks)]))


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
@pytest.mark.parametrize("samples", [1, 2, 5, 12])
def test_answers_of_all_ranks_come_in_the_order_of_the_samples(ranks: int, samples: int):
    random = np.random.default_rng(ranks * samples)
    sizes = random.integers(0, 4, samples)
    rows = random.normal(size=(int(sizes.sum()), 2)).astype(np.float32)
    pieces = np.split(rows, np.cumsum(sizes)[:-1])

    def found(group: Group) -> Any:
        own = np.concatenate([rows[:0], *pieces[group.rank :: group.world_size]])
        return gathered(group, own, sizes)

    for each in together(ranks, found):
        assert (each == rows).all()
        assert each.dtype == rows.dtype


TABLE = "id,x,y,label,a,b,state\n" + "".join(
    f"{row},{step * 0.1:.1f},{row % 3 - step * 0.2:.1f},{'abc'[row % 3]},{row % 2},{row % 3 % 2},{step % 3 % 2}\n"
    for row in range(60)
    for step in range(3 + row % 5)
)
WORDS = "".join(
    "".join(f"{'Anna B' if (row + k) % 4 == 0 else 'runs O'}\n" for k in range(2 + row % 6)) + "\n"
    for row in range(60)
)
SERIES = "unique_id,ds,y\n" + "".join(
    f"s{name},2024-01-{1 + hour // 24:02d}T{hour % 24:02d}:00,{hour % 24 + hour * name % 5 * 0.1:.1f}\n"
    for name in range(3)
    for hour in range(240)
)
CASES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "classes": (TABLE, lambda source: spec.ClassifyData(source, label="label", id="id", controls=False)),
    "labels": (TABLE, lambda source: spec.ClassifyData(source, label="a,b", id="id", controls=False)),
    "steps": (TABLE, lambda source: spec.ClassifyData(source, label="state", id="id", controls=False)),
    "tags": (WORDS, lambda source: spec.TagData(source, tags="1", controls=False)),
    "windows": (
        SERIES,
        lambda source: spec.ForecastData(source, horizon=4, intervals="60,80", controls=False),
    ),
    "series": (
        SERIES,
        lambda source: spec.ForecastData(source, horizon=4, intervals="60,80", controls=False, causal=True),
    ),
}
READS: tuple[tuple[Any, str, Callable[[Any], int]], ...] = (  # where a network reads, and how much of what
    (SequenceNetwork, "answers", len),
    (TagNetwork, "_scored", lambda batch: batch.inputs.shape[1]),
    (TagNetwork, "answers", len),
    (SegmentNetwork, "answers", lambda windows: len(windows.series)),
    (StepNetwork, "answers", lambda windows: len(set(windows.series.tolist()))),
)


def numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers in what JSON holds, by their paths."""
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers(each, f"{name}/{key}")
    elif isinstance(value, int | float):
        yield name, value


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """Count what networks read, by thread."""
    found: Counter[int] = Counter()

    def counted(plain: Callable[..., Any], size: Callable[[Any], int]) -> Callable[..., Any]:
        def reading(network: Any, *given: Any) -> Any:
            found[threading.get_ident()] += size(given[-1])
            return plain(network, *given)

        return reading

    for owner, name, size in READS:
        monkeypatch.setattr(owner, name, counted(getattr(owner, name), size))
    return found


@pytest.mark.parametrize("case", CASES)
def test_several_processes_calibrate_and_score_to_the_figures_of_one(
    case: str, tmp_path: Path, read: Counter[int]
):
    text, make = CASES[case]
    source = tmp_path / f"source.{'conll' if text is WORDS else 'csv'}"
    source.write_text(text)
    asked = spec.TrainConfig(make(str(source)), steps=1, hidden_size=6, batch_size=4, dtype="float32")
    task = tasks.of(asked.data)
    dataset: Any = task.prepare(asked.data, tmp_path / "data", seed=0)
    config = resolve(asked, dataset)
    network = task.network(task.model_config(config, dataset), seed=1, backend="auto", dataset=dataset)
    for weight in network.parameters():
        weight.data *= 3  # so that it is too sure of itself
    stored = stored_config(task, config, network.config, dataset)
    contents = checkpoint.Contents(stored, tasks.model_tensors(network), None, path=tmp_path)

    def scored(schema: Any, dataset: Any, group: Group) -> Any:
        known = replace(contents, config={**contents.config, "schema": schema})
        best, _ = task.around(known, network.state_dict(), backend="auto")
        return task.evaluate_together(best.eval(), dataset, group)

    alone = task.known_schema(contents, dataset)
    assert alone != task.schema(dataset), "there is something to calibrate"
    want, whole = scored(alone, dataset, Group()).to_dict(), read.total()

    def work(group: Group) -> Any:
        mine = copy.copy(dataset)
        mine.scored = {}
        found = task.known_schema_together(contents, mine, group)
        return found, scored(alone, mine, group)

    for ranks in (2, 3):
        read.clear()
        (schema, evaluation), *others = together(ranks, work)
        assert others == [(None, None)] * (ranks - 1)
        assert dict(numbers(schema)) == pytest.approx(dict(numbers(alone)), rel=1e-5, abs=1e-6)
        assert dict(numbers(evaluation.to_dict())) == pytest.approx(dict(numbers(want)), rel=1e-5, abs=1e-6)
        assert read.total() == whole
        assert max(read.values()) < 1.2 * whole / ranks + 4, "each has its share"
