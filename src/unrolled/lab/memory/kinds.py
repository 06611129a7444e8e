"""The four kinds of cell that are set against each other."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KINDS", "Kind"]


@dataclass(frozen=True)
class Kind:
    """A recurrent unit and how it starts."""

    words: str
    cell: str
    chrono: bool = False  # gates that start for lags up to the length of the task


KINDS = {
    "rnn": Kind("RNN", "rnn"),
    "gru": Kind("GRU", "gru"),
    "lstm": Kind("LSTM", "lstm"),
    "lstm-chrono": Kind("LSTM, chrono start", "lstm", chrono=True),
}
