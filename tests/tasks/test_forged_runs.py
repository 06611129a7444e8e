"""A run whose data or checkpoint a stranger forged is gone on with, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from forged_runs import TASKS, Forger, trained

from unrolled import train
from unrolled.errors import UnrolledError


def _resumed(task: str, path: Path, seed: int, count: int) -> list[str | None]:
    """Go on with forged runs: what each was refused with, None where it was not; other errors are raised."""
    config, told = trained(task, path), []
    for what in Forger(path / "run").forged(seed, count):
        try:
            train.run(config, observers=[], pictures=False)
            told.append(None)
        except UnrolledError as error:
            told.append(str(error))
        except Exception as error:
            error.add_note(what)
            raise
    return told


@pytest.mark.parametrize("task", TASKS)
def test_a_forged_run_is_gone_on_with_or_refused_in_one_line(tmp_path: Path, task: str):
    told = _resumed(task, tmp_path, 0, 5)
    assert not any("\n" in each for each in told if each is not None)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_many_forged_runs_are_gone_on_with_or_refused_in_one_line(tmp_path: Path, task: str):
    told = _resumed(task, tmp_path, 1, 30)
    assert not any("\n" in each for each in told if each is not None)
    assert 4 < sum(each is None for each in told) < 26


@pytest.mark.parametrize(
    ("task", "name", "values", "told"),
    [
        ("texts", "inputs_bytes", list(b"abcdefgh"), "the run's samples: expected "),
        ("tag", "texts_bytes", list(b"abcdefgh"), "the run's sentences: expected "),
        ("classify", "values", np.inf, "values with an infinite number"),
        ("forecast", "series.past", -np.inf, "past with an infinite number"),
        ("regress", "parts", 0, "validation: expected at least 1 sample"),
    ],
)
def test_samples_that_do_not_fit_the_network_are_refused(tmp_path, task, name, values, told):
    config, forger = trained(task, tmp_path), Forger(tmp_path / "run")
    arrays = forger.read()
    arrays[name] = np.resize(np.asarray(values, arrays[name].dtype), arrays[name].shape)
    forger.write(arrays)
    with pytest.raises(UnrolledError, match=told):
        train.run(config, observers=[], pictures=False)
