"""The optimizer."""

from __future__ import annotations

import torch

from unrolled.tasks import SequenceModel

__all__ = ["make_optimizer", "set_learning_rate"]

BETAS = (0.9, 0.99)


def make_optimizer(model: SequenceModel, *, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019), only matrices decay, never biases.

    In its fused form, which is three times as fast here as the others (bench/RESULTS.md).
    """
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=BETAS, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group the same rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr
