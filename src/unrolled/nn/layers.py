"""RNN, LSTM and GRU: torch.nn's layers, run by `unrolled.ops`; and the layer of any other registered cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import torch

from unrolled import ops
from unrolled.nn.options import Options
from unrolled.nn.recurrent import TORCH_MODES, LikeLSTM, Recurrent, mode_with


class RNN(Recurrent, torch.nn.RNN):
    """A plain recurrent layer: torch.nn.RNN's arguments, weights and results.

    Args:
        input_size, hidden_size: I and H.
        num_layers: L, each running on the output of the one below.
        nonlinearity: "tanh" or "relu".
        bias: whether there are bias_ih and bias_hh.
        batch_first: whether inputs and outputs are [B, T, ·]; states never are.
        dropout: of every layer's output but the last one's, while training.
        bidirectional: run a second set of weights from each row's last step to its first (D = 2).
        device, dtype: of the parameters.
        proj_size: 0, as only an LSTM projects.
        backend: "auto", or a backend's name; see `unrolled.explain`.
        recompute: k, a number of steps: keep a state every k steps and run them again in the backward pass,
            for sequences whose gates do not fit into memory; see `unrolled.ops`.
        zoneout, input_dropout, recurrent_dropout, reverse: as `Recurrent` takes them.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        proj_size: int = 0,
        backend: str = "auto",
        recompute: int | None = None,
        **options: Unpack[Options],
    ) -> None:
        sizes = (input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size)
        kept: Any = {"backend": backend, "recompute": recompute, **options}
        super().__init__(mode_with(nonlinearity), *sizes, device, dtype, **kept)
        self.nonlinearity = nonlinearity


class LSTM(LikeLSTM, torch.nn.LSTM):
    """An LSTM layer: torch.nn.LSTM's arguments, weights and results.

    Args:
        input_size, hidden_size: I and H.
        num_layers: L, each running on the output of the one below.
        bias: whether there are bias_ih and bias_hh.
        batch_first: whether inputs and outputs are [B, T, ·]; states never are.
        dropout: of every layer's output but the last one's, while training.
        bidirectional: run a second set of weights from each row's last step to its first (D = 2).
        proj_size: P, the width that h is projected to; 0 for none.
        device, dtype: of the parameters.
        backend: "auto", or a backend's name; see `unrolled.explain`.
        recompute: k, a number of steps: keep a state every k steps and run them again in the backward pass,
            for sequences whose gates do not fit into memory; see `unrolled.ops`.
        zoneout, input_dropout, recurrent_dropout, reverse: as `Recurrent` takes them.
    """

    _mode_of_class = "LSTM"


class GRU(Recurrent, torch.nn.GRU):
    """A GRU layer: torch.nn.GRU's arguments, weights and results.

    Args:
        input_size, hidden_size: I and H.
        num_layers: L, each running on the output of the one below.
        bias: whether there are bias_ih and bias_hh.
        batch_first: whether inputs and outputs are [B, T, ·]; states never are.
        dropout: of every layer's output but the last one's, while training.
        bidirectional: run a second set of weights from each row's last step to its first (D = 2).
        device, dtype: of the parameters.
        proj_size: 0, as only an LSTM projects.
        backend: "auto", or a backend's name; see `unrolled.explain`.
        recompute: k, a number of steps: keep a state every k steps and run them again in the backward pass,
            for sequences whose gates do not fit into memory; see `unrolled.ops`.
        zoneout, input_dropout, recurrent_dropout, reverse: as `Recurrent` takes them.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        proj_size: int = 0,
        backend: str = "auto",
        recompute: int | None = None,
        **options: Unpack[Options],
    ) -> None:
        sizes = (input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size)
        super().__init__("GRU", *sizes, device, dtype, backend=backend, recompute=recompute, **options)


VARIANTS: dict[str, Callable[..., Recurrent]] = {}  # mode → what builds the layer; variants.py fills it
COUNTERPARTS: dict[type[torch.nn.RNNBase], type[Recurrent]] = {  # of torch.nn's layers
    torch.nn.RNN: RNN,
    torch.nn.LSTM: LSTM,
    torch.nn.GRU: GRU,
}


def layer(
    cell: str,
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    *,
    nonlinearity: str | None = None,
    **options: Any,
) -> Recurrent:
    """Build the layer of any registered cell by its name.

    Args:
        cell: "lstm", "gru", "rnn", a variant such as "layernorm_lstm", or the name of a cell that
            `unrolled.ops.register` has added.
        input_size, hidden_size, num_layers, options: as `LSTM` takes them; proj_size where the cell projects.
        nonlinearity: of a cell that has a choice; default its first.
    Returns:
        An `LSTM`, `GRU` or `RNN`, or the variant's class; a plain `Recurrent` for a cell that was added.
    Raises:
        ConfigError: no such cell, or no such nonlinearity of it.
    """
    known = ops.op_of(cell).cell
    modes = known.modes or {known.label: None}
    asked = ops.nonlinearity_of(known, nonlinearity)
    mode = next(mode for mode, each in modes.items() if (each or "") == asked)
    if mode not in TORCH_MODES:
        build = VARIANTS.get(mode)
        if build is not None:
            return build(input_size, hidden_size, num_layers, **options)
        return Recurrent(mode, input_size, hidden_size, num_layers, **options)
    kind: Any = COUNTERPARTS[TORCH_MODES[mode]]
    choice = {"nonlinearity": modes[mode]} if modes[mode] else {}
    built: Recurrent = kind(input_size, hidden_size, num_layers, **choice, **options)
    return built
