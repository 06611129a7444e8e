"""RNN, LSTM and GRU: torch.nn's layers, run by `unrolled.ops`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from unrolled import ops
from unrolled.nn.stack import run_stack
from unrolled.nn.validate import validate_layer


class Recurrent(torch.nn.RNNBase):
    """What the three layers share: torch's own base class, so that weights and names are torch's.

    Not a subclass of torch.nn.RNN, LSTM or GRU as well: torch.compile refuses every instance of those.
    What the constructors refuse, they refuse in torch's words.
    """

    backend: str = "auto"  # what the ops are asked for; see unrolled.explain

    def __init__(self, mode: str, *args: Any, backend: str = "auto", **kwargs: Any) -> None:
        ops.check_backend(backend)
        if "proj_size" in kwargs and mode != "LSTM":
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__(mode, *args, **kwargs)
        self.backend = backend

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Any = None,
        *,
        lengths: Tensor | list[int] | None = None,
        resets: Tensor | None = None,
    ) -> tuple[Any, Any]:
        """Run the layer, as torch's twin does, on rows of unequal length and with resets inside.

        Args:
            input: [T, B, I], or [B, T, I] with batch_first, or unbatched [T, I], or a PackedSequence.
            hx: h_0 [L·D, B, P], for the LSTM the pair (h_0, c_0 [L·D, B, H]); without B where the
                input is unbatched; zeros where None. Rows in the order of the input before packing.
            lengths: [B] int64 on the CPU, or a list of int: valid steps of each row, 0 to T. Not
                with a PackedSequence, which has its own, nor with an unbatched input.
            resets: bool, true zeroes the row's state before that step (between that step and the one
                before it in time, in the reverse direction), in every layer. [T, B], or [B, T] with
                batch_first, or [T] where the input is unbatched; [T, B] for a PackedSequence, rows
                in the order before packing.
        Returns:
            output, in the form of the input and zero past a row's length, and h_n or (h_n, c_n), in
            the form and dtype of hx. Under autocast, output has autocast's dtype.
        Raises:
            ShapeError, DtypeError, DeviceError: an argument does not fit the layer.
            BackendError: the backend asked for by name cannot run this call.
        """
        given = validate_layer(self, input, hx, lengths, resets)
        y, states, _ = run_stack(self, given, backend=self.backend)
        return given.output_as_given(y), given.states_as_given(states)

    def trajectories(
        self,
        input: Tensor | PackedSequence,
        hx: Any = None,
        *,
        lengths: Tensor | list[int] | None = None,
        resets: Tensor | None = None,
        backend: str | None = None,
    ) -> tuple[Any, Any, list[Any]]:
        """Run the layer and keep every gate and state.

        Args:
            input, hx, lengths, resets: as `forward` takes them.
            backend: default the layer's own; "torch" cannot record and raises BackendError.
        Returns:
            output and state, as `forward`, and a list with one trajectory of `unrolled.ops` per layer
            and direction (l0, l0_reverse, l1, …), always [T, B, H] inside, B = 1 where unbatched.
        """
        given = validate_layer(self, input, hx, lengths, resets)
        y, states, layers = run_stack(self, given, backend=backend or self.backend, trajectories=True)
        trajectories = [each.output.trajectory for each in layers]
        return given.output_as_given(y), given.states_as_given(states), trajectories

    def extra_repr(self) -> str:
        """Add the backend to torch's line where it is not the default."""
        line = super().extra_repr()
        return line if self.backend == "auto" else f"{line}, backend={self.backend!r}"


class RNN(Recurrent):
    """A plain recurrent layer: torch.nn.RNN's arguments, weights and results.

    Args:
        args, kwargs: as torch.nn.RNN: input_size, hidden_size, num_layers=1, nonlinearity="tanh",
            bias=True, batch_first=False, dropout=0.0, bidirectional=False, device=None, dtype=None.
        backend: "auto", or a backend's name; see `unrolled.explain`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        first, fourth, rest = args[:3], args[3:4], args[4:]
        nonlinearity = fourth[0] if fourth else kwargs.pop("nonlinearity", "tanh")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(f"RNN_{nonlinearity.upper()}", *first, *rest, **kwargs)
        self.nonlinearity = nonlinearity


class LSTM(Recurrent):
    """An LSTM layer: torch.nn.LSTM's arguments, weights and results.

    Args:
        args, kwargs: as torch.nn.LSTM: input_size, hidden_size, num_layers=1, bias=True,
            batch_first=False, dropout=0.0, bidirectional=False, proj_size=0, device=None, dtype=None.
        backend: "auto", or a backend's name; see `unrolled.explain`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)


class GRU(Recurrent):
    """A GRU layer: torch.nn.GRU's arguments, weights and results.

    Args:
        args, kwargs: as torch.nn.GRU: input_size, hidden_size, num_layers=1, bias=True,
            batch_first=False, dropout=0.0, bidirectional=False, device=None, dtype=None.
        backend: "auto", or a backend's name; see `unrolled.explain`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("GRU", *args, **kwargs)
