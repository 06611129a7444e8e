"""The processes of a run beside rank 0: with its settings, and from the files that it has written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unrolled import tasks
from unrolled.errors import CheckpointError, DataError, RunError, expected
from unrolled.spec import RunDirectory
from unrolled.train.plan import Finished, Fresh, Plan, Resumed, config_in, find
from unrolled.train.processes import Processes
from unrolled.train.result import Result, finished_result
from unrolled.train.signals import listening
from unrolled.train.training_run import TrainingRun, own_random_state

__all__ = ["followed"]


def followed(processes: Processes, begin: float, pictures: bool) -> Result:
    """Do a run as one of the other processes: with the settings and from the files of rank 0."""
    with listening() as stopper:
        told = processes.hear("it reads the source")
        path = Path(told["run"])
        found, problem = None, ""
        try:
            found = _seen(path, told)
        except (DataError, CheckpointError, RunError) as error:
            problem = f"{error}, on rank {processes.rank}"
        processes.agree(problem)
        assert found is not None  # else there was a problem
        doing, dataset = found
        if isinstance(doing, Finished):
            return finished_result(doing, [], begin)
        with own_random_state(doing.config.seed, doing.config.threads):
            this = TrainingRun(doing, dataset, [], stopper, begin, processes)
            this.free_threads = told["free_threads"]
            return this.go(pictures=pictures)


def _seen(path: Path, told: Mapping[str, Any]) -> tuple[Plan, Any]:
    """Return what rank 0 is about to do, and with which data, from the files that it has written.

    Raises:
        DataError, CheckpointError, RunError: they are not here.
    """
    if "finished" in told:
        point = find(path)
        if point is None or [point.progress.step, point.progress.ids_sha256] != told["finished"]:
            raise _not_shared(path)
        return Finished(path, point.config, point), None
    if not (path / told["witness"]).exists():
        raise _not_shared(path)
    config = config_in(told["config"], where="the config of rank 0")
    found: Fresh | Resumed = Fresh(path, config, overwrite=False)
    if told["point"] is not None:
        point = find(path)
        if point is None or point.progress.step != told["point"]:
            raise _not_shared(path)
        found = Resumed(path, config, point, lengthened=told["lengthened"])
    task = tasks.of(config.data)
    dataset = task.reopen(config.data, RunDirectory(path).data, seed=config.seed, tokens=told["tokens"])
    if dataset.identity != told["identity"]:
        raise _not_shared(path)
    return found, dataset


def _not_shared(path: Path) -> RunError:
    want = f"{path} on a file system that all processes share"
    return RunError(expected("run", want, "a directory without the files of rank 0"))
