"""A language model: embedding, recurrent stack with dropout after each layer, linear read-out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from unrolled.data import Batch
from unrolled.errors import ShapeError, expected
from unrolled.ops import Embedded
from unrolled.spec import CELLS, ModelConfig
from unrolled.tasks.language.dropout import Dropout
from unrolled.tasks.language.hub import Pretrained
from unrolled.tasks.protocol import State
from unrolled.tasks.stack import recurrent_stack, start_recurrent
from unrolled.tasks.telemetry import Telemetry, take_telemetry
from unrolled.tokens import Tokens

__all__ = ["LanguageModel"]

LOGITS = 2**22  # held at once while evaluating: 16 MiB, and as much again for the softmax
FILLING = {"normal_", "uniform_", "kaiming_uniform_", "zeros_", "zero_", "fill_"}  # of torch's own layers


class LanguageModel(Pretrained, nn.Module):
    """Predicts the next symbol of a sequence from all that came before.

    Args:
        config: sizes and kind; see `unrolled.spec.ModelConfig`.
        seed: of the starting weights (see `unrolled.nn.init_recurrent`); None leaves torch's,
            for weights that are about to be loaded.
        backend: of the recurrent stack; see `unrolled.explain`.
        embedding_range: embeddings start uniform in ± this much; `unrolled train` takes 1 (decision 0032).
        tokens: the vocabulary that its symbols belong to, where known; kept as `model.tokens`, outside of the
            state_dict, and saved with the model.
    """

    tokens: Tokens | None  # `load` and `from_pretrained` leave it here
    data_config: Mapping[str, Any] | None  # how the text was cut: config.json's section "data"

    def __init__(
        self,
        config: ModelConfig,
        *,
        seed: int | None = 0,
        backend: str = "auto",
        embedding_range: float = 0.1,
        tokens: Tokens | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.tokens, self.data_config = tokens, None
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        self.recurrent = recurrent_stack(config, config.embedding_size, backend=backend)
        self.dropout = Dropout(config.dropout)
        self.recurrent.between_layers = self.dropout
        self.readout = nn.Linear(config.hidden_size, config.vocab_size)
        if seed is not None:
            self._start(torch.Generator().manual_seed(seed), embedding_range)
        if config.tie_weights:
            self.readout.weight = self.embedding.weight

    def _start(self, generator: torch.Generator, reach: float) -> None:
        # 0.1 for embedding and read-out: Zaremba et al. 2014, Merity et al. 2018
        nn.init.uniform_(self.embedding.weight, -reach, reach, generator=generator)
        start_recurrent(self.recurrent, self.config, generator)
        nn.init.uniform_(self.readout.weight, -0.1, 0.1, generator=generator)
        nn.init.zeros_(self.readout.bias)

    @classmethod
    def around(
        cls, config: ModelConfig, weights: Mapping[str, Tensor], *, backend: str = "auto"
    ) -> LanguageModel:
        """Build a network that uses these very tensors as its parameters; nothing is copied or drawn.

        Args:
            weights: by name, as `spec.tensors` lists them.
        """
        with torch.device("meta"), _Unfilled():
            model = cls(config, seed=None, backend=backend)
        model.load_state_dict(weights, strict=not config.tie_weights, assign=True)
        if config.tie_weights:
            model.readout.weight = model.embedding.weight
        return model

    def initial_state(self, batch_size: int) -> State:
        """Return the zero state of `batch_size` rows: [L, B, H], or a pair of them for an LSTM."""
        shape = (self.config.num_layers, batch_size, self.config.hidden_size)
        parts = tuple(self.readout.bias.new_zeros(shape) for _ in CELLS[self.config.cell].states)
        return parts if len(parts) == 2 else parts[0]

    def hidden(
        self, inputs: Tensor, state: State, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run the stack: inputs [T, B] → last layer's outputs [T, B, H] and the state after."""
        y, after = self.recurrent(self._embedded(inputs), state, lengths=lengths, resets=resets)
        return self.dropout(y), after

    def _embedded(self, inputs: Tensor) -> Tensor | Embedded:
        """Return the embeddings of inputs [T, B]: as symbols, which the engine looks up, but for one step."""
        if len(inputs) == 1:
            return cast(Tensor, self.embedding(inputs))
        return Embedded(inputs, self.embedding.weight)

    def forward(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return the logits of the next symbol and the state after.

        Args:
            inputs: [T, B] int64 ids.
            state: as `initial_state` gives it; default zero.
        Returns:
            logits [T, B, V], and the state after the last step.
        Raises:
            ShapeError: `inputs` is not [T, B].
        """
        if inputs.dim() != 2:
            raise ShapeError(expected("inputs", "[T, B]", list(inputs.shape)))
        y, after = self.hidden(inputs, self.initial_state(inputs.shape[1]) if state is None else state)
        return self.readout(y), after

    def loss(self, batch: Batch, state: State) -> tuple[Tensor, int, State]:
        """Return summed nats over the valid targets, how many they are, and the state after."""
        y, after = self.hidden(batch.inputs, state, batch.lengths, batch.resets)
        targets = batch.targets
        if batch.lengths is None:
            y, targets = y.flatten(0, 1), targets.flatten()
        else:
            valid = batch.valid()
            y, targets = y[valid], targets[valid]
        if torch.is_grad_enabled():
            return self._nats(y, targets), targets.numel(), after
        rows = max(1, LOGITS // self.config.vocab_size)  # evaluation: never all logits of a long text
        pieces = zip(torch.split(y, rows), torch.split(targets, rows), strict=True)
        nats = torch.stack([self._nats(*piece) for piece in pieces] or [y.sum()]).sum()
        return nats, targets.numel(), after

    def _nats(self, y: Tensor, targets: Tensor) -> Tensor:
        logits = self.readout(y).float()  # the softmax of a bfloat16 run is summed in float32
        return F.cross_entropy(logits, targets, reduction="sum")

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch], *, carry: bool) -> tuple[float, int]:
        """Return summed nats and targets; `carry` hands the state from batch to batch."""
        was_training = self.training
        self.eval()
        total, count, state = 0.0, 0, None
        try:
            for batch in batches:
                if state is None or not carry:
                    state = self.initial_state(batch.inputs.shape[1])
                nats, n, state = self.loss(batch, state)
                total, count = total + float(nats), count + n
        finally:
            self.train(was_training)
        return total, count

    def telemetry(self, batch: Batch, state: State) -> Telemetry:
        """Measure the gradient's norm by lag, and how far gates stand open, on a few rows of a batch.

        In evaluation mode, so without dropout; parameters, gradients, mode and random state stay as they are.
        """
        return take_telemetry(self, batch, state)

    @torch.inference_mode()
    def step(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Advance one step: inputs [B] int64 → logits [B, V] float32 and the state after."""
        logits, after = self(inputs.unsqueeze(0), state)
        return logits[0].float(), after

    @torch.no_grad()
    def trajectories(self, ids: Tensor) -> list[Any]:
        """Return every gate and state over one sequence `ids` [T]: a named tuple a layer, [T, 1, H] each."""
        layers = self.recurrent.trajectories(self.embedding(ids.unsqueeze(1)), backend="auto")[2]
        return cast(list[Any], layers)


class _Unfilled(TorchFunctionMode):
    """Inside, torch.nn.init does nothing: on the meta device it would load torch's compiler, for a second."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in FILLING:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))
