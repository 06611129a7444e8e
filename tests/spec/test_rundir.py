"""What lies where in a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from unrolled import checkpoint
from unrolled.errors import ConfigError
from unrolled.spec import DataConfig, RunDirectory, TrainConfig, register_picture, rundir
from unrolled.train import run


def test_a_run_writes_what_the_list_names_and_nothing_else(tmp_path: Path):
    place = RunDirectory(tmp_path / "run")
    config = TrainConfig(
        DataConfig("sentences"), run=str(place.path), steps=2, hidden_size=4, telemetry_every=1,
        tensorboard=True, threads=1,
    )  # fmt: skip
    run(config, observers=[])
    quantized = {place.model_of(weights) for weights in ("bfloat16", "int8")}  # by a command of its own
    of_other_tasks = {place.controls, place.predictions, place.parquet, place.report}
    of_other_tasks |= {place.picture(name) for name in rundir._PICTURES[3:]}  # all but its own
    assert set(place.path.iterdir()) == {*place.files, *place.directories} - quantized - of_other_tasks
    assert set(place.data.iterdir()) == {place.data / name for name in place.DATA_FILES}
    assert place.step(2).is_dir()
    assert all(path.name.startswith(RunDirectory.EVENTS) for path in place.tensorboard.iterdir())
    checkpoint.clear(place.path)
    assert list(place.path.iterdir()) == []


@pytest.mark.parametrize("step", [0, 1200, 99_999_999, 100_000_000, 10**18 - 1])
def test_a_step_is_found_again_by_its_directory(step: int):
    path = RunDirectory("runs/book").step(step)
    assert RunDirectory.step_of(path.name) == step
    assert RunDirectory.around(path) == RunDirectory.around("runs/book/model") == RunDirectory("runs/book")


@pytest.mark.parametrize("name", ["step-1", "step-000000001", "step-0000000²", "step-00000001\n", "x", ""])
def test_other_names_are_no_steps(name: str):
    assert RunDirectory.step_of(name) is None


@pytest.mark.parametrize("path", ["a/b", "a/step-00000001", "a/checkpoints/b", "model/x", "checkpoints"])
def test_another_directory_belongs_to_no_run_but_itself(path: str):
    assert RunDirectory.around(path).path == Path(path)


def test_a_registered_picture_belongs_to_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rundir, "_PICTURES", list(rundir._PICTURES))
    place = RunDirectory(tmp_path)
    with pytest.raises(ConfigError, match=r"picture: expected one of loss\.png, gates\.png"):
        place.picture("umbrella.png")
    assert not checkpoint.taken(tmp_path)
    assert register_picture("umbrella.png") == register_picture("umbrella.png")
    place.picture("umbrella.png").write_bytes(b"")
    assert checkpoint.taken(tmp_path)
    assert place.files.count(tmp_path / "umbrella.png") == 1


@pytest.mark.parametrize("name", ["../a.png", "a/b.png", "A.png", "a.jpg", ".png", "a.png\n", ""])
def test_a_picture_has_a_plain_name(name: str):
    with pytest.raises(ConfigError, match="picture: expected a lower-case name"):
        register_picture(name)


def test_the_old_name_of_a_step_still_works():
    with pytest.warns(DeprecationWarning, match=r"spec\.RunDirectory\(run\)\.step"):
        step_path = checkpoint.step_path
    assert step_path("run", 7) == RunDirectory("run").step(7)


def test_a_small_text_is_still_written_by_the_older_names(tmp_path: Path):
    with pytest.warns(DeprecationWarning, match=r"files\.replace"):
        replace_text = checkpoint.replace_text
    replace_text(path=tmp_path / "a.txt", text="two\n")
    assert (tmp_path / "a.txt").read_text() == "two\n"
