"""Whether a stream's state is still what training gave: its size, and how much of it is saturated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from unrolled.errors import CheckpointError, expected
from unrolled.spec import OPEN
from unrolled.stream.weights import Floats

__all__ = ["Health", "LayerHealth", "health_of", "known_of", "measured"]

MOST_DRIFT = 4.0  # standard deviations
MOST_NORM = 1e30  # of training's states; a larger one is not stored
MOST_SATURATED = 0.25  # share of units above what training gave


@dataclass(frozen=True)
class LayerHealth:
    """One state of one layer."""

    layer: int
    state: str  # "h" or "c"
    norm: float  # root mean square over the units
    saturated: float  # share of units whose |h| is above 0.9; of c, whose |tanh(c)| is
    drift: float | None  # of the norm, in standard deviations of training's; None where they are not known
    known_norm: float | None = None  # mean over the training data
    known_saturated: float | None = None

    @property
    def well(self) -> bool:
        """Whether the norm is within 4 standard deviations of training's and saturation within 0.25."""
        if self.drift is None or self.known_saturated is None:
            return True
        return abs(self.drift) <= MOST_DRIFT and self.saturated - self.known_saturated <= MOST_SATURATED


@dataclass(frozen=True)
class Health:
    """What `Session.health` returns; printed, one line per layer and state."""

    layers: tuple[LayerHealth, ...]
    known: bool  # whether the model says what training gave

    @property
    def well(self) -> bool:
        """Whether every layer is; always so where training's values are not known."""
        return all(layer.well for layer in self.layers)

    def __str__(self) -> str:
        return "\n".join(map(_line, self.layers))


def _line(layer: LayerHealth) -> str:
    said = f"{layer.state}_l{layer.layer}: norm {layer.norm:.3f}, {layer.saturated:.0%} saturated"
    if layer.drift is None or layer.known_norm is None or layer.known_saturated is None:
        return said + "; training's values are not known"
    beside = f"training {layer.known_norm:.3f}, {layer.known_saturated:.0%}; drift {layer.drift:+.1f} sd"
    return f"{said} ({beside}){'' if layer.well else ': NOT as in training'}"


def health_of(state: Mapping[str, Floats], known: Mapping[str, Mapping[str, float]] | None) -> Health:
    """Return the health of {"h": [L, P], "c": [L, H]} beside what `known_of` returned."""
    layers = []
    for name, rows in state.items():
        for layer, row in enumerate(rows):
            norm, saturated = (float(value[0]) for value in _values(name, row[None]))
            told = None if known is None else known.get(f"{name}_l{layer}")
            if told is None:
                layers.append(LayerHealth(layer, name, norm, saturated, None))
                continue
            drift = (norm - told["norm"]) / max(told["norm_sd"], 1e-6)
            layers.append(LayerHealth(layer, name, norm, saturated, drift, told["norm"], told["saturated"]))
    return Health(tuple(layers), known is not None)


def measured(states: Iterable[Mapping[str, Floats]]) -> dict[str, dict[str, float]]:
    """Return what `health_of` compares with, of states at some steps: {"h_l0": {"norm": …, …}, …}."""
    rows: dict[str, list[Floats]] = {}
    for state in states:
        for name, layers in state.items():
            for layer, row in enumerate(layers):
                rows.setdefault(f"{name}_l{layer}", []).append(row)
    found = {}
    for name, each in rows.items():
        norms, saturated = _values(name[0], np.stack(each))
        found[name] = {
            "norm": float(norms.mean()),
            "norm_sd": float(norms.std()),
            "saturated": float(saturated.mean()),
        }
    return found


def known_of(
    config: Mapping[str, Any], names: Iterable[str], where: object
) -> dict[str, dict[str, float]] | None:
    """Return the section "states" of a config.json, None where there is none.

    Raises:
        CheckpointError: it does not describe these states with finite numbers.
    """
    section = config.get("states")
    if section is None:
        return None
    keys = {"norm", "norm_sd", "saturated"}
    for name in names:
        told = section.get(name) if isinstance(section, dict) else None
        numbers = isinstance(told, dict) and set(told) == keys and all(map(_is_number, told.values()))
        if not numbers:
            raise CheckpointError(
                expected(f"{where} states", f"{', '.join(sorted(keys))} of {name}", "something else")
            )
    return {name: dict(section[name]) for name in names}


def _values(name: str, rows: Floats) -> tuple[Floats, Floats]:
    """Return the root mean squares and saturated shares [N] of states [N, units]."""
    seen = np.tanh(rows) if name == "c" else rows
    return np.sqrt(np.square(rows, dtype=np.float64).mean(axis=1)), (np.abs(seen) > OPEN).mean(axis=1)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < MOST_NORM
