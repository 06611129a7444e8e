"""The native backend: one layer in one direction by one call of `unrolled.kernels`.

backend.py    a call of an op on it; torch's threads, lent to the engine
library.py    the registered ops: schema, the engine called on tensors, fakes, FLOPs
memory.py     memory for what calls return and keep, used again
autograd.py   their derivative, by the engine or by the reference
batching.py   what torch.vmap makes of them
"""

from unrolled.ops.native import autograd as autograd  # these register themselves
from unrolled.ops.native import batching as batching
from unrolled.ops.native.autograd import rows_first
from unrolled.ops.native.backend import cannot, lend_team, reason, run, run_plainly

__all__ = ["cannot", "reason", "rows_first", "run", "run_plainly"]

lend_team()
