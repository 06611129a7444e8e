"""Every number and text that the section prints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from unrolled.lab.cells import Done, pick
from unrolled.lab.gradients.flow import FATES, FOLD
from unrolled.lab.gradients.starts import KINDS, words
from unrolled.lab.gradients.training import pace, paces
from unrolled.lab.spread import spread, within_cap

__all__ = ["summary"]

NORM_CAP = 1e6  # a gradient's norm above it, or an infinite one, counts as more
LOSS_CAP = 100.0  # nats a character; the same
TWINS = {
    "torch.nn's own start": ("rnn-torch", "lstm-torch"),
    "orthogonal weights": ("rnn", "lstm"),
}
SIZES = ("hidden_size", "rows", "steps", "bptt_steps", "characters", "lags", "clip", "learning_rates")


def summary(done: Sequence[Done]) -> dict[str, Any]:
    """Sum up over seeds for each start, and over starts for each kind of cell."""
    settings = done[0].settings
    names = list(dict.fromkeys(run.settings["name"] for run in done))
    return {
        "training": {name: settings[name] for name in SIZES},
        "fold": FOLD,
        "paces": [
            {"name": name, "learning_rate": rate, "clipped": clip is not None}
            for name, (rate, clip) in paces(settings).items()
        ],
        "calm": pace(settings["learning_rates"][0], True),
        "starts": {name: _start(pick(done, name=name)) for name in names},
        "kinds": {kind: _kind(pick(done, cell=kind)) for kind in KINDS},
        "twins": _twins(done),
        "explosion": FOLD * settings["clip"],
    }


def _start(runs: Sequence[Done]) -> dict[str, Any]:
    settings = runs[0].settings
    return {
        "words": words(settings),
        "cell": settings["cell"],
        "start": _flows([run.result["start"] for run in runs]),
        "trained": {
            name: _trained([run.result["trained"][name] for run in runs]) for name in paces(settings)
        },
    }


def _flows(flows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sum up gradient flows; those without a finite rate are counted among the fates and verdicts alone."""
    rates = [found["rate"] for found in flows if found["rate"] is not None]
    exponents = [found["lyapunov"] for found in flows if found["lyapunov"] is not None]
    rate = spread(rates) if rates else None
    return {
        "runs": len(flows),
        "rate": rate,
        "half_life": _half_life(rate),
        "lyapunov": spread(exponents) if exponents else None,
        "fates": _counts([found["fate"] for found in flows], FATES),
        "verdicts": _counts([found["verdict"] for found in flows]),
    }


def _half_life(rate: Mapping[str, Any] | None) -> float | None:
    """Return the steps in which a gradient halves at the median rate; None where it does not fall."""
    return math.log(2) / -rate["median"] if rate is not None and rate["median"] < 0 else None


def _trained(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "diverged": sum(run["diverged"] for run in runs),
        "exploded": sum(run["exploded"] for run in runs),
        "largest_norm": _capped([run["largest_norm"] for run in runs], NORM_CAP),
        "end_nats_per_char": _capped([run["end_nats_per_char"] for run in runs], LOSS_CAP),
        **_flows([run["flow"] for run in runs]),
    }


def _capped(values: Sequence[float | None], cap: float) -> dict[str, Any]:
    return within_cap([None if value is None or value > cap else value for value in values], cap)


def _kind(runs: Sequence[Done]) -> dict[str, Any]:
    """Sum up one kind of cell: the usual starts, which leave the recurrent weights' gain at 1, and others."""
    groups = {
        "usual": [run for run in runs if run.settings["gain"] == 1],
        "scaled_up": [run for run in runs if run.settings["gain"] > 1],
    }
    calm = pace(runs[0].settings["learning_rates"][0], True)
    return {
        **{name: _group(group, calm) for name, group in groups.items()},
        "runs": len(runs),
        "holding": {"start": _holding(runs, None), "trained": _holding(runs, calm)},
        "trainings": len(runs)
        * len(runs[0].settings["learning_rates"]),  # with clipping, and as many without
        **{event: _events(runs, event) for event in ("diverged", "exploded")},
    }


def _events(runs: Sequence[Done], event: str) -> dict[str, int]:
    """Return how many trainings met an event without clipping and with it, over all learning rates."""
    rates = runs[0].settings["learning_rates"]
    return {
        word: sum(run.result["trained"][pace(rate, clipped)][event] for run in runs for rate in rates)
        for word, clipped in (("free", False), ("clipped", True))
    }


def _holding(runs: Sequence[Done], name: str | None) -> list[str]:
    """Return the starts of which every run holds its gradient: untrained, or after training at a pace."""
    fates: dict[str, set[str]] = {}
    for run in runs:
        found = run.result["start"] if name is None else run.result["trained"][name]["flow"]
        fates.setdefault(words(run.settings), set()).add(found["fate"])
    return [text for text, seen in fates.items() if seen == {"holds"}]


def _twins(done: Sequence[Done]) -> list[dict[str, Any]]:
    """Return the half-lives of RNN and LSTM from the same kind of start, for those that were run."""
    found = []
    for text, names in TWINS.items():
        runs = {kind: pick(done, name=name) for kind, name in zip(("rnn", "lstm"), names, strict=True)}
        if all(runs.values()):
            sums = {kind: _start(group) for kind, group in runs.items()}
            calm = pace(done[0].settings["learning_rates"][0], True)
            lives = {
                kind: {"start": each["start"]["half_life"], "trained": each["trained"][calm]["half_life"]}
                for kind, each in sums.items()
            }
            found.append({"words": text, **lives})
    return found


def _group(runs: Sequence[Done], calm: str) -> dict[str, Any]:
    after = [run.result["trained"][calm]["flow"] for run in runs]
    return {
        "starts": sorted({words(run.settings) for run in runs}),
        "start": _flows([run.result["start"] for run in runs]),
        "trained": _flows(after),
    }


def _counts(values: Sequence[str], known: Sequence[str] = ()) -> dict[str, int]:
    names = dict.fromkeys([*known, *sorted(values)])
    return {name: list(values).count(name) for name in names}
