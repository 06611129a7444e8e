"""What is measured: a model and its recurrent layers, held so that a measurement changes nothing in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unrolled.errors import ConfigError, DtypeError, NonFiniteError, expected
from unrolled.nn import Recurrent

HALVES = (torch.float16, torch.bfloat16)  # measured in float32 copies
_FORWARDS = (torch.nn.RNN.forward, torch.nn.LSTM.forward, torch.nn.GRU.forward, Recurrent.forward)


@dataclass(frozen=True)
class Subject:
    """A model that can be measured.

    Attributes:
        model: as it was given; never changed.
        layers: (name, module) of its recurrent modules, in the order in which they are registered. A module
            that is the model itself has the name "".
    """

    model: torch.nn.Module
    layers: tuple[tuple[str, torch.nn.RNNBase], ...]

    @classmethod
    def of(cls, model: object, *, directions: bool = False) -> Subject:
        """Look at a model.

        Args:
            model: a torch.nn.Module that holds unrolled.nn's or torch.nn's RNN, LSTM or GRU.
            directions: whether bidirectional layers can be measured.
        Raises:
            DtypeError: not a module. ConfigError: it has no recurrent layer, or a bidirectional one where
                that is not defined. NonFiniteError: a weight is NaN or infinite.
        """
        if not isinstance(model, torch.nn.Module):
            raise DtypeError(expected("model", "a torch.nn.Module", type(model).__name__))
        layers = tuple((name, m) for name, m in model.named_modules() if _is_recurrent(m))
        if not layers:
            raise ConfigError(expected("model", "a recurrent layer (RNN, LSTM or GRU)", _instead(model)))
        found = cls(model, layers)
        if not directions:
            found.check_forward()
        for name, weight in model.named_parameters():
            if not bool(torch.isfinite(weight.detach()).all()):
                raise NonFiniteError(expected(f"model {name}", "finite weights", "NaN or infinity"))
        return found

    def check_forward(self) -> None:
        """Raise ConfigError where a layer is bidirectional, or runs in reverse."""
        for name, layer in self.layers:
            if layer.bidirectional or getattr(layer, "reverse", False):
                want = (
                    "layers that run forward (of bidirectional ones only gates and trajectories are defined)"
                )
                way = "bidirectional" if layer.bidirectional else "reverse"
                raise ConfigError(expected("model", want, f"{way} {name or type(layer).__name__}"))

    @property
    def batch_first(self) -> bool:
        """Whether inputs and outputs are taken to be [B, T, …]: as those of the first recurrent layer."""
        return self.layers[0][1].batch_first


def _is_recurrent(module: torch.nn.Module) -> bool:
    known = isinstance(module, torch.nn.RNNBase) and type(module).forward in _FORWARDS
    return known and "forward" not in vars(module)


def _instead(model: torch.nn.Module) -> str:
    alike = (torch.nn.RNNBase, torch.nn.RNNCellBase)
    found = {type(m).__name__ for m in model.modules() if isinstance(m, alike)}
    return f"only {', '.join(sorted(found))}" if found else type(model).__name__


@contextlib.contextmanager
def untouched(model: torch.nn.Module) -> Iterator[None]:
    """Within, the model is in evaluation mode and its parameters and buffers are stand-ins.

    Stand-ins share the parameters' memory (float32 copies of half precision, clones of inference tensors and
    of buffers) and need no gradient. Modes, parameters, buffers and the random state are as before
    afterwards, whatever happens within.
    """
    modes = [(module, module.training) for module in model.modules()]
    stores: list[dict[str, Any]] = [s for m in model.modules() for s in (m._parameters, m._buffers)]
    before = [dict(store) for store in stores]
    # What torch.nn's layers collect of their parameters, anew once these are stand-ins.
    collected = [
        (vars(m), {name: list(vars(m)[name]) for name in ("_flat_weights", "_flat_weight_refs")})
        for m in model.modules()
        if isinstance(m, torch.nn.RNNBase)
    ]
    devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    try:
        with (
            torch.random.fork_rng(devices=devices),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast("cuda" if devices else "cpu", enabled=False),
        ):
            _stand_in(stores)
            for module, _ in modes:
                module.training = False
            yield
    finally:
        for store, tensors in zip(stores, before, strict=True):
            store.clear()
            store.update(tensors)
        for attributes, lists in collected:
            attributes.update(lists)
        for module, mode in modes:
            module.training = mode


def _stand_in(stores: Sequence[dict[str, Any]]) -> None:
    """Put stand-ins into the modules; what was one tensor in two places stays one."""
    known: dict[int, Tensor] = {}
    for store in stores:
        for name, tensor in store.items():
            if tensor is None:
                continue
            if id(tensor) not in known:
                new = plain(tensor)
                known[id(tensor)] = new if isinstance(tensor, torch.nn.Parameter) else new.clone()
            store[name] = known[id(tensor)]


def plain(tensor: Tensor) -> Tensor:
    """Return a tensor without gradient, float32 where it is half precision, never an inference tensor."""
    tensor = tensor.detach()
    if tensor.dtype in HALVES:
        return tensor.float()
    return tensor.clone() if tensor.is_inference() else tensor
