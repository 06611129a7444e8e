"""Gates and states: how open, how saturated, how slow, and which units never change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unrolled import figures
from unrolled.ops import valid_steps
from unrolled.probe.interval import Floats
from unrolled.probe.places import Mask
from unrolled.probe.result import Result
from unrolled.probe.running import Layer, admit, run
from unrolled.probe.subject import Subject, untouched
from unrolled.spec import CLOSED, OPEN

__all__ = ["STILL", "GateUse", "Gates", "LayerGates", "gates"]

STILL = 1e-3  # a state whose standard deviation is below this, in parts of its scale, never changes
KEEPS = {"LSTM": "f", "GRU": "z"}  # the gate that keeps the state
GATES = {"LSTM": ("i", "f", "o"), "GRU": ("r", "z")}  # between 0 and 1


@dataclass(frozen=True)
class GateUse(Result):
    """One gate of one layer, [H] each: its mean, and the share of steps at which it is closed, and open."""

    mean: Floats
    closed: Floats
    open: Floats


@dataclass(frozen=True)
class LayerGates(Result):
    """The gates and states of one layer in one direction.

    Attributes:
        layer: recurrent.l0. cell: "LSTM", "GRU", "RNN_TANH" or "RNN_RELU".
        gates: i, f, o of an LSTM; r, z of a GRU; none of an RNN.
        time_constant: [H] steps in which a unit forgets all but 1/e of its state by its gate alone: −1 over
            the mean of ln f (LSTM) or ln z (GRU); infinite where the gate is always open. None for an RNN.
        saturated: [H] share of steps at which |tanh| is above 0.9: h of an RNN, the candidate g or n of the
            others; of a relu RNN, at which the unit is 0.
        state_mean, state_deviation: [H] over steps and rows, of c (LSTM) or h.
        never_changes: [H] whether the deviation is below a thousandth: of 1, or of |mean| where that is more.
        spectrum: [H] complex, the eigenvalues of W_hh of an RNN, the largest first; None for the others.
    """

    layer: str
    cell: str
    gates: dict[str, GateUse]
    time_constant: Floats | None
    saturated: Floats
    state_mean: Floats
    state_deviation: Floats
    never_changes: Mask
    spectrum: npt.NDArray[np.complex128] | None

    @property
    def spectral_radius(self) -> float | None:
        """The largest modulus of the spectrum."""
        return None if self.spectrum is None else float(abs(self.spectrum[0]))


@dataclass(frozen=True)
class Gates(Result):
    """What `gates` measured: the layers, the lowest first, and over how many steps of all rows together."""

    layers: tuple[LayerGates, ...]
    samples: int

    def plot(self, path: str | Path) -> None:
        """Draw how often each unit's gates are closed and open (RNN: the spectrum of W_hh) into a PNG
        file."""
        panels: dict[str, Any] = {}
        for layer in self.layers:
            if layer.spectrum is None:
                panels[layer.layer] = {name: (use.closed, use.open) for name, use in layer.gates.items()}
            else:
                panels[layer.layer] = {"W_hh": (layer.spectrum.real, layer.spectrum.imag)}
        circles = {layer.layer for layer in self.layers if layer.spectrum is not None}
        figures.units(
            path,
            panels=panels,
            circles=circles,
            xlabel="share of steps closed (< 0.1)",
            ylabel="share of steps open (> 0.9)",
            circle_labels=("real part of the eigenvalue", "imaginary part"),
            title="each unit's gates" if len(circles) < len(panels) else "the spectrum of W_hh",
        )


def gates(model: torch.nn.Module, batch: object) -> Gates:
    """Measure every gate and state of every unit over a batch.

    Args:
        model: any module that holds RNN, LSTM or GRU of unrolled.nn or torch.nn, in either direction.
        batch: a `Batch`, or the tensor that the model takes, or a tuple of its arguments. Padding is left
            out.
    Raises:
        ConfigError: no recurrent layer. NonFiniteError: a weight or an input is NaN or infinite.
    """
    subject = Subject.of(model, directions=True)
    with untouched(model):
        inputs = admit(batch)
        layers = run(subject, inputs).layers
        return Gates(tuple(_layer(layer, _valid(layer)) for layer in layers), int(_valid(layers[0]).sum()))


def _valid(layer: Layer) -> Tensor:
    """Return [T, B]: the steps within their rows."""
    lengths = layer.call.lengths
    steps, rows = layer.trace.h.shape[:2]
    if lengths is None:
        return torch.ones(steps, rows, dtype=torch.bool)
    return valid_steps(lengths, steps)


def _layer(layer: Layer, valid: Tensor) -> LayerGates:
    seen = {
        name: value[valid.to(value.device)].double() for name, value in layer.trace._asdict().items()
    }  # [n, ·]
    cell = _cell(layer, seen)
    state = seen["c"] if cell == "LSTM" else seen["h"]
    mean, deviation = state.mean(0), state.std(0, correction=0)
    still = deviation < STILL * mean.abs().clamp(min=1)
    spectrum = _spectrum(layer.call.weight_hh) if cell.startswith("RNN") else None
    return LayerGates(
        layer=layer.name,
        cell=cell,
        gates={name: _use(seen[name]) for name in GATES.get(cell, ())},
        time_constant=_time_constant(seen[KEEPS[cell]]) if cell in KEEPS else None,
        saturated=_saturated(seen, cell),
        state_mean=_numpy(mean),
        state_deviation=_numpy(deviation),
        never_changes=still.cpu().numpy(),
        spectrum=spectrum,
    )


def _cell(layer: Layer, seen: dict[str, Tensor]) -> str:
    if "c" in seen:
        return "LSTM"
    return "GRU" if "z" in seen else f"RNN_{layer.call.nonlinearity.upper()}"


def _use(gate: Tensor) -> GateUse:
    shares = ((gate < CLOSED).double().mean(0), (gate > OPEN).double().mean(0))
    return GateUse(_numpy(gate.mean(0)), *map(_numpy, shares))


def _time_constant(gate: Tensor) -> Floats:
    with np.errstate(divide="ignore"):
        found: Floats = -1 / _numpy(gate.log().mean(0).clamp(max=-0.0))
    return np.abs(found)


def _saturated(seen: dict[str, Tensor], cell: str) -> Floats:
    if cell == "RNN_RELU":
        return _numpy((seen["h"] == 0).double().mean(0))
    value = seen[{"LSTM": "g", "GRU": "n"}.get(cell, "h")]
    return _numpy((value.abs() > OPEN).double().mean(0))


def _spectrum(weight_hh: Tensor) -> npt.NDArray[np.complex128]:
    values = np.linalg.eigvals(weight_hh.detach().double().cpu().numpy()).astype(np.complex128)
    found: npt.NDArray[np.complex128] = values[np.argsort(-np.abs(values), kind="stable")]
    return found


def _numpy(values: Tensor) -> Floats:
    found: Floats = values.cpu().numpy()
    return found
