"""Tools that look at a layer from outside: TorchScript, ONNX, torch.fx, quantisation, opacus.

torch.jit.trace knows torch's operators and not `unrolled::layer`: there a layer does what torch.nn's does. So
do cells and packed sequences while a model is exported to ONNX; for the other layers see `unrolled.ops.onnx`.
For torch.fx it is a leaf. What cannot be made to work says so, with the remedy.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeGuard

import torch
from torch import Tensor, fx

from unrolled.errors import ConfigError, expected
from unrolled.nn.options import options_of


def is_traced() -> bool:
    """Whether torch.jit.trace or one of the ONNX exporters is recording torch's operators."""
    return torch._C._get_tracing_state() is not None or torch.onnx.is_in_onnx_export()


def is_proxy(value: object) -> TypeGuard[fx.Proxy]:
    """Whether torch.fx hands this in place of a tensor."""
    return not isinstance(value, Tensor) and isinstance(value, fx.Proxy)


def is_exported(input: object) -> bool:
    """Whether a layer is one of ONNX's own in what is recorded: its input is a tensor then."""
    return torch.onnx.is_in_onnx_export() and isinstance(input, Tensor)


@contextmanager
def sizes_stay_free() -> Iterator[None]:
    """Within, the tracer says nothing of sizes that are compared: no branch that is taken depends on them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]  # torch's
        yield


def run_as_torch(layer: Any, kind: type[torch.nn.Module] | None, input: Any, hx: Any, **ours: Any) -> Any:
    """Run a layer or cell as torch.nn's `kind` runs it, on the same parameters.

    Raises:
        ConfigError: torch.nn has no such layer, or no such argument (lengths, resets).
    """
    doing = "while a model is traced or exported to ONNX"
    if kind is None:
        options = ", ".join(f"{name}={value}" for name, value in options_of(layer).items())
        got = f"{type(layer).__name__} {f'with {options}' if options else layer.mode}"
        raise ConfigError(expected("module", f"layers that torch.nn has {doing}", got))
    for name, value in ours.items():
        if value is not None:
            raise ConfigError(expected(name, f"None {doing} (torch.export takes it)", type(value).__name__))
    return kind.forward(layer, input, hx)


def leaf(layer: torch.nn.Module, forward: Any, input: fx.Proxy, hx: Any, **ours: Any) -> fx.Proxy:
    """Record a call of the layer, as torch.fx does for the modules of torch.nn.

    Args:
        forward: what the call came through. A subclass's own, around it, has been recorded already.
    Raises:
        ConfigError: the layer itself is traced, not a model that holds it, or has a forward of its own.
    """
    tracer = input.tracer
    if type(layer).forward is not forward:
        want = "one whose forward is unrolled.nn's, or a tracer to which it is a leaf (is_leaf_module)"
        raise ConfigError(expected("module", want, f"{type(layer).__name__}, whose forward is its own"))
    if not isinstance(tracer, fx.Tracer) or tracer.root is layer:
        want = "a model that holds the layer, to torch.fx a leaf"
        raise ConfigError(expected("module", want, f"the {type(layer).__name__} itself"))
    args = (input,) if hx is None else (input, hx)
    given = {name: value for name, value in ours.items() if value is not None}
    return tracer.create_proxy("call_module", tracer.path_of_module(layer), args, given)


def quantise(layer: Any, kind: type[torch.nn.Module] | None, value: object) -> None:
    """Set `qconfig`, by which torch.ao.quantization marks a module, where it marks a layer or cell of ours.

    It knows modules by their exact type. So where quantize_dynamic is asked for `kind`, torch.nn's type that
    ours stands for, ours becomes one in the model that is quantised. Where another tool of it marks one, a
    warning says that it stays as it is.
    """
    # torch sets None on whatever it does not quantise: what was asked for is known to its function alone.
    asked = sys._getframe(2).f_locals.get("qconfig_dict") or {}
    if kind is not None and kind in asked:
        back_to(kind, layer)
        value = asked[kind]
    elif value is not None:
        warnings.warn(
            f"torch.ao.quantization leaves {type(layer).__name__} of unrolled.nn in floating point, as it "
            "knows torch.nn's types; call unrolled.to_torch(model) first",
            stacklevel=4,
        )
    torch.nn.Module.__setattr__(layer, "qconfig", value)  # type: ignore[arg-type]  # takes anything


def back_to(kind: type[torch.nn.Module], module: torch.nn.Module) -> None:
    """Make a layer or cell of ours one of torch.nn's `kind`, or of a subclass, in place."""
    module.__class__ = kind
    for name in ("backend", "recompute", "between_layers", "_packs"):
        vars(module).pop(name, None)
    module._modules.pop("between_layers", None)


def refuse_opacus(layer: torch.nn.Module) -> None:
    """Refuse where opacus prepares a layer, by an attribute, that it would fail on in the backward pass.

    Raises:
        ConfigError: always.
    """
    want = (
        "opacus' layers (unrolled.adapters.register_opacus() for ours or unrolled.to_torch(model) for its "
        "own, then opacus' ModuleValidator.fix(model))"
    )
    raise ConfigError(expected("module", want, f"{type(layer).__name__} of unrolled.nn"))
