"""A study on the disk: what it varies, which trials are taken, and what they came to. Optuna keeps it."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, Trial, TrialState

from unrolled import files
from unrolled.errors import CheckpointError, RunError, UnrolledError, counted, expected
from unrolled.spec import MOST_TRIALS, Range
from unrolled.sweep.axes import Axes, Axis
from unrolled.sweep.journal import Journal
from unrolled.sweep.plan import STUDY as FILE
from unrolled.sweep.results import KNOWN, Kept

__all__ = ["Claim", "Study", "quiet"]

NAME = "unrolled"
DEFINITION = "definition"
VERSION = 1
SHARES = 20  # parts of a run in which its validations are compared with those of other trials
MOST = 2**53  # steps, seconds or parameters
STARTUP, WARM = 5, -(-SHARES // 3)  # finished trials, and parts of a run, before anything is pruned
WORST = sys.float_info.max  # stands for a loss that is not a number, which JSON cannot hold
ELSEWHERE = "name another directory with --study"


@dataclass
class Claim:
    """A trial that this process works on, and no other."""

    number: int
    values: Mapping[str, Any]
    file: Path  # of the study
    trial: Trial
    lock: FileLock
    begun: bool  # by an earlier process
    known: Mapping[str, Any]  # of it, by then
    reported: dict[int, float] = field(default_factory=dict)  # share of the run → validation loss

    def report(self, share: float, loss: float) -> None:
        """Keep a validation loss, for every share of the run that has passed since the one before.

        Args:
            share: of the steps that are taken, 0 to 1.
        """
        now, last = int(SHARES * min(max(share, 0.0), 1.0) + 1e-9), max(self.reported, default=-1)
        between = range(last + 1, now) if self.reported else ()
        for each in between:
            self._keep(each, self.reported[last])
        if now > last:
            self._keep(now, loss)

    def _keep(self, step: int, loss: float) -> None:
        self.reported[step] = loss
        with _understood(self.file):
            self.trial.report(loss if math.isfinite(loss) else WORST, step)

    def is_behind(self) -> bool:
        """Whether the pruner would stop it now."""
        with _understood(self.file):
            return bool(self.trial.should_prune())


class Study:
    """A study that may be used by many processes.

    Raises:
        RunError: the place cannot be written, or holds a study of something else.
        CheckpointError: the file is damaged, or no study of ours.
    """

    def __init__(
        self, place: Path, axes: Axes, definition: Mapping[str, Any], *, maximise: bool, prune: bool
    ) -> None:
        self.place, self.axes = place, axes
        self._locks = place / ".locks"
        self._wanted = {"version": VERSION, **definition, "axes": axes.to_json(), "sweep_seed": axes.seed}
        pruner: Any = optuna.pruners.NopPruner()
        if prune:
            pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=WARM)
        if self._locks.is_symlink():
            raise RunError(expected(str(self._locks), "a directory", "a link to another place"))
        with files.writing(place):
            self._locks.mkdir(parents=True, exist_ok=True)
        self._claiming = FileLock(self._locks / "claim")
        self._own: set[int] = set()  # trials that this object holds
        with self._claiming, _understood(place / FILE):
            storage = optuna.storages.JournalStorage(Journal(place / FILE))
            new = not any(each.study_name == NAME for each in storage.get_all_studies())
            if new:  # opening it by `load_if_exists` would add a line each time
                goes = optuna.study.StudyDirection
                direction = goes.MAXIMIZE if maximise else goes.MINIMIZE
                optuna.create_study(storage=storage, study_name=NAME, direction=direction)
            self._study = optuna.load_study(
                study_name=NAME, storage=storage, sampler=ByNumber(axes), pruner=pruner
            )
            self._check()

    def _check(self) -> None:
        """Refuse a study of something else; a new one becomes a study of this."""
        kept = self._study.user_attrs.get(DEFINITION)
        if kept is None and not self._trials():  # new, or its process was killed before this line
            self._study.set_user_attr(DEFINITION, self._wanted)
            return
        wanted = json.loads(json.dumps(self._wanted))
        if not isinstance(kept, dict) or kept.get("version") != VERSION:
            raise RunError(expected(str(self.place / FILE), "a study of `unrolled sweep`", "another one"))
        for part in ("task", "source", "settings", "axes", "sweep_seed"):
            _compare(part, kept.get(part), wanted[part], self.place)

    def trials(self) -> list[Kept]:
        """Return every trial as it stands now, by number."""
        with _understood(self.place / FILE):
            return [_kept(each) for each in self._trials()]

    def _trials(self) -> list[FrozenTrial]:
        found = self._study.get_trials(deepcopy=False)
        most = MOST_TRIALS if self.axes.combinations is None else self.axes.combinations
        if len(found) > most:
            want = f"at most {counted(most, 'trial')}"
            raise files.refusal(CheckpointError, self.place / FILE, want, len(found))
        return found

    def claim(self, most: int) -> Claim | None:
        """Return a trial to work on: one that its process left, else a new one; None: nothing is left.

        Args:
            most: trials that the study may have.
        """
        with self._claiming, _understood(self.place / FILE):
            for each in self._trials():
                if each.state == TrialState.RUNNING and each.number not in self._own:
                    found = self._take(each.number)
                    if found is not None:
                        return found
            if len(self._trials()) >= most:
                return None
            number = self._study.ask().number
            found = self._take(number, begun=False)
            if found is None:
                raise RunError(expected(str(self._locks / f"{number}"), "a lock that is free", "one in use"))
            return found

    def _take(self, number: int, *, begun: bool = True) -> Claim | None:
        lock = FileLock(self._locks / f"{number}")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        frozen = self._trials()[number]
        if frozen.state != TrialState.RUNNING:  # it came to an end meanwhile
            lock.release()
            return None
        trial = Trial(self._study, frozen._trial_id)
        values = {name: _suggest(trial, name, axis) for name, axis in self.axes.named.items()}
        if values != self.axes.values(number):
            lock.release()
            got = "other ones in the file"
            raise CheckpointError(expected(f"{self.place / FILE} trial {number}", f"{values}", got))
        self._own.add(number)
        known, losses = _kept(frozen).known, frozen.intermediate_values
        reported = {step: losses[step] for step in range(SHARES + 1) if step in losses}
        return Claim(number, values, self.place / FILE, trial, lock, begun, known, reported)

    def finish(self, claim: Claim, state: str, value: float | None, known: Mapping[str, Any]) -> None:
        """Keep what a trial came to, and let go of it.

        Args:
            state: "finished", "pruned" or "failed". value: what trials are ranked by, of a finished one.
            known: what else the table shows.
        """
        states = {word: each for each, word in FINISHED.items()}
        with _understood(self.place / FILE):
            claim.trial.set_user_attr("known", files.for_json(dict(known)))
            self._study.tell(claim.number, value if state == "finished" else None, states[state])
        self._let_go(claim)

    def leave(self, claim: Claim, known: Mapping[str, Any]) -> None:
        """Let go of a trial that another process may continue."""
        with _understood(self.place / FILE):
            claim.trial.set_user_attr("known", files.for_json(dict(known)))
        self._let_go(claim)

    def _let_go(self, claim: Claim) -> None:
        self._own.discard(claim.number)
        claim.lock.release()


FINISHED = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def _kept(trial: FrozenTrial) -> Kept:
    """Return what is known of a trial, of the right types."""
    state = FINISHED.get(trial.state, "unfinished")
    value = trial.values[0] if state == "finished" and trial.values else None
    if state == "finished" and (not isinstance(value, (int, float)) or not math.isfinite(value)):
        state, value = "failed", None
    stored = trial.user_attrs.get("known")
    known: dict[str, Any] = {}
    for name, types in KNOWN.items():
        each = stored.get(name) if isinstance(stored, dict) else None
        if not isinstance(each, types) or isinstance(each, bool):
            continue
        if isinstance(each, str):
            known[name] = files.shortened(each)
        elif not isinstance(each, (int, float)) or name == "loss" or 0 <= each <= MOST:
            known[name] = each
    figures = known.get("figures", {})
    known["figures"] = {name: value for name, value in figures.items() if type(value) in (int, float)}
    return Kept(trial.number, state, value, known)


class ByNumber(optuna.samplers.BaseSampler):
    """Gives each trial what `Axes` has for its number."""

    def __init__(self, axes: Axes) -> None:
        self._axes = axes

    def infer_relative_search_space(self, study: Any, trial: FrozenTrial) -> dict[str, Any]:
        return {}

    def sample_relative(self, study: Any, trial: FrozenTrial, search_space: Any) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Any, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        return self._axes.values(trial.number)[param_name]


def _suggest(trial: Trial, name: str, axis: Axis) -> Any:
    if not isinstance(axis, Range):
        return trial.suggest_categorical(name, axis)
    if axis.whole:
        return trial.suggest_int(name, int(axis.low), int(axis.high), log=axis.logarithmic)
    return trial.suggest_float(name, axis.low, axis.high, log=axis.logarithmic)


def _compare(part: str, kept: Any, wanted: Any, place: Path) -> None:
    """Raise RunError where a part of a study differs from what is asked for; names the setting."""
    if kept == wanted:
        return
    where = f"as the study in {place} was started with"
    if isinstance(kept, dict) and isinstance(wanted, dict):
        name = next(n for n in sorted({*kept, *wanted}) if kept.get(n) != wanted.get(n))
        then, now = (_said(each[name]) if name in each else "none" for each in (kept, wanted))
    else:
        name, then, now = part, _said(kept), _said(wanted)
    raise files.refusal(
        RunError, name, f"{files.shortened(then)}, {where}", f"{files.shortened(now)}; {ELSEWHERE}"
    )


def _said(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    if isinstance(value, dict) and set(value) == {"low", "high"}:
        return f"{value['low']}..{value['high']}"
    return str(value)


FAULTS = (
    AssertionError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    RecursionError,
    optuna.exceptions.OptunaError,
)


@contextlib.contextmanager
def _understood(path: Path) -> Iterator[None]:
    """Turn what Optuna raises of a file that it cannot make sense of into one line."""
    try:
        yield
    except (UnrolledError, OSError):
        raise
    except FAULTS as error:
        got = f"a damaged or foreign file ({type(error).__name__}: {error})"
        raise files.refusal(CheckpointError, path, "a study of `unrolled sweep`", got) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's own messages off standard error meanwhile."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
