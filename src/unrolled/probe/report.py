"""Report: every measurement of one model on one batch, and what they find."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch

from unrolled.data import Batch
from unrolled.errors import (
    ConfigError,
    DtypeError,
    MissingExtraError,
    NonFiniteError,
    ShapeError,
    UnrolledError,
    expected,
)
from unrolled.probe.batch import at_least_one, beginning, flowing, one_row
from unrolled.probe.columns import columns, lag_map
from unrolled.probe.exchange import Exchange
from unrolled.probe.findings import find
from unrolled.probe.gates import gates, trajectories
from unrolled.probe.gradient import gradient_flow, is_sequence_model, update_norms
from unrolled.probe.long_run import long_run
from unrolled.probe.losses import Progress, gives_logits
from unrolled.probe.lyapunov import lyapunov
from unrolled.probe.maps import memory_map
from unrolled.probe.measurements import MEASUREMENTS, Measurements
from unrolled.probe.memory import context_curve, memory_horizon
from unrolled.probe.page import key_rows, write
from unrolled.probe.reach import reach
from unrolled.probe.recording import Recording, record
from unrolled.probe.result import Result
from unrolled.probe.steps_seen import steps_seen
from unrolled.probe.subject import untouched
from unrolled.tasks import Answers

Watch: TypeAlias = Callable[[str, int, int], None]  # (measurement, done, of how many)
CONTEXT_STEPS = 320  # of the batch that the context curve takes, whose cost is their product with its steps
CONTEXT_LOGITS = 2**30  # that it computes: fewer steps are taken where there are many rows and symbols
MAP_STEPS = 100  # of the memory map: what a page has room for
STRIP_STEPS = 60  # of the trajectories that are drawn
BEYOND = 1.5  # times the distance within which 95 % of the dependence lies: so far back a map goes
LEAST_MAP = 16  # lags of it
ONE_ANSWER = "samples have one answer each: see the score over the steps seen"


@dataclass(frozen=True)
class Report(Measurements):
    """`Measurements`, the findings among them, that can be printed and written as a page."""

    def plot(self, path: str | Path) -> None:
        """Write everything as one HTML file that opens offline, the findings first."""
        write(self, Path(path))

    def __str__(self) -> str:
        lines = [self.title] if self.title else []
        lines += [f"  {name}: {text}" for name, text in self.facts.items()]
        rows = [(quantity, value, words) for quantity, value, _, words in key_rows(self)]
        first, second = (max((len(row[column]) for row in rows), default=0) for column in (0, 1))
        lines += [f"  {quantity:<{first}}  {value:<{second}}  {words}" for quantity, value, words in rows]
        lines += [f"findings: {len(self.findings) or 'none'}"]
        lines += [f"  {finding.text(flags=self.by_flags)}" for finding in self.findings]
        reasons: dict[str, list[str]] = {}
        for name, why in self.omitted.items():
            reasons.setdefault(why, []).append(name)
        lines += [f"not measured: {', '.join(names)}: {why}" for why, names in reasons.items()]
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
    run: str | None = None,
    answers: Answers | None = None,
    by_step: torch.nn.Module | None = None,
    loss_batch: Batch | None = None,
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
        run: the run directory that the model is of, so that remedies are named as flags of `unrolled train`;
            without it they are lines of Python.
        answers: how a task's network answers, where its answers are no text (`tasks.Examined`).
        by_step: a module with an output at each step, which gradients, gates and states are measured on;
            default the model.
        loss_batch: what the model's `loss` takes, where `batch` is something else.
        progress: called with (measurement, done, of how many).
    Returns:
        A report; `str` is a summary.
    Raises:
        ConfigError: no recurrent layer, or a setting out of range. ShapeError: the batch is shorter than the
        lags. DtypeError: not a module, not a batch, or one of another dtype than the weights. NonFiniteError:
        a weight, an input or a loss is NaN or infinite.
    """
    begin = time.perf_counter()
    at_least_one(lags=lags, bptt_steps=bptt_steps, known_lag=known_lag)
    watch = progress or (lambda *_: None)
    measured: dict[str, Any] = {} if answers is None else dict(_asked(model, answers, watch))
    stepwise = model if by_step is None else by_step
    recording = record(stepwise, batch, directions=True)
    losses = batch if loss_batch is None else loss_batch
    calls = _calls(stepwise, batch, recording, lags, bptt_steps)
    if is_sequence_model(model) and isinstance(losses, Batch):
        window = bptt_steps or len(losses.inputs)
        calls["update_norms"] = lambda step: update_norms(model, losses, window=window, progress=step)
        if (
            gives_logits(model) and isinstance(batch, Batch) and batch.lengths is None
        ):  # a line has no long run
            calls["long_run"] = lambda step: long_run(model, flowing(batch), progress=step)
    if answers is not None and not answers.per_step:
        del calls["context_curve"]
        measured["context_curve"] = ConfigError(ONE_ANSWER)
    measured |= dict(_measured(calls, watch))
    found = {name: value for name, value in measured.items() if not isinstance(value, UnrolledError)}
    omitted = {name: str(value) for name, value in measured.items() if isinstance(value, UnrolledError)}
    whole = Report(
        title, dict(facts or {}), known_lag, dict(trained or {}), omitted=omitted, run=run, **found
    )
    return replace(whole, findings=find(whole), seconds=time.perf_counter() - begin)


