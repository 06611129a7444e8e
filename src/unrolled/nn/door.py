"""The door of the layers and cells: inputs checked against the module, and brought to one form.

Inside, everything is [T, B, I] with `lengths [B]` and `resets [T, B]`, and states are a tuple.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from unrolled.errors import DtypeError, ShapeError, expected
from unrolled.nn.packing import packing_of
from unrolled.ops.door import alike, check_lengths, check_resets, shape, tensor

States = tuple[Tensor, ...]


class Entry(NamedTuple):
    """A layer's arguments in one form, and the way back to the caller's form."""

    x: Tensor  # [T, B, I]
    states: States  # each [L·D, B, P or H]
    lengths: Tensor | None
    resets: Tensor | None  # [T, B]
    output_as_given: Callable[[Tensor], Tensor | PackedSequence]
    batched: bool

    def states_as_given(self, states: States) -> Tensor | States:
        """Return the states as the caller has them: a tensor, or a pair for the LSTM."""
        given = states if self.batched else tuple(state.squeeze(1) for state in states)
        return given[0] if len(given) == 1 else given


def enter(
    layer: torch.nn.RNNBase, input: object, hx: object, lengths: object, resets: Tensor | None
) -> Entry:
    """Check a layer's arguments and bring them to one form."""
    if isinstance(input, PackedSequence):
        return _enter_packed(layer, input, hx, lengths, resets)
    if not isinstance(input, Tensor):
        raise DtypeError(expected("input", "a tensor or a PackedSequence", type(input).__name__))
    _check_input(layer, input)
    if input.dim() == 2:
        return _enter_unbatched(layer, input, hx, lengths, resets)
    batch_first = layer.batch_first
    check_resets(resets, tuple(input.shape[:2]), input, "input")
    x = input.transpose(0, 1) if batch_first else input
    rows = _as_tensor(lengths)
    check_lengths(rows, steps=x.shape[0], rows=x.shape[1])
    return Entry(
        x=x,
        states=_layer_states(layer, hx, x.shape[1]),
        lengths=rows,
        resets=resets.T if batch_first and resets is not None else resets,
        output_as_given=(lambda y: y.transpose(0, 1)) if batch_first else (lambda y: y),
        batched=True,
    )


def _enter_unbatched(
    layer: torch.nn.RNNBase, input: Tensor, hx: object, lengths: object, resets: Tensor | None
) -> Entry:
    if lengths is not None:
        raise ShapeError(expected("lengths", "None with an unbatched input", type(lengths).__name__))
    check_resets(resets, (input.shape[0],), input, "input")
    return Entry(
        x=input[:, None],
        states=_layer_states(layer, hx, None),
        lengths=None,
        resets=None if resets is None else resets[:, None],
        output_as_given=lambda y: y.squeeze(1),
        batched=False,
    )


def _enter_packed(
    layer: torch.nn.RNNBase, input: PackedSequence, hx: object, lengths: object, resets: Tensor | None
) -> Entry:
    if lengths is not None:
        raise ShapeError(expected("lengths", "None with a PackedSequence", type(lengths).__name__))
    weight = _weight(layer)
    shape("input.data", input.data, ("n", layer.input_size))
    alike("input.data", input.data, "weight_ih_l0", weight)
    packing = packing_of(input)
    check_resets(resets, (packing.steps, packing.rows), input.data, "input.data")
    given = input[1:]  # batch_sizes, sorted_indices, unsorted_indices
    return Entry(
        x=packing.pad(input.data),
        states=_layer_states(layer, hx, packing.rows),
        lengths=packing.lengths,
        resets=resets,
        output_as_given=lambda y: PackedSequence(packing.pack(y), *given),
        batched=True,
    )


def _check_input(layer: torch.nn.RNNBase, input: Tensor) -> None:
    if input.dim() not in (2, 3) or input.shape[-1] != layer.input_size:
        batched = "[B, T, {0}]" if layer.batch_first else "[T, B, {0}]"
        want = f"{batched} or [T, {{0}}]".format(layer.input_size)
        raise ShapeError(expected("input", want, list(input.shape)))
    alike("input", input, "weight_ih_l0", _weight(layer))


def _layer_states(layer: torch.nn.RNNBase, hx: object, rows: int | None) -> States:
    """Return the states as [L·D, B, ·] each; `rows` is None where the input is unbatched."""
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    sizes = {"h_0": layer.proj_size or layer.hidden_size}
    if layer.mode == "LSTM":
        sizes["c_0"] = layer.hidden_size
    between = () if rows is None else (rows,)
    wants = {name: (count, *between, size) for name, size in sizes.items()}
    states = _states(hx, wants, "weight_ih_l0", _weight(layer))
    return states if rows is not None else tuple(state[:, None] for state in states)


def enter_cell(
    cell: torch.nn.RNNCellBase, input: Tensor, hx: object, resets: Tensor | None, names: tuple[str, ...]
) -> States:
    """Check a cell's arguments; return its states, zeroed in the rows that are reset."""
    tensor("input", input)
    if input.dim() not in (1, 2) or input.shape[-1] != cell.input_size:
        want = f"[B, {cell.input_size}] or [{cell.input_size}]"
        raise ShapeError(expected("input", want, list(input.shape)))
    alike("input", input, "weight_ih", cell.weight_ih)
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
    states = hx if len(wants) == 2 else (hx,)
    if not isinstance(states, (tuple, list)) or len(states) != len(wants):
        got = f"{len(states)} values" if isinstance(states, (tuple, list)) else type(states).__name__
        raise DtypeError(expected("hx", "a pair (h_0, c_0)", got))
    for (name, want), state in zip(wants.items(), states, strict=True):
        tensor(name, state)
        shape(name, state, want)
        alike(name, state, like_name, like)
    return tuple(states)


def _as_tensor(lengths: object) -> Tensor | None:
    if isinstance(lengths, (list, tuple)):
        for length in lengths:
            if not isinstance(length, int) or isinstance(length, bool):
                raise DtypeError(expected("lengths", "int64", f"a {type(length).__name__} in a list"))
        return torch.tensor(lengths, dtype=torch.int64)
    if lengths is not None and not isinstance(lengths, Tensor):
        raise DtypeError(expected("lengths", "a tensor or a list of int", type(lengths).__name__))
    return lengths


def _weight(layer: torch.nn.RNNBase) -> Tensor:
    # By name and at call time: weight_norm's hooks and functional_call put other tensors there.
    weight: Tensor = getattr(layer, "weight_ih_l0")  # noqa: B009
    return weight
