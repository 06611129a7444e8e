"""The packed form of layers and cells: weights packed once, for many short calls without gradients."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from operator import is_
from typing import Any

import torch
from torch import Tensor

from unrolled import kernels, ops
from unrolled.errors import ConfigError, DtypeError, NonFiniteError, counted, expected
from unrolled.nn.direct import Given, Layout, dense, is_watched, layout_of, states_of
from unrolled.nn.options import beside_torch
from unrolled.nn.validate import Weights, weights_of
from unrolled.spec import STORAGES, cell_of_mode
from unrolled.stream import convert

# Steps that a call may have. A longer one earns what packing for itself costs: its usual path then goes layer
# by layer and reads W_ih once for many steps, and from about 16 steps on that is faster.
MOST_STEPS = 8
_MOST_LAYERS = 64
_FLOAT32 = torch.float32
_CONTIGUOUS = torch.contiguous_format
_lock = threading.Lock()


@dataclass(frozen=True)
class PackingReport:
    """What `packed` did to a module.

    Attributes:
        packed: path of each layer and cell that is packed → its type ("LSTM"). A module that is itself the
            layer has the path "".
        left: path of each other recurrent layer or cell → why it takes its usual path.
    """

    packed: Mapping[str, str]
    left: Mapping[str, str]

    def __str__(self) -> str:
        lines = [f"{path or 'the module itself'}: packed {kind}" for path, kind in self.packed.items()]
        lines += [f"{path or 'the module itself'}: left, {why}" for path, why in self.left.items()]
        return "\n".join(lines)


class Pack:
    """The packed weights of one layer or cell within one `packed`; afterwards `network` is None.

    Whatever copies a module copies no pack. Calls from any number of threads may use one at once.
    """

    network: kernels.Network | None

    def __init__(self, module: Any, storage: str) -> None:
        cell, _ = cell_of_mode(module.mode)
        weights = _weights_of(module)
        self.hidden = len(weights[0].weight_ih) // len(cell.gates)
        self.width = weights[0].weight_hh.shape[1]  # of h
        self.inputs = weights[0].weight_ih.shape[1]
        self.layers = len(weights)
        self.has_c = len(cell.states) == 2
        self.storage = storage
        described, alive = [], []
        for each in weights:
            stored = [_stored(weight, storage) for weight in (each.weight_ih, each.weight_hh, each.weight_hr)]
            biases = [_stored(bias, "float32") for bias in (each.bias_ih, each.bias_hh)]
            alive += [*stored, *biases]
            described.append(
                kernels.LayerWeights(
                    _kernel(module),
                    each.weight_ih.shape[1],
                    self.hidden,
                    self.width,
                    stored[0][1],
                    stored[1][1],
                    stored[2][1],
                    biases[0][1][0],
                    biases[1][1][0],
                )
            )
        self.network = kernels.pack_network(described, storage=storage, output_size=self.width)
        # What functional_call and the like put in the place of a parameter is not what was packed.
        self.parameters = tuple(module._parameters.values())

    def stands_for(self, module: torch.nn.Module) -> bool:
        """Whether it is packed still, and the module's parameters are the objects that were packed."""
        now = module._parameters
        if self.network is None or len(now) != len(self.parameters):
            return False
        return all(map(is_, now.values(), self.parameters))

    def refuse_gradients(self, *given: object) -> None:
        """Raise ConfigError where grad mode is on and something wants a gradient."""
        if not torch.is_grad_enabled():
            return
        wants = [each for each in self.parameters if each is not None]
        wants += [each for each in given if isinstance(each, Tensor)]
        if any(each.requires_grad for each in wants):
            want = "torch.no_grad() or torch.inference_mode() within packed()"
            raise ConfigError(expected("grad mode", want, "a call that wants gradients"))

    def run(
        self,
        layout: Layout,
        x: Tensor,
        resets: Tensor | None,
        states: Given,
        y: Tensor | None,
        h_n: Tensor,
        c_n: Tensor | None,
    ) -> bool:
        """Run rows of that layout through the network; False where it is packed no more.

        Raises NonFiniteError: the weights are int8, and there is a NaN or an infinity.
        """
        network = self.network
        if network is None:
            return False
        if self.storage == "int8":
            _refuse_states_not_finite(layout, resets, states)
        steps, rows, width, _, of_steps, of_rows = layout
        h_0, c_0 = states
        outcome = network.rollout(
            torch.get_num_threads(),
            steps,
            rows,
            x.data_ptr(),
            of_steps * width,
            of_rows * width,
            0 if resets is None else resets.data_ptr(),
            of_steps,
            of_rows,
            0 if h_0 is None else h_0.data_ptr(),
            0 if c_0 is None else c_0.data_ptr(),
            0 if y is None else y.data_ptr(),
            of_steps * self.width,
            of_rows * self.width,
            h_n.data_ptr(),
            0 if c_n is None else c_n.data_ptr(),
        )
        if outcome:
            raise _not_finite()
        return True


