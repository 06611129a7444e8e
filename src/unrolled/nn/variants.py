"""Layers of cells that torch.nn does not have, under the names that people know them by.

Each takes LSTM's arguments and the options of `Recurrent`, and what it has beside torch's weights is in its
state_dict under the names given here, followed by _l0, _l0_reverse, _l1 and so on. Equations: docs/cells.md.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from unrolled.nn.layers import VARIANTS
from unrolled.nn.recurrent import LikeLSTM, Recurrent, mode_with

__all__ = ["CoupledLSTM", "IndRNN", "LayerNormGRU", "LayerNormLSTM", "PeepholeLSTM", "ResetBeforeGRU"]


class LayerNormLSTM(Recurrent):
    """An LSTM whose products with W_ih and W_hh, and whose c on its way to h, are normalised.

    Args:
        carry_normalised: carry c on as it was normalised, as torch's benchmark custom_lstms.py does; else
            only h sees it normalised, as Ba et al. 2016 and haste have it.

    Its own weights: gain_ih, gain_hh [4H], gain_c, bias_c [H].
    """

    def __init__(self, *sizes: Any, carry_normalised: bool = False, **options: Any) -> None:
        mode = "LAYERNORM_LSTM_CARRIED" if carry_normalised else "LAYERNORM_LSTM"
        super().__init__(mode, *sizes, **options)

    def extra_repr(self) -> str:
        """Add which form it is to torch's line."""
        carried = self.mode == "LAYERNORM_LSTM_CARRIED"
        return super().extra_repr() + ", carry_normalised=True" * carried


class LayerNormGRU(LikeLSTM):
    """A GRU whose products with W_ih and W_hh are normalised (Ba et al. 2016; as haste's).

    Its own weights: gain_ih, gain_hh [3H].
    """

    _mode_of_class = "LAYERNORM_GRU"


class PeepholeLSTM(LikeLSTM):
    """An LSTM whose gates see c (Gers & Schmidhuber 2000): i and f the one before the step, o the one after.

    Its own weight: peephole [3H], of i, f and o. It starts at 0, which is an LSTM.
    """

    _mode_of_class = "PEEPHOLE_LSTM"


class CoupledLSTM(LikeLSTM):
    """An LSTM whose input gate is 1 − f (Greff et al. 2017); its gates have the order f g o.

    It runs on the LSTM's kernels.
    """

    _mode_of_class = "COUPLED_LSTM"


class ResetBeforeGRU(LikeLSTM):
    """A GRU whose reset gate acts before the matmul (Cho et al. 2014): ONNX's linear_before_reset = 0.

    The weights are a GRU's. It is what Keras calls reset_after = False.
    """

    _mode_of_class = "RESET_BEFORE_GRU"


class IndRNN(Recurrent):
    """An RNN in which each unit sees its own state alone (Li et al. 2018): weight_hh is [H].

    Args:
        nonlinearity: "tanh" or "relu".

    It runs on the RNN's kernels.
    """

    def __init__(self, *sizes: Any, nonlinearity: str = "tanh", **options: Any) -> None:
        super().__init__(mode_with(nonlinearity, "INDRNN"), *sizes, **options)
        self.nonlinearity = nonlinearity


VARIANTS["LAYERNORM_LSTM_CARRIED"] = partial(LayerNormLSTM, carry_normalised=True)
VARIANTS |= {f"INDRNN_{name.upper()}": partial(IndRNN, nonlinearity=name) for name in ("tanh", "relu")}
VARIANTS["LAYERNORM_LSTM"] = LayerNormLSTM
VARIANTS |= {kind._mode_of_class: kind for kind in (LayerNormGRU, PeepholeLSTM, CoupledLSTM, ResetBeforeGRU)}
