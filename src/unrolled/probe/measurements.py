"""What one report holds: every measurement of one model on one batch, and what was found wrong. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unrolled.probe.columns import Columns, LagMap
from unrolled.probe.gates import Gates, Trajectories
from unrolled.probe.gradient import GradientFlow, UpdateNorms
from unrolled.probe.long_run import LongRun
from unrolled.probe.lyapunov import Lyapunov
from unrolled.probe.maps import MemoryMap
from unrolled.probe.memory import ContextCurve, MemoryHorizon
from unrolled.probe.reach import Reach
from unrolled.probe.result import Result
from unrolled.probe.steps_seen import StepsSeen

ANSWERS = ("reach", "columns", "lag_map", "steps_seen")  # of tasks whose answers are no text
MEASUREMENTS = (  # in their order
    *ANSWERS,
    "gradient_flow", "memory_horizon", "context_curve", "gates", "lyapunov", "memory_map", "trajectories",
    "update_norms", "long_run",
)  # fmt: skip


@dataclass(frozen=True)
class Finding(Result):
    """Something that is wrong with the network.

    Attributes:
        name: "blind", "runaway", "exploding", "clipping", "saturated", "unread" or "idle"; or, where memory
            is too short, "vanishing", "forgets", "lag" or "window"; of a task's answers "blind", "leak",
            "short", "late" or "unused".
        layer: which; None for the whole network.
        problem: what is wrong, in a sentence.
        value: the number behind it. unit: of it. limit: the threshold that it lies beyond.
        remedy: what helps, in a sentence.
        flag: the flag of `unrolled train`, with its value, that fixes it.
        python: the line of Python that does the same for a network that was built by hand.
    """

    name: str
    layer: str | None
    problem: str
    value: float
    unit: str
    limit: float
    remedy: str
    flag: str
    python: str = ""

    def fix(self, *, flags: bool) -> str:
        """Return the flag that fixes it, or the line of Python."""
        return self.flag if flags or not self.python else self.python

    def text(self, *, flags: bool) -> str:
        """Return the finding as a sentence, with what fixes it."""
        where = f" in {self.layer}" if self.layer else ""
        return f"{self.name}{where}: {self.problem}; {self.remedy}: {self.fix(flags=flags)}"

    def __str__(self) -> str:
        return self.text(flags=False)


@dataclass(frozen=True)
class Measurements(Result):
    """Everything that was measured; None where a measurement is not defined, with the reason in `omitted`.

    Attributes:
        title: what was measured. facts: name → text, about the model and the text.
        findings: worst first; none for a healthy network.
        known_lag: in steps, that the task is known to have; None where nobody said.
        trained: settings of `TrainConfig` that it was trained with, as far as they are known: the remedies
            build on them.
        omitted: measurement → why it is missing.
        seconds: that all took.
        run: the run directory that was measured: remedies are then flags of `unrolled train`; None for a
            model that was given.
    """

    title: str
    facts: Mapping[str, str]
    known_lag: int | None
    trained: Mapping[str, Any] = field(default_factory=dict)
    reach: Reach | None = None
    columns: Columns | None = None
    lag_map: LagMap | None = None
    steps_seen: StepsSeen | None = None
    gradient_flow: GradientFlow | None = None
    memory_horizon: MemoryHorizon | None = None
    context_curve: ContextCurve | None = None
    gates: Gates | None = None
    lyapunov: Lyapunov | None = None
    memory_map: MemoryMap | None = None
    trajectories: Trajectories | None = None
    long_run: LongRun | None = None
    update_norms: UpdateNorms | None = None
    omitted: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    seconds: float = 0.0
    run: str | None = None

    @property
    def asked(self) -> bool:
        """Whether the answers of a task were looked at."""
        return any(getattr(self, name) is not None or name in self.omitted for name in ANSWERS)

    @property
    def by_flags(self) -> bool:
        """Whether remedies are named as flags of `unrolled train`, rather than in Python."""
        return self.run is not None