def _refuse_states_not_finite(layout: Layout, resets: Tensor | None, states: Given) -> None:
    """Raise NonFiniteError where a state that no reset zeroes at once is not finite: as int8 it is lost."""
    rows, of_rows = layout[1], layout[5]
    for state in states:
        if state is not None:
            fine = state.isfinite().all(-1).view(-1, rows).all(0)
            if resets is not None:
                fine |= resets.flatten()[::of_rows][:rows]
            if not bool(fine.all()):
                raise _not_finite()


def _not_finite() -> NonFiniteError:
    want = "finite numbers, as the weights are int8"
    return NonFiniteError(expected("input", want, "NaN or infinity, there or in the state"))


@contextmanager
def packed(module: torch.nn.Module, *, weights: str = "float32") -> Iterator[PackingReport]:
    """Pack the weights of every layer and cell of `unrolled.nn` within a module, for calls of few steps.

    For rollouts: reinforcement learning, decoding, control. Within the context, under `no_grad` or
    `inference_mode`, a call of 1 to 8 steps on plain float32 tensors on the CPU, with resets or without,
    runs on the packed weights. A layer gives the bits of its native backend, and a cell those of a layer of
    one step. Any other call takes its usual path, on the parameters as they are: with lengths or a
    PackedSequence, under autocast, torch.compile or a profiler, with dropout between layers while training.
    `unrolled.explain` says which path a call takes and why. A call that wants gradients is refused.

    The packed weights are those of the moment of entry. What is written into the parameters later (an
    optimizer's step, `load_state_dict`, `param.data`) packed calls do not see before the context is left.
    Where a parameter is another object than it was (torch.func.functional_call, an assignment), calls take
    the usual path.

    It may be nested: the inner weights hold until the inner context is left. Copies of the module, by
    deepcopy or pickle, are not packed. Any threads may call at once, and contexts on one module may be left
    in any order.

    Args:
        module: any torch.nn.Module.
        weights: type of the packed weights: "float32", "bfloat16" or "int8", as in `unrolled.stream`.
    Returns:
        A context manager of a `PackingReport`.
    Raises:
        ConfigError: there is no recurrent layer or cell within the module, or no such type of weights.
        DtypeError: not a torch.nn.Module. NonFiniteError: bfloat16 or int8, and a weight is not finite.
    """
    if not isinstance(module, torch.nn.Module):
        raise DtypeError(expected("module", "a torch.nn.Module", type(module).__name__))
    if weights not in STORAGES:
        raise ConfigError(expected("weights", f"one of {', '.join(STORAGES)}", repr(weights)))
    packs: list[tuple[Any, Pack]] = []
    done, left = {}, {}
    for path, inner in module.named_modules():
        if not isinstance(inner, (torch.nn.RNNBase, torch.nn.RNNCellBase)):
            continue
        why = why_not_packed(inner)
        if why is None:
            packs.append((inner, Pack(inner, weights)))
            done[path] = type(inner).__name__
        else:
            left[path] = why
    if not done and not left:
        raise ConfigError(expected("module", "one with a recurrent layer or cell", type(module).__name__))
    with _lock:
        for inner, pack in packs:
            inner._packs = (*inner._packs, pack)
    try:
        yield PackingReport(done, left)
    finally:
        with _lock:
            for inner, pack in packs:
                pack.network = None
                _take_out(inner, pack)


