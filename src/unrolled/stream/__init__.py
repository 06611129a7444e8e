"""The streaming runtime: a trained network one step at a time, with explicit state, without torch.

    model = stream.load("runs/book", weights="int8")
    session = model.open()
    logits = session.step(token)

A session is one stream, a pool is many that share a call. In float32 a stream has the bits of the batch run,
however its input is cut and whichever streams share a call. State is explicit: `save` returns bytes that name
their model, `open` takes them back to the bit. Decision 0022 says how it works and what it costs.

Of a classifier, a regressor or a forecaster that reads one way `load` returns a `TaskModel`: its sessions
take raw numbers or symbols and give the answer so far.

Internal, for the rooms above: `convert`, `Weight`, `as_plain`.
"""

from unrolled.schema import Forecast
from unrolled.stream.answers import AnswerNetwork as AnswerNetwork  # for other rooms; not public
from unrolled.stream.health import Health, LayerHealth
from unrolled.stream.lines import LineReader, answer_lines
from unrolled.stream.loading import (
    assemble as assemble,  # this and the next ones: for other rooms; not public
)
from unrolled.stream.loading import converted as converted
from unrolled.stream.loading import load
from unrolled.stream.model import Model, Recurrent
from unrolled.stream.plain import as_plain as as_plain
from unrolled.stream.scoring import score
from unrolled.stream.scoring import states_in as states_in
from unrolled.stream.scoring import states_on as states_on
from unrolled.stream.session import Pool, Session
from unrolled.stream.step_lines import StepReader
from unrolled.stream.tasks import TaskModel, TaskPool, TaskSession
from unrolled.stream.weights import Weight as Weight
from unrolled.stream.weights import convert as convert

__all__ = [
    "Forecast",
    "Health",
    "LayerHealth",
    "LineReader",
    "Model",
    "Pool",
    "Recurrent",
    "Session",
    "StepReader",
    "TaskModel",
    "TaskPool",
    "TaskSession",
    "answer_lines",
    "load",
    "score",
]
