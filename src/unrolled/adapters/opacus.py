"""Layers for opacus: the engine runs them, and per-sample gradients are exact.

A weight's gradient is the sum over a row's steps of the gradient of its pre-activations, times what the
weight was multiplied with at that step. So the input's part of the pre-activations is computed by a module of
its own, on which opacus sets its hooks, and the engine runs the recurrence on it (its W_ih is then the
identity): autograd gives the gradient of pre-activations, however y, h_n and c_n are used, and the sum over
steps is one product. Decision 0035 has more.
"""

from __future__ import annotations

from typing import Any

import torch
from opacus.grad_sample import register_grad_sampler
from opacus.validators.errors import ShouldReplaceModuleError
from opacus.validators.utils import register_module_fixer, register_module_validator
from torch import Tensor

from unrolled import ops
from unrolled.errors import ConfigError, expected
from unrolled.nn import GRU, LSTM, RNN, Recurrent, run_stack, validate_layer

_KINDS = (RNN, LSTM, GRU)
_OPTIONS = ("proj_size", "zoneout", "input_dropout", "recurrent_dropout", "reverse")
_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class Gates(torch.nn.Module):
    """The weights of one layer in one direction, and what a backward pass needs of each forward pass."""

    def __init__(self, layer: Recurrent, name: str) -> None:
        super().__init__()
        for kind in _WEIGHTS if layer.bias else _WEIGHTS[:2]:
            setattr(self, kind, getattr(layer, f"{kind}_{name}"))
        self.before: list[
            tuple[Any, Tensor, Tensor | None]
        ] = []  # the form of x, h and the GRU's r [B, T, H]

    def forward(self, x: Tensor) -> Tensor:
        """Return the input's part of the pre-activations: [B, T, I] → [B, T, G·H]."""
        self.max_batch_len = len(x)  # opacus' own attribute: it would take T where its batch_first is False
        weights: Any = self._parameters
        return torch.nn.functional.linear(x, weights["weight_ih"], weights.get("bias_ih"))

    def remember(self, x: Tensor, h: Tensor, r: Tensor | None) -> None:
        """Keep h [T, B, H] before each step, and r, where opacus has kept the activations of this call."""
        if len(getattr(self, "activations", ())) > len(self.before):
            r = None if r is None else r.transpose(0, 1)
            self.before.append(((x.shape, x.stride()), h.transpose(0, 1), r))


class PrivateRecurrent(torch.nn.Module):
    """A layer of `unrolled.nn` for opacus: called as it was, with its names in the `state_dict`."""

    def __init__(self, layer: Recurrent) -> None:
        super().__init__()
        others = any(getattr(layer, name) for name in _OPTIONS)
        if type(layer) not in _KINDS or others:
            want = f"an RNN, LSTM or GRU without {', '.join(_OPTIONS)}"
            raise ConfigError(expected("module", want, str(layer)))
        for name in ("mode", "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout"):
            setattr(self, name, getattr(layer, name))
        self.bidirectional, self.proj_size, self.backend = layer.bidirectional, 0, layer.backend
        names = [
            name.removeprefix("weight_ih_") for name, _ in layer.named_parameters() if "weight_ih" in name
        ]
        self.gates = torch.nn.ModuleDict({name: Gates(layer, name) for name in names})
        self.register_state_dict_post_hook(_to_torch_names)
        self.register_load_state_dict_pre_hook(_to_own_names)

    def __getattr__(self, name: str) -> Any:
        kind, _, layer = name.rpartition("_l")  # weight_ih_l0_reverse
        if kind in _WEIGHTS:
            return getattr(self.gates[f"l{layer}"], kind)
        return super().__getattr__(name)

    def forward(self, input: Any, hx: Any = None, *, lengths: Any = None, resets: Any = None) -> Any:
        """Run the layer, as `unrolled.nn.LSTM.forward` does."""
        given: Any = validate_layer(self, input, hx, lengths, resets)  # type: ignore[arg-type]  # alike
        y, states, _ = run_stack(self, given, execute=self._execute)  # type: ignore[arg-type]
        return given.output_as_given(y), given.states_as_given(states)

    def _execute(self, name: str, call: ops.Call) -> ops.Output:
        gates: Any = self.gates[name]
        x = call.x
        if call.lengths is not None:  # padding may be NaN
            x = x.masked_fill(~ops.valid_steps(call.lengths, len(x))[..., None].to(x.device), 0)
        x = x.transpose(0, 1)
        xs = gates(x).transpose(0, 1)
        identity = torch.eye(xs.shape[-1], dtype=xs.dtype, device=xs.device)
        is_gru = call.op == "gru"
        own = call._replace(x=xs, weight_ih=identity, bias_ih=None, trajectories=is_gru)
        output = ops.execute(own, self.backend)
        r = output.trajectory.r.detach() if is_gru else None
        gates.remember(x, _before(call, output.y.detach()), r)
        return output


