"""Recurrent layers with torch.nn's constructors, `state_dict`s and results, and more.

layers.py      RNN, LSTM, GRU           validate.py    a layer's or cell's arguments, checked once
cells.py       RNNCell, LSTMCell, …     swap.py        `accelerate`, in place
stack.py       layers × directions      explaining.py  which path a layer's call takes, and why
packing.py     PackedSequence, both ways  init.py      starting values

Internal, for the rooms above: `validate_layer`, `run_stack` and what they return.
"""

from unrolled.nn.cells import GRUCell, LSTMCell, RNNCell
from unrolled.nn.explaining import LayerExplanation, explain
from unrolled.nn.init import init_recurrent
from unrolled.nn.layers import GRU, LSTM, RNN
from unrolled.nn.layers import Recurrent as Recurrent
from unrolled.nn.stack import LayerRun as LayerRun
from unrolled.nn.stack import StackRun as StackRun
from unrolled.nn.stack import run_stack as run_stack
from unrolled.nn.swap import accelerate
from unrolled.nn.validate import Arguments as Arguments
from unrolled.nn.validate import validate_layer as validate_layer

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "LayerExplanation",
    "RNNCell",
    "accelerate",
    "explain",
    "init_recurrent",
]
