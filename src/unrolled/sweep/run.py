"""`unrolled sweep`: many runs of one config with other settings, each in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unrolled import figures
from unrolled.errors import MissingExtraError, expected
from unrolled.spec import SweepConfig, TrainConfig
from unrolled.sweep.axes import Axis
from unrolled.sweep.plan import Prepared, prepare
from unrolled.sweep.results import STATES, Sweep, SweepTrial, write
from unrolled.sweep.settings import run_of
from unrolled.train import Stopped, listening

if TYPE_CHECKING:
    from unrolled.sweep.study import Study

__all__ = ["run"]

CONTINUED = "The same command continues unfinished trials that no other process is working on."


def run(
    config: TrainConfig,
    axes: Mapping[str, Axis | Sequence[Any]],
    plan: SweepConfig | None = None,
    *,
    asked: Collection[str] | None = None,
) -> Sweep:
    """Train a network with each of many settings, every one an ordinary run, and say which is best.

    Where every axis is a list, trials are their combinations, in a shuffled order; with a `Range` they are
    drawn at random. The settings of a trial follow from the axes, `sweep_seed` and its number, so that any
    number of processes may work on one study at once. What was stopped or killed is continued, each trial
    from its last checkpoint. Ctrl-C and SIGTERM let all trials save and end; a second one ends them at once.

    Args:
        config: of every trial.
        axes: names of settings of `config` or of its `data` → values, or a `Range`.
        plan: how many trials, where, and for how long.
        asked: names of the settings that a study is held to; default those that differ from their defaults.
    Returns:
        Every trial of the study, the best one first.
    Raises:
        ConfigError, RunError, MissingExtraError: before anything is changed. CheckpointError: the file of the
            study is damaged. DataError and others: of a trial, for a reason that all trials share.
        KeyboardInterrupt: stopped by a signal; the text says how to go on.
    """
    begin, plan = time.monotonic(), plan or SweepConfig()
    figures.require()
    _require_optuna()
    from unrolled.sweep.scheduler import Scheduler
    from unrolled.sweep.study import Study, quiet

    this = prepare(config, axes, plan, asked=asked)
    until = None if plan.total_minutes is None else begin + 60 * plan.total_minutes
    with listening() as stopper, quiet(), stopper.deferring():
        maximise = this.ranking.maximise
        study = Study(this.place, this.axes, this.definition(), maximise=maximise, prune=plan.prune)
        work = Scheduler(study, config, plan, this.ranking, this.asked, most=this.most, until=until)
        try:
            work.go(stopper)
        except Stopped as stopped:
            raise Stopped(f"{stopped}; the same command continues", stopped.signum) from None
        finally:
            work.end()
        found = _sweep(study, this)
        write(found)
        if stopper.signum is not None:
            told = f"stopped: {found.summary}; the same command continues"
            raise Stopped(told, stopper.signum)
        return found


def _require_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ModuleNotFoundError as error:
        want = "Optuna, from the extra: pip install 'unrolled[sweep]'"
        raise MissingExtraError(expected("sweep", want, "none")) from error


def _sweep(study: Study, this: Prepared) -> Sweep:
    """Return what the study has come to by now."""
    ranking, sign = this.ranking, -1 if this.ranking.maximise else 1
    place = {state: number for number, state in enumerate(STATES)}
    trials = [
        SweepTrial.of(each, run_of(study.place, each.number), study.axes.values(each.number))
        for each in study.trials()
    ]
    trials.sort(key=lambda t: (place[t.state], 0.0 if t.value is None else sign * t.value, t.number))
    best = trials[0].settings if trials and trials[0].state == "finished" else {}
    main = next((each.main for each in trials if each.main), "") if ranking.figure == "main" else ""
    return Sweep(
        study=study.place,
        task=this.kind.name,
        ranked_by=main.replace("_", " ") or ranking.name,
        maximise=ranking.maximise,
        axes=study.axes.named,
        trials=tuple(trials),
        most=this.most,
        notes=() if all(each.state != "unfinished" for each in trials) else (CONTINUED,),
        command=this.command(best),
    )
