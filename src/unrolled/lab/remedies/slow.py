"""Downside: one step after another is slow over long sequences."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unrolled import kernels
from unrolled.lab.remedies.part import Measure, Part
from unrolled.nn import LSTM

__all__ = ["PART"]

SHARED: dict[str, Any] = {
    "input_size": 16,
    "hidden_size": 64,
    "rows": 16,
    "stride": 1,
    "convolution": False,
    "window": None,
    "backend": "torch",
    "threads": 1,
}
STRIDE, WINDOW = 4, 64


class _Front(nn.Module):
    """An LSTM behind what shortens its sequence: frames side by side, or a strided convolution."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        size, self.stride = settings["input_size"], settings["stride"]
        self.convolution = nn.Conv1d(size, size, STRIDE, STRIDE) if settings["convolution"] else None
        wide = size if settings["convolution"] else size * self.stride
        self.recurrent = LSTM(wide, settings["hidden_size"], backend=settings["backend"])

    def forward(self, inputs: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Run [T, B, I] → [T / stride, B, H] and the state after."""
        steps, rows, size = inputs.shape
        if self.convolution is not None:
            inputs = self.convolution(inputs.permute(1, 2, 0)).permute(2, 0, 1)
        elif self.stride > 1:
            stacked = inputs.view(steps // self.stride, self.stride, rows, size)
            inputs = stacked.transpose(1, 2).reshape(steps // self.stride, rows, -1)
        y, after = self.recurrent(inputs, state)
        return y, after


def _work(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Time an optimizer's passes over sequences of each length: forward, backward, update."""
    network = _Front(settings)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    sequence, updates = [], []
    for steps in settings["lengths"]:
        inputs = torch.randn(steps, settings["rows"], settings["input_size"])
        _pass(network, optimizer, inputs, settings["window"])  # the first one warms up
        seconds = [_timed(network, optimizer, inputs, settings["window"]) for _ in range(settings["repeats"])]
        sequence.append(statistics.median(seconds))
        updates.append(-(-steps // (settings["window"] or steps)))
    return {
        "recurrent_steps": settings["lengths"][-1] // settings["stride"],
        "updates": updates[-1],
        "timing": {
            "ms_a_sequence": 1000 * sequence[-1],
            "ms_an_update": 1000 * sequence[-1] / updates[-1],
            "curve": {
                "x": settings["lengths"],
                "y": [1000 * s / n for s, n in zip(sequence, updates, strict=True)],
            },
        },
    }


def _timed(network: _Front, optimizer: torch.optim.Optimizer, inputs: Tensor, window: int | None) -> float:
    begin = time.perf_counter()
    _pass(network, optimizer, inputs, window)
    return time.perf_counter() - begin


def _pass(network: _Front, optimizer: torch.optim.Optimizer, inputs: Tensor, window: int | None) -> None:
    """Go over a sequence once: an update a window, with the state carried over and cut off."""
    state = None
    for part in torch.split(inputs, window or len(inputs)):
        y, state = network(part, state)
        state = tuple(each.detach() for each in state)
        optimizer.zero_grad()
        y.square().mean().backward()
        optimizer.step()


def _shared(quick: bool) -> dict[str, Any]:
    lengths = [64, 128, 256] if quick else [64, 128, 256, 512, 1024]
    return {**SHARED, "lengths": lengths, "repeats": 3 if quick else 7}


def _variants() -> dict[str, dict[str, Any]]:
    """Return the remedies that this machine has: without compiled kernels there is no native engine."""
    found: dict[str, dict[str, Any]] = {
        "torch's kernel, the whole sequence": {},
        f"truncated after {WINDOW} steps": {"window": WINDOW},
        f"{STRIDE} frames stacked": {"stride": STRIDE},
        f"a convolution of stride {STRIDE} in front": {"stride": STRIDE, "convolution": True},
    }
    if kernels.available():
        found["the native engine"] = {"backend": "native"}
        found[f"the native engine, {STRIDE} frames stacked"] = {"backend": "native", "stride": STRIDE}
    return found


def _numbers(settings: Mapping[str, Any]) -> dict[str, float]:
    return {"shortest": settings["lengths"][0], "longest": settings["lengths"][-1]}


PART = Part(
    name="slow",
    title="Long sequences are slow, one step after another",
    words=(
        "An LSTM of {hidden_size} units goes over {rows} rows of {shortest} to {longest} steps, forward and "
        "backward, with an update after each sequence or each window of it; the table is for {longest} "
        "steps. This is time alone: what a shorter sequence or a window costs in loss is not in it."
    ),
    shared=_shared,
    variants=_variants(),
    work=_work,
    measures=(
        Measure("ms_an_update", "time of an update, ms", "spread", timing=True),
        Measure("ms_a_sequence", "of a sequence, ms", "spread", timing=True),
        Measure("updates", "updates a sequence", "spread", more_is_better=True),
        Measure("recurrent_steps", "steps of the LSTM", "spread"),
    ),
    xlabel="steps of the sequence",
    ylabel="ms an update",
    log=True,
    numbers=_numbers,
)