def _before(call: ops.Call, h: Tensor) -> Tensor:
    """Return h [T, B, H] as it was before each step, in the direction of the call."""
    first, cut = call.states[0].detach(), call.resets
    if not call.reverse:
        before = torch.cat((first[None], h))[:-1] if len(h) else h
        return before if cut is None else before.masked_fill(cut[..., None], 0)
    zeros = torch.zeros_like(h[:1])
    before = torch.cat((h, zeros))[1:]
    if cut is not None:
        before = before.masked_fill(torch.cat((cut, cut[:1]))[1:, :, None], 0)
    steps = torch.arange(len(h), device=h.device)[:, None]
    ends = len(h) if call.lengths is None else call.lengths.to(h.device)
    return torch.where((steps == ends - 1)[..., None], first, before)


def grad_sample(gates: Gates, activations: list[Tensor], backprops: Tensor) -> dict[Any, Tensor]:
    """Return the gradient of each weight for each row: of one activation [B, T, I], backprops [B, T, G·H]."""
    (x,), (form, h, r) = activations, gates.before.pop()
    if form != (x.shape, x.stride()):  # opacus' batch_first is False
        x, backprops = x.transpose(0, 1), backprops.transpose(0, 1)
    into_h = backprops
    if r is not None:  # n = tanh(x' + r ⊙ (W_hn h + b_hn))
        *others, n = backprops.chunk(3, -1)
        into_h = torch.cat((*others, n * r), -1)
    found = {
        "weight_ih": torch.einsum("bti,btj->bij", backprops, x),
        "weight_hh": torch.einsum("bti,btj->bij", into_h, h),
        "bias_ih": backprops.sum(1),
        "bias_hh": into_h.sum(1),
    }
    return {weight: found[name] for name, weight in gates.named_parameters() if weight.requires_grad}


def register() -> None:
    """Tell opacus of the layers."""
    why = "opacus needs gradients of each sample: ModuleValidator.fix(model) gives a layer that has them"
    register_module_validator(list(_KINDS))(lambda _module: [ShouldReplaceModuleError(why)])
    register_module_fixer(list(_KINDS))(PrivateRecurrent)
    register_grad_sampler(Gates)(grad_sample)


def _to_torch_names(_: Any, state_dict: dict[str, Any], prefix: str, *__: Any) -> None:
    for key in [key for key in state_dict if key.startswith(f"{prefix}gates.")]:
        layer, kind = key.removeprefix(f"{prefix}gates.").split(".")
        state_dict[f"{prefix}{kind}_{layer}"] = state_dict.pop(key)


def _to_own_names(module: PrivateRecurrent, state_dict: dict[str, Any], prefix: str, *__: Any) -> None:
    for layer, gates in module.gates.items():
        for kind in gates._parameters:
            key = f"{prefix}{kind}_{layer}"
            if key in state_dict:
                state_dict[f"{prefix}gates.{layer}.{kind}"] = state_dict.pop(key)
