"""RNNCell, LSTMCell and GRUCell: torch.nn's cells with validated arguments, and resets."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from unrolled.errors import ConfigError, expected
from unrolled.nn import direct, inference, tracing
from unrolled.nn.validate import Resets, resets_of, validate_cell

_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class Cells(torch.nn.RNNCellBase):
    """What the cells share: one step on validated arguments; they load a layer's state_dict."""

    _torch: Any  # torch.nn's class of it
    _kernel: Any  # torch's function of one step
    _states: tuple[str, ...] = ("hx",)  # their names in messages
    _packs: tuple[inference.Pack, ...] = ()  # of each `packed` that is entered, the inner one last

    @property
    def mode(self) -> str:
        """The mode of a layer of such cells: "LSTM"."""
        kind: str = self._torch.__name__.removesuffix("Cell")
        return f"{kind}_{str(self.nonlinearity).upper()}" if kind == "RNN" else kind

    def packed(self, *, weights: str = "float32") -> AbstractContextManager[inference.PackingReport]:
        """Pack the weights for steps without gradients: `unrolled.nn.packed` of this cell."""
        return inference.packed(self, weights=weights)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_packs"}

    def forward(self, input: Tensor, hx: Any = None, *, resets: Resets | None = None) -> Any:
        """Take one step: input [B, I], hx [B, H] → h [B, H]; unbatched, all without B.

        Args:
            input, hx: as torch.nn's cell takes them; hx zeros where None. For an LSTMCell hx, and what is
                returned, is the pair (h, c).
            resets: [B] bool, or numbers that are 0 or 1; true zeroes the row's state before the step.
        Raises:
            ShapeError, DtypeError, DeviceError: an argument does not fit the cell.
        """
        resets = resets_of(resets, input)
        if not torch.compiler.is_compiling():
            done = inference.run_cell(self, self._packs[-1], input, hx, resets) if self._packs else None
            if done is None and resets is None:
                done = direct.run_cell(self, self._kernel, input, hx)
            if done is not None:
                return done
        if tracing.is_traced():
            return tracing.run_as_torch(self, self._torch, input, hx, resets=resets)
        if not isinstance(input, Tensor) and isinstance(input, torch.fx.Proxy):
            return tracing.leaf(self, Cells.forward, input, hx, resets=resets)
        states = validate_cell(self, input, hx, resets, self._states)
        return self._torch.forward(self, input, states if len(states) > 1 else states[0])

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "qconfig":
            kind = self._torch if Cells in type(self).__bases__ else None
            tracing.quantise(self, kind, value)
            return
        super().__setattr__(name, value)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if f"{prefix}weight_ih_l0" in state_dict:
            own = {f"{prefix}{name}_l0": f"{prefix}{name}" for name in _WEIGHTS}
            others = [name for name in state_dict if name.startswith(prefix) and name not in own]
            if others:
                want = "the weights of one layer in one direction (weight_ih_l0, …)"
                raise ConfigError(expected("state_dict", want, f"{others[0]} beside them"))
            for layer_name, name in own.items():
                if layer_name in state_dict:
                    state_dict[name] = state_dict.pop(layer_name)
        super()._load_from_state_dict(state_dict, prefix, *args)


class RNNCell(Cells, torch.nn.RNNCell):
    """One step of a plain RNN: torch.nn.RNNCell's arguments, weights and results.

    Args:
        input_size, hidden_size: I and H.
        bias: whether there are bias_ih and bias_hh.
        nonlinearity: "tanh" or "relu".
        device, dtype: of the parameters.

    It loads its own state_dict, and that of an RNN of one layer.
    """

    _torch = torch.nn.RNNCell

    @property
    def _kernel(self) -> Any:
        return {"tanh": torch.rnn_tanh_cell, "relu": torch.rnn_relu_cell}.get(self.nonlinearity)


class GRUCell(Cells, torch.nn.GRUCell):
    """One step of a GRU: torch.nn.GRUCell's arguments, weights and results.

    Args:
        input_size, hidden_size: I and H.
        bias: whether there are bias_ih and bias_hh.
        device, dtype: of the parameters.

    It loads its own state_dict, and that of a GRU of one layer.
    """

    _torch = torch.nn.GRUCell
    _kernel = staticmethod(torch.gru_cell)


class LSTMCell(Cells, torch.nn.LSTMCell):
    """One step of an LSTM: torch.nn.LSTMCell's arguments, weights and results.

    Args:
        input_size, hidden_size: I and H.
        bias: whether there are bias_ih and bias_hh.
        device, dtype: of the parameters.

    It loads its own state_dict, and that of an LSTM of one layer.
    """

    _torch = torch.nn.LSTMCell
    _kernel = staticmethod(torch.lstm_cell)
    _states = ("h_0", "c_0")
