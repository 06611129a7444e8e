"""A run's rows in TensorBoard's own files, read back by TensorBoard."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from train_cases import stopped

from unrolled.cli import main
from unrolled.errors import MissingExtraError, RunError
from unrolled.spec import TrainConfig
from unrolled.train import run

Make = Callable[..., TrainConfig]


def scalars(run: Path) -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    steps = {tag: [e.step for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    assert all(len(each) == len(set(each)) for each in steps.values()), "a step twice"
    return {tag: {e.step: e.value for e in found.Scalars(tag)} for tag in steps}


def test_every_row_is_logged_once_though_the_run_was_stopped_and_resumed(small: Make):
    config = small(tensorboard=True, steps=12, save_every=4)
    stopped(config, 6)
    path = run(replace(config, resume=True), observers=[]).run
    logged = scalars(path)
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert set(logged) == set(rows[1]) - {"step"}
    for tag, values in logged.items():
        want = {row["step"]: row[tag] for row in rows if row[tag] is not None}
        assert values == pytest.approx(want, rel=1e-6)


def test_a_resume_goes_on_without_it_where_that_is_asked_for(small: Make):
    config = small(tensorboard=True)
    stopped(config, 2)
    events = list((Path(config.run or "") / "tensorboard").iterdir())
    argv = ["train", config.data.source, "--run", str(config.run), "--resume", "--no-tensorboard"]
    assert main(argv) == 0
    assert list((Path(config.run or "") / "tensorboard").iterdir()) == events
    stored = json.loads((Path(config.run or "") / "config.json").read_text())
    assert stored["training"]["tensorboard"] is False


def test_a_full_disk_is_one_line_with_the_place(small: Make, monkeypatch: pytest.MonkeyPatch):
    from tensorboard.summary.writer.record_writer import RecordWriter

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RecordWriter, "write", full)
    with pytest.raises(
        RunError, match=r"/tensorboard/events\.out\S+: expected a file that .* No space left on device$"
    ):
        run(small(tensorboard=True), observers=[])


def test_steps_that_are_taken_again_are_not_logged_twice(small: Make):
    config = small(tensorboard=True, steps=8, save_every=8)
    stopped(config, 5)
    (Path(config.run or "") / "LATEST").write_text("step-00000000\n")  # as a kill would have left it
    path = run(replace(config, resume=True), observers=[]).run
    assert list(scalars(path)["epoch"]) == list(range(9))


def test_a_log_is_replaced_with_its_run_and_a_foreign_file_in_it_is_kept(small: Make):
    config = small(tensorboard=True)
    path = run(config, observers=[]).run
    run(replace(config, overwrite=True), observers=[])
    assert len(list((path / "tensorboard").iterdir())) == 1
    (path / "tensorboard" / "notes.md").write_text("mine")
    with pytest.raises(
        RunError, match="tensorboard: expected a directory written by a run, which may be replaced"
    ):
        run(replace(config, overwrite=True), observers=[])
    assert (path / "tensorboard" / "notes.md").read_text() == "mine"


def test_without_the_package_its_extra_is_named_before_anything_is_written(
    small: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)
    with pytest.raises(
        MissingExtraError,
        match=r"^tensorboard: expected the extra: pip install 'unrolled\[tensorboard\]', got none$",
    ):
        run(small(tensorboard=True), observers=[])
    assert not (tmp_path / "run").exists()
