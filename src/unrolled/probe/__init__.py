"""What a recurrent network remembers, and its gradient by lag: measured, without changing the model.

report.py        all measurements together      examine.py    those of a run and a text
gradient.py      gradient flow, update norms    memory.py     memory horizon, context curve
gates.py         gates and states               maps.py       predictions by inputs
lyapunov.py      Lyapunov exponents             long_run.py   the loss along a long text
findings.py      what is wrong, what fixes it   page/         a report as one HTML file
reach.py         how far back answers reach     columns.py    what each column is worth, and at which lag
steps_seen.py    the score by steps seen        exchange.py   samples with steps and columns of others
answer_findings.py  of a task's answers
measurements.py  what one report holds          result.py     results as JSON holds them, 95 % intervals
subject.py       the model, held still          batch.py      the batch, its parts, changed copies of it
recording.py     one run, everything recorded   losses.py     losses, and their gradients by every state
words.py         numbers as words
"""

from unrolled.probe.columns import Column, Columns, LagMap, columns, lag_map
from unrolled.probe.examine import examine
from unrolled.probe.exchange import Exchange
from unrolled.probe.gates import Gates, GateUse, LayerGates, Trajectories, gates, trajectories
from unrolled.probe.gradient import Flow, GradientFlow, UpdateNorms, gradient_flow, update_norms
from unrolled.probe.long_run import LongRun, long_run
from unrolled.probe.lyapunov import Exponents, Lyapunov, lyapunov
from unrolled.probe.maps import MemoryMap, memory_map
from unrolled.probe.measurements import MEASUREMENTS, Finding
from unrolled.probe.memory import ContextCurve, MemoryHorizon, context_curve, memory_horizon
from unrolled.probe.reach import Reach, Side, reach
from unrolled.probe.recording import Recording, record
from unrolled.probe.report import Report, report, watching
from unrolled.probe.steps_seen import StepsSeen, steps_seen

__all__ = [
    "MEASUREMENTS",
    "Column",
    "Columns",
    "ContextCurve",
    "Exchange",
    "Exponents",
    "Finding",
    "Flow",
    "GateUse",
    "Gates",
    "GradientFlow",
    "LagMap",
    "LayerGates",
    "LongRun",
    "Lyapunov",
    "MemoryHorizon",
    "MemoryMap",
    "Reach",
    "Recording",
    "Report",
    "Side",
    "StepsSeen",
    "Trajectories",
    "UpdateNorms",
    "columns",
    "context_curve",
    "examine",
    "gates",
    "gradient_flow",
    "lag_map",
    "long_run",
    "lyapunov",
    "memory_horizon",
    "memory_map",
    "reach",
    "record",
    "report",
    "steps_seen",
    "trajectories",
    "update_norms",
    "watching",
]
