"""What the ways to train read: texts, generated signals, and every way to put sequences side by side."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from unrolled.data import (
    IGNORED,
    Batch,
    Document,
    LineBatches,
    Split,
    StreamBatches,
    encode_text,
    gather,
    read,
)
from unrolled.errors import DataError, expected
from unrolled.lab.learning import Front, Trainable
from unrolled.lab.problems import Problem
from unrolled.nn import LSTM, init_recurrent
from unrolled.spec import ModelConfig
from unrolled.tasks import LanguageModel, State
from unrolled.tokens import CharTokens

__all__ = [
    "WHOLE", "FrameModel", "Signals", "TextModel", "Texts", "Variant", "packed", "padded", "reads",
    "texts", "useful",
]  # fmt: skip

SHORTEST = 8  # characters of a paragraph that is kept
BLANK = re.compile(r"\n[ \t]*\n")
SHORT_SHARE = 0.2  # of the sequences, the shortest ones, with which the length warm-up begins
WHOLE = 0  # bptt_steps: a row from its first step to its last

Numbers = npt.NDArray[np.int64]
Read = tuple[Batch, bool]  # one update's batch, and whether it starts from the zero state


@dataclass(frozen=True)
class Variant:
    """One way to feed, cut or compute sequences; the defaults are the baseline of long text."""

    name: str  # as the tables print it
    factor: str  # what differs from the baseline; "" for the baseline itself
    share: float = 1.0  # of the targets that a quick run gives the baseline: slow variants get fewer
    batching: str = "windows"  # signals, padded, lengths, buckets, bucket lengths, packed, short first
    batch_size: int = 32  # rows of long text; sequences per batch
    bptt_steps: int = 64  # of long text: steps of a window, or WHOLE
    carried: bool = True  # of long text: a window goes on from the state of the one before
    front: str = "none"  # none | stacked | convolved: what makes one step of several characters
    frames: int = 1  # characters per step
    backend: str = "auto"
    dtype: str = "float32"
    rate: float = 1.0  # times the learning rate


@dataclass(frozen=True, eq=False)
class Texts:
    """Two texts to train on, and two held out, of other files."""

    tokens: CharTokens
    paragraphs: Split  # each a sequence from the zero state
    long_text: Split  # one sequence
    held_paragraphs: Split
    held_long_text: Split


@functools.cache
def texts(train_targets: int, held_targets: int, longest: int) -> Texts:
    """Return texts of about so many targets (exactly so many, of long text), the same on each call.

    Args:
        longest: characters of a paragraph; longer ones are left out.
    Raises:
        DataError: the standard library's source is not there, or holds too little.
    """
    tokens = CharTokens.build([string.printable])
    sources = [document.text for document in read("stdlib").documents if isinstance(document.text, str)]
    files = [text for text in sources if set(text) <= set(string.printable)]
    order = np.random.default_rng(0).permutation(len(files))
    train, held = ([files[i] for i in order[first::2]] for first in (0, 1))
    return Texts(
        tokens,
        _paragraphs(train, tokens, train_targets, longest),
        _long_text(train, tokens, train_targets),
        _paragraphs(held, tokens, held_targets, longest),
        _long_text(held, tokens, held_targets),
    )


def _paragraphs(files: Iterable[str], tokens: CharTokens, targets: int, longest: int) -> Split:
    kept = (p for text in files for p in BLANK.split(text) if SHORTEST <= len(p) <= longest)
    found, size = [], 0
    while size < targets and (paragraph := next(kept, None)) is not None:
        found.append(Document("paragraph", paragraph))
        size += len(paragraph) + 1
    _check(size, targets)
    return encode_text(found, tokens, "stream")


def _long_text(files: Sequence[str], tokens: CharTokens, targets: int) -> Split:
    text = "".join(files)[: targets + 1]
    _check(len(text), targets)
    return encode_text([Document("long text", text)], tokens, "stream").head(targets)


def _check(size: int, targets: int) -> None:
    if size < targets:
        wanted = f"at least {targets} characters of source"
        raise DataError(expected("standard library", wanted, size))


@dataclass(frozen=True, eq=False)
class Signals(Problem):
    """Say which of 8 frequencies a noisy signal has; neighbouring samples say much the same.

    inputs [T, B, 1]: a sine of 4 to 32 cycles and any phase, of amplitude 1, in noise of deviation 0.5.
    targets [B]: its class; outputs are logits over the 8. Score: accuracy. Control: 1/8.
    """

    steps: int = 256

    name, input_size, output_size = "signals", 1, 8
    solved_at, control = 0.99, 1 / 8

    def draw(self, rows: int, generator: Generator) -> Batch:
        cycles = torch.logspace(math.log2(4), math.log2(32), self.output_size, base=2.0)
        time = torch.arange(self.steps)[:, None] / self.steps
        classes = torch.randint(self.output_size, (rows,), generator=generator)
        phases = torch.rand(rows, generator=generator)
        clean = torch.sin(2 * math.pi * (cycles[classes] * time + phases))
        noise = 0.5 * torch.randn(self.steps, rows, generator=generator)
        return Batch((clean + noise)[..., None], classes)


def reads(variant: Variant, found: Texts, *, seed: int, warmup_targets: int) -> Iterator[Read]:
    """Yield batches without end, in an order that the seed decides.

    Args:
        warmup_targets: over which the length warm-up goes from the shortest sequences to all.
    """
    size, split = variant.batch_size, found.paragraphs
    if variant.batching == "windows":
        return _windows(variant, found.long_text, seed)
    if variant.batching == "signals":
        generator = torch.Generator().manual_seed(seed + 1)  # 0: held out
        return ((Signals().draw(size, generator), True) for _ in count())
    if variant.batching == "short first":
        return _short_first(split, size, seed, warmup_targets)
    if variant.batching.startswith("bucket"):
        batches = LineBatches(split, batch_size=size, seed=seed)
        every = (batch for epoch in count() for batch in batches.epoch(epoch))
        return ((b if variant.batching == "bucket lengths" else _masked(b), True) for b in every)
    form = {"padded": padded, "lengths": _with_lengths, "packed": packed}[variant.batching]
    return ((form(split, rows), True) for rows in _in_random_order(split, size, seed))


def useful(batch: Batch) -> int:
    """Return the targets that are scored: no padding."""
    return int((batch.valid() & (batch.targets != IGNORED)).sum())


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
    read, asked, cuts = (torch.from_numpy(part) for part in (inputs, targets, resets))
    return Batch(read, asked, torch.tensor(ends), cuts)


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
        yield batch, True
    for rows in _in_random_order(split, size, seed):
        yield padded(split, rows), True


def _windows(variant: Variant, split: Split, seed: int) -> Iterator[Read]:
    """Read the rows of a long text, again and again from their beginning."""
    settings: dict[str, Any] = {"batch_size": variant.batch_size, "seed": seed}
    steps = variant.bptt_steps if variant.bptt_steps != WHOLE else split.num_targets // variant.batch_size
    batches = StreamBatches(split, bptt_steps=steps, **settings)
    while True:
        for index, batch in enumerate(batches.epoch(0)):
            yield dataclasses.replace(batch, resets=None), index == 0 or not variant.carried


class TextModel(LanguageModel):
    """A language model that counts the targets that are scored."""

    def loss(self, batch: Batch, state: State) -> tuple[Tensor, int, State]:
        """Return summed nats over the targets that count, how many they are, and the state after."""
        nats, _, after = super().loss(batch, state)
        return nats, useful(batch), after


class FrameModel(Trainable):
    """A language model of which a step reads the last characters and predicts the next `frames` at once.

    Those of one step do not see each other, so the best loss is higher than that of a step per character.

    Args:
        config: sizes; of an LSTM of one layer.
        front, frames: what a step reads; see `Front`.
        boundary: the id before the text.
    """

    def __init__(
        self, config: ModelConfig, *, front: str, frames: int, boundary: int, seed: int, backend: str = "auto"
    ) -> None:
        super().__init__()
        self.config, self.frames, self.boundary = config, frames, boundary
        generator = torch.Generator().manual_seed(seed)
        width, hidden = config.embedding_size, config.hidden_size
        self.embedding = nn.Embedding(config.vocab_size, width)
        self.front = Front(width, hidden, kind=front, frames=frames, generator=generator)
        self.recurrent = LSTM(self.front.size, hidden, backend=backend)
        self.readout = nn.Linear(hidden, frames * config.vocab_size)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1, generator=generator)  # as LanguageModel does
        init_recurrent(self.recurrent, init=config.init, generator=generator)
        nn.init.uniform_(self.readout.weight, -0.1, 0.1, generator=generator)
        nn.init.zeros_(self.readout.bias)

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """Return h and c [1, B, H], and the last ids that were read [reach − 1, B]: before any character."""
        zero = self.readout.bias.new_zeros(1, batch_size, self.config.hidden_size)
        return zero, zero, torch.full((self.front.reach - 1, batch_size), self.boundary)

    def loss(self, batch: Batch, state: tuple[Tensor, ...]) -> tuple[Tensor, int, tuple[Tensor, ...]]:
        """Return summed nats over the targets, how many they are, and the state after, for full rows."""
        steps, rows = batch.inputs.shape
        h, c, tail = state
        ids = torch.cat([tail, batch.inputs])  # [reach − 1 + T, B]
        y, (h, c) = self.recurrent(self.front(self.embedding(ids)), (h, c))
        logits = self.readout(y).float().view(-1, self.config.vocab_size)  # [T / frames · B · frames, V]
        targets = batch.targets.view(-1, self.frames, rows).transpose(1, 2)  # [T / frames, B, frames]
        nats = F.cross_entropy(logits, targets.flatten(), reduction="sum")
        return nats, targets.numel(), (h, c, ids[steps:])
