"""Recurrent layers as differentiable functions: one layer, one direction per call.

call.py       what a call is, after the door          choice.py      the rule that `auto` follows
door.py       argument checks, autocast               explaining.py  what a call would do, and why
scan.py       the reference time loop                 dispatch.py    choose, run, hand back
segments.py   rows cut at resets and lengths          packed.py      segments through one torch kernel
native/       the engine of unrolled.kernels as a backend, one pair of registered ops for every cell
lstm/ gru/ rnn/   reference.py (the specification) beside its backends
"""

from unrolled.ops.choice import Explanation
from unrolled.ops.explaining import explain
from unrolled.ops.gru import GRUTrajectory, gru
from unrolled.ops.lstm import LSTMTrajectory, lstm
from unrolled.ops.rnn import RNNTrajectory, rnn

__all__ = [
    "Explanation",
    "GRUTrajectory",
    "LSTMTrajectory",
    "RNNTrajectory",
    "explain",
    "gru",
    "lstm",
    "rnn",
]
