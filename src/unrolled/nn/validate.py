"""Validation of what layers and cells are given: once, against the module, and brought to one form.

Inside, everything is [T, B, I] with `lengths [B]` and `resets [T, B]`, and states are a tuple. The ops of the
stack take it from here and check nothing again.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from unrolled.errors import DtypeError, ShapeError, expected
from unrolled.ops import (
    Embedded,
    States,
    check_alike,
    check_embedded,
    check_float,
    check_lengths,
    check_resets,
    check_shape,
    check_tensor,
    packing_of,
)
from unrolled.spec import cell_of_mode

Lengths = Tensor | Sequence[int] | np.ndarray[Any, Any]  # [B]
Resets = Tensor | Sequence[Any] | np.ndarray[Any, Any]  # bool, or numbers that are 0 or 1


_SETTINGS = ("num_layers", "bias", "bidirectional", "proj_size")


class Weights(NamedTuple):
    """Of one layer in one direction."""

    weight_ih: Tensor  # [G·H, I]
    weight_hh: Tensor  # [G·H, P]
    bias_ih: Tensor | None = None  # [G·H]
    bias_hh: Tensor | None = None  # [G·H]
    weight_hr: Tensor | None = None  # [P, H]
    further: tuple[Tensor, ...] = ()  # the cell's own, in the order of its spec


class Arguments(NamedTuple):
    """A layer's arguments and weights in one form, validated, and the way back to the caller's form."""

    x: Tensor  # [T, B, I]; where there are ids, [V, I]; where there are batch_sizes, [n, I]
    states: States  # each [L·D, B, P or H]
    weights: list[Weights]  # of each layer and direction
    lengths: Tensor | None
    resets: Tensor | None  # [T, B]
    output_as_given: Callable[[Tensor], Tensor | PackedSequence]
    batched: bool
    ids: Tensor | None = None  # [T, B]: see `ops.Embedded`
    batch_sizes: Tensor | None = None  # [T]: of packed rows, in falling order of length
    unsorted: Tensor | None = None  # [B]: the place among them of each of the caller's rows

    def states_as_given(self, states: States) -> Tensor | States:
        """Return the states as the caller has them: a tensor, or a pair for the LSTM."""
        given = states if self.batched else tuple(state.squeeze(1) for state in states)
        if self.unsorted is not None:
            given = tuple(state.index_select(1, self.unsorted) for state in given)
        return given[0] if len(given) == 1 else given


def validate_layer(
    layer: torch.nn.RNNBase,
    input: object,
    hx: object,
    lengths: object,
    resets: Tensor | None,
    *,
    compact: bool = False,
) -> Arguments:
    """Check a layer's arguments and bring them to one form.

    Args:
        compact: leave the symbols of an `Embedded` input and the rows of a PackedSequence as they are; else
            they are looked up and padded, and x is [T, B, I].
    """
    if isinstance(input, PackedSequence):
        return _packed(layer, input, hx, lengths, resets, compact)
    weight = None
    if isinstance(input, Embedded):
        _check_symbols(layer, input)
        input, weight = input if compact else (input.look_up(), None)
    if not isinstance(input, Tensor):
        raise DtypeError(expected("input", "a tensor or a PackedSequence", type(input).__name__))
    weights = weights_of(layer)
    like = weights[0].weight_ih
    if weight is None:
        _check_input(layer, input, like)
    else:
        check_alike("input.weight", weight, "weight_ih_l0", like)
    sizes = input.shape[: 2 if weight is not None else -1]  # without I
    batched, batch_first = len(sizes) == 2, layer.batch_first and len(sizes) == 2
    if lengths is not None and not batched:
        raise ShapeError(expected("lengths", "None with an unbatched input", type(lengths).__name__))
    check_resets(resets, tuple(sizes), input, "input")
    if not batched:
        x, resets = input[:, None], None if resets is None else resets[:, None]
    else:
        x = input.transpose(0, 1) if batch_first else input
        resets = resets.T if batch_first and resets is not None else resets
    rows = _lengths(lengths, x.shape[0])
    check_lengths(rows, steps=x.shape[0], rows=x.shape[1])
    return Arguments(
        x=x if weight is None else weight,
        weights=weights,
        states=_layer_states(layer, hx, x.shape[1] if batched else None, like),
        lengths=rows,
        resets=resets,
        output_as_given=lambda y: y.transpose(0, 1) if batch_first else y if batched else y.squeeze(1),
        batched=batched,
        ids=None if weight is None else x,
    )


def _packed(
    layer: torch.nn.RNNBase,
    input: PackedSequence,
    hx: object,
    lengths: object,
    resets: Tensor | None,
    compact: bool,
) -> Arguments:
    if lengths is not None:
        raise ShapeError(expected("lengths", "None with a PackedSequence", type(lengths).__name__))
    weights = weights_of(layer)
    like = weights[0].weight_ih
    check_shape("input.data", input.data, ("n", layer.input_size))
    check_alike("input.data", input.data, "weight_ih_l0", like)
    sizes, order, unsorted = given = input[1:]
    rows = int(sizes[0]) if order is None else len(order)
    check_resets(resets, (len(sizes), rows), input.data, "input.data")
    states = _layer_states(layer, hx, rows, like)
    if compact:
        if order is not None:
            resets = None if resets is None else resets.index_select(1, order)
            states = states if hx is None else tuple(state.index_select(1, order) for state in states)
        return Arguments(
            x=input.data,
            weights=weights,
            states=states,
            lengths=None,
            resets=resets,
            output_as_given=lambda y: PackedSequence(y, *given),
            batched=True,
            batch_sizes=sizes,
            unsorted=unsorted,
        )
    packing = packing_of(sizes, rows, input.data.device)
    x, row_lengths = packing.pad(input.data), packing.lengths
    if unsorted is not None:
        x, row_lengths = x.index_select(1, unsorted), row_lengths.index_select(0, unsorted.cpu())
    return Arguments(
        x=x,
        weights=weights,
        states=states,
        lengths=row_lengths,
        resets=resets,
        output_as_given=lambda y: PackedSequence(
            packing.pack(y if order is None else y.index_select(1, order)), *given
        ),
        batched=True,
    )


def _check_input(layer: torch.nn.RNNBase, input: Tensor, like: Tensor) -> None:
    if input.dim() not in (2, 3) or input.shape[-1] != layer.input_size:
        batched = "[B, T, {0}]" if layer.batch_first else "[T, B, {0}]"
        want = f"{batched} or [T, {{0}}]".format(layer.input_size)
        raise ShapeError(expected("input", want, list(input.shape)))
    check_alike("input", input, "weight_ih_l0", like)


def _check_symbols(layer: torch.nn.RNNBase, input: Embedded) -> None:
    unbatched = isinstance(input.ids, Tensor) and input.ids.dim() == 1
    check_embedded("input", input, ("T",) if unbatched else ("B", "T") if layer.batch_first else ("T", "B"))
    check_shape("input.weight", input.weight, ("V", layer.input_size))


def _layer_states(layer: torch.nn.RNNBase, hx: object, rows: int | None, like: Tensor) -> States:
    """Return the states as [L·D, B, ·] each; `rows` is None where the input is unbatched."""
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    cell, _ = cell_of_mode(layer.mode)
    sizes = {f"{name}_0": layer.hidden_size for name in cell.states} | {
        "h_0": layer.proj_size or layer.hidden_size
    }
    between = () if rows is None else (rows,)
    wants = {name: (count, *between, size) for name, size in sizes.items()}
    states = _states(hx, wants, "weight_ih_l0", like)
    return states if rows is not None else tuple(state[:, None] for state in states)


def validate_cell(
    cell: torch.nn.RNNCellBase, input: Tensor, hx: object, resets: Tensor | None, names: tuple[str, ...]
) -> States:
    """Check a cell's arguments; return its states, zeroed in the rows that are reset."""
    check_tensor("input", input)
    if input.dim() not in (1, 2) or input.shape[-1] != cell.input_size:
        want = f"[B, {cell.input_size}] or [{cell.input_size}]"
        raise ShapeError(expected("input", want, list(input.shape)))
    check_alike("input", input, "weight_ih", cell.weight_ih)
    rows = tuple(input.shape[:-1])  # (B,), or () where unbatched
    check_resets(resets, rows, input, "input")
    wants = dict.fromkeys(names, (*rows, cell.hidden_size))
    states = _states(hx, wants, "weight_ih", cell.weight_ih)
    if resets is None:
        return states
    return tuple(state.masked_fill(resets[..., None], 0) for state in states)


