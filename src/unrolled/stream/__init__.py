"""The streaming runtime: a trained network one step at a time, with explicit state, without torch.

    model = stream.load("runs/book", weights="int8")
    session = model.open()
    logits = session.step(token)

A session is one stream, a pool is many that share a call. In float32 a stream has the bits of the batch run,
however its input is cut and whichever streams share a call. State is explicit: `save` returns bytes that name
their model, `open` takes them back to the bit. Decision 0022 says how it works and what it costs.

Internal, for the rooms above: `convert`.
"""

from unrolled.stream.health import Health, LayerHealth
from unrolled.stream.lines import LineReader, answer_lines
from unrolled.stream.model import Model, Recurrent, load
from unrolled.stream.model import assemble as assemble  # this and the next ones: for other rooms; not public
from unrolled.stream.model import converted as converted
from unrolled.stream.scoring import score
from unrolled.stream.scoring import states_on as states_on
from unrolled.stream.session import Pool, Session
from unrolled.stream.weights import convert as convert

__all__ = [
    "Health",
    "LayerHealth",
    "LineReader",
    "Model",
    "Pool",
    "Recurrent",
    "Session",
    "answer_lines",
    "load",
    "score",
]
