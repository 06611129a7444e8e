"""What a recurrent network remembers, and how its gradient fares: measured, the model untouched.

gradient.py   gradient flow                 subject.py   the model, held still
horizon.py    memory horizon                running.py   one run, everything kept
context.py    context curve                 linear.py    one step of a cell, linearised
gate_use.py   gates and states, a unit      sweep.py     many losses back through time at once
recording.py  gates and states, a step      losses.py    the scalar that is differentiated
exponents.py  Lyapunov exponents            copies.py    many variants of a batch, side by side
maps.py       predictions by inputs         places.py    steps, and stretches without reset or padding
result.py     results as JSON holds them    interval.py  95 % intervals over rows
"""

from unrolled.probe.context import ContextCurve, context_curve
from unrolled.probe.exponents import Exponents, Lyapunov, lyapunov
from unrolled.probe.gate_use import Gates, GateUse, LayerGates, gates
from unrolled.probe.gradient import Flow, GradientFlow, gradient_flow
from unrolled.probe.horizon import MemoryHorizon, memory_horizon
from unrolled.probe.maps import MemoryMap, memory_map
from unrolled.probe.recording import Trajectories, trajectories

__all__ = [
    "ContextCurve",
    "Exponents",
    "Flow",
    "GateUse",
    "Gates",
    "GradientFlow",
    "LayerGates",
    "Lyapunov",
    "MemoryHorizon",
    "MemoryMap",
    "Trajectories",
    "context_curve",
    "gates",
    "gradient_flow",
    "lyapunov",
    "memory_horizon",
    "memory_map",
    "trajectories",
]