def _states(hx: object, wants: dict[str, tuple[int, ...]], like_name: str, like: Tensor) -> States:
    """Return the states that hx holds, checked, or zeros; `wants` gives their names and sizes."""
    if hx is None:
        first, *others = wants.values()
        zero = like.new_zeros(first)  # for both, where they are alike
        return (zero, *(zero if want == first else like.new_zeros(want) for want in others))
    states = hx if len(wants) > 1 else (hx,)
    if not isinstance(states, (tuple, list)) or len(states) != len(wants):
        got = f"{len(states)} values" if isinstance(states, (tuple, list)) else type(states).__name__
        raise DtypeError(
            expected("hx", f"{'a pair' if len(wants) == 2 else 'a tuple'} ({', '.join(wants)})", got)
        )
    for (name, want), state in zip(wants.items(), states, strict=True):
        check_tensor(name, state)
        check_shape(name, state, want)
        check_alike(name, state, like_name, like)
    return tuple(states)


def _lengths(lengths: object, steps: int) -> Tensor | None:
    """Return lengths as an int64 tensor: of a tensor, a list or an array of whole numbers."""
    if lengths is None or (isinstance(lengths, Tensor) and lengths.dtype == torch.int64):
        return lengths
    if not isinstance(lengths, Tensor):
        if not isinstance(lengths, Sequence) and hasattr(lengths, "__array__"):  # of numpy, or a data frame's
            lengths = np.asarray(lengths)
        if not isinstance(lengths, (Sequence, np.ndarray)) or isinstance(lengths, (str, bytes)):
            got = type(lengths).__name__
            raise DtypeError(expected("lengths", "a tensor, a list or an array of whole numbers", got))
        for length in lengths:
            whole = isinstance(length, (int, np.integer)) or (isinstance(length, Tensor) and not length.dim())
            if isinstance(length, bool) or not whole:
                raise DtypeError(
                    expected("lengths", "whole numbers", f"a {type(length).__name__} among them")
                )
        numbers = [int(length) for length in lengths]
        for number in numbers:
            if abs(number) >= 2**63:  # no int64
                raise ShapeError(expected("lengths", f"values from 0 to {steps}", number))
        lengths = torch.as_tensor(numbers, dtype=torch.int64)
    if lengths.dtype.is_floating_point or lengths.dtype.is_complex or lengths.dtype == torch.bool:
        raise DtypeError(expected("lengths", "whole numbers", str(lengths.dtype).removeprefix("torch.")))
    return lengths.to(torch.int64)


