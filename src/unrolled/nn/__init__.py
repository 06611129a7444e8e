"""Recurrent layers with torch.nn's constructors, `state_dict`s and results, and more.

recurrent.py  what every layer is                          validate.py   arguments, checked once
layers.py   RNN, LSTM, GRU, any registered cell            explaining.py which path a call takes: explain
cells.py    RNNCell, LSTMCell, GRUCell                     stack.py      layers × directions
convert.py  accelerate, accelerated, to_torch              init.py       starting values
inference.py   packed: weights packed once, for rollouts   direct.py     calls that nothing watches
variants.py    LayerNormLSTM, IndRNN, … of other cells     options.py    zoneout, dropout over time, reverse
few_steps.py   training calls that torch.nn runs faster    tracing.py    jit, ONNX, torch.fx and other tools
counterparts.py   which class of ours a class becomes      compiling.py  torch.compile takes ours

Internal, for the rooms above: `validate_layer`, `run_stack` and what they return.
"""

from unrolled.nn.cells import GRUCell, LSTMCell, RNNCell
from unrolled.nn.convert import AccelerationReport, accelerate, accelerated, acceleration_report, to_torch
from unrolled.nn.explaining import LayerExplanation, explain
from unrolled.nn.inference import PackingReport, packed
from unrolled.nn.init import init_recurrent
from unrolled.nn.layers import GRU, LSTM, RNN, layer
from unrolled.nn.options import beside_torch as beside_torch  # for other rooms; not public
from unrolled.nn.recurrent import Recurrent
from unrolled.nn.stack import LayerRun as LayerRun
from unrolled.nn.stack import StackRun as StackRun
from unrolled.nn.stack import run_stack as run_stack
from unrolled.nn.validate import Arguments as Arguments
from unrolled.nn.validate import validate_layer as validate_layer
from unrolled.nn.variants import (
    CoupledLSTM,
    IndRNN,
    LayerNormGRU,
    LayerNormLSTM,
    PeepholeLSTM,
    ResetBeforeGRU,
)

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AccelerationReport",
    "CoupledLSTM",
    "GRUCell",
    "IndRNN",
    "LSTMCell",
    "LayerExplanation",
    "LayerNormGRU",
    "LayerNormLSTM",
    "PackingReport",
    "PeepholeLSTM",
    "RNNCell",
    "Recurrent",
    "ResetBeforeGRU",
    "accelerate",
    "accelerated",
    "acceleration_report",
    "explain",
    "init_recurrent",
    "layer",
    "packed",
    "to_torch",
]
