"""Long run: whether a model that starts from the zero state stays as good as it was."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from unrolled import figures
from unrolled.data import Batch
from unrolled.errors import DtypeError, ShapeError, expected
from unrolled.probe.batch import LARGEST, check_flowing
from unrolled.probe.losses import Progress
from unrolled.probe.result import Floats, Result, mean_interval
from unrolled.probe.subject import Subject, untouched
from unrolled.tasks import LanguageModel

WINDOW = 64  # steps
WORSE = 0.1  # of the loss
LEAST = 0.01  # nats per token: a smaller difference is none
SHORTEST = 32  # steps of the first part: fewer, and one sentence decides


@dataclass(frozen=True)
class LongRun(Result):
    """What `long_run` measured.

    Attributes:
        ends: [parts] the step before which each part ends, each twice the one before; the first part begins
            at the zero state.
        loss: [parts] mean loss in nats per token over each part.
        low, high: [parts] its 95 % interval over rows; NaN with one row.
        carried, fresh: [B] the loss of each row's last part with the state that was carried there, and of
            the same targets in windows of 64 steps from the zero state. Carried state knows more: a row
            where it is the worse by more than a tenth, and a hundredth of a nat, has run away.
        rows: of the batch.
    """

    ends: tuple[int, ...]
    loss: Floats
    low: Floats
    high: Floats
    carried: Floats
    fresh: Floats
    rows: int

    @property
    def lost(self) -> int:
        """How many rows have run away."""
        worse = self.carried - self.fresh
        return int(((worse > WORSE * self.fresh) & (worse > LEAST)).sum())

    def plot(self, path: str | Path) -> None:
        """Draw the loss over the parts into a PNG file."""
        figures.lags(
            path,
            curves={"loss": {"middle": self.loss, "low": self.low, "high": self.high}},
            captions={"loss": f"{self.lost} of {self.rows} rows have run away at the end"},
            xlabel=f"part of the text, up to step {', '.join(map(str, self.ends))}",
            ylabel="loss, nats per token",
            title="a long run from the zero state",
            first=1,
        )


def long_run(model: LanguageModel, batch: Batch, *, progress: Progress | None = None) -> LongRun:
    """Measure the loss along rows that start from the zero state and carry it to their end.

    A network trained on carried states alone may run away from the zero state into a region that training
    never visited (docs/decisions/0006): its loss then rises along the run.

    Args:
        model: a language model.
        batch: rows of one length without resets, of at least 64 steps.
        progress: called with (done, of how many).
    Raises:
        DtypeError: another model or batch. ShapeError: a batch with lengths or resets, or too short.
        NonFiniteError: a weight is NaN or infinite.
    """
    _check(model, batch)
    Subject.of(model)  # refuses weights that are not finite
    ends = _ends(batch.inputs.shape[0])
    with untouched(model), torch.no_grad():
        losses = _losses(model, batch, progress)
        last = _windows(batch, ends[-2])
        fresh = _losses(model, last, None).reshape(-1, batch.inputs.shape[1]).mean(axis=0)
    parts = np.split(losses, ends[:-1])  # [steps of the part, B] each
    by_row = np.stack([part.mean(axis=0) for part in parts], axis=1)  # [B, parts]
    carried = losses[-last.inputs.numel() // batch.inputs.shape[1] :].mean(axis=0)
    return LongRun(ends, *mean_interval(by_row), carried, fresh, batch.inputs.shape[1])


def _losses(model: LanguageModel, batch: Batch, progress: Progress | None) -> Floats:
    """Return the loss of every step and row, [T, B], from the zero state on."""
    steps, rows = batch.inputs.shape
    window = max(1, LARGEST // (rows * model.config.vocab_size))
    state, found = model.initial_state(rows), []
    for begin in range(0, steps, window):
        span = slice(begin, begin + window)
        logits, state = model(batch.inputs[span], state)
        found.append(F.cross_entropy(logits.transpose(1, 2), batch.targets[span], reduction="none").cpu())
        if progress is not None:
            progress(min(begin + window, steps), steps)
    losses: Floats = torch.cat(found).double().numpy()
    return losses


def _windows(batch: Batch, begin: int) -> Batch:
    """Return the steps from `begin` on in windows, side by side as rows, without a remainder at the start."""
    count = max(1, (len(batch.inputs) - begin) // WINDOW)
    size = min(WINDOW, len(batch.inputs) - begin)
    taken = (ids[-count * size :].view(count, size, -1) for ids in (batch.inputs, batch.targets))
    return Batch(*(ids.transpose(0, 1).flatten(1) for ids in taken))


def _ends(steps: int) -> tuple[int, ...]:
    """Return where parts end: at the last step, half of it, and so on down to `SHORTEST`."""
    found = [steps]
    while found[0] // 2 >= SHORTEST:
        found.insert(0, found[0] // 2)
    return tuple(found)


def _check(model: object, batch: object) -> None:
    if not isinstance(model, LanguageModel):
        raise DtypeError(expected("model", "a LanguageModel", type(model).__name__))
    if not isinstance(batch, Batch):
        raise DtypeError(expected("batch", "a Batch", type(batch).__name__))
    check_flowing(batch.lengths, batch.resets)
    if batch.inputs.shape[0] < 2 * SHORTEST:
        raise ShapeError(expected("batch", f"at least {2 * SHORTEST} steps", batch.inputs.shape[0]))
