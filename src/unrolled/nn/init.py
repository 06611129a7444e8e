"""Starting values of recurrent layers, each with its source.

| tensor | value | source |
| --- | --- | --- |
| weight_hh, orthogonal | orthogonal times `gain`, gate by gate | Saxe et al. 2014; Henaff et al. 2016 |
| the same of a relu RNN | identity times `gain` | Le, Jaitly & Hinton 2015 |
| weight_hh, uniform | U(±1/√H) times `gain` | torch.nn's own |
| weight_ih | uniform, Glorot's bound, gate by gate | Glorot & Bengio 2010 |
| weight_hh of an IndRNN | U(0, 1) times `gain` | Li et al. 2018 |
| gains of layer normalisation; its bias; peepholes | 1; 0; 0 | Ba et al. 2016 |
| biases | 0 | |
| forget bias of an LSTM | 1 (in bias_ih; bias_hh is 0) | Gers et al. 2000; Jozefowicz et al. 2015 |
| with `chrono_steps = T` | forget ~ ln U(1, T − 1), input = −forget; GRU: update | Tallec & Ollivier 2018 |
"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from unrolled.errors import ConfigError, expected, older_arguments
from unrolled.spec import CELLS, INITS, Cell, cell_of_mode

__all__ = ["init_recurrent"]


@older_arguments("init_recurrent", start="init", stack="layer")
def init_recurrent(
    layer: nn.RNNBase,
    *,
    init: str = "orthogonal",
    gain: float = 1.0,
    forget_bias: float | None = None,
    chrono_steps: int | None = None,
    generator: Generator | None = None,
) -> None:
    """Fill every tensor of a recurrent layer in place, ours or torch.nn's, by the table above.

    Args:
        layer: of any cell. A weight_hr (projection) is filled as weight_ih.
        init: of weight_hh: "orthogonal" or "uniform".
        gain: that weight_hh is multiplied by.
        forget_bias: of an LSTM without `chrono_steps`; default 1.
        chrono_steps: at least 2: the longest lag that gates start for; not for an RNN, which has none.
        generator: of the draws; default torch's own.
    Raises:
        ConfigError: a value is out of range, or cannot act: chrono_steps of an RNN, a forget_bias other than
            1 of a cell without one or beside chrono_steps, either of a layer without biases.
    """
    cell, nonlinearity = cell_of_mode(layer.mode)
    _check(layer, cell, init, forget_bias, chrono_steps)
    own = tuple(f"{name}_l" for name, *_ in cell.further)
    for name, tensor in layer.named_parameters():
        if name.startswith("bias"):
            nn.init.zeros_(tensor)
            continue
        if name.startswith(own) or (cell.diagonal and name.startswith("weight_hh")):
            continue
        for gate in torch.split(tensor.data, layer.hidden_size):  # each [H, I] or [H, H]
            if not name.startswith("weight_hh"):
                nn.init.xavier_uniform_(gate, generator=generator)
            else:
                _fill_recurrent(gate, init, nonlinearity == "relu", generator)
                gate.mul_(gain)
    start_own_weights(layer, cell, gain, generator)
    for name, bias in layer.named_parameters():
        if name.startswith("bias_ih") and cell.keep is not None:
            gates = dict(zip(cell.gates, torch.split(bias.data, layer.hidden_size), strict=True))
            _start_gates(cell, gates, 1.0 if forget_bias is None else forget_bias, chrono_steps, generator)


def start_own_weights(
    layer: nn.RNNBase, cell: Cell, gain: float = 1.0, generator: Generator | None = None
) -> None:
    """Fill the weights in which a cell differs from torch's: its own, and a weight_hh that is diagonal."""
    starts = {name: start for name, _, start in cell.further}
    for name, tensor in layer.named_parameters():
        kind = name.rpartition("_l")[0]
        if kind in starts:
            nn.init.constant_(tensor, starts[kind])
        elif kind == "weight_hh" and cell.diagonal:
            nn.init.uniform_(tensor, 0.0, gain, generator=generator)


def _fill_recurrent(gate: Tensor, init: str, identity: bool, generator: Generator | None) -> None:
    if init == "uniform":
        reach = 1 / math.sqrt(len(gate))
        nn.init.uniform_(gate, -reach, reach, generator=generator)
    elif identity:
        nn.init.eye_(gate)
    else:
        nn.init.orthogonal_(gate, generator=generator)


def _start_gates(
    cell: Cell,
    gates: dict[str, Tensor],
    forget_bias: float,
    chrono_steps: int | None,
    generator: Generator | None,
) -> None:
    """Set the biases [H] of the gates that keep the memory and let new content in, in one layer."""
    assert cell.keep is not None
    if chrono_steps is None:
        if cell.forget_bias:
            gates[cell.keep].fill_(forget_bias)
        return
    hidden = len(gates[cell.keep])
    keep = torch.empty(hidden).uniform_(1.0, max(chrono_steps - 1.0, 1.0), generator=generator).log()
    gates[cell.keep].copy_(keep)
    if cell.admit is not None:
        gates[cell.admit].copy_(-keep)


def _check(
    layer: nn.RNNBase, cell: Cell, init: str, forget_bias: float | None, chrono_steps: int | None
) -> None:
    if init not in INITS:
        raise ConfigError(expected("init", "one of " + ", ".join(INITS), repr(init)))
    if chrono_steps is not None and (isinstance(chrono_steps, bool) or chrono_steps < 2):
        raise ConfigError(expected("chrono_steps", "at least 2", chrono_steps))
    if chrono_steps is not None and cell.keep is None:
        gated = ", ".join(each.name for each in CELLS.values() if each.keep and each.variant_of is None)
        raise ConfigError(expected("chrono_steps", f"a gated cell ({gated})", f"an {cell.label}"))
    for name, given in (("chrono_steps", chrono_steps), ("forget_bias", forget_bias)):
        if given is not None and not layer.bias:
            raise ConfigError(expected(name, "a layer with biases", "one with bias=False"))
    if forget_bias not in (None, 1) and (not cell.forget_bias or chrono_steps is not None):
        kinds = [each for each in CELLS.values() if each.variant_of is None]
        with_one = ", ".join(each.name for each in kinds if each.forget_bias)
        got = f"an {cell.label}" if chrono_steps is None else "chrono_steps beside it"
        raise ConfigError(expected("forget_bias", f"a cell that has one ({with_one}), without chrono", got))
