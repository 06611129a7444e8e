"""A trained network packed for streaming: from our checkpoints, or from a recurrent layer's tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import ConfigError, DtypeError, NonFiniteError, ShapeError, expected
from unrolled.files import quoted
from unrolled.spec import Cell, Steps, cell_of_mode, check_streams
from unrolled.stream.network import Packed
from unrolled.stream.session import Pool, Session
from unrolled.stream.state import State
from unrolled.stream.weights import Weight, as_array, check_weights, convert
from unrolled.tokens import Tokens

__all__ = ["Model", "Recurrent"]


class Model(Packed):
    """A network that runs step by step: weights packed once, shared by any number of sessions and pools.

    Attributes:
        tokens: its vocabulary, for text; None where it has none.
        config: its config.json; empty for layers of torch.
        path: the directory that was read; None for layers of torch.
    """

    tokens: Tokens | None = None
    config: Mapping[str, Any] = MappingProxyType({})
    path: Path | None = None

    def open(self, state: State = None) -> Session:
        """Return a stream of its own.

        Args:
            state: bytes that `Session.save` returned, or {"h": [L, P], "c": [L, H]}; default zeros.
        Raises:
            StateError: the bytes are torn, altered, or the state of another model or of other weights.
            ShapeError, DtypeError, NonFiniteError: the arrays do not fit.
        """
        return Session(self, state)

    def pool(self, streams: int, *, threads: int = 1) -> Pool:
        """Return `streams` streams that advance together, at zero. Raises ConfigError: below 1."""
        return Pool(self, streams, threads)

    def __repr__(self) -> str:
        takes = f"{self.vocab_size} symbols" if self.vocab_size else f"{self.input_size} inputs"
        size = f"{self.num_layers} x {self.hidden_size}"
        return f"<{type(self).__name__}: {self.cell} {size}, {takes}, {self.weights}, {self.isa}>"


class Recurrent(Model):
    """Recurrent layers alone, on dense input: y [P] for x [I]."""

    @classmethod
    def from_torch(cls, module: Any, *, weights: str = "float32") -> Recurrent:
        """Return the layers of a torch.nn or unrolled.nn RNN, LSTM or GRU, stacked or projected.

        Dropout between layers does nothing here. The weights are copied: later training does not change them.

        Raises:
            ConfigError: the module is bidirectional or none of these. DtypeError: it is not float32.
            NonFiniteError: a weight is not finite.
        """
        mode = getattr(module, "mode", None)
        if not isinstance(mode, str) or not hasattr(module, "weight_ih_l0"):
            raise ConfigError(
                expected("module", "an RNN, LSTM or GRU of torch.nn or unrolled.nn", type(module).__name__)
            )
        if getattr(module, "bidirectional", False):
            want = "one direction: the other one needs the end of the sequence before its first step"
            raise ConfigError(expected("module", want, "bidirectional layers"))
        if getattr(module, "reverse", False):
            want = "one direction, forward: the other one needs the end of the sequence before its first step"
            raise ConfigError(expected("module", want, "layers that run in reverse"))
        if getattr(module, "zoneout", 0.0):
            raise ConfigError(expected("module", "layers without zoneout", f"zoneout {module.zoneout}"))
        tensors = {}
        for name, parameter in module.state_dict().items():
            if str(parameter.dtype) != "torch.float32":
                raise DtypeError(expected(name, "float32", str(parameter.dtype).removeprefix("torch.")))
            tensors[name] = parameter.detach().cpu().numpy().copy()
        return cls.from_tensors(mode, tensors, weights=weights)

    @classmethod
    def from_tensors(
        cls, mode: str, tensors: Mapping[str, npt.ArrayLike], *, weights: str = "float32"
    ) -> Recurrent:
        """Return the layers that torch's tensors describe: a `state_dict` as numpy arrays.

        Args:
            mode: torch's: "LSTM", "GRU", "RNN_TANH" or "RNN_RELU"; or "COUPLED_LSTM", "INDRNN_TANH" or
                "INDRNN_RELU".
            tensors: `weight_ih_l0` [G·H, I], `weight_hh_l0` [G·H, P], `bias_ih_l0`, `bias_hh_l0`, and with a
                projection `weight_hr_l0` [P, H]; the same for the layers above.
        Raises:
            ConfigError: no such mode or weights, or a tensor is missing or unknown. ShapeError, DtypeError:
            one has another shape or dtype. NonFiniteError: one is not finite.
        """
        check_weights(weights)
        cell, nonlinearity = cell_of_mode(mode)
        check_streams(cell.name)
        layers = 0
        while f"weight_ih_l{layers}" in tensors:
            layers += 1
        if layers == 0:
            raise ConfigError(expected("tensors", "weight_ih_l0", ", ".join(map(quoted, tensors)) or "none"))
        steps = Steps(cell.name, nonlinearity or "tanh", layers, recurrent="")
        return cls(_checked(tensors, cell, layers, weights), steps, weights)


def _checked(
    tensors: Mapping[str, npt.ArrayLike], cell: Cell, layers: int, weights: str
) -> dict[str, Weight]:
    """Return tensors of a torch layer that fit one another, their matrices in the given type."""
    arrays = {name: as_array(name, value) for name, value in tensors.items()}
    shapes = _shapes(arrays, cell, layers)
    for name in arrays:
        if name not in shapes:
            raise ConfigError(expected("tensors", "those of the layers", f"unknown {quoted(name)}"))
    found = {}
    for name, shape in shapes.items():
        if name not in arrays:
            raise ConfigError(expected("tensors", quoted(name), "none of that name"))
        array = arrays[name]
        if array.dtype != np.float32:
            raise DtypeError(expected(name, "float32", array.dtype))
        if array.shape != shape:
            raise ShapeError(expected(name, list(shape), list(array.shape)))
        if not np.isfinite(array).all():
            raise NonFiniteError(expected(name, "finite weights", "NaN or infinity"))
        matrix = array.ndim == 2
        found[name] = convert(array, weights) if matrix else Weight(np.ascontiguousarray(array))
    return found


def _shapes(arrays: Mapping[str, npt.NDArray[Any]], cell: Cell, layers: int) -> dict[str, Sequence[int]]:
    """Return the shapes that the first layer implies for the tensors of all."""
    first, gates = arrays["weight_ih_l0"], len(cell.gates)
    if first.ndim != 2 or first.size == 0 or len(first) % gates != 0:
        raise ShapeError(expected("weight_ih_l0", f"[{gates}·H, I]", list(first.shape)))
    rows, incoming = first.shape
    projected = "weight_hr_l0" in arrays and cell.projects
    second = arrays["weight_hr_l0"] if projected else first
    if second.ndim != 2 or second.size == 0:
        raise ShapeError(expected("weight_hr_l0", f"[P, {rows // gates}]", list(second.shape)))
    width = len(second) if projected else rows // gates
    biased = "bias_ih_l0" in arrays
    shapes: dict[str, Sequence[int]] = {}
    for layer in range(layers):
        sizes = incoming if layer == 0 else width, rows // gates
        found = cell.weights(*sizes, proj_size=width if projected else 0, bias=biased)
        shapes |= {f"{name}_l{layer}": shape for name, shape in found.items()}
    return shapes
