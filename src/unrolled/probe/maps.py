"""Memory map: which inputs each prediction depends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unrolled import figures
from unrolled.errors import ConfigError, ShapeError, expected
from unrolled.ops import gradients_by_lag
from unrolled.probe.batch import Inputs, at_least_one
from unrolled.probe.losses import Loss, Progress, is_local, step_losses
from unrolled.probe.recording import Recording, Run, nodes, record
from unrolled.probe.result import Floats, Result
from unrolled.probe.subject import untouched


@dataclass(frozen=True)
class MemoryMap(Result):
    """What `memory_map` measured.

    Attributes:
        norms: [T, T] ‖∂L_t/∂x_s‖ at [t, s], 0 above the diagonal; for a language model L_t is minus the
            log-probability of the token that follows, in nats, and x_s the embedded token.
        tokens: [T] the texts of the steps, or None.
        unit: of the norms.
    """

    norms: Floats
    tokens: tuple[str, ...] | None
    unit: str

    @property
    def reach(self) -> Floats:
        """[T] how far back each prediction looks: the mean lag, weighted by the norms."""
        at = np.arange(len(self.norms))
        lag = np.clip(at[:, None] - at, 0, None)
        whole = self.norms.sum(axis=1)
        found: Floats = np.divide(
            (self.norms * lag).sum(axis=1), whole, out=np.zeros_like(whole), where=whole > 0
        )
        return found

    def plot(self, path: str | Path) -> None:
        """Draw the map into a PNG file, with the tokens on both axes."""
        labels = [str(t) for t in range(len(self.norms))] if self.tokens is None else list(self.tokens)
        figures.matrix(
            path,
            values=np.where(self.norms > 0, self.norms, np.nan),
            rows=labels,
            columns=labels,
            ylabel="prediction after t",
            xlabel="input at s",
            unit=self.unit,
            title="how much the prediction after t depends on the input at s",
        )


def memory_map(
    model: torch.nn.Module,
    batch: object,
    *,
    row: int = 0,
    tokens: Sequence[str] | None = None,
    loss: Loss | None = None,
    progress: Progress | None = None,
) -> MemoryMap:
    """Measure ‖∂L_t/∂x_s‖ for every pair s ≤ t of one row.

    x is the input of the first recurrent layer. For a language model L_t is −ln p of the token that follows:
    one number per step, and so one backward pass, where the Jacobian of all logits would take one per symbol;
    and unlike a single logit it does not count a shift of all logits, which changes no prediction. For other
    models L_t is as in `gradient_flow`.

    Args:
        model: any module that holds RNN, LSTM or GRU of unrolled.nn or torch.nn, running forward.
        batch: a `Batch`, or the tensor that the model takes, or a tuple of its arguments.
        row: which row of it.
        tokens: [T] the texts of its steps, for the picture; default from the model's vocabulary, where it has
            one.
        loss: output → [T, B]. progress: called with (done, of how many).
    Raises:
        ConfigError, ShapeError, DtypeError, NonFiniteError: as `gradient_flow`.
    """
    recording = record(model, batch)
    inputs = recording.inputs
    with untouched(model):
        norms = _norms(recording, row, loss, progress)
    texts = _texts(model, inputs, row, len(norms)) if tokens is None else tuple(tokens)
    if texts is not None and len(texts) < len(norms):
        raise ShapeError(expected("tokens", f"{len(norms)}, a text per step", len(texts)))
    language = inputs.targets is not None and loss is None
    unit = "nats per unit of the embedding" if language else "change of the loss per unit of the input"
    return MemoryMap(norms, None if texts is None else tuple(texts[: len(norms)]), unit)


def _norms(recording: Recording, row: int, loss: Loss | None, progress: Progress | None) -> Floats:
    subject, inputs, ran = recording.subject, recording.inputs, recording.run
    if isinstance(row, bool) or not isinstance(row, int) or not 0 <= row < ran.rows:
        raise ConfigError(expected("row", f"0 to {ran.rows - 1}", repr(row)))
    steps = ran.steps if inputs.lengths is None else int(inputs.lengths[row])
    at_least_one(steps=steps)
    at = torch.arange(steps)
    if len(ran.modules) == 1:
        losses = step_losses(subject, inputs, ran, loss)
        if is_local(losses, ran.modules[0], at):
            return _by_sweep(ran, losses, at, row, progress)
    ran = nodes(subject, inputs)
    return _by_passes(ran, step_losses(subject, inputs, ran, loss), steps, row, progress)


def _by_sweep(ran: Run, losses: Tensor, at: Tensor, row: int, progress: Progress | None) -> Floats:
    (seeds,) = torch.autograd.grad(losses.sum(), ran.modules[0].y, retain_graph=True)
    layers = [layer.linear.of_row(row) for layer in ran.layers]
    found = np.zeros((len(at), len(at)))
    for lag in gradients_by_lag(layers, seeds[at, row : row + 1], at, len(at) - 1, inputs=True):
        assert lag.x is not None
        t = np.arange(lag.first, len(at))
        found[t, t - lag.k] = lag.x[:, 0].norm(dim=-1).double().cpu().numpy()
        if progress is not None:
            progress(lag.k + 1, len(at))
    return found


def _by_passes(ran: Run, losses: Tensor, steps: int, row: int, progress: Progress | None) -> Floats:
    x = ran.modules[0].x
    found = np.zeros((steps, steps))
    for t in range(steps):
        (gradient,) = torch.autograd.grad(losses[t, row], x, retain_graph=True, allow_unused=True)
        if gradient is not None:
            found[t, : t + 1] = gradient[: t + 1, row].norm(dim=-1).double().cpu().numpy()
        if progress is not None:
            progress(t + 1, steps)
    return found


def _texts(model: torch.nn.Module, inputs: Inputs, row: int, steps: int) -> tuple[str, ...] | None:
    vocabulary = getattr(model, "tokens", None)
    if vocabulary is None or inputs.args[0].is_floating_point():
        return None
    return tuple(vocabulary.decode([symbol]) for symbol in inputs.args[0][:steps, row].tolist())
