"""The network: a word's parts, a two-way stack over ragged sentences, a conditional random field."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.data import Batch
from unrolled.errors import ConfigError, ShapeError, expected
from unrolled.spec import CELLS, TagModel, tensors
from unrolled.tasks.calibration import golden_section
from unrolled.tasks.protocol import State, Summed
from unrolled.tasks.stack import recurrent_stack, start_recurrent
from unrolled.tasks.tag import crf
from unrolled.tasks.tag.batches import Encoded, SentenceBatch, SentenceBatches
from unrolled.tasks.tag.forms import Forms
from unrolled.tasks.tag.schema import Schema

__all__ = ["Answers", "TagNetwork"]

Array = npt.NDArray[Any]
EVALUATED_ROWS = 64
READOUT_REACH = 0.1
TEMPERATURES = (0.7, 6.0)  # between which the one that fits best is looked for
CLOSE = 0.06  # of its logarithm


class TagNetwork(nn.Module):
    """Gives each word of a sentence a tag.

    Args:
        config: its sizes. seed: of the starting weights; None leaves them, for weights about to be loaded.
        backend: of the recurrent stack; see `unrolled.explain`. schema: what says which tag may follow which.
    """

    def __init__(
        self,
        config: TagModel,
        *,
        seed: int | None = 0,
        backend: str = "auto",
        schema: Schema | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        shapes = {name: shape for name, (_, shape) in tensors(config).items()}
        self.word, self.shape, self.affix, self.character = (
            _table(shapes[f"{name}.weight"]) for name in ("word", "shape", "affix", "character")
        )
        filters, window = shapes["convolution.weight"]
        self.convolution = nn.Linear(window, filters)
        self.column = _table(shapes["column.weight"]) if config.columns else None
        self.recurrent = recurrent_stack(config, config.seen, bidirectional=True, backend=backend)
        self.readout = nn.Linear(2 * config.hidden_size, config.tags)
        self.transitions = nn.Parameter(torch.zeros(shapes["transitions"]))
        self.register_buffer("barred", torch.zeros(shapes["transitions"], dtype=torch.bool), persistent=False)
        self.schema: Schema | None = None
        if schema is not None:
            self.take(schema)
        if seed is not None:
            self._start(torch.Generator().manual_seed(seed))

    def take(self, schema: Schema) -> None:
        """Take what says which tag may follow which."""
        self.schema = schema
        self.barred = torch.from_numpy(~schema.legal)

    def _known(self) -> Schema:
        if self.schema is None:
            raise ConfigError(expected("network", "one that knows its tags: call `take`", "none"))
        return self.schema

    def _start(self, generator: torch.Generator) -> None:
        tables = [self.word, self.shape, self.affix, self.character, self.column]
        for table in tables:
            if table is not None:
                nn.init.normal_(table.weight, std=0.3, generator=generator)
        nn.init.xavier_uniform_(self.convolution.weight, generator=generator)
        nn.init.zeros_(self.convolution.bias)
        start_recurrent(self.recurrent, self.config, generator)
        nn.init.uniform_(self.readout.weight, -READOUT_REACH, READOUT_REACH, generator=generator)
        nn.init.zeros_(self.readout.bias)

    def initial_state(self, batch_size: int) -> State:
        """Return the zero state of `batch_size` rows: [2L, B, H], or a pair of them for an LSTM."""
        config = self.config
        shape = (config.num_layers * 2, batch_size, config.hidden_size)
        parts = tuple(self.readout.bias.new_zeros(shape) for _ in CELLS[config.cell].states)
        return parts if len(parts) == 2 else parts[0]

    def of_words(self, forms: Forms) -> Tensor:
        """Return what each different word becomes [U, ·]: embeddings, and a convolution over characters."""
        words = torch.from_numpy(forms.words)
        if self.training and self.config.word_dropout:
            words = words * (torch.rand(len(words)) >= self.config.word_dropout)
        affixes = self.affix(torch.from_numpy(forms.affixes)).flatten(1)
        shape = self.shape(torch.from_numpy(forms.shapes))
        return torch.cat([self.word(words), shape, affixes, self._spelled(forms)], -1)

    def _spelled(self, forms: Forms) -> Tensor:
        """Return the largest answer of each filter over a word's characters [U, ·]."""
        given = F.pad(torch.from_numpy(forms.characters), (1, 1))
        letters = self.character(given)  # [U, W + 2, C]; the padding is a character too
        windows = torch.cat([letters[:, :-2], letters[:, 1:-1], letters[:, 2:]], -1)
        inside = torch.from_numpy(np.arange(forms.characters.shape[1]) < forms.lengths[:, None])
        answers: Tensor = self.convolution(windows).masked_fill(~inside[..., None], -torch.inf)
        return answers.amax(1).relu()

    def read(self, batch: SentenceBatch) -> Tensor:
        """Return what the stack reads at each step [T, B, `config.seen`]."""
        x = F.embedding(batch.inputs, self.of_words(batch.forms))
        return x if self.column is None else torch.cat([x, self.column(batch.columns).flatten(2)], -1)

    def forward(
        self, inputs: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Return the score of each tag at each step [T, B, K], and the state after, of what `read` gives."""
        if inputs.dim() != 3 or inputs.shape[2] != self.config.seen:
            raise ShapeError(expected("inputs", f"[T, B, {self.config.seen}]", list(inputs.shape)))
        y, after = self.recurrent(self._locked(inputs), state, lengths=lengths)
        return self.readout(self._locked(y)), after

    def emissions(self, batch: SentenceBatch, state: State | None = None) -> tuple[Tensor, State]:
        """Return the score of each tag at each step [T, B, K], and the state after."""
        found: tuple[Tensor, State] = self(self.read(batch), batch.lengths, state)
        return found

    def _locked(self, x: Tensor) -> Tensor:
        """Drop the same units at every step of a row (Gal & Ghahramani 2016), while training."""
        share = self.config.dropout
        if not self.training or not share:
            return x
        return x * F.dropout(torch.ones_like(x[:1]), share)

    def moves(self) -> Tensor:
        """Return the score of each transition [K + 2, K + 2], −inf where it is barred."""
        barred: Any = self.barred
        return self.transitions.masked_fill(barred, -torch.inf)

    def loss(self, batch: Batch, state: State) -> tuple[Tensor, int, State]:
        """Return the summed −log probability of the tags, in nats, the words that it covers, the state after.

        A sentence with a tag that never occurs in training does not count.
        """
        assert isinstance(batch, SentenceBatch)
        emissions, after = self.emissions(batch, state)
        lengths = _lengths(batch)
        known = _known(batch, lengths)
        if not bool(known.all()):
            emissions, lengths = emissions[:, known], lengths[known]
        tags = batch.targets[:, known]
        nats = crf.negative_log_likelihood(emissions, self.moves(), tags.clamp(min=0), lengths)
        return nats.sum(), int(lengths.sum()), after

    def evaluate(self, batches: Iterable[Batch], *, carry: bool) -> tuple[float, int]:
        """Return the summed loss and words over batches, in evaluation mode, at the best temperature.

        Scores grow in training long after the tags get no better; the loss at temperature 1 then rises while
        F1 still does. At the best temperature the two agree: docs/decisions/0026.
        """
        return self.fitted(batches)[1:]

    @torch.no_grad()
    def fitted(self, batches: Iterable[Batch], summed: Summed = list) -> tuple[float, float, int]:
        """Return the temperature at which the summed loss over batches is least, that loss, and the words.

        With T the temperature, scores are divided by it; the loss is convex in 1 / T (Guo et al. 2017).

        Args:
            summed: what adds up numbers of all processes, each of which has some of the rows.
        """
        was_training = self.training
        self.eval()
        try:
            scored = [self._scored(batch) for batch in batches]
        finally:
            self.train(was_training)
        moves = self.moves()

        def loss(logarithm: float) -> float:
            scale = float(np.exp(-logarithm))
            parts = ((e * scale, moves * scale, tags, lengths) for e, tags, lengths in scored)
            return summed([sum(float(crf.negative_log_likelihood(*part).sum()) for part in parts)])[0]

        best, least = golden_section(loss, *np.log(TEMPERATURES), tolerance=CLOSE)
        (words,) = summed([sum(int(lengths.sum()) for _, _, lengths in scored)])
        return float(np.exp(best)), least, int(words)

    def _scored(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the scores, tags and lengths of those sentences of a batch whose tags training has."""
        assert isinstance(batch, SentenceBatch)
        emissions, _ = self.emissions(batch)
        lengths = _lengths(batch)
        known = _known(batch, lengths)
        return emissions[:, known], batch.targets[:, known].clamp(min=0), lengths[known]

    @torch.no_grad()
    def examined(self, encoded: Encoded, rows: int) -> Batch:
        """Return the longest sentences, as what `read` gives of them: what a probe changes and measures."""
        batches = SentenceBatches(encoded, batch_size=rows)
        batch = batches.batch(batches.indices(0)[-1])
        return Batch(self.read(batch), batch.targets.clamp(min=0), batch.lengths)

    @torch.no_grad()
    def answers(self, encoded: Encoded, *, chances: bool = False) -> Answers:
        """Return the best path of each sentence, and how probable its tags are, in evaluation mode.

        Args:
            encoded: N sentences. chances: whether to keep how probable every tag is at every word, too.
        """
        was_training = self.training
        self.eval()
        schema = self._known()
        scale, alike = 1.0 / schema.temperature, np.unique(schema.answers, return_inverse=True)[1]
        batches = SentenceBatches(encoded, batch_size=EVALUATED_ROWS)
        found = Answers([_NONE] * len(encoded), [_NONE] * len(encoded), [_NONE] * len(encoded) * chances)
        try:
            for rows in batches.indices(0):
                batch = batches.batch(rows)
                emissions, _ = self.emissions(batch)
                lengths = _lengths(batch)
                best = crf.best_paths(emissions, self.moves(), lengths)
                given = crf.marginals(emissions * scale, self.moves() * scale, lengths).astype(np.float32)
                chosen = (given * (alike[best][..., None] == alike)).sum(-1)
                for column, (row, length) in enumerate(zip(rows, lengths.tolist(), strict=True)):
                    found.paths[row] = best[:length, column]
                    found.confidence[row] = chosen[:length, column]
                    if chances:
                        found.chances[row] = given[:length, column]
        finally:
            self.train(was_training)
        return found


_NONE: Array = np.zeros(0, np.int64)


class Answers(NamedTuple):
    """Tags of N sentences, as numbers."""

    paths: list[Array]  # [T_i] each
    confidence: list[Array]  # [T_i] each: how probable that tag is there, of all
    chances: list[Array]  # [T_i, K] each, of every tag; [] where they were not asked for


def _known(batch: Batch, lengths: Tensor) -> Tensor:
    """Return which rows only have tags that occur in training [B]."""
    within = torch.arange(len(batch.targets))[:, None] < lengths
    return ((batch.targets >= 0) | ~within).all(0)


def _table(shape: tuple[int, ...]) -> nn.Embedding:
    return nn.Embedding(shape[0], shape[1])


def _lengths(batch: Batch) -> Tensor:
    if batch.lengths is not None:
        return batch.lengths
    return torch.full((batch.inputs.shape[1],), len(batch.inputs))
