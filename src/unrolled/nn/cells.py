"""RNNCell, LSTMCell and GRUCell: torch.nn's cells with validated arguments, and resets."""

from __future__ import annotations

import torch
from torch import Tensor

from unrolled.nn.validate import validate_cell


class RNNCell(torch.nn.RNNCell):
    """One step of a plain RNN: torch.nn.RNNCell's arguments, weights and results."""

    def forward(self, input: Tensor, hx: Tensor | None = None, *, resets: Tensor | None = None) -> Tensor:
        """Take one step: input [B, I], hx [B, H] → h [B, H]; unbatched, all without B.

        Args:
            input, hx: as torch.nn.RNNCell takes them; hx zeros where None.
            resets: [B] bool; true zeroes the row's state before the step.
        Raises:
            ShapeError, DtypeError, DeviceError: an argument does not fit the cell.
        """
        (h,) = validate_cell(self, input, hx, resets, ("hx",))
        return super().forward(input, h)


class GRUCell(torch.nn.GRUCell):
    """One step of a GRU: torch.nn.GRUCell's arguments, weights and results."""

    def forward(self, input: Tensor, hx: Tensor | None = None, *, resets: Tensor | None = None) -> Tensor:
        """Take one step: input [B, I], hx [B, H] → h [B, H]; unbatched, all without B.

        Args:
            input, hx: as torch.nn.GRUCell takes them; hx zeros where None.
            resets: [B] bool; true zeroes the row's state before the step.
        Raises:
            ShapeError, DtypeError, DeviceError: an argument does not fit the cell.
        """
        (h,) = validate_cell(self, input, hx, resets, ("hx",))
        return super().forward(input, h)


class LSTMCell(torch.nn.LSTMCell):
    """One step of an LSTM: torch.nn.LSTMCell's arguments, weights and results."""

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None, *, resets: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Take one step: input [B, I], hx (h, c) [B, H] each → (h, c); unbatched, all without B.

        Args:
            input, hx: as torch.nn.LSTMCell takes them; hx zeros where None.
            resets: [B] bool; true zeroes the row's state before the step.
        Raises:
            ShapeError, DtypeError, DeviceError: an argument does not fit the cell.
        """
        h, c = validate_cell(self, input, hx, resets, ("h_0", "c_0"))
        return super().forward(input, (h, c))
