"""Recurrent layers as differentiable functions: one layer, one direction per call.

call.py       what a call is, and what it returns         registry.py   what computes each cell
choice.py     the rule that `auto` follows                dispatch.py   run, explain: choose, run, return
validate.py   checks of arguments, autocast               jacobian.py   one step's Jacobian; gradients by lag
scan.py       the reference time loop                     packed.py     the torch backend
packing.py    packed rows as padded ones, and back        native/       the engine as a backend
recompute.py  segments that the backward pass runs again  onnx.py       a call in torch.onnx's exporters
lstm.py gru.py rnn.py   the reference (the specification), its Jacobian, its backends, the public function
variants.py   cells with layer normalisation, peepholes, …  plain.py    those that a plain cell's kernels run
recurrence.py a cell by one step of it; its Jacobian, by differentiating the step

Internal, for the rooms above: `execute`, `explain_call`, `linearise`, `gradients_by_lag`, `backward_step`,
`rows_first`, `valid_steps`, `ONNX_GATES`, and the checks of validate.py.
"""

from unrolled.ops import variants as variants  # they register themselves
from unrolled.ops.call import Call, Embedded, Result
from unrolled.ops.call import Output as Output
from unrolled.ops.call import States as States
from unrolled.ops.choice import Explanation
from unrolled.ops.choice import check_backend as check_backend
from unrolled.ops.dispatch import execute as execute
from unrolled.ops.dispatch import explain, run
from unrolled.ops.dispatch import explain_call as explain_call
from unrolled.ops.gru import GRUTrajectory, gru
from unrolled.ops.jacobian import Lag as Lag
from unrolled.ops.jacobian import StepJacobian
from unrolled.ops.jacobian import backward_step as backward_step
from unrolled.ops.jacobian import gradients_by_lag as gradients_by_lag
from unrolled.ops.lstm import LSTMTrajectory, lstm
from unrolled.ops.native import rows_first as rows_first
from unrolled.ops.native import run_plainly as run_plainly
from unrolled.ops.onnx import ONNX_GATES as ONNX_GATES
from unrolled.ops.onnx import ONNX_OPERATORS as ONNX_OPERATORS
from unrolled.ops.onnx import ONNX_PEEPHOLES as ONNX_PEEPHOLES
from unrolled.ops.packing import Packing as Packing
from unrolled.ops.packing import packing_of as packing_of
from unrolled.ops.recompute import check_recompute as check_recompute
from unrolled.ops.recurrence import Recurrence, by_steps, of_hidden
from unrolled.ops.registry import Op, register, unregister
from unrolled.ops.registry import linearise as linearise
from unrolled.ops.registry import op_of as op_of
from unrolled.ops.rnn import RNNTrajectory, rnn
from unrolled.ops.scan import scan
from unrolled.ops.scan import valid_steps as valid_steps
from unrolled.ops.validate import check_alike as check_alike
from unrolled.ops.validate import check_embedded as check_embedded
from unrolled.ops.validate import check_float as check_float
from unrolled.ops.validate import check_heeds_masks as check_heeds_masks
from unrolled.ops.validate import check_lengths as check_lengths
from unrolled.ops.validate import check_resets as check_resets
from unrolled.ops.validate import check_shape as check_shape
from unrolled.ops.validate import check_tensor as check_tensor
from unrolled.ops.validate import nonlinearity_of as nonlinearity_of
from unrolled.ops.watched import is_watched as is_watched

__all__ = [
    "Call",
    "Embedded",
    "Explanation",
    "GRUTrajectory",
    "LSTMTrajectory",
    "Op",
    "RNNTrajectory",
    "Recurrence",
    "Result",
    "StepJacobian",
    "by_steps",
    "explain",
    "gru",
    "lstm",
    "of_hidden",
    "register",
    "rnn",
    "run",
    "scan",
    "unregister",
]
