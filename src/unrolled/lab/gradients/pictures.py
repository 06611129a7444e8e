"""The pictures: gradients over lags, and the losses of runs that are clipped and not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled import figures as draw
from unrolled.lab.cells import Done, pick
from unrolled.lab.gradients.starts import KINDS, words
from unrolled.lab.gradients.training import pace

__all__ = ["figures"]

GAINS = (0.5, 1, 3)  # that are drawn: more curves than these are not told apart
TRAINED, LOSSES = "gradients-trained.png", "gradients-losses.png"


def figures(done: Sequence[Done], folder: Path) -> list[str]:
    """Draw a picture of all starts a kind, one of the orthogonal starts after training, and one of losses."""
    names = []
    for kind in KINDS:
        runs = [run for run in pick(done, cell=kind) if run.settings["gain"] in GAINS]
        groups = {words(run.settings): pick(runs, name=run.settings["name"]) for run in runs}
        curves = {text: [run.result["start"] for run in group] for text, group in groups.items()}
        names.append(f"gradients-{kind}.png")
        _flows(folder / names[-1], curves, f"{kind.upper()} at the start: what is left of a gradient")
    _trained(done, folder / TRAINED)
    _losses(done, folder / LOSSES)
    return [*names, TRAINED, LOSSES]


def _trained(done: Sequence[Done], path: Path) -> None:
    calm = pace(done[0].settings["learning_rates"][0], True)
    curves = {}
    for kind in KINDS:
        runs = pick(done, name=kind)
        curves[f"{words(runs[0].settings)}: start"] = [run.result["start"] for run in runs]
        curves["trained, " + kind.upper()] = [run.result["trained"][calm]["flow"] for run in runs]
    _flows(path, curves, f"The same starts after training (learning rate {calm})")


def _losses(done: Sequence[Done], path: Path) -> None:
    """Draw the losses at the highest learning rate."""
    rate = done[0].settings["learning_rates"][-1]
    curves = {}
    for kind in KINDS:
        for clipped in (True, False):
            runs = [run.result["trained"][pace(rate, clipped)]["curve"] for run in pick(done, name=kind)]
            long = max(runs, key=lambda curve: len(curve["step"]))
            values = np.full((len(runs), len(long["step"])), np.nan)
            for row, curve in zip(values, runs, strict=True):
                row[: len(curve["step"])] = curve["nats_per_char"]
            name = f"{kind.upper()}, {'clipped' if clipped else 'not clipped'}"
            curves[name] = {"x": long["step"], **_band(values)}
    draw.series(
        path,
        curves=curves,
        xlabel="optimizer steps",
        ylabel="nats per character",
        title=f"Training at a learning rate of {rate:g}: median and spread of the seeds",
        log_y=True,
    )


def _flows(path: Path, groups: Mapping[str, Sequence[Mapping[str, Any]]], title: str) -> None:
    """Draw gradients over lags, in parts of that at lag 0; runs without any are left out of the picture."""
    curves = {}
    for name, flows in groups.items():
        measured = [found["nats"] for found in flows if found["nats"] and found["nats"][0] is not None]
        if measured:
            values = np.array(measured, dtype=np.float64)
            curves[name] = {"x": np.arange(values.shape[1]), **_band(values - values[:, :1])}
    if curves:
        draw.series(
            path,
            curves=curves,
            xlabel="steps back",
            ylabel="ln of the gradient, in parts of that at step 0",
            title=title,
            levels={"neither grows nor falls": 0.0},
        )


def _band(values: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float64]]:
    """Return the median and both ends over runs [R, K]; where a run has no value there is none."""
    return {"middle": np.median(values, axis=0), "low": values.min(axis=0), "high": values.max(axis=0)}
