"""Lyapunov exponents of the driven network: how fast small disturbances of its state grow or fade."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from unrolled import figures
from unrolled.errors import ConfigError, ShapeError, expected
from unrolled.ops import StepJacobian
from unrolled.probe.batch import at_least_one, check_flowing
from unrolled.probe.losses import Progress
from unrolled.probe.recording import record
from unrolled.probe.result import Floats, Result, mean_interval
from unrolled.probe.subject import untouched
from unrolled.probe.words import number

EDGE = 1e-6  # nats per step: an exponent that is no further from 0 is rounding
REPEATS = 8  # rows, or blocks of rows where there are fewer, that an interval compares


@dataclass(frozen=True)
class Exponents(Result):
    """The leading Lyapunov exponents of one layer, [n] each, in nats per step, the largest first.

    Attributes:
        layer: recurrent.l0.
        exponents: minus infinity where the step has no such direction (fewer units act than there are).
        low, high: the 95 % interval; NaN where there was nothing to compare.
    """

    layer: str
    exponents: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Lyapunov(Result):
    """What `lyapunov` measured.

    Attributes:
        layers: the lowest first. A stack's exponents are those of its layers together: a layer drives those
            above it and none below, so that the Jacobian is block-triangular.
        leading: the largest of all. verdict: "chaotic" where the low end of its interval (the exponent itself
            where it has none) is above 1e-6, "stable" where the high end is below −1e-6, else "at the edge".
        steps: over which the mean was taken, after `transient` were left out. rows: of the batch.
    """

    layers: tuple[Exponents, ...]
    leading: float
    verdict: str
    steps: int
    transient: int
    rows: int

    def plot(self, path: str | Path) -> None:
        """Draw the exponents with their intervals into a PNG file, one panel per layer."""
        figures.lags(
            path,
            curves={
                each.layer: {"middle": each.exponents, "low": each.low, "high": each.high}
                for each in self.layers
            },
            captions={each.layer: f"leading {number(each.exponents[0])}" for each in self.layers},
            xlabel="number of the exponent",
            ylabel="exponent, nats per step",
            title=f"Lyapunov exponents of the driven network: {self.verdict}",
            first=1,
            level=("0: neither grows nor fades", 0.0),
        )


def lyapunov(
    model: torch.nn.Module,
    batch: object,
    *,
    count: int = 8,
    transient: int | None = None,
    progress: Progress | None = None,
) -> Lyapunov:
    """Measure the leading Lyapunov exponents of each layer, driven by the batch.

    `count` orthonormal disturbances of the state, h or (h, c), are multiplied by the Jacobian of every step,
    and made orthonormal again after each by a QR decomposition; the mean of ln of R's diagonal is the
    exponents. The interval compares rows; where there are fewer than 8, each is cut into blocks of steps,
    which are taken for independent.

    Args:
        model: any module that holds RNN, LSTM or GRU of unrolled.nn or torch.nn, running forward.
        batch: a `Batch` without lengths or resets, or the tensor that the model takes, or its arguments.
        count: how many exponents of each layer; at most the size of its state.
        transient: steps that are left out at the start, until the state has settled on what drives it and
            the disturbances on the fastest directions; default a quarter.
        progress: called with (done, of how many).
    Raises:
        ConfigError, ShapeError, DtypeError, NonFiniteError: as `gradient_flow`; a batch with lengths or
            resets, or whose steps are all transient, is a ShapeError.
    Source: Engelken, Wolf & Abbott 2023; Benettin et al. 1980.
    """
    at_least_one(count=count)
    recording = record(model, batch)
    check_flowing(recording.inputs.lengths, recording.inputs.resets)
    with untouched(model), torch.no_grad():
        ran = recording.run
        transient = _transient(transient, ran.steps)
        found, total = [], len(ran.layers) * ran.steps
        for number, layer in enumerate(ran.layers):
            if progress is not None:
                progress(number * ran.steps, total)
            growth = _growth(layer.linear, count, ran.steps, ran.rows)[transient:]
            found.append(_exponents(layer.name, growth))
        if progress is not None:
            progress(total, total)
    top = max(found, key=lambda each: each.exponents[0])
    leading, low, high = (float(values[0]) for values in (top.exponents, top.low, top.high))
    low, high = (leading if np.isnan(end) else end for end in (low, high))
    verdict = "chaotic" if low > EDGE else "stable" if high < -EDGE else "at the edge"
    return Lyapunov(tuple(found), leading, verdict, ran.steps - transient, transient, ran.rows)


def _growth(layer: StepJacobian, count: int, steps: int, rows: int) -> Floats:
    """Return [T, B, n]: ln of how much each direction grew at each step."""
    width = sum(layer.sizes)
    count = min(count, width)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(rows, width, count, generator=generator, dtype=torch.float64).to(layer.factors)
    frame = torch.linalg.qr(start)[0].transpose(1, 2)  # [B, n, width]
    grown = []
    for step in range(steps):
        after = torch.cat(layer.jvp(step, frame.split(layer.sizes, dim=-1)), dim=-1)
        basis, sizes = torch.linalg.qr(after.transpose(1, 2))
        frame = basis.transpose(1, 2)
        grown.append(torch.diagonal(sizes, dim1=1, dim2=2).abs())
    # What is below the precision of the largest direction is rounding, and no exponent.
    values = torch.stack(grown).double()
    floor = values.amax(-1, keepdim=True) * torch.finfo(layer.factors.dtype).eps * width
    found: Floats = values.masked_fill(values <= floor, 0).log().cpu().numpy()
    return found


def _exponents(name: str, growth: Floats) -> Exponents:
    steps, rows, _ = growth.shape
    blocks = min(-(-REPEATS // rows), steps)
    repeats = [part[:, b].mean(axis=0) for b in range(rows) for part in np.array_split(growth, blocks)]
    with np.errstate(invalid="ignore"):
        mean, low, high = mean_interval(np.array(repeats))
    dead = ~np.isfinite(mean)
    mean, low, high = (
        np.where(dead, gone, each) for each, gone in ((mean, -np.inf), (low, np.nan), (high, np.nan))
    )
    order = np.argsort(-mean, kind="stable")
    return Exponents(name, mean[order], low[order], high[order])


def _transient(given: int | None, steps: int) -> int:
    transient = steps // 4 if given is None else given
    if isinstance(transient, bool) or not isinstance(transient, int) or transient < 0:
        raise ConfigError(expected("transient", "a whole number of at least 0", repr(given)))
    if transient >= steps:
        want = f"at most {steps - 1}, as the batch has {steps} steps"
        raise ShapeError(expected("transient", want, transient))
    return transient
