"""What a recurrent network remembers, and how its gradient fares: measured, the model untouched.

gradient.py   gradient flow                 subject.py   the model, held still
horizon.py    memory horizon                running.py   one run, everything kept
context.py    context curve                 linear.py    one step of a cell, linearised
gate_use.py   gates and states, a unit      sweep.py     many losses back through time at once
recording.py  gates and states, a step      losses.py    the scalar that is differentiated
exponents.py  Lyapunov exponents            copies.py    many variants of a batch, side by side
maps.py       predictions by inputs         places.py    steps, and stretches without reset or padding
long_run.py   the loss along a long text    parts.py     the part of a batch that a measurement takes
updates.py    a training step's gradient    findings.py  what is wrong, and the flag that mends it
report.py     all of them together          examine.py   of a run and a text
page/         a report as one HTML file     watching.py  a progress bar
result.py     results as JSON holds them    interval.py  95 % intervals over rows
"""

from unrolled.probe.context import ContextCurve, context_curve
from unrolled.probe.examine import examine
from unrolled.probe.exponents import Exponents, Lyapunov, lyapunov
from unrolled.probe.findings import Finding
from unrolled.probe.gate_use import Gates, GateUse, LayerGates, gates
from unrolled.probe.gradient import Flow, GradientFlow, gradient_flow
from unrolled.probe.horizon import MemoryHorizon, memory_horizon
from unrolled.probe.long_run import LongRun, long_run
from unrolled.probe.maps import MemoryMap, memory_map
from unrolled.probe.recording import Trajectories, trajectories
from unrolled.probe.report import MEASUREMENTS, Report, report
from unrolled.probe.updates import UpdateNorms, update_norms
from unrolled.probe.watching import watching

__all__ = [
    "MEASUREMENTS",
    "ContextCurve",
    "Exponents",
    "Finding",
    "Flow",
    "GateUse",
    "Gates",
    "GradientFlow",
    "LayerGates",
    "LongRun",
    "Lyapunov",
    "MemoryHorizon",
    "MemoryMap",
    "Report",
    "Trajectories",
    "UpdateNorms",
    "context_curve",
    "examine",
    "gates",
    "gradient_flow",
    "long_run",
    "lyapunov",
    "memory_horizon",
    "memory_map",
    "report",
    "trajectories",
    "update_norms",
    "watching",
]
