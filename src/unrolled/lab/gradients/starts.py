"""The networks that are compared, by where their recurrent weights start, and how they are built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from unrolled.nn import init_recurrent
from unrolled.spec import ModelConfig
from unrolled.tasks import LanguageModel

__all__ = ["KINDS", "QUICK_STARTS", "STARTS", "build", "words"]

KINDS = ("rnn", "gru", "lstm")
CHRONO_STEPS = 64  # the window of training

Start = dict[str, Any]


def _start(
    cell: str,
    start: str = "orthogonal",
    *,
    gain: float = 1.0,
    forget_bias: float = 1.0,
    chrono_steps: int | None = None,
    nonlinearity: str = "tanh",
) -> Start:
    return {
        "cell": cell,
        "start": start,
        "gain": gain,
        "forget_bias": forget_bias,
        "chrono_steps": chrono_steps,
        "nonlinearity": nonlinearity,
    }


STARTS: dict[str, Start] = {
    "rnn-torch": _start("rnn", "torch"),
    "rnn": _start("rnn"),
    "rnn-relu": _start("rnn", nonlinearity="relu"),
    "rnn-0.5": _start("rnn", gain=0.5),
    "rnn-1.5": _start("rnn", gain=1.5),
    "rnn-3": _start("rnn", gain=3.0),
    "gru-torch": _start("gru", "torch"),
    "gru": _start("gru"),
    "gru-chrono": _start("gru", chrono_steps=CHRONO_STEPS),
    "gru-0.5": _start("gru", gain=0.5),
    "gru-1.5": _start("gru", gain=1.5),
    "gru-3": _start("gru", gain=3.0),
    "lstm-torch": _start("lstm", "torch"),
    "lstm-forget-0": _start("lstm", forget_bias=0.0),
    "lstm": _start("lstm"),
    "lstm-forget-3": _start("lstm", forget_bias=3.0),
    "lstm-chrono": _start("lstm", chrono_steps=CHRONO_STEPS),
    "lstm-0.5": _start("lstm", gain=0.5),
    "lstm-1.5": _start("lstm", gain=1.5),
    "lstm-3": _start("lstm", gain=3.0),
}
QUICK_STARTS = ("rnn-torch", "rnn", "rnn-3", "gru-torch", "gru", "gru-3", "lstm-torch", "lstm", "lstm-3")


def words(settings: Mapping[str, Any]) -> str:
    """Return what a start is called in the report: "LSTM, orthogonal, forget bias 0"."""
    cell, gain, start = str(settings["cell"]), settings["gain"], str(settings["start"])
    relu = settings["nonlinearity"] == "relu"
    parts = [cell.upper(), {"torch": "torch.nn's own"}.get(start, "identity and relu" if relu else start)]
    if gain != 1:
        parts.append(f"gain {gain:g}")
    if settings["chrono_steps"] is not None:
        parts.append(f"chrono {settings['chrono_steps']}")
    elif cell == "lstm" and start != "torch":
        parts.append(f"forget bias {settings['forget_bias']:g}")
    return ", ".join(parts)


def build(settings: Mapping[str, Any], vocab_size: int) -> LanguageModel:
    """Return the network of a cell, its weights drawn from the cell's seed.

    "torch" is torch.nn's own start, biases included; the others are those of `init_recurrent`.
    """
    sizes = {name: settings[name] for name in ("cell", "embedding_size", "hidden_size", "nonlinearity")}
    seed = int(settings["seed"])
    model = LanguageModel(ModelConfig(vocab_size, **sizes), seed=seed)
    if settings["start"] == "torch":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model.recurrent.reset_parameters()
        return model
    init_recurrent(
        model.recurrent,
        init=settings["start"],
        gain=settings["gain"],
        forget_bias=settings["forget_bias"],
        chrono_steps=settings["chrono_steps"],
        generator=torch.Generator().manual_seed(seed),
    )
    return model
