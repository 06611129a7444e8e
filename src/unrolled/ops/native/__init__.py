"""The native backend: one layer in one direction by one call of `unrolled.kernels`.

run.py       a call of an op on it         library.py   the registered ops: schema, fake, autograd
buffers.py   tensors as the engine's words  again.py     gradients by differentiating the reference
team.py      torch's threads, lent to the engine
"""

from unrolled.ops.native import team
from unrolled.ops.native.run import cannot, reason, run

__all__ = ["cannot", "reason", "run"]

team.lend()