def _take_out(module: Any, pack: Pack) -> None:
    rest = tuple(each for each in getattr(module, "_packs", ()) if each is not pack)
    if rest:
        module._packs = rest
    else:
        vars(module).pop("_packs", None)


def why_not_packed(module: Any) -> str | None:
    """Say why a recurrent layer or cell cannot be packed, None where it can."""
    if not hasattr(module, "_packs"):
        kind = f"{type(module).__module__}.{type(module).__qualname__}"
        return f"{kind} is not of unrolled.nn, see unrolled.accelerate"
    if not kernels.available():
        return kernels.why_not()
    if _kernel(module) not in kernels.CELLS:
        return f"the engine has no kernels for {module.mode}"
    if getattr(module, "bidirectional", False):
        return "bidirectional: the other direction begins at the end of the sequence"
    if getattr(module, "num_layers", 1) > _MOST_LAYERS:
        return f"it has more than {_MOST_LAYERS} layers"
    if isinstance(module, torch.nn.RNNBase) and (module.reverse or module.zoneout):
        return beside_torch(module)
    backend = getattr(module, "backend", "auto")
    if backend not in ("auto", "native"):
        return f"its backend is {backend!r}"
    for weight in (tensor for each in _weights_of(module) for tensor in each[:5] if tensor is not None):
        if not weight.is_cpu:
            return f"its weights lie on {weight.device}"
        if weight.dtype != _FLOAT32:
            return f"its weights are {str(weight.dtype).removeprefix('torch.')}, not float32"
    return None


def _kernel(module: Any) -> str:
    """Return the engine's name of a layer's or cell's cell."""
    cell, nonlinearity = cell_of_mode(module.mode)
    return f"{cell.name}_{nonlinearity}" if nonlinearity else cell.name


def _weights_of(module: Any) -> list[Weights]:
    if isinstance(module, torch.nn.RNNBase):
        return weights_of(module)
    return [Weights(module.weight_ih, module.weight_hh, module.bias_ih, module.bias_hh)]


def _stored(weight: Tensor | None, storage: str) -> tuple[Any, tuple[int, int]]:
    """Return what holds a weight in its storage, to be kept alive, and where its numbers and scales lie."""
    if weight is None:
        return None, (0, 0)
    weight = weight.detach().resolve_neg().contiguous()
    if weight.data_ptr() % weight.itemsize:
        weight = weight.clone()
    if storage == "float32":
        return weight, (weight.data_ptr(), 0)
    if not bool(weight.isfinite().all()):
        raise NonFiniteError(expected("weights", f"finite ones, to be {storage}", "NaN or infinity"))
    stored = convert(weight.numpy(), storage)
    return stored, stored.addresses


def run_layer(layer: Any, pack: Pack, input: object, hx: Any, resets: object) -> tuple[Tensor, Any] | None:
    """Run the packed layer as its `forward` does; None where the usual path must be taken."""
    if is_watched() or type(input) is not Tensor or not pack.stands_for(layer):
        return None
    if (layer.training and layer.dropout > 0 and pack.layers > 1) or beside_torch(layer):
        return None
    shape = input.shape
    layout = layout_of(shape, layer.batch_first)
    if layout is None or layout[2] != pack.inputs or layout[0] > MOST_STEPS:
        return None
    of_h, of_c = (pack.layers, *layout[3], pack.width), (pack.layers, *layout[3], pack.hidden)
    x = dense(input, shape, _FLOAT32)
    states = states_of(hx, (of_h, of_c) if pack.has_c else (of_h,), _FLOAT32)
    cut = None if resets is None else dense(resets, shape[:-1], torch.bool, 0)
    if x is None or states is None or (cut is None and resets is not None):
        return None
    if torch.is_grad_enabled():
        pack.refuse_gradients(x, *states)
    y, h_n = x.new_empty(*shape[:-1], pack.width), x.new_empty(*of_h)
    c_n = x.new_empty(*of_c) if pack.has_c else None
    if not pack.run(layout, x, cut, states, y, h_n, c_n):
        return None
    return y, h_n if c_n is None else (h_n, c_n)


