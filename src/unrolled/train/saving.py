"""What a checkpoint of a run consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unrolled import checkpoint
from unrolled.data import Corpus
from unrolled.models import LanguageModel, State
from unrolled.models.loading import model_tensors, to_stored
from unrolled.train.loop import Snapshot

__all__ = ["Saver"]

KEEP = 3  # newest checkpoints that stay, beside LATEST and BEST


@dataclass
class Saver:
    """Writes step directories, LATEST and BEST, and at the end `model/` from BEST."""

    run: Path
    config: Mapping[str, Any]  # {"model", "data", "training"}, as config.json
    model: LanguageModel
    optimizer: torch.optim.Optimizer
    corpus: Corpus
    steps: int  # of the whole schedule
    best_step: int = 0

    def save(self, now: Snapshot) -> None:
        """Write one step directory and move the marks."""
        contents = checkpoint.Contents(
            config=dict(self.config),
            model=model_tensors(self.model),
            tokens=self.corpus.tokens.to_json(),
            optimizer=self._moments(now.state if now.feed.batches.carries_state else None),
            progress=self._progress(now),
        )
        checkpoint.write_step(self.run, now.step, contents)
        checkpoint.mark(self.run, "LATEST", now.step)
        if now.better:
            self.best_step = now.step
            checkpoint.mark(self.run, "BEST", now.step)
        checkpoint.prune(self.run, KEEP)

    def finish(self) -> Path:
        """Write `model/` from the best checkpoint and return its path."""
        return checkpoint.write_model(
            self.run, checkpoint.read(checkpoint.step_path(self.run, self.best_step))
        )

    def _moments(self, state: State | None) -> dict[str, checkpoint.Tensor]:
        stored: dict[str, checkpoint.Tensor] = {}
        for name, parameter in self.model.named_parameters():
            for moment, tensor in self.optimizer.state.get(parameter, {}).items():
                stored[f"{moment}.{name}"] = to_stored(tensor)
        if state is not None:
            parts = state if isinstance(state, tuple) else (state,)
            for name, part in zip(("h", "c"), parts, strict=False):
                stored[f"state.{name}"] = to_stored(part)
        return stored

    def _progress(self, now: Snapshot) -> dict[str, Any]:
        return {
            "step": now.step,
            "steps": self.steps,
            "epoch": now.feed.epoch,
            "batch": now.feed.index,
            "val_nats_per_token": now.validation,
            "best_step": self.best_step,
            "torch_random_state": bytes(torch.get_rng_state().tolist()).hex(),
            "threads": torch.get_num_threads(),
            "corpus_sha256": self.corpus.sha256,
        }