def _measured(calls: Mapping[str, Callable[[Progress], Result]], watch: Watch) -> Iterator[tuple[str, Any]]:
    """Yield each measurement by its name, or the error that says why it is not defined here.

    Raises:
        ShapeError, DtypeError, NonFiniteError: as gradient_flow and memory_horizon.
    """
    for name, call in calls.items():
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


def _asked(model: torch.nn.Module, answers: Answers, watch: Watch) -> Iterator[tuple[str, Any]]:
    """Yield what the answers depend on, by the name of the measurement, or the error that says why not."""
    with untouched(model):
        exchange = Exchange.of(answers, sum(weight.numel() for weight in model.parameters()))
        found: dict[str, Any] = {}

        def mapped(step: Progress) -> Result:
            order = [each.name for each in found["columns"].columns] if "columns" in found else ()
            side = found["reach"].sides[0]
            lags = max(LEAST_MAP, int(BEYOND * side.most)) if "reach" in found else None
            return lag_map(exchange, order=order, lags=lags, progress=step)

        calls: dict[str, Callable[[Progress], Result]] = {
            "reach": lambda step: reach(exchange, progress=step),
            "columns": lambda step: columns(exchange, progress=step),
            "lag_map": mapped,
            "steps_seen": lambda step: steps_seen(exchange, progress=step),
        }
        for name, value in _measured(calls, watch):
            if not isinstance(value, UnrolledError):
                found[name] = value
            yield name, value


def _calls(
    model: torch.nn.Module, batch: object, whole: Recording, lags: int, bptt_steps: int | None
) -> dict[str, Callable[[Progress], Result]]:
    """Return the measurements that are defined for a model, in order; those of one batch share a run."""
    context = min(lags, CONTEXT_STEPS // 2)
    start = beginning(batch, _context_steps(model, batch, context))
    row = record(model, one_row(whole.subject, batch, MAP_STEPS), directions=True)

    def exponents(step: Progress) -> Result:
        driven = flowing(batch)
        return lyapunov(model, whole if driven is batch else driven, progress=step)

    calls: dict[str, Callable[[Progress], Result]] = {
        "gradient_flow": lambda step: gradient_flow(model, whole, lags=lags, progress=step),
        "memory_horizon": lambda step: memory_horizon(
            model, whole, lags=lags, bptt_steps=bptt_steps, progress=step
        ),
        "context_curve": lambda step: context_curve(model, start, steps=context, progress=step),
        "gates": lambda _: gates(model, whole),
        "lyapunov": exponents,
        "memory_map": lambda step: memory_map(model, row, progress=step),
        "trajectories": lambda _: trajectories(model, row, steps=STRIP_STEPS),
    }
    return calls


def _context_steps(model: torch.nn.Module, batch: object, context: int) -> int:
    """Return how many steps of a batch the context curve takes."""
    if not gives_logits(model) or not isinstance(batch, Batch):
        return CONTEXT_STEPS
    logits = context * batch.inputs.shape[1] * model.config.vocab_size  # of a step
    return int(max(2 * context, min(CONTEXT_STEPS, CONTEXT_LOGITS // max(logits, 1))))


@contextmanager
def watching() -> Iterator[Watch]:
    """Give what `report` and `examine` take as `progress`: a bar of all measurements, and which one runs.

    Raises:
        MissingExtraError: rich is not installed.
    """
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    except ModuleNotFoundError as error:
        want = "rich, from the extra: pip install 'unrolled[train]'"
        raise MissingExtraError(expected("progress", want, "none")) from error
    console = Console(file=sys.stderr, highlight=False)
    columns = (TextColumn("{task.description:<15}"), BarColumn(bar_width=None), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(MEASUREMENTS))

        def watch(name: str, done: int, total: int) -> None:
            at = MEASUREMENTS.index(name) + done / max(total, 1)
            bar.update(task, completed=at, description=name.replace("_", " "))

        yield watch
