"""Small run directories as training leaves them."""

from __future__ import annotations

import json
from pathlib import Path

from unrolled import checkpoint
from unrolled.checkpoint import Contents, Tensor
from unrolled.spec import CELLS, ModelConfig, RunDirectory, to_json
from unrolled.tasks import LanguageModel
from unrolled.tasks.loading import model_tensors
from unrolled.tokens import build, from_json

__all__ = ["write_run"]


TEXT = "abc, ab\nabc\n"
PAIRS = {"format": "unrolled-tokens", "version": 1, "kind": "bpe", "merges": [[97, 98], [256, 99]]}


def write_run(run: Path, cell: str, *, kind: str = "char", tied: bool = False) -> Path:
    """Write a small run as training leaves it: two steps, LATEST, BEST, model/."""
    tokens = from_json(PAIRS) if kind == "bpe" else build(kind, [TEXT])
    config = ModelConfig(tokens.size, 4, 4, num_layers=2, cell=cell, tie_weights=tied)
    section = {"model": to_json(config), "data": {"source": "book.txt", "shape": "stream"}, "training": {}}
    for step in (1, 2):
        weights = model_tensors(LanguageModel(config, seed=step))
        moments = {f"{m}.{name}": w for name, w in weights.items() for m in ("exp_avg", "exp_avg_sq")}
        scalars = {f"step.{name}": Tensor("float32", (), bytes(4)) for name in weights}
        carried = {f"state.{part}": Tensor("float32", (2, 3, 4), bytes(96)) for part in CELLS[cell].states}
        progress = {
            "step": step,
            "steps": 2,
            "threads": 2,
            "torch_random_state": "00" * 50,
            "best": None,
            "since": {"nats": 0.5},
        }
        contents = Contents(section, weights, tokens.to_json(), moments | scalars | carried, progress)
        checkpoint.write_step(run, step, contents)
    checkpoint.mark(run, "BEST", 1)
    checkpoint.mark(run, "LATEST", 2)
    checkpoint.write_model(run, checkpoint.read(RunDirectory(run).step(1)))
    (run / "config.json").write_text(json.dumps(section))
    return run
