"""The networks: windows read in segments, the horizon's segments written at once; or step by step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from unrolled import kernels, stream
from unrolled.data import Batch
from unrolled.errors import ConfigError, ShapeError, expected
from unrolled.schema import SeriesReading, forecasts_of
from unrolled.spec import CELLS, ForecastModel, Steps, kind_of
from unrolled.tasks.forecast import distributions
from unrolled.tasks.forecast.channels import Channels
from unrolled.tasks.forecast.schema import Schema
from unrolled.tasks.forecast.steps import step_inputs
from unrolled.tasks.forecast.windows import ForecastBatch, WindowBatches, Windows
from unrolled.tasks.protocol import State
from unrolled.tasks.stack import recurrent_stack, start_recurrent

__all__ = ["ForecastNetwork", "SegmentNetwork", "StepNetwork", "build"]

Array: TypeAlias = npt.NDArray[Any]
EVALUATED_ROWS = 512
READ_STEPS = 4096  # that a state is carried through at a time
READ_ROWS = 64  # series side by side
RUN_STEPS = 512  # of one series, whose forecasts are held at once
EMBEDDING_STD = 0.1
LEAST = 1e-5  # deviation of a window, in standardised units
UNSEEN_SHARE = 0.05  # of rows whose series is hidden in training, so that a new series finds an embedding


class ForecastNetwork(nn.Module):
    """What both kinds have in common: the stack, the read-out, and the loss.

    Args:
        config: its sizes. seed: of the starting weights; None leaves torch's, for weights about to be loaded.
        backend: of the recurrent stack; see `unrolled.explain`.
        quantiles: that it gives, rising, where it gives quantiles.
    """

    def __init__(
        self,
        config: ForecastModel,
        *,
        seed: int | None = 0,
        backend: str = "auto",
        quantiles: tuple[float, ...] = (0.5,),
    ) -> None:
        super().__init__()
        self.config = config
        self.schema: Schema | None = None  # the task leaves it here
        self.recurrent: Any = recurrent_stack(config, config.seen, backend=backend)
        self.dropout = nn.Dropout(config.dropout)
        self.readout = nn.Linear(config.hidden_size, config.written * config.outputs)
        points = torch.tensor(quantiles, dtype=torch.float32)
        self.register_buffer("points", points, persistent=False)
        self._add()
        if seed is not None:
            self._start(torch.Generator().manual_seed(seed))

    def _add(self) -> None:
        """Add further layers."""

    def _start(self, generator: torch.Generator) -> None:
        start_recurrent(self.recurrent, self.config, generator)
        for name, tensor in self.named_parameters():
            if name.startswith("recurrent."):
                continue
            if name in ("position.weight", "series.weight"):
                nn.init.normal_(tensor, std=EMBEDDING_STD, generator=generator)
            elif tensor.dim() == 2:
                reach = 1 / math.sqrt(tensor.shape[1])
                nn.init.uniform_(tensor, -reach, reach, generator=generator)
            else:
                nn.init.zeros_(tensor)

    def initial_state(self, batch_size: int) -> State:
        """Return the zero state of `batch_size` rows: [L, B, H], or a pair of them for an LSTM."""
        config = self.config
        shape = (config.num_layers, batch_size, config.hidden_size)
        parts = tuple(self.readout.bias.new_zeros(shape) for _ in CELLS[config.cell].states)
        return parts if len(parts) == 2 else parts[0]

    def loss(self, batch: Batch, state: State) -> tuple[Tensor, int, State]:
        """Return the summed loss of known targets, how many they are, and the state after."""
        given, after, scale = self._given(batch, state)
        known = ~torch.isnan(batch.targets)
        targets = torch.where(known, batch.targets, 0.0)
        each = distributions.loss(self.config.distribution, given, targets, self._points, scale)
        return torch.where(known, each, 0.0).sum(), int(known.sum()), after

    @property
    def _points(self) -> Tensor:
        points: Any = self.points
        return points  # type: ignore[no-any-return]

    def _given(self, batch: Any, state: State) -> tuple[Tensor, State, Tensor | None]:
        """Return what is given for each target [targets…, O], the state after, and the scale of counts."""
        raise NotImplementedError

    def streamed(self) -> stream.TaskModel | None:
        """Return the model that `unrolled.stream` loads of this network; None where it does not stream."""
        return None

    def answers(self, channels: Channels, windows: Windows) -> Array:
        """Return what the network gives [M, H, O] for windows, in evaluation mode, in standardised units."""
        raise NotImplementedError

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch], *, carry: bool) -> tuple[float, int]:
        """Return the summed loss and targets over batches, in evaluation mode."""
        was_training = self.training
        self.eval()
        total, count = 0.0, 0
        state = None
        try:
            for batch in batches:
                if state is None or not carry:
                    state = self.initial_state(batch.inputs.shape[1])
                loss, n, state = self.loss(batch, state)
                total, count = total + float(loss), count + n
        finally:
            self.train(was_training)
        return total, count

    def _shifted(self, given: Tensor, offset: Tensor | None, factor: Tensor | None = None) -> Tensor:
        """Put back what was taken off a window: offset and factor are broadcast against [..., O].

        Of a point and of quantiles every number is a value; of a distribution the first one is its middle.
        """
        if self.config.distribution == "quantiles":
            given = _rising(given)
        if offset is None:
            return given
        if self.config.distribution in ("point", "quantiles"):
            return given + offset if factor is None else given * factor + offset
        first = given[..., :1] + offset if factor is None else given[..., :1] * factor + offset
        rest = given[..., 1:]
        if factor is not None:  # the deviation is softplus of it: near enough proportional where it is large
            rest = torch.cat([_scaled(rest[..., :1], factor), rest[..., 1:]], -1)
        return torch.cat([first, rest], -1)


def _rising(given: Tensor) -> Tensor:
    """Return quantiles […, Q] that do not cross: the median, and a distance above 0 to each next one."""
    middle = given.shape[-1] // 2
    steps = nn.functional.softplus(given)
    above = steps[..., middle + 1 :].cumsum(-1)
    below = steps[..., :middle].flip(-1).cumsum(-1).flip(-1)
    median = given[..., middle : middle + 1]
    return torch.cat([median - below, median, median + above], -1)


def _scaled(raw: Tensor, factor: Tensor) -> Tensor:
    """Return what softplus makes `factor` times softplus(raw)."""
    spread = nn.functional.softplus(raw) * factor
    return spread + torch.log(-torch.expm1(-spread.clamp(min=1e-6)))


class SegmentNetwork(ForecastNetwork):
    """Reads a window segment by segment, and writes every segment of the horizon from the state after it.

    Source: SegRNN (Lin et al. 2023): the same recurrent layers take one step for each segment of the horizon,
    all from one state, told apart by an embedding of their place, of the series, and by what is known ahead.
    """

    def _add(self) -> None:
        config, hidden = self.config, self.config.hidden_size
        self.segment = nn.Linear(config.segment * config.input_size, hidden)
        self.position = nn.Embedding(config.pieces, hidden)
        self.series = nn.Embedding(config.series + 1, hidden) if config.series else None
        self.known = (
            nn.Linear(config.written * config.known_size, hidden, bias=False) if config.known_size else None
        )
        self.static = nn.Linear(config.static_size, hidden, bias=False) if config.static_size else None

    def forward(
        self,
        inputs: Tensor,
        future: Tensor | None = None,
        static: Tensor | None = None,
        series: Tensor | None = None,
        state: State | None = None,
    ) -> Tensor:
        """Return what is given for each value.

        Args:
            inputs: [W, B, C], the value first. future: [H, B, K]; default 0.
            static: [B, S]; default 0. series: [B] int64; default series that are not known.
            state: as `initial_state` gives it; default zero.
        Returns:
            [B, H, O], in standardised units.
        Raises:
            ShapeError: `inputs` has other axes.
        """
        config = self.config
        steps, rows = inputs.shape[:2] if inputs.dim() == 3 else (0, 0)
        if inputs.dim() != 3 or (steps, inputs.shape[2]) != (config.window, config.input_size):
            want = f"[{config.window}, B, {config.input_size}]"
            raise ShapeError(expected("inputs", want, list(inputs.shape)))
        taken, offset, factor = self._normalised(inputs)
        about = self._about(rows, static, series)
        pieces = taken.view(-1, config.segment, rows, config.input_size).transpose(1, 2)
        seen = self.segment(pieces.reshape(len(pieces), rows, -1))
        seen = torch.relu(seen if about is None else seen + about)
        y, after = self.recurrent(seen, state)
        given = self._written(y, after, about, future)
        return self._shifted(given, offset, factor)

    def _normalised(self, inputs: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return inputs without their level, and what it was: offset and factor [B, 1, 1]."""
        value = inputs[..., :1]
        if self.config.normalise == "none":
            return inputs, None, None
        if self.config.normalise == "last":
            offset = value[-1:]
            taken = value - offset
            return torch.cat([taken, inputs[..., 1:]], -1), offset[0].unsqueeze(1), None
        offset = value.mean(0, keepdim=True)
        factor = value.std(0, keepdim=True, correction=0) + LEAST
        taken = (value - offset) / factor
        return torch.cat([taken, inputs[..., 1:]], -1), offset[0].unsqueeze(1), factor[0].unsqueeze(1)

    def _about(self, rows: int, static: Tensor | None, series: Tensor | None) -> Tensor | None:
        """Return what is known of each row's series [B, hidden]; None: nothing can be."""
        found: Tensor | None = None
        if self.series is not None:
            unseen = self.config.series
            if series is None:
                series = torch.full((rows,), unseen)
            elif self.training:
                series = series.masked_fill(torch.rand(rows) < UNSEEN_SHARE, unseen)
            found = self.series(series)
        if self.static is not None and static is not None:
            told: Tensor = self.static(static)
            found = told if found is None else found + told
        return found

    def _written(self, y: Tensor, after: State, about: Tensor | None, future: Tensor | None) -> Tensor:
        """Return the forecast [B, H, O]: a step of the stack for each piece, all from the state after."""
        config, rows = self.config, y.shape[1]
        asked = self.position.weight.unsqueeze(1).expand(-1, rows, -1)  # [M, B, hidden]
        if about is not None:
            asked = asked + about
        if self.known is not None and future is not None:
            short = config.pieces * config.written - len(future)
            padded = nn.functional.pad(future, (0, 0, 0, 0, 0, short))
            known = padded.view(config.pieces, config.written, rows, -1).transpose(1, 2)
            asked = asked + self.known(known.reshape(config.pieces, rows, -1))
        state = _repeated(after, y, config.pieces)
        # `forward`, not a call: what watches the stack sees the window being read, once
        out, _ = self.recurrent.forward(asked.reshape(1, config.pieces * rows, -1), state)
        written = self.readout(self.dropout(out[0])).float()
        given = written.view(config.pieces, rows, config.written, config.outputs).transpose(0, 1)
        found: Tensor = given.reshape(rows, -1, config.outputs)[:, : config.horizon]
        return found

    def _given(self, batch: Any, state: State) -> tuple[Tensor, State, Tensor | None]:
        assert isinstance(batch, ForecastBatch)
        given = self(batch.inputs, batch.future, batch.static, batch.series, state)
        scale = None if batch.scale is None else batch.scale.unsqueeze(1)
        return given, state, scale

    @torch.no_grad()
    def answers(self, channels: Channels, windows: Windows) -> Array:
        config, was_training = self.config, self.training
        self.eval()
        batches = WindowBatches(
            channels, windows, window=config.window, horizon=config.horizon, batch_size=EVALUATED_ROWS
        )
        found = [np.zeros((0, config.horizon, config.outputs), np.float32)]
        try:
            for batch in batches.epoch(0):
                given = self(batch.inputs, batch.future, batch.static, batch.series)
                found.append(given.numpy())
        finally:
            self.train(was_training)
        return np.concatenate(found)


