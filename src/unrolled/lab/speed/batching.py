"""Every way to put sequences side by side, and how many targets count in each batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from unrolled.data import Batch, LineBatches, Split, StreamBatches
from unrolled.data.batches import gather
from unrolled.lab.speed.signals import IGNORED, signals
from unrolled.lab.speed.text import Texts
from unrolled.lab.speed.variants import WHOLE, Variant

__all__ = ["IGNORED", "Read", "computed", "packed", "padded", "reads", "useful"]

SHORT_SHARE = 0.2  # of the sequences, the shortest ones, with which the length warm-up begins

Numbers = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Read:
    """One update's batch."""

    batch: Batch
    fresh: bool  # whether it starts from the zero state


def reads(variant: Variant, texts: Texts, *, seed: int, warmup_targets: int) -> Iterator[Read]:
    """Yield batches without end, in an order that the seed decides.

    Args:
        warmup_targets: over which the length warm-up goes from the shortest sequences to all.
    """
    if variant.batching == "windows":
        return _windows(variant, texts.long_text, seed)
    if variant.batching == "signals":
        return (Read(batch, True) for batch in signals(variant.batch_size, seed=seed + 1))  # 0: held out
    if variant.batching == "short first":
        return _short_first(texts.paragraphs, variant.batch_size, seed, warmup_targets)
    if variant.batching.startswith("bucket"):
        return _buckets(texts.paragraphs, variant, seed)
    form = {"padded": padded, "lengths": _with_lengths, "packed": packed}[variant.batching]
    batches = _in_random_order(texts.paragraphs, variant.batch_size, seed)
    return (Read(form(texts.paragraphs, rows), True) for rows in batches)


def useful(batch: Batch) -> int:
    """Return the targets that are scored: no padding."""
    return int((batch.valid() & (batch.targets != IGNORED)).sum())


def computed(batch: Batch) -> int:
    """Return the positions of a batch, padding and all."""
    return batch.inputs.numel()


def padded(split: Split, rows: Numbers) -> Batch:
    """Return sequences padded to the longest; the network computes the padding and the loss leaves it out."""
    return _masked(_with_lengths(split, rows))


def packed(split: Split, rows: Numbers) -> Batch:
    """Return the same sequences with several in a row, and a reset where one starts.

    A row is as long as the longest sequence; the longest are placed first, each in the first row with room.
    """
    rows = rows[np.argsort(-split.lengths(rows), kind="stable")]
    sizes = split.lengths(rows)
    ends: list[int] = []  # of the rows
    places = [_place(ends, int(size), int(sizes[0])) for size in sizes]
    shape = (int(sizes[0]), len(ends))
    inputs, targets = np.full(shape, split.boundary, np.int64), np.full(shape, split.boundary, np.int64)
    resets: npt.NDArray[np.bool_] = np.zeros(shape, bool)
    for (row, first), start, size in zip(places, split.starts[rows], sizes, strict=True):
        inputs[first : first + size, row] = split.ids[start : start + size]
        targets[first : first + size, row] = split.ids[start + 1 : start + size + 1]
        resets[first, row] = True
    return Batch(
        torch.from_numpy(inputs), torch.from_numpy(targets), torch.tensor(ends), torch.from_numpy(resets)
    )


def _place(ends: list[int], size: int, most: int) -> tuple[int, int]:
    """Return row and first step of a sequence, and move the row's end."""
    for row, end in enumerate(ends):
        if end + size <= most:
            ends[row] += size
            return row, end
    ends.append(size)
    return len(ends) - 1, 0


def _with_lengths(split: Split, rows: Numbers) -> Batch:
    return gather(split, split.starts[rows], split.lengths(rows))


def _masked(batch: Batch) -> Batch:
    """Take the lengths away from the network and mark the padding's targets instead."""
    return Batch(batch.inputs, batch.targets.masked_fill(~batch.valid(), IGNORED))


def _in_random_order(split: Split, size: int, seed: int) -> Iterator[Numbers]:
    generator = np.random.default_rng(seed)
    while True:
        order = generator.permutation(len(split.starts))
        yield from (order[first : first + size] for first in range(0, len(order), size))


def _buckets(split: Split, variant: Variant, seed: int) -> Iterator[Read]:
    batches = LineBatches(split, batch_size=variant.batch_size, seed=seed)
    every = (batch for epoch in count() for batch in batches.epoch(epoch))
    lengths = variant.batching == "bucket lengths"
    return (Read(batch if lengths else _masked(batch), True) for batch in every)


def _short_first(split: Split, size: int, seed: int, warmup_targets: int) -> Iterator[Read]:
    """Draw each batch from the shortest sequences, of which more and more are taken in."""
    generator = np.random.default_rng(seed)
    by_length = np.argsort(split.lengths(np.arange(len(split.starts))), kind="stable")
    seen = 0
    while seen < warmup_targets:
        share = SHORT_SHARE + (1 - SHORT_SHARE) * seen / warmup_targets
        pool = by_length[: max(size, int(share * len(by_length)))]
        batch = padded(split, generator.choice(pool, min(size, len(pool)), replace=False))
        seen += useful(batch)
        yield Read(batch, True)
    for rows in _in_random_order(split, size, seed):
        yield Read(padded(split, rows), True)


def _windows(variant: Variant, split: Split, seed: int) -> Iterator[Read]:
    """Read the rows of a long text, again and again from their beginning."""
    settings: dict[str, Any] = {"batch_size": variant.batch_size, "seed": seed}
    steps = variant.bptt_steps if variant.bptt_steps != WHOLE else split.num_targets // variant.batch_size
    batches = StreamBatches(split, bptt_steps=steps, **settings)
    while True:
        for index, batch in enumerate(batches.epoch(0)):
            yield Read(dataclasses.replace(batch, resets=None), index == 0 or not variant.carried)