def _numbers(name: str, value: object, want: str) -> np.ndarray[Any, Any]:
    """Return a list or an array of real numbers or bools as an array."""
    if isinstance(value, (str, bytes)) or not (isinstance(value, Sequence) or hasattr(value, "__array__")):
        raise DtypeError(expected(name, want, type(value).__name__))
    try:
        array = np.asarray(value)
    except ValueError:  # lists of unequal lengths
        raise ShapeError(expected(name, "rows of one length", "rows of several")) from None
    if array.dtype.kind not in "biuf":
        raise DtypeError(expected(name, want, f"a {type(value).__name__} of {array.dtype}"))
    if array.dtype.kind == "b":
        return array
    return array.astype(np.float64 if array.dtype.kind == "f" else np.int64)


def resets_of(resets: object, input: object) -> Tensor | None:
    """Return resets as a bool tensor: of bools or numbers 0 and 1, in a tensor, a list or an array."""
    if resets is None or (isinstance(resets, Tensor) and resets.dtype == torch.bool):
        return resets
    if not isinstance(resets, Tensor):
        if isinstance(resets, torch.fx.Proxy):
            return cast(Tensor, resets)
        flags = _numbers("resets", resets, "bool, or numbers that are 0 or 1")
        made = torch.from_numpy(np.array(flags))
        resets = made.to(input.device) if isinstance(input, Tensor) else made
    if resets.dtype.is_complex:
        raise DtypeError(expected("resets", "bool, or numbers that are 0 or 1", "complex numbers"))
    known = not (
        torch.compiler.is_compiling() or resets.is_meta or torch._C._are_functorch_transforms_active()
    )
    if known and resets.dtype != torch.bool:
        neither = resets[(resets != 0) & (resets != 1)]
        if neither.numel():
            raise DtypeError(expected("resets", "bool, or numbers that are 0 or 1", neither[0].item()))
    return resets != 0