def run_cell(cell: Any, pack: Pack, input: object, hx: Any, resets: object) -> Any:
    """Run the packed cell as its `forward` does; None where the usual path must be taken."""
    if is_watched() or type(input) is not Tensor or not pack.stands_for(cell):
        return None
    shape = input.shape
    between = shape[:-1]
    if len(shape) not in (1, 2) or shape[-1] != pack.inputs or 0 in between:
        return None
    state = (*between, pack.hidden)
    x = dense(input, shape, _FLOAT32)
    states = states_of(hx, (state, state) if pack.has_c else (state,), _FLOAT32)
    cut = None if resets is None else dense(resets, between, torch.bool, 0)
    if x is None or states is None or (cut is None and resets is not None):
        return None
    if torch.is_grad_enabled():
        pack.refuse_gradients(x, *states)
    h_n, c_n = x.new_empty(*state), x.new_empty(*state) if pack.has_c else None
    layout = (1, between[0] if between else 1, pack.inputs, between, 0, 1)
    if not pack.run(layout, x, cut, states, None, h_n, c_n):
        return None
    return h_n if c_n is None else (h_n, c_n)


def explain_layer(layer: Any, input: object, hx: Any, lengths: object, resets: Tensor | None) -> str | None:
    """Say why a call of a packed layer, whose arguments fit, takes its usual path; None where it does not."""
    pack = layer._packs[-1]
    if isinstance(input, ops.Embedded):
        return "its input is symbols"
    if lengths is not None or not isinstance(input, Tensor):
        return "its rows have lengths"
    shape = input.shape
    steps = shape[1] if layer.batch_first and len(shape) == 3 else shape[0]
    if not 0 < steps <= MOST_STEPS:
        return f"it has {steps} steps, not 1 to {MOST_STEPS}"
    if layer.training and layer.dropout > 0 and pack.layers > 1:
        return "dropout between its layers is random, while training"
    if beside_torch(layer):
        return beside_torch(layer)
    return _why_usual(layer, pack, input, hx, resets)


def explain_cell(cell: Any, input: Tensor, hx: Any, resets: Tensor | None) -> str | None:
    """Say why a call of a packed cell, whose arguments fit, takes its usual path; None where it does not."""
    return _why_usual(cell, cell._packs[-1], input, hx, resets)


def _why_usual(module: Any, pack: Pack, input: Tensor, hx: Any, resets: Tensor | None) -> str | None:
    if pack.network is None:
        return "its context was left"
    if torch.compiler.is_compiling():
        return "torch.compile traces it"
    if is_watched():
        return "something traces, counts, transforms or casts what torch runs"
    if not pack.stands_for(module):
        return "a parameter was replaced since"
    if 0 in input.shape:
        return "it has no rows"
    given = [input, *(hx if isinstance(hx, (tuple, list)) else (hx,))]
    for each in given:
        if each is not None and dense(each, each.shape, _FLOAT32) is None:
            return "not all it is given are plain float32 tensors on the CPU"
    if resets is not None and type(resets) is not Tensor:
        return "its resets are no plain tensor"
    pack.refuse_gradients(*given)
    return None


def reason(pack: Pack) -> str:
    """Say in which form a packed call runs."""
    assert pack.network is not None
    isa, threads = kernels.ISAS[pack.network.isa], torch.get_num_threads()
    held = f"{'at most ' * (threads > 1)}{counted(threads, 'thread')}"
    return f"packed: all layers are one call of its step kernels on weights in {pack.storage} ({isa}, {held})"
