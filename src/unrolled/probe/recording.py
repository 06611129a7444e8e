"""Every gate and state over given inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from unrolled import figures
from unrolled.errors import ConfigError, expected
from unrolled.probe.interval import Floats
from unrolled.probe.result import Result
from unrolled.probe.running import admit, run
from unrolled.probe.subject import Subject, untouched

__all__ = ["Trajectories", "trajectories"]


@dataclass(frozen=True)
class Trajectories(Result):
    """What `trajectories` recorded.

    Attributes:
        layers: layer → name → [T, B, H]: i, f, g, o, c, h of an LSTM; r, z, n, h of a GRU; a (before the
            nonlinearity) and h of an RNN. Zero past a row's length.
        lengths: [B] the valid steps of each row, as the lowest layer had them.
    """

    layers: dict[str, dict[str, Floats]]
    lengths: tuple[int, ...]

    def plot(
        self,
        path: str | Path,
        *,
        row: int = 0,
        layer: str | None = None,
        tokens: Sequence[str] | None = None,
    ) -> None:
        """Draw one row of one layer as heat strips into a PNG file.

        Args:
            path: the file. row: of the batch. layer: default the last one.
            tokens: [T] the texts of the steps; default their numbers.
        Raises:
            ConfigError: there is no such row or layer.
        """
        name = list(self.layers)[-1] if layer is None else layer
        if name not in self.layers:
            raise ConfigError(expected("layer", f"one of {', '.join(self.layers)}", repr(name)))
        if not 0 <= row < len(self.lengths):
            raise ConfigError(expected("row", f"0 to {len(self.lengths) - 1}", row))
        steps = self.lengths[row]
        strips = {key: values[:steps, row] for key, values in self.layers[name].items()}
        texts = [str(t) for t in range(steps)] if tokens is None else list(tokens)[:steps]
        open_or_closed = {"i", "f", "o", "r", "z"}
        figures.strips(
            path,
            tokens=texts,
            strips=strips,
            title=f"{name}, row {row}",
            ranges={key: (0.0, 1.0) for key in strips if key in open_or_closed},
        )


def trajectories(model: torch.nn.Module, batch: object) -> Trajectories:
    """Record every gate and state of every layer.

    Args:
        model: any module that holds RNN, LSTM or GRU of unrolled.nn or torch.nn, in either direction.
        batch: a `Batch`, or the tensor that the model takes, or a tuple of its arguments.
    Raises:
        ConfigError: no recurrent layer. NonFiniteError: a weight or an input is NaN or infinite.
    """
    subject = Subject.of(model, directions=True)
    with untouched(model):
        ran = run(subject, admit(batch))
    layers = {
        layer.name: {name: value.double().cpu().numpy() for name, value in layer.trace._asdict().items()}
        for layer in ran.layers
    }
    lengths = ran.layers[0].call.lengths
    return Trajectories(layers, tuple([ran.steps] * ran.rows if lengths is None else lengths.tolist()))
