"""What a checkpoint of a run consists of, and which ones stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unrolled import checkpoint
from unrolled.data import Corpus
from unrolled.spec import RunDirectory
from unrolled.tasks import LanguageModel
from unrolled.tasks.loading import model_tensors
from unrolled.train.loop import Snapshot
from unrolled.train.schedule import Schedule
from unrolled.train.state import Progress, moments_of, random_state

__all__ = ["Saver"]


@dataclass
class Saver:
    """Writes step directories, LATEST and BEST, and at the end `model/` from BEST."""

    run: Path
    config: Mapping[str, Any]  # {"model", "data", "training"}, as config.json
    model: LanguageModel
    optimizer: torch.optim.Optimizer
    corpus: Corpus
    schedule: Schedule
    ids_sha256: str
    keep: int  # newest checkpoints that stay, beside LATEST and BEST
    best_step: int = 0

    def save(self, now: Snapshot) -> None:
        """Write one step directory and move the marks."""
        if now.better:
            self.best_step = now.step
        contents = checkpoint.Contents(
            config=dict(self.config),
            model=model_tensors(self.model),
            tokens=self.corpus.tokens.to_json(),
            optimizer=moments_of(
                self.model, self.optimizer, now.state if now.feed.batches.carries_state else None
            ),
            progress=self._progress(now).to_json(),
        )
        checkpoint.write_step(self.run, now.step, contents)
        checkpoint.mark(self.run, "LATEST", now.step)
        if now.better:
            checkpoint.mark(self.run, "BEST", now.step)
        checkpoint.prune(self.run, self.keep)

    def finish(self) -> Path:
        """Write `model/` from the best checkpoint and return its path."""
        return checkpoint.write_model(self.run, checkpoint.read(RunDirectory(self.run).step(self.best_step)))

    def _progress(self, now: Snapshot) -> Progress:
        return Progress(
            step=now.step,
            steps=self.schedule.steps,
            save_every=self.schedule.save_every,
            peak=self.schedule.peak,
            epoch=now.feed.epoch,
            batch=now.feed.index,
            val_nats_per_token=now.validation,
            best_step=self.best_step,
            best_nats_per_token=now.best,
            since=now.since,
            torch_random_state=random_state(),
            threads=torch.get_num_threads(),
            corpus_sha256=self.corpus.sha256,
            ids_sha256=self.ids_sha256,
        )
