"""What was decided for a run, said before it starts, so that nobody has to guess."""

from __future__ import annotations

import torch

from unrolled.data import Corpus
from unrolled.spec import ModelConfig, TrainConfig
from unrolled.tasks import LanguageModel
from unrolled.train.state import Progress

__all__ = ["describe", "notes"]


def describe(config: ModelConfig) -> str:
    return f"{config.cell.upper()} {config.num_layers} x {config.hidden_size}"


def notes(
    config: TrainConfig, corpus: Corpus, model: LanguageModel, resumed: Progress | None = None
) -> list[str]:
    """Return a line each on the corpus, the model, the training, what was left out, and where it goes on."""
    parameters = sum(p.numel() for p in model.parameters())
    held = "nothing is held out: validation is the training text" if corpus.validation_is_train else (
        f"{corpus.validation.characters:,} held out"
    )  # fmt: skip
    lines = [
        f"corpus    {corpus.name}: {corpus.characters:,} characters as {corpus.shape}, "
        f"{corpus.tokens_setting} tokens, {corpus.tokens.size:,} symbols; {held}",
        f"model     {describe(model.config)}, {parameters:,} parameters, {config.dtype}, "
        f"{torch.get_num_threads()} threads, dropout {config.dropout}",
        f"training  batch {config.batch_size}"
        + (f" x {config.bptt_steps} steps" if corpus.shape == "stream" else " lines")
        + f", lr {config.learning_rate}, {_budget(config)}",
    ]
    if corpus.left_out:
        lines.append(f"left out  {corpus.left_out} entries that are hidden, not text or runs")
    if resumed is not None:
        lines.append(f"resumed   at step {resumed.step} of {resumed.steps}")
        if torch.get_num_threads() != resumed.threads:
            threads = f"{torch.get_num_threads()} threads, where the run had {resumed.threads}"
            lines.append(f"warning   {threads}: sums round otherwise, so it ends at other bits")
    return lines


def _budget(config: TrainConfig) -> str:
    if config.minutes is not None:
        return f"{config.minutes:g} minutes (a few steps are timed first)"
    return f"{config.epochs} epochs" if config.epochs is not None else f"{config.steps} steps"
