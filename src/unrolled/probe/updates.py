"""Update norms: how large the gradient of a training step is, and how unequal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from unrolled import figures
from unrolled.data import Batch
from unrolled.errors import DtypeError, NonFiniteError, expected
from unrolled.probe.interval import Floats
from unrolled.probe.places import at_least_one
from unrolled.probe.result import Result
from unrolled.probe.subject import Subject, untouched
from unrolled.probe.sweep import Progress
from unrolled.tasks import LanguageModel, detach

__all__ = ["UpdateNorms", "update_norms"]


@dataclass(frozen=True)
class UpdateNorms(Result):
    """What `update_norms` measured.

    Attributes:
        norms: [windows] global norm of the gradient of the mean loss by all parameters, before clipping.
        median, ninetieth, largest: of them. The ninetieth percentile is where clipping leaves nine of ten
            steps alone.
        window: steps. rows: of the batch.
    """

    norms: Floats
    median: float
    ninetieth: float
    largest: float
    window: int
    rows: int

    @property
    def spread(self) -> float:
        """The largest in parts of the median; 1 where all are 0."""
        if self.median:
            return self.largest / self.median
        return np.inf if self.largest else 1.0

    def plot(self, path: str | Path) -> None:
        """Draw the norms, window after window, into a PNG file."""
        figures.lags(
            path,
            curves={"norm": {"middle": self.norms}},
            captions={"norm": f"median {self.median:.3g}, largest {self.largest:.3g}"},
            xlabel=f"window of {self.window} steps",
            ylabel="norm of the gradient, nats",
            title="what a training step would clip",
            first=1,
            level=(f"90th percentile {self.ninetieth:.3g}", self.ninetieth),
        )


def update_norms(
    model: LanguageModel, batch: Batch, *, window: int = 64, progress: Progress | None = None
) -> UpdateNorms:
    """Measure the gradient that training would see, window after window, the state carried.

    Nothing is updated. In evaluation mode: without dropout, so a little smaller than in training.

    Args:
        model: a language model. batch: of any kind.
        window: steps of truncated back-propagation; a shorter rest is left out.
        progress: called with (done, of how many).
    Raises:
        DtypeError: another model or batch. NonFiniteError: a weight or a gradient is NaN or infinite.
    """
    at_least_one(window=window)
    if not isinstance(model, LanguageModel):
        raise DtypeError(expected("model", "a LanguageModel", type(model).__name__))
    if not isinstance(batch, Batch):
        raise DtypeError(expected("batch", "a Batch", type(batch).__name__))
    Subject.of(model)
    steps, rows = batch.inputs.shape
    window = min(window, steps)
    norms = []
    with untouched(model):
        weights = [weight.requires_grad_() for weight in model.parameters()]
        state = model.initial_state(rows)
        for begin in range(0, steps - window + 1, window):
            part = _part(batch, begin, window)
            if part.count == 0:
                break
            nats, count, state = model.loss(part, detach(state))
            norms.append(_norm(nats / count, weights))
            if progress is not None:
                progress(len(norms), steps // window)
    found: Floats = np.array(norms)
    return UpdateNorms(
        norms=found,
        median=float(np.median(found)),
        ninetieth=float(np.percentile(found, 90)),
        largest=float(found.max()),
        window=window,
        rows=rows,
    )


def _part(batch: Batch, begin: int, window: int) -> Batch:
    span = slice(begin, begin + window)
    lengths = None if batch.lengths is None else (batch.lengths - begin).clamp(0, window)
    resets = None if batch.resets is None else batch.resets[span]
    return Batch(batch.inputs[span], batch.targets[span], lengths, resets)


def _norm(loss: torch.Tensor, weights: list[torch.Tensor]) -> float:
    grads = torch.autograd.grad(loss, weights, allow_unused=True)
    norm = float(torch.nn.utils.get_total_norm([g for g in grads if g is not None]))
    if not np.isfinite(norm):
        raise NonFiniteError(expected("gradient", "finite values", "NaN or infinity"))
    return norm
