"""Context curve: the loss, given 1, 2, 3, … steps of context from a cold start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unrolled import figures
from unrolled.errors import ConfigError, NonFiniteError, ShapeError, expected
from unrolled.probe.copies import as_given, beside, steps_first
from unrolled.probe.interval import Floats, mean_interval
from unrolled.probe.places import Mask, at_least_one, whole
from unrolled.probe.result import Result
from unrolled.probe.running import Inputs, admit, answer
from unrolled.probe.subject import Subject, untouched
from unrolled.probe.sweep import Progress
from unrolled.tasks import LanguageModel

__all__ = ["CLOSE", "ContextCurve", "context_curve"]

CLOSE = 0.01  # of the loss with the most context: as near is as good


@dataclass(frozen=True)
class ContextCurve(Result):
    """What `context_curve` measured.

    Attributes:
        loss: [steps] mean loss with n = 1 … steps inputs seen, in nats for a language model.
        low, high: [steps] its 95 % interval over rows; NaN with one row.
        needed: the smallest n from which on the loss stays within 1 % of the last one.
        gain: the loss with one input less that with all: what context is worth.
        gain_interval: [2] its 95 % interval over rows, where context and none are compared row by row.
        samples: targets, each predicted with every n. rows: of the batch.
    """

    loss: Floats
    low: Floats
    high: Floats
    needed: int
    gain: float
    gain_interval: Floats
    samples: int
    rows: int

    def plot(self, path: str | Path) -> None:
        """Draw the loss over the context into a PNG file."""
        figures.lags(
            path,
            curves={"loss": {"middle": self.loss, "low": self.low, "high": self.high}},
            captions={"loss": f"context is worth {self.gain:.3g}; within 1 % from {self.needed} steps on"},
            xlabel="context in steps, from the zero state",
            ylabel="loss, nats per step",
            title="the same targets, predicted with more and more context",
            first=1,
            marks={f"enough: {self.needed}": float(self.needed)},
        )


def context_curve(
    model: torch.nn.Module,
    batch: object,
    *,
    steps: int = 64,
    targets: Tensor | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    progress: Progress | None = None,
) -> ContextCurve:
    """Measure the loss as a function of how many inputs were seen from the zero state.

    Every target with `steps` inputs up to it is predicted `steps` times, from windows that begin 1, 2, …
    inputs before it, so that all points of the curve are about the same targets.

    Args:
        model: any module that holds RNN, LSTM or GRU of unrolled.nn or torch.nn, running forward.
        batch: a `Batch`, or the tensor that the model takes.
        steps: the longest context; at most the steps of the batch. The cost is their product.
        targets: [T, B, …] in the axes of the input, for a model that is no `LanguageModel`.
        loss: (output, targets) → [T, B] (or [B, T], as the input), for such a model; default the mean squared
            difference over features.
        progress: called with (done, of how many).
    Raises:
        ConfigError: there are no targets. Others as `gradient_flow`.
    """
    at_least_one(steps=steps)
    subject = Subject.of(model)
    with untouched(model), torch.no_grad():
        inputs = admit(batch)
        x = steps_first(subject, inputs)
        wanted = _targets(subject, inputs, targets)
        if steps > x.shape[0]:
            raise ShapeError(expected("steps", f"at most {x.shape[0]}, as the batch has", steps))
        at = torch.arange(steps - 1, x.shape[0])
        used = whole(inputs, at, steps - 1, x.shape[1])
        by_start = _losses(subject, x, wanted, steps, loss, progress)  # [T, steps, B]
    if not np.isfinite(by_start).all():
        raise NonFiniteError(expected("loss", "finite values", "NaN or infinity"))
    n = np.arange(steps)
    curves = by_start[at.numpy()[:, None] - n, n]  # [targets, steps, B]
    return _result(
        np.stack([curves[used[:, b], :, b].mean(axis=0) for b in range(x.shape[1]) if used[:, b].any()]), used
    )


def _result(by_row: Floats, used: Mask) -> ContextCurve:
    mean, low, high = mean_interval(by_row)
    gain, *ends = mean_interval(by_row[:, 0] - by_row[:, -1])
    far = np.flatnonzero(np.abs(mean - mean[-1]) > CLOSE * abs(mean[-1]))
    needed = int(far[-1]) + 2 if len(far) else 1
    return ContextCurve(mean, low, high, needed, float(gain), np.array(ends), int(used.sum()), used.shape[1])


def _targets(subject: Subject, inputs: Inputs, targets: Tensor | None) -> Tensor:
    if targets is None and inputs.targets is None:
        raise ConfigError(expected("targets", "a Batch, or targets beside the input", "neither"))
    if targets is None:
        assert inputs.targets is not None
        return inputs.targets
    return targets.detach().transpose(0, 1) if subject.batch_first else targets.detach()


def _losses(
    subject: Subject,
    x: Tensor,
    targets: Tensor,
    steps: int,
    loss: Callable[..., Tensor] | None,
    progress: Progress | None,
) -> Floats:
    """Return [T, steps, B]: the loss at each step of the window that begins at each step."""
    total, rows = x.shape[:2]
    if targets.shape[:2] != x.shape[:2]:
        raise ShapeError(
            expected("targets", f"[{total}, {rows}, …], steps and rows as the input", list(targets.shape))
        )
    symbols = subject.model.config.vocab_size if isinstance(subject.model, LanguageModel) else 1
    width, found = beside(rows, steps * symbols), []
    for begin in range(0, total, width):
        starts = torch.arange(begin, min(begin + width, total))
        index = (starts + torch.arange(steps)[:, None]).clamp(max=total - 1)  # [steps, starts]
        side_by_side = [t[index.to(t.device)].flatten(1, 2) for t in (x, targets)]
        window, wanted = (as_given(subject, each) for each in side_by_side)
        losses = (loss or _default(subject))(answer(subject, Inputs((window,))), wanted)
        if list(losses.shape) != list(window.shape[:2]):
            raise ShapeError(
                expected("loss", f"{list(window.shape[:2])}, a loss by step and row", list(losses.shape))
            )
        losses = losses.transpose(0, 1) if subject.batch_first else losses
        found.append(losses.view(steps, len(starts), rows).transpose(0, 1).double().cpu())
        if progress is not None:
            progress(int(starts[-1]) + 1, total)
    gathered: Floats = torch.cat(found).numpy()
    return gathered


def _default(subject: Subject) -> Callable[[Tensor, Tensor], Tensor]:
    if isinstance(subject.model, LanguageModel):
        return lambda output, wanted: F.cross_entropy(output.transpose(1, 2), wanted, reduction="none")
    return lambda output, wanted: (output - wanted).square().flatten(2).mean(-1)
