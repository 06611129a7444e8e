"""Examine: a trained network from its files, measured on what its task has for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from unrolled import tasks
from unrolled.data import Batch
from unrolled.errors import ShapeError, counted, expected
from unrolled.probe.batch import LARGEST, at_least_one
from unrolled.probe.page import check_place
from unrolled.probe.report import Report, Watch, report
from unrolled.spec import RunDirectory, TrainConfig, current_names, kind_of_stored

LAGS = 64  # by default, where the rows are long enough


def examine(
    run: str | Path,
    source: str | None = None,
    *,
    lags: int | None = None,
    known_lag: int | None = None,
    html: str | Path | None = None,
    progress: Watch | None = None,
) -> Report:
    """Measure a trained network on a text, or what else its task reads, and say what is wrong with it.

    Args:
        run: a run, a checkpoint or a model directory.
        source: as `unrolled train` takes it, a text; default the part that the run held out.
        lags: how far back; default 64, and fewer where the rows are short (the report says so).
        known_lag: steps between an input and the prediction that needs it, where the task's are known.
        html: also write the report there, as one page.
        progress: called with (measurement, done, of how many).
    Returns:
        A report; `str` is a summary.
    Raises:
        RunError, CheckpointError, TokenError: as `unrolled.load`; or the page cannot be written, which is
        seen before anything is measured. DataError: there is no text, or it cannot be read. ShapeError: the
        text is shorter than the lags. ConfigError: a setting is out of range.
    """
    at_least_one(lags=lags, known_lag=known_lag)
    if html is not None:
        check_place(Path(html), "html")
    loaded = tasks.load(run)
    task = tasks.named(kind_of_stored(loaded.config).name)
    wanted = lags or max(LAGS, known_lag or 0)
    examined = task.examined(loaded, source, _data(run), lags=wanted, largest=LARGEST)
    batch, bptt_steps = examined.batch, examined.bptt_steps
    used = lags or _fitting(batch, wanted)
    kind, parameters = task.describe(loaded.model.config), loaded.model.parameters()
    steps, rows = batch.inputs.shape[:2]
    facts = {
        "model": f"{kind}, {sum(p.numel() for p in parameters):,} parameters"
        + ("" if loaded.step is None else f", step {loaded.step}"),
        **examined.facts,
        "measured": f"{counted(rows, 'row')} of {'up to ' if batch.lengths is not None else ''}"
        f"{counted(steps, 'step')}, {counted(used, 'lag')}"
        + (f" (fewer than {wanted:,}, as the rows are short)" if used < wanted else ""),
    }
    if bptt_steps is not None:
        facts["trained"] = f"with windows of {counted(bptt_steps, 'step')}"
    stored = loaded.config.get("training")
    trained = current_names(TrainConfig, stored) if isinstance(stored, Mapping) else {}
    found = report(
        loaded.model, batch, lags=used, bptt_steps=bptt_steps, known_lag=known_lag, title=f"{run}: {kind}",
        facts=facts, trained=trained, run=str(run), answers=examined.answers, by_step=examined.by_step,
        loss_batch=examined.loss_batch, progress=progress,
    )  # fmt: skip
    if html is not None:
        found.plot(html)
    return found


def _data(run: str | Path) -> Path | None:
    """Return RUN/data of the run that a directory is, or belongs to; None where there is none."""
    home = RunDirectory.around(Path(run).resolve())
    return home.data if home.config.is_file() and home.data.is_dir() else None


def _fitting(batch: Batch, lags: int) -> int:
    """Return the number of lags: half the steps of a typical row, at most as many as wanted."""
    steps = len(batch.inputs)
    if steps < 2:
        raise ShapeError(expected("batch", "rows of at least two steps", steps))
    typical = steps if batch.lengths is None else int(batch.lengths.double().quantile(0.5))
    return max(1, min(lags, typical // 2))
