"""The kinds of cell that are set against each other."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KINDS", "Kind"]


@dataclass(frozen=True)
class Kind:
    """A recurrent unit and how it starts."""

    words: str
    cell: str
    chrono: bool = False  # gates that start for lags up to the length of the task
    rate: float = 1.0  # factor on the task's learning rate


KINDS = {
    "rnn": Kind("RNN", "rnn"),
    # The rate that suits gated cells drives a plain RNN off; without this it would lose by the recipe alone.
    "rnn-slow": Kind("RNN at a tenth of the rate", "rnn", rate=0.1),
    "gru": Kind("GRU", "gru"),
    "lstm": Kind("LSTM", "lstm"),
    "lstm-chrono": Kind("LSTM, chrono start", "lstm", chrono=True),
}
