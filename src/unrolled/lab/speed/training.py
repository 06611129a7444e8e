"""Train the variants of one family in turn, a short round each, and look at the held-out loss between."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from unrolled.data import Batch, LineBatches, StreamBatches, cold_windows
from unrolled.lab.speed.batching import computed, reads, useful
from unrolled.lab.speed.frames import FrameModel
from unrolled.lab.speed.signals import SignalModel, signals
from unrolled.lab.speed.text import Texts, texts
from unrolled.lab.speed.variants import Variant
from unrolled.spec import ModelConfig
from unrolled.tasks import LanguageModel
from unrolled.train import autocast, make_optimizer

__all__ = ["HELD_SIGNALS", "Runner", "held_out", "make_model", "work"]

CLIP = 1.0
HELD_ROWS, HELD_STEPS = 8, 256  # of the held-out long text, read with the state carried
HELD_SIGNALS = 200
COLD_STEPS = 64  # of its windows from the zero state


def work(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train all variants of a family for so many targets or seconds each, as `settings` say."""
    found = texts(settings["train_targets"], settings["held_targets"], settings["longest"])
    runners = [Runner(Variant(**variant), found, settings) for variant in settings["variants"]]
    for runner in runners:
        runner.warm_up()
        runner.look()
    rounds = settings["rounds"]
    for number in range(rounds):
        turn = number % len(runners)
        for runner in runners[turn:] + runners[:turn]:
            runner.train_to((number + 1) / rounds)
            runner.look()
    variants = {runner.variant.name: runner.result() for runner in runners}
    return {"variants": variants, "timing": {"load": _load()}}


def _load() -> float | None:
    """Return how many processes want a core, over the last five minutes; None where nobody counts them."""
    try:
        return os.getloadavg()[1]
    except (AttributeError, OSError):
        return None


class Runner:
    """One variant in training, with its own clock."""

    def __init__(self, variant: Variant, found: Texts, settings: Mapping[str, Any]) -> None:
        self.variant, self._texts, self._settings = variant, found, settings
        self.model = make_model(variant, found, settings)
        self._optimizer = make_optimizer(
            self.model, lr=settings["learning_rate"] * variant.rate, weight_decay=0.0
        )
        warmup = settings["warmup_targets"]
        self._reads = reads(variant, found, seed=settings["seed"], warmup_targets=warmup)
        self._state: Any = None
        self.seconds, self.targets, self.positions, self.updates = 0.0, 0, 0, 0
        self._curve: dict[str, list[Any]] = {"updates": [], "targets": [], "nats": [], "cold_nats": []}
        self._seconds: list[float] = []

    def warm_up(self) -> None:
        """Do one update's work that changes nothing, so that what loads at first use is not timed."""
        first = next(
            reads(self.variant, self._texts, seed=0, warmup_targets=self._settings["warmup_targets"])
        )
        self._nats(first.batch, self.model.initial_state(first.batch.inputs.shape[1]))[0].backward()
        self._optimizer.zero_grad()

    def train_to(self, share: float) -> None:
        """Train until that share of the targets, or of the seconds, that the settings give."""
        begin, before = time.perf_counter(), self.seconds
        while not self._reached(share):
            self._update()
            self.seconds = before + time.perf_counter() - begin

    def _reached(self, share: float) -> bool:
        seconds = self._settings["seconds"]
        if seconds is not None:
            return bool(self.seconds >= share * seconds)
        return bool(self.targets >= share * self._settings["targets"] * self.variant.share)

    def _update(self) -> None:
        read = next(self._reads)
        batch, scored = read.batch, useful(read.batch)
        if read.fresh:
            self._state = self.model.initial_state(batch.inputs.shape[1])
        nats, after = self._nats(batch, self._state)
        self._optimizer.zero_grad()
        (nats / scored).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self._optimizer.step()
        self._state = tuple(part.detach() for part in after)
        self.targets, self.positions = self.targets + scored, self.positions + computed(batch)
        self.updates += 1

    def _nats(self, batch: Batch, state: Any) -> tuple[Any, Any]:
        with autocast(self.variant.dtype):
            nats, _, after = self.model.loss(batch, state)
        return nats, after

    def look(self) -> None:
        """Add a point to the curve."""
        for name, nats in held_out(self.model, self._texts, self.variant.batching).items():
            self._curve[name].append(nats)
        self._curve["updates"].append(self.updates)
        self._curve["targets"].append(self.targets)
        self._seconds.append(self.seconds)

    def result(self) -> dict[str, Any]:
        """Return the curve; where the clock decided how far it goes, all of it stands under "timing"."""
        parameters = sum(p.numel() for p in self.model.parameters())
        found = {"curve": self._curve, "useful_share": self.targets / self.positions}
        if self._settings["seconds"] is None:
            return {"parameters": parameters, **found, "timing": {"seconds": self._seconds}}
        return {"parameters": parameters, "timing": {"seconds": self._seconds, **found}}


def make_model(variant: Variant, found: Texts, settings: Mapping[str, Any]) -> Any:
    """Return the network of a variant; all start from the seed."""
    sizes = {name: settings[name] for name in ("embedding_size", "hidden_size")}
    config = ModelConfig(found.tokens.size, cell="lstm", **sizes)
    shared: dict[str, Any] = {"seed": settings["seed"], "backend": variant.backend}
    if variant.batching == "signals":
        return SignalModel(config.hidden_size, front=variant.front, frames=variant.frames, **shared)
    if variant.front == "none":
        return LanguageModel(config, **shared)
    boundary = found.tokens.boundary
    return FrameModel(config, front=variant.front, frames=variant.frames, boundary=boundary, **shared)


def held_out(model: Any, found: Texts, batching: str) -> dict[str, float | None]:
    """Return nats per target: of signals, of paragraphs, or of long text with the state carried and cold."""
    if batching == "signals":
        held = itertools.islice(signals(HELD_SIGNALS, seed=0), 1)
        return {"nats": _per_target(model, held, carry=False), "cold_nats": None}
    if batching != "windows":
        lines = LineBatches(found.held_paragraphs, batch_size=64, seed=0).epoch(0)
        return {"nats": _per_target(model, lines, carry=False), "cold_nats": None}
    split = found.held_long_text
    stream = StreamBatches(split, batch_size=HELD_ROWS, bptt_steps=HELD_STEPS, seed=0).epoch(0)
    cold = cold_windows(split, size=COLD_STEPS)
    return {
        "nats": _per_target(model, map(_unbroken, stream), carry=True),
        "cold_nats": _per_target(model, map(_unbroken, cold), carry=False),
    }


def _unbroken(batch: Batch) -> Batch:
    """Drop the reset at the text's beginning, where the state is zero anyway."""
    return Batch(batch.inputs, batch.targets, batch.lengths)


@torch.no_grad()
def _per_target(model: Any, batches: Iterable[Batch], *, carry: bool) -> float | None:
    """Return nats per target, None where a model that diverged gives none."""
    loss: Callable[..., Any] = model.loss
    total, targets, state = 0.0, 0, None
    for batch in batches:
        if state is None or not carry:
            state = model.initial_state(batch.inputs.shape[1])
        nats, scored, state = loss(batch, state)
        total, targets = total + float(nats), targets + scored
    return total / targets if math.isfinite(total) else None
