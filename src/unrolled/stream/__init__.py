"""The streaming runtime: a trained network one step at a time, with explicit state, without torch.

    model = stream.load("runs/book", weights="int8")
    session = model.open()
    logits = session.step(token)

A session is one stream, a pool is many that share a call. In float32 a stream has the bits of the batch run,
however its input is cut and whichever streams share a call. State is explicit: `save` returns bytes that name
their model, `open` takes them back to the bit. Decision 0022 says how it works and what it costs.
"""

from unrolled.stream.health import Health, LayerHealth
from unrolled.stream.model import Model, Recurrent, load
from unrolled.stream.session import Pool, Session

__all__ = ["Health", "LayerHealth", "Model", "Pool", "Recurrent", "Session", "load"]
