"""The recurrent layers of a task's network: their settings, how they are built, how they start."""

from __future__ import annotations

from typing import Any

import torch

from unrolled import nn
from unrolled.spec import CELLS, TrainConfig

__all__ = ["recurrent_settings", "recurrent_stack", "start_recurrent"]

SETTINGS = (
    "cell", "nonlinearity", "hidden_size", "num_layers", "dropout", "zoneout", "input_dropout",
    "recurrent_dropout", "chrono_steps", "init", "forget_bias",
)  # fmt: skip


def recurrent_settings(config: TrainConfig) -> dict[str, Any]:
    """Return the settings of the layers, which the config of a model has by the same names."""
    return {name: getattr(config, name) for name in SETTINGS}


def recurrent_stack(config: Any, input_size: int, *, backend: str, bidirectional: bool = False) -> Any:
    """Build the layers; torch warns of dropout in a single layer, where it would do nothing.

    Args:
        config: of a model.
    """
    return nn.layer(
        config.cell,
        input_size,
        config.hidden_size,
        config.num_layers,
        nonlinearity=config.nonlinearity if CELLS[config.cell].nonlinearities else None,
        dropout=config.dropout if config.num_layers > 1 else 0.0,
        zoneout=config.zoneout,
        input_dropout=config.input_dropout,
        recurrent_dropout=config.recurrent_dropout,
        bidirectional=bidirectional,
        backend=backend,
    )


def start_recurrent(layers: Any, config: Any, generator: torch.Generator) -> None:
    """Fill the layers' weights as the config of a model asks."""
    nn.init_recurrent(
        layers,
        init=config.init,
        forget_bias=config.forget_bias,
        chrono_steps=config.chrono_steps,
        generator=generator,
    )
