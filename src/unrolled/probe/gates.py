"""Gates and states: step by step, and how open, saturated and slow each unit is over a whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unrolled import figures
from unrolled.errors import ConfigError, expected
from unrolled.probe.recording import Layer, record
from unrolled.probe.result import Floats, Mask, Result
from unrolled.probe.subject import untouched
from unrolled.spec import CLOSED, OPEN, Cell, cell_of_mode

STILL = 1e-3  # a state whose standard deviation is below this, in parts of its scale, never changes
NAMED = 3  # units that a picture of trajectories shows by their number


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
        layer: recurrent.l0. cell: as torch spells it: "LSTM", "GRU", "RNN_TANH" or "RNN_RELU".
        gates: those between 0 and 1: i, f, o of an LSTM; r, z of a GRU; none of an RNN.
        time_constant: [H] steps in which a unit forgets all but 1/e of its state by its gate alone: −1 over
            the mean of ln of the gate that keeps it (f of an LSTM, z of a GRU); infinite where the gate is
            always open. None for a cell without such a gate, as an RNN.
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
    def kind(self) -> Cell:
        """What is known of the layer's cell."""
        return cell_of_mode(self.cell)[0]

    @property
    def relu(self) -> bool:
        """Whether its nonlinearity is a relu, which saturates at 0."""
        return cell_of_mode(self.cell)[1] == "relu"

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
        """Draw how often each unit's gates are closed and open, or an RNN's spectrum of W_hh, as a PNG."""
        panels: dict[str, Any] = {}
        for layer in self.layers:
            if layer.spectrum is None:
                panels[layer.layer] = {
                    layer.kind.title(name): (use.closed, use.open) for name, use in layer.gates.items()
                }
            else:
                panels[layer.layer] = {"W_hh": (layer.spectrum.real, layer.spectrum.imag)}
        circles = {layer.layer for layer in self.layers if layer.spectrum is not None}
        figures.units(
            path,
            panels=panels,
            circles=circles,
            xlabel=f"share of steps closed (< {CLOSED})",
            ylabel=f"share of steps open (> {OPEN})",
            circle_labels=("real part of the eigenvalue", "imaginary part"),
            title="the gates of each unit" if len(circles) < len(panels) else "the eigenvalues of W_hh",
        )


@dataclass(frozen=True)
class Trajectories(Result):
    """What `trajectories` recorded.

    Attributes:
        layers: layer → name → [T, B, H]: i, f, g, o, c, h of an LSTM; r, z, n, h of a GRU; a (before the
            nonlinearity) and h of an RNN. Zero past a row's length.
        lengths: [B] the valid steps of each row, as the lowest layer had them.
        cells: layer → its cell, as torch spells it: "LSTM".
    """

    layers: dict[str, dict[str, Floats]]
    lengths: tuple[int, ...]
    cells: dict[str, str]

    def cell(self, layer: str) -> Cell:
        """Return what is known of a layer's cell."""
        return cell_of_mode(self.cells[layer])[0]

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
        steps, cell = self.lengths[row], self.cell(name)
        texts = [str(t) for t in range(steps)] if tokens is None else list(tokens)[:steps]
        figures.strips(
            path,
            tokens=texts,
            strips={cell.title(key): values[:steps, row] for key, values in self.layers[name].items()},
            title=f"{name}, row {row}",
            ranges={cell.title(key): (0.0, 1.0) for key in cell.sigmoid},
            ends={cell.title(key): ("closed", "open") for key in cell.sigmoid},
            named=NAMED,
        )


def gates(model: torch.nn.Module, batch: object) -> Gates:
    """Measure every gate and state of every unit over a batch.

    Args:
        model: any module that holds RNN, LSTM or GRU of unrolled.nn or torch.nn, in either direction.
        batch: a `Batch`, or the tensor that the model takes, or a tuple of its arguments, or a `record` of
            them. Padding is left out.
    Raises:
        ConfigError: no recurrent layer. NonFiniteError: a weight or an input is NaN or infinite.
    """
    recording = record(model, batch, directions=True)
    with untouched(recording.subject.model):
        layers = recording.run.layers
        return Gates(tuple(map(_layer, layers)), int(layers[0].valid.sum()))


def trajectories(model: torch.nn.Module, batch: object, *, steps: int | None = None) -> Trajectories:
    """Record every gate and state of every layer.

    Args:
        model: any module that holds RNN, LSTM or GRU of unrolled.nn or torch.nn, in either direction.
        batch: a `Batch`, or the tensor that the model takes, or a tuple of its arguments, or a `record` of
            them.
        steps: how many of the first steps are returned; default all.
    Raises:
        ConfigError: no recurrent layer. NonFiniteError: a weight or an input is NaN or infinite.
    """
    ran = record(model, batch, directions=True).run
    lengths = ran.layers[0].call.lengths
    count = ran.steps if steps is None else min(steps, ran.steps)
    return Trajectories(
        {
            layer.name: {
                name: _numpy(value[:count].double()) for name, value in layer.trace._asdict().items()
            }
            for layer in ran.layers
        },
        (count,) * ran.rows if lengths is None else tuple(lengths.clamp(max=count).tolist()),
        {layer.name: layer.mode for layer in ran.layers},
    )


def _layer(layer: Layer) -> LayerGates:
    cell, nonlinearity = cell_of_mode(layer.mode)
    seen = {
        name: value[layer.valid.to(value.device)].double() for name, value in layer.trace._asdict().items()
    }  # [n, ·]
    state = seen[cell.memory]
    mean, deviation = state.mean(0), state.std(0, correction=0)
    still = deviation < STILL * mean.abs().clamp(min=1)
    new = seen[cell.candidate]
    saturated = new == 0 if nonlinearity == "relu" else new.abs() > OPEN
    return LayerGates(
        layer=layer.name,
        cell=layer.mode,
        gates={name: _use(seen[name]) for name in cell.sigmoid},
        time_constant=None if cell.keep is None else _time_constant(seen[cell.keep]),
        saturated=_numpy(saturated.double().mean(0)),
        state_mean=_numpy(mean),
        state_deviation=_numpy(deviation),
        never_changes=still.cpu().numpy(),
        spectrum=None if cell.sigmoid else _spectrum(layer.call.weight_hh),
    )


def _use(gate: Tensor) -> GateUse:
    shares = ((gate < CLOSED).double().mean(0), (gate > OPEN).double().mean(0))
    return GateUse(_numpy(gate.mean(0)), *map(_numpy, shares))


def _time_constant(gate: Tensor) -> Floats:
    with np.errstate(divide="ignore"):
        found: Floats = -1 / _numpy(gate.log().mean(0).clamp(max=-0.0))
    return np.abs(found)


def _spectrum(weight_hh: Tensor) -> npt.NDArray[np.complex128]:
    weight = weight_hh.detach().double().cpu().numpy()  # [H, H], or its diagonal [H]
    values = (np.linalg.eigvals(weight) if weight.ndim == 2 else weight).astype(np.complex128)
    found: npt.NDArray[np.complex128] = values[np.argsort(-np.abs(values), kind="stable")]
    return found


def _numpy(values: Tensor) -> Floats:
    found: Floats = values.cpu().numpy()
    return found
