"""The network: symbols or channels, a recurrent stack over ragged lengths, pooling, a linear read-out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled import kernels, stream
from unrolled.data import Batch, SampleBatches
from unrolled.errors import ConfigError, ShapeError, expected
from unrolled.schema import SequenceReading
from unrolled.spec import CELLS, STEP, ClassifyModel, RegressModel, Steps, kind_of
from unrolled.tasks.classify.schema import Schema
from unrolled.tasks.protocol import State
from unrolled.tasks.stack import recurrent_stack, start_recurrent
from unrolled.tokens import Tokens

__all__ = ["SequenceNetwork"]

READOUT_REACH = 0.1  # of its uniform start: Zaremba et al. 2014
EVALUATED_ROWS = 64

Array = npt.NDArray[Any]


class SequenceNetwork(nn.Module):
    """Gives an answer for each sequence, or at each step: logits of classes, or standardised numbers.

    Args:
        config: its sizes. seed: of the starting weights; None leaves torch's, for weights about to be loaded.
        backend: of the recurrent stack; see `unrolled.explain`.
        class_weights: [K] of the loss; default 1 each.
    """

    def __init__(
        self,
        config: ClassifyModel | RegressModel,
        *,
        seed: int | None = 0,
        backend: str = "auto",
        class_weights: Array | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.schema: Schema | None = None  # `load` leaves both here
        self.tokens: Tokens | None = None
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size) if config.vocab_size else None
        self.recurrent = recurrent_stack(
            config, config.seen, bidirectional=not config.causal, backend=backend
        )
        width = config.hidden_size * config.directions
        self.attention = nn.Linear(width, 1, bias=False) if config.pooling == "attention" else None
        self.dropout = nn.Dropout(config.dropout)
        self.readout = nn.Linear(config.pooled, config.outputs)
        weights = None if class_weights is None else torch.from_numpy(np.asarray(class_weights, np.float32))
        self.register_buffer("class_weights", weights, persistent=False)
        if seed is not None:
            self._start(torch.Generator().manual_seed(seed))

    def _start(self, generator: torch.Generator) -> None:
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=0.5, generator=generator)
        start_recurrent(self.recurrent, self.config, generator)
        for layer in (self.readout, self.attention):
            if layer is not None:
                nn.init.uniform_(layer.weight, -READOUT_REACH, READOUT_REACH, generator=generator)
        nn.init.zeros_(self.readout.bias)

    def initial_state(self, batch_size: int) -> State:
        """Return the zero state of `batch_size` rows: [L·D, B, H], or a pair of them for an LSTM."""
        config = self.config
        shape = (config.num_layers * config.directions, batch_size, config.hidden_size)
        parts = tuple(self.readout.bias.new_zeros(shape) for _ in CELLS[config.cell].states)
        return parts if len(parts) == 2 else parts[0]

    def hidden(
        self, inputs: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Run the stack: inputs [T, B, C] or ids [T, B] → outputs [T, B, D·H], zero past a row's length."""
        if inputs.dim() != (2 if self.embedding is not None else 3):
            want = "[T, B] of ids" if self.embedding is not None else "[T, B, C] of numbers"
            raise ShapeError(expected("inputs", want, list(inputs.shape)))
        x = inputs if self.embedding is None else self._embedded(inputs)
        if self.config.neighbours:
            x = _with_neighbours(x, lengths, self.config.neighbours, causal=self.config.causal)
        y, after = self.recurrent(x, state, lengths=lengths)
        return y, after

    def _embedded(self, ids: Tensor) -> Tensor:
        """Return the embeddings [T, B, E] of ids [T, B]; in training some symbols are dropped, zeros instead.

        Source: Iyyer et al. 2015 (word dropout).
        """
        assert self.embedding is not None
        x: Tensor = self.dropout(self.embedding(ids))
        if self.training and self.config.symbol_dropout:
            x = x * (torch.rand(ids.shape, device=ids.device) >= self.config.symbol_dropout).unsqueeze(-1)
        return x

    def forward(self, inputs: Tensor, lengths: Tensor | None = None, state: State | None = None) -> Tensor:
        """Return an answer for each row, or of a network with pooling "step" at each step.

        Args:
            inputs: [T, B, C] floating point, or [T, B] int64 ids; padding may hold anything.
            lengths: [B] int64, at least 1 each; default all T.
            state: as `initial_state` gives it; default zero.
        Returns:
            logits [B, K], or for a number [B, 1]; at each step [T, B, K].
        Raises:
            ShapeError: `inputs` has other axes.
        """
        y, after = self.hidden(inputs, lengths, state)
        return self._answer(y, lengths, after)

    def _answer(self, y: Tensor, lengths: Tensor | None, after: State) -> Tensor:
        answer: Tensor = self.readout(self.dropout(self._pooled(y, lengths, after)))
        return answer.float()

    def _pooled(self, y: Tensor, lengths: Tensor | None, after: State) -> Tensor:
        """Return [B, pooled] of outputs [T, B, D·H], over valid steps alone; or the outputs, one a step."""
        if self.config.pooling == STEP:
            return y
        if self.config.pooling == "last":
            h = after[0] if isinstance(after, tuple) else after
            return torch.cat(tuple(h[-self.config.directions :]), -1).to(y.dtype)
        ragged = lengths is not None and bool((lengths < len(y)).any())
        valid = None
        if ragged:
            assert lengths is not None
            valid = (torch.arange(len(y)).unsqueeze(1) < lengths).unsqueeze(-1)
        if self.attention is not None:
            scores = self.attention(y).float()
            if valid is not None:
                scores = scores.masked_fill(~valid, -torch.inf)
            attended: Tensor = (y * scores.softmax(0).to(y.dtype)).sum(0)
            return attended
        steps = len(y) if lengths is None else lengths.unsqueeze(-1)
        mean = y.sum(0) / steps  # outputs are zero past a row's length
        largest = y if valid is None else y.masked_fill(~valid, -torch.inf)
        return torch.cat([mean.to(y.dtype), largest.amax(0)], -1)

    @torch.no_grad()
    def per_step(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the answer [T, B, K] that would be given after each step, from the steps so far alone.

        Of a causal network. Past a row's length its last answer stands, where one pools.
        Raises ConfigError: a network that reads both ways.
        """
        if not self.config.causal:
            raise ConfigError(expected("network", "one that is causal", "one that reads both ways"))
        engine = self._engine()
        if engine is None:
            return self._per_step(inputs, lengths)
        found = torch.empty(*inputs.shape[:2], self.config.outputs)
        for row in range(inputs.shape[1]):
            steps = len(inputs) if lengths is None else int(lengths[row])
            answers = torch.from_numpy(engine.per_step(inputs[:steps, row].numpy()))
            found[:steps, row], found[steps:, row] = answers, answers[-1:]
        return found

    def _engine(self) -> stream.AnswerNetwork | None:
        """Return the network as `unrolled.stream` runs it: answers of one that is causal are its, to the bit.

        None: it reads both ways, a backend without the engine was asked for by name, or the engine has no
        kernels, here or of this cell.
        """
        asked = self.recurrent.backend in ("auto", "native") and CELLS[self.config.cell].has_kernels
        if not (self.config.causal and asked and not self.config.zoneout and kernels.available()):
            return None
        return stream.AnswerNetwork.from_arrays(*self._weights())

    def streamed(self) -> stream.TaskModel | None:
        """Return the model that `unrolled.stream` loads of this network; None where `answers` are torch's."""
        if self._engine() is None or self.schema is None:
            return None
        return stream.TaskModel.from_task(*self._weights(), SequenceReading(self.schema), self.tokens)

    def _weights(self) -> tuple[dict[str, Array], Steps]:
        arrays = {name: tensor.detach().float().numpy() for name, tensor in self.named_parameters()}
        kind = kind_of(self.config)
        assert kind.steps is not None
        return arrays, kind.steps(self.config)

    def _per_step(self, inputs: Tensor, lengths: Tensor | None) -> Tensor:
        y, _ = self.hidden(inputs, lengths)
        if self.config.pooling == STEP:
            return self.readout(y).float()  # type: ignore[no-any-return]
        if lengths is not None:  # carry each row's last output on, for the pooling that reads it
            at = torch.minimum(torch.arange(len(y)).unsqueeze(1), lengths - 1)
            y = y.gather(0, at.unsqueeze(-1).expand_as(y))
        if self.config.pooling == "last":
            return self.readout(y).float()  # type: ignore[no-any-return]
        count = torch.arange(1, len(y) + 1, dtype=y.dtype).view(-1, 1, 1)
        if lengths is not None:
            within = torch.arange(len(y)).unsqueeze(1) < lengths
            y_sum = (y * within.unsqueeze(-1)).cumsum(0)
            count = torch.minimum(count, lengths.view(1, -1, 1).to(y.dtype))
        else:
            y_sum = y.cumsum(0)
        pooled = torch.cat([y_sum / count, y.cummax(0).values], -1)
        return self.readout(pooled).float()  # type: ignore[no-any-return]

    def loss(self, batch: Batch, state: State) -> tuple[Tensor, int, State]:
        """Return the summed loss over rows, or steps with a target, how many they are, and the state after.

        Nats of the right class, times its weight; nats of all labels, where there are several; or squared
        errors, their mean of several numbers. What is of an unseen class does not count.
        """
        y, after = self.hidden(batch.inputs, batch.lengths, state)
        answer, targets = self._answer(y, batch.lengths, after), batch.targets
        if not batch.per_row:
            scored = batch.valid()
            answer, targets = answer[scored], targets[scored]
        if isinstance(self.config, RegressModel):
            wanted = targets if targets.ndim == 2 else targets.unsqueeze(-1)
            error = F.mse_loss(answer, wanted, reduction="sum") / self.config.outputs
            return error, len(targets), after
        weights: Any = self.class_weights
        if targets.ndim == 2:
            nats = F.binary_cross_entropy_with_logits(answer, targets, pos_weight=weights, reduction="sum")
            return nats, len(targets), after
        known = targets >= 0
        nats = F.cross_entropy(answer[known], targets[known], weight=weights, reduction="sum")
        return nats, int(known.sum()), after

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch], *, carry: bool) -> tuple[float, int]:
        """Return the summed loss and rows over batches, in evaluation mode."""
        was_training = self.training
        self.eval()
        total, count = 0.0, 0
        try:
            for batch in batches:
                loss, n, _ = self.loss(batch, self.initial_state(batch.inputs.shape[1]))
                total, count = total + float(loss), count + n
        finally:
            self.train(was_training)
        return total, count

    @torch.no_grad()
    def answers(self, inputs: list[Array]) -> Array:
        """Return the answers [N, K] for encoded samples in their order, in evaluation mode.

        At each step, of a network with pooling "step", [ΣT_i, K], sample after sample. Of a causal network
        these are the bits that `unrolled.stream` gives.
        """
        engine = self._engine()
        if engine is not None:
            if self.config.pooling == STEP:
                return np.concatenate([engine.per_step(each) for each in inputs])
            return engine.answers(inputs)
        was_training = self.training
        self.eval()
        batches = SampleBatches(
            inputs, np.zeros(len(inputs), np.int64), batch_size=EVALUATED_ROWS, seed=0, shuffle=False
        )
        sizes = np.array([len(each) if self.config.pooling == STEP else 1 for each in inputs])
        begins = np.cumsum(sizes) - sizes
        found = np.zeros((int(sizes.sum()), self.config.outputs), np.float32)
        try:
            for rows, batch in zip(batches.indices(0), batches.epoch(0), strict=True):
                given = self(batch.inputs, batch.lengths).numpy()
                if self.config.pooling != STEP:
                    found[rows] = given
                    continue
                for column, row in enumerate(rows.tolist()):
                    begin, size = begins[row], sizes[row]
                    found[begin : begin + size] = given[:size, column]
        finally:
            self.train(was_training)
        return found

    @torch.no_grad()
    def answers_after(self, inputs: list[Array], parts: int) -> dict[float, Array]:
        """Return share of the steps → answers [N, K] of a causal network that has seen so much of each."""
        was_training = self.training
        self.eval()
        shares = [(k + 1) / parts for k in range(parts)]
        found = {share: np.zeros((len(inputs), self.config.outputs), np.float32) for share in shares}
        batches = SampleBatches(
            inputs, np.zeros(len(inputs), np.int64), batch_size=EVALUATED_ROWS, seed=0, shuffle=False
        )
        for rows, batch in zip(batches.indices(0), batches.epoch(0), strict=True):
            assert batch.lengths is not None
            steps = self.per_step(batch.inputs, batch.lengths)
            for share in shares:
                at = (batch.lengths * share).ceil().long().clamp(min=1) - 1
                found[share][rows] = steps[at, torch.arange(len(rows))].numpy()
        self.train(was_training)
        return found


def _with_neighbours(x: Tensor, lengths: Tensor | None, reach: int, *, causal: bool) -> Tensor:
    """Put the steps around each beside it: [T, B, C·(1 + reach)], or C·(1 + 2·reach) of both sides.

    Beyond an end of a row are zeros.
    """
    if lengths is not None:
        inside = torch.arange(len(x)).unsqueeze(1) < lengths
        x = x * inside.unsqueeze(-1)
    shifts = range(-reach, 1 if causal else reach + 1)
    padded = F.pad(x, (0, 0, 0, 0, reach, reach))
    return torch.cat([padded[reach + k : reach + k + len(x)] for k in shifts], -1)