def weights_of(layer: torch.nn.RNNBase) -> list[Weights]:
    """Return the weights of each layer and direction, checked: l0, l0_reverse, l1, …

    By attribute and at call time: weight_norm's hooks and functional_call put other tensors there. Each is
    asked for once, as a parametrisation is computed whenever it is. Where `_flat_weights` holds others that
    were put there by hand, it is those, as in torch.nn.
    """
    cell, _ = cell_of_mode(layer.mode)
    hidden = layer.proj_size or layer.hidden_size
    suffixes = ("", "_reverse") if layer.bidirectional else ("",)
    wants = []
    for level in range(layer.num_layers):
        width = hidden * len(suffixes) if level else layer.input_size
        shapes = cell.weights(width, layer.hidden_size, proj_size=layer.proj_size, bias=layer.bias)
        wants += [
            {f"{kind}_l{level}{suffix}": shape for kind, shape in shapes.items()} for suffix in suffixes
        ]
    given = _given(layer, [list(each) for each in wants])
    like = given["weight_ih_l0"]
    check_float("weight_ih_l0", like)
    found = []
    for each in wants:
        for name, want in each.items():
            _check_weight(name, given[name], want, like)
        of_kind = {name.rpartition("_l")[0]: given[name] for name in each}
        further = tuple(of_kind.pop(name) for name, *_ in cell.further)
        found.append(Weights(**of_kind, further=further))
    return found


def _given(layer: Any, wanted: list[list[str]]) -> dict[str, Any]:
    """Return the weights of a layer by name. Raises ShapeError: its settings ask for others than it has."""
    names = [name for each in wanted for name in each]
    if not isinstance(layer, torch.nn.RNNBase):  # what stands for one: `adapters.opacus`
        return {name: getattr(layer, name) for name in names}
    if layer._all_weights != wanted:
        settings = ", ".join(f"{name}={getattr(layer, name)}" for name in _SETTINGS)
        got = ", ".join(name for each in layer._all_weights for name in each)
        raise ShapeError(expected("weights", f"{', '.join(names)} for {settings}", got))
    given = {name: getattr(layer, name) for name in names}
    if torch.compiler.is_compiling() or all(map(operator.is_, layer._flat_weights, given.values())):
        return given
    at = {name: index for index, name in enumerate(layer._flat_weights_names)}
    if all(_collected(layer, at[name]) is weight for name, weight in given.items()):
        return {name: layer._flat_weights[at[name]] for name in names}
    if all(name in layer._parameters for name in names):
        layer._init_flat_weights()
    return given


def is_by_hand(layer: Any, index: int, weight: object) -> bool:
    """Whether `_flat_weights`, which torch.nn's forward reads, holds another tensor than the layer's own.

    It is there by hand where the layer's own is the one that was collected; else torch.nn collects them anew.
    """
    return layer._flat_weights[index] is not weight and _collected(layer, index) is weight


def _collected(layer: Any, index: int) -> object:
    reference = layer._flat_weight_refs[index]
    return None if reference is None else reference()


def _check_weight(name: str, weight: object, want: tuple[int, ...], like: Tensor) -> None:
    if isinstance(weight, Tensor) and weight.shape == want:
        if weight.dtype == like.dtype and weight.device == like.device:
            return
        check_alike(name, weight, "weight_ih_l0", like)
    else:
        check_tensor(name, weight)
        check_shape(name, cast(Tensor, weight), want)
