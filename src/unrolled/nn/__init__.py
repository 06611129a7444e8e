"""Recurrent layers with torch.nn's constructors, `state_dict`s and results, and more.

layers.py      RNN, LSTM, GRU           door.py        argument checks of layers and cells
cells.py       RNNCell, LSTMCell, …     swap.py        `accelerate`, in place
stack.py       layers × directions      explaining.py  which path a layer's call takes, and why
packing.py     PackedSequence, both ways  starting.py    starting values
"""

from unrolled.nn.cells import GRUCell, LSTMCell, RNNCell
from unrolled.nn.explaining import LayerExplanation, explain
from unrolled.nn.layers import GRU, LSTM, RNN
from unrolled.nn.starting import init_recurrent
from unrolled.nn.swap import accelerate

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