class StepNetwork(ForecastNetwork):
    """Reads a series step by step, its state carried on, and gives the whole horizon after each step."""

    def forward(
        self, inputs: Tensor, state: State | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Return what is given after each step, and the state after the last.

        Args:
            inputs: [T, B, I], see `steps.step_inputs`; the value first. state: default zero.
            resets: [T, B] bool, where a series begins.
        Returns:
            [T, B, H, O] in standardised units, and the state.
        """
        config = self.config
        y, after = self.recurrent(inputs, state, resets=resets)
        given = self.readout(self.dropout(y)).float().view(*y.shape[:2], config.horizon, config.outputs)
        offset = inputs[..., :1].unsqueeze(-1) if config.normalise == "last" else None
        return self._shifted(given, offset), after

    def _given(self, batch: Any, state: State) -> tuple[Tensor, State, Tensor | None]:
        given, after = self(batch.inputs, state, batch.resets)
        return given, after, None

    @torch.no_grad()
    def answers(self, channels: Channels, windows: Windows) -> Array:
        config, was_training = self.config, self.training
        self.eval()
        found = np.zeros((len(windows.series), config.horizon, config.outputs), np.float32)
        try:
            engine = self._engine()
            if engine is not None:
                self._run(engine, channels, windows, found)
                return found
            numbers = np.unique(windows.series)
            numbers = numbers[np.argsort(channels.lengths[numbers], kind="stable")]
            for first in range(0, len(numbers), READ_ROWS):
                self._read(channels, windows, numbers[first : first + READ_ROWS], found)
        finally:
            self.train(was_training)
        return found

    def _engine(self) -> stream.AnswerNetwork | None:
        """Return the network as `unrolled.stream` runs it: its forecasts are these, to the bit.

        None: a backend without the engine was asked for by name, or it has no kernels, here or of this cell.
        """
        asked = self.recurrent.backend in ("auto", "native") and CELLS[self.config.cell].has_kernels
        if not (asked and not self.config.zoneout and kernels.available()):
            return None
        return stream.AnswerNetwork.from_arrays(*self._weights())

    def streamed(self) -> stream.TaskModel | None:
        config, schema = self.config, self.schema
        if schema is None or self._engine() is None:
            return None
        try:
            reading = SeriesReading(schema, outputs=config.outputs, normalise=config.normalise)
        except ConfigError:  # it reads what no step has
            return None
        return stream.TaskModel.from_task(*self._weights(), reading, None)

    def _weights(self) -> tuple[dict[str, Array], Steps]:
        arrays = {name: tensor.detach().float().numpy() for name, tensor in self.named_parameters()}
        kind = kind_of(self.config)
        assert kind.steps is not None
        return arrays, kind.steps(self.config)

    def _run(self, engine: stream.AnswerNetwork, channels: Channels, windows: Windows, found: Array) -> None:
        """Run whole series, and keep what is given before each of their windows."""
        config, session = self.config, stream.Session(engine)
        for number in np.unique(windows.series):
            chosen = np.flatnonzero(windows.series == number)
            at = windows.origins[chosen] - 1
            session.reset()
            for first in range(0, int(at.max()) + 1, RUN_STEPS):
                steps = np.arange(first, min(first + RUN_STEPS, int(at.max()) + 1))
                inputs = step_inputs(channels, np.full(len(steps), number), steps, config.horizon)
                here = (at >= first) & (at <= steps[-1])
                given = session.run(inputs)[at[here] - first]
                offset = inputs[at[here] - first, 0] if config.normalise == "last" else None
                given = given.reshape(len(given), config.horizon, config.outputs)
                found[chosen[here]] = forecasts_of(given, config.distribution, offset)

    def _read(self, channels: Channels, windows: Windows, numbers: Array, found: Array) -> None:
        """Carry the state through whole series, and keep what is given before each of their windows."""
        chosen = np.flatnonzero(np.isin(windows.series, numbers))
        row = np.searchsorted(np.sort(numbers), windows.series[chosen])
        numbers = np.sort(numbers)
        at = windows.origins[chosen] - 1
        state = self.initial_state(len(numbers))
        for first in range(0, int(at.max(initial=-1)) + 1, READ_STEPS):
            steps = np.arange(first, min(first + READ_STEPS, int(at.max()) + 1))
            # behind the end of a series its last row is read, and nothing is kept
            inside = np.minimum(steps[:, None], channels.lengths[numbers] - 1)
            series = np.broadcast_to(numbers, inside.shape)
            inputs = torch.from_numpy(step_inputs(channels, series, inside, self.config.horizon))
            y, state = self.recurrent(inputs, state)
            here = (at >= first) & (at <= steps[-1])
            kept = y[torch.from_numpy(at[here] - first), torch.from_numpy(row[here])]
            value = inputs[torch.from_numpy(at[here] - first), torch.from_numpy(row[here]), :1]
            given = self.readout(kept).float().view(len(kept), self.config.horizon, self.config.outputs)
            offset = value.unsqueeze(-1) if self.config.normalise == "last" else None
            found[chosen[here]] = self._shifted(given, offset).numpy()


def _repeated(after: State, y: Tensor, times: int) -> State:
    """Return a state once for each piece; h of the last layer is the last output, so that it is watched."""
    if isinstance(after, tuple):
        h, c = after
        return _top(h, y).repeat(1, times, 1), c.repeat(1, times, 1)
    return _top(after, y).repeat(1, times, 1)


def _top(h: Tensor, y: Tensor) -> Tensor:
    return y[-1:] if len(h) == 1 else torch.cat([h[:-1], y[-1:]])


def build(
    config: ForecastModel,
    *,
    seed: int | None,
    backend: str,
    quantiles: tuple[float, ...] = (0.5,),
) -> ForecastNetwork:
    """Return the network of these sizes."""
    kind = StepNetwork if config.causal else SegmentNetwork
    return kind(config, seed=seed, backend=backend, quantiles=quantiles)
