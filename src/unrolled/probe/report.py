"""Report: every measurement of one model on one batch, and what they find."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch

from unrolled.data import Batch
from unrolled.errors import DtypeError, NonFiniteError, ShapeError, UnrolledError
from unrolled.probe.context import ContextCurve, context_curve
from unrolled.probe.exponents import Lyapunov, lyapunov
from unrolled.probe.findings import Finding, find
from unrolled.probe.gate_use import Gates, gates
from unrolled.probe.gradient import GradientFlow, gradient_flow
from unrolled.probe.horizon import MemoryHorizon, memory_horizon
from unrolled.probe.long_run import LongRun, long_run
from unrolled.probe.maps import MemoryMap, memory_map
from unrolled.probe.page import key_rows, write
from unrolled.probe.parts import beginning, flowing, one_row
from unrolled.probe.places import at_least_one
from unrolled.probe.recording import Trajectories, trajectories
from unrolled.probe.result import Result
from unrolled.probe.running import admit
from unrolled.probe.subject import Subject
from unrolled.probe.sweep import Progress
from unrolled.probe.updates import UpdateNorms, update_norms
from unrolled.tasks import LanguageModel

__all__ = ["MEASUREMENTS", "Report", "Watch", "report"]

Watch: TypeAlias = Callable[[str, int, int], None]  # (measurement, done, of how many)
MEASUREMENTS = (  # in their order
    "gradient_flow", "memory_horizon", "context_curve", "gates", "lyapunov", "memory_map", "trajectories",
    "update_norms", "long_run",
)  # fmt: skip
CONTEXT_STEPS = 320  # of the batch that the context curve takes, whose cost is their product with its steps
CONTEXT_LOGITS = 2**30  # that it computes: fewer steps are taken where there are many rows and symbols
MAP_STEPS = 100  # of the memory map: what a page has room for
STRIP_STEPS = 60  # of the trajectories that are drawn


@dataclass(frozen=True)
class Report(Result):
    """Everything that was measured; None where a measurement is not defined, with the reason in `omitted`.

    Attributes:
        title: what was measured. facts: name → text, about the model and the text.
        findings: worst first; none for a healthy network.
        known_lag: in steps, that the task is known to have; None where nobody said.
        trained: settings of `TrainConfig` that it was trained with, as far as they are known: the remedies
            build on them.
        omitted: measurement → why it is missing.
        seconds: that all took.
    """

    title: str
    facts: Mapping[str, str]
    known_lag: int | None
    trained: Mapping[str, Any] = field(default_factory=dict)
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

    def plot(self, path: str | Path) -> None:
        """Write everything as one HTML file that opens offline, the findings first."""
        write(self, Path(path))

    def __str__(self) -> str:
        lines = [self.title] if self.title else []
        lines += [f"  {name}: {text}" for name, text in self.facts.items()]
        lines += [f"  {quantity:<36} {value:<24} {words}" for quantity, value, _, words in key_rows(self)]
        lines += [f"findings: {len(self.findings) or 'none'}"]
        lines += [f"  {finding}" for finding in self.findings]
        lines += [f"not measured: {name}: {why}" for name, why in self.omitted.items()]
        return "\n".join(lines)


def report(
    model: torch.nn.Module,
    batch: object,
    *,
    lags: int = 64,
    bptt_steps: int | None = None,
    known_lag: int | None = None,
    title: str = "",
    facts: Mapping[str, str] | None = None,
    trained: Mapping[str, Any] | None = None,
    progress: Watch | None = None,
) -> Report:
    """Measure everything that is defined for a model, and say what is wrong with it.

    Args:
        model: any module that holds RNN, LSTM or GRU of unrolled.nn or torch.nn.
        batch: a `Batch`, or the tensor that the model takes, or a tuple of its arguments. More rows give
            narrower intervals; some 16 rows of 1,024 steps are a good measure.
        lags: how far back; below the number of steps.
        bptt_steps: the window of truncated back-propagation in training, to compare with.
        known_lag: steps between an input and the prediction that needs it, where the task's are known.
        title, facts: what is measured, for the page.
        trained: settings that it was trained with, by the names of `TrainConfig`, for the remedies.
        progress: called with (measurement, done, of how many).
    Returns:
        A report; `str` is a summary.
    Raises:
        ConfigError: no recurrent layer, or a setting out of range. ShapeError: the batch is shorter than the
        lags. DtypeError: not a module, not a batch, or one of another dtype than the weights. NonFiniteError:
        a weight, an input or a loss is NaN or infinite.
    """
    begin = time.perf_counter()
    settings = {"lags": lags, "bptt_steps": bptt_steps, "known_lag": known_lag}
    at_least_one(**{name: value for name, value in settings.items() if value is not None})
    Subject.of(model, directions=True)
    admit(batch)
    measured = dict(_measured(model, batch, lags, bptt_steps, progress))
    found = {name: value for name, value in measured.items() if not isinstance(value, UnrolledError)}
    omitted = {name: str(value) for name, value in measured.items() if isinstance(value, UnrolledError)}
    whole = Report(title, dict(facts or {}), known_lag, dict(trained or {}), omitted=omitted, **found)
    return replace(whole, findings=find(whole), seconds=time.perf_counter() - begin)


def _measured(
    model: torch.nn.Module, batch: object, lags: int, bptt_steps: int | None, progress: Watch | None
) -> Iterator[tuple[str, Any]]:
    """Yield each measurement by its name, or the error that says why it is not defined here.

    Raises:
        ShapeError, DtypeError, NonFiniteError: as gradient_flow and memory_horizon.
    """
    watch = progress or _nobody
    for name, call in _calls(model, batch, lags, bptt_steps).items():
        watch(name, 0, 1)
        try:
            yield name, call(partial(watch, name))
        except (NonFiniteError, DtypeError):
            raise
        except ShapeError as error:
            if name in ("gradient_flow", "memory_horizon"):  # the batch is too short for the lags
                raise
            yield name, error
        except UnrolledError as error:
            yield name, error
        watch(name, 1, 1)


def _calls(
    model: torch.nn.Module, batch: object, lags: int, bptt_steps: int | None
) -> dict[str, Callable[[Progress], Result]]:
    subject = Subject.of(model, directions=True)
    row = partial(one_row, subject, batch)
    context = min(lags, CONTEXT_STEPS // 2)
    start = beginning(batch, _context_steps(model, batch, context))
    calls: dict[str, Callable[[Progress], Result]] = {
        "gradient_flow": lambda step: gradient_flow(model, batch, lags=lags, progress=step),
        "memory_horizon": lambda step: memory_horizon(
            model, batch, lags=lags, bptt_steps=bptt_steps, progress=step
        ),
        "context_curve": lambda step: context_curve(model, start, steps=context, progress=step),
        "gates": lambda _: gates(model, batch),
        "lyapunov": lambda step: lyapunov(model, flowing(batch), progress=step),
        "memory_map": lambda step: memory_map(model, row(MAP_STEPS), progress=step),
        "trajectories": lambda _: trajectories(model, row(STRIP_STEPS)),
    }
    if isinstance(model, LanguageModel) and isinstance(batch, Batch):
        window = bptt_steps or len(batch.inputs)
        calls["update_norms"] = lambda step: update_norms(model, batch, window=window, progress=step)
        if batch.lengths is None:  # a line has no long run
            calls["long_run"] = lambda step: long_run(model, flowing(batch), progress=step)
    return calls


def _context_steps(model: torch.nn.Module, batch: object, context: int) -> int:
    """Return how many steps of a batch the context curve takes."""
    if not isinstance(model, LanguageModel) or not isinstance(batch, Batch):
        return CONTEXT_STEPS
    logits = context * batch.inputs.shape[1] * model.config.vocab_size  # of a step
    return max(2 * context, min(CONTEXT_STEPS, CONTEXT_LOGITS // max(logits, 1)))


def _nobody(name: str, done: int, total: int) -> None:
    """Watch nothing."""
