"""Where `predict --out` writes: the file that is meant, whole or not at all, and nothing of anybody else's."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from unrolled import files
from unrolled.errors import ConfigError, RunError
from unrolled.predict import predict, write
from unrolled.tasks import Predictions

FOUND = Predictions({"id": ["a", "b"], "prediction": [1.0, 2.0]}, ())
LINES = "id,prediction\na,1.0\nb,2.0\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return the directory of something that looks like a run."""
    for name in ("checkpoints/step-00000001", "data", "model"):
        (tmp_path / "run" / name).mkdir(parents=True)
    for name in ("config.json", "metrics.jsonl"):
        (tmp_path / "run" / name).write_text("{}\n")
    return tmp_path / "run"


@pytest.mark.parametrize("there", [True, False])
def test_the_end_of_a_link_is_written_and_the_link_stays(tmp_path: Path, there: bool):
    end, link = tmp_path / "end.csv", tmp_path / "link.csv"
    if there:
        end.write_text("old")
    link.symlink_to("end.csv")
    assert write(FOUND, link) == link
    assert (end.read_text(), os.readlink(link)) == (LINES, "end.csv")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["end.csv", "link.csv"]


def test_what_is_no_file_is_refused_and_stays(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "full.csv").symlink_to("/dev/full")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "round.csv").symlink_to("round.csv")
    before = sorted(os.listdir(tmp_path))
    for name, want in {
        "pipe.csv": "a regular file, or none yet",
        "full.csv": "a regular file, or none yet",
        "folder.csv": "a file in a directory that exists",
        "round.csv": "a ",
        f"{'x' * 300}.csv": "a file that can be written",
        "a\0b.csv": "a file .parquet, .csv, .jsonl",
    }.items():
        with pytest.raises(ConfigError, match=f"^out: expected {want}") as caught:
            write(FOUND, tmp_path / name)
        assert len(str(caught.value).splitlines()) == 1
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    "name",
    ["metrics.jsonl", "predictions.csv", "data/p.csv", "checkpoints/p.csv", "checkpoints/step-00000001/p.csv",
     "model/p.csv", "../link.jsonl"],
)  # fmt: skip
def test_what_is_a_runs_own_is_refused(run: Path, name: str):
    (run.parent / "link.jsonl").symlink_to("run/metrics.jsonl")
    with pytest.raises(ConfigError, match=r"^out: expected a file that is none of a run's own, got"):
        write(FOUND, run / name)
    assert (run / "metrics.jsonl").read_text() == "{}\n"
    write(FOUND, run / "mine.csv")


def test_the_source_and_the_folder_that_is_one_are_refused_before_anything_is_read(tmp_path: Path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new.csv").write_text("a\n1\n")
    os.link(tmp_path / "new.csv", tmp_path / "same.csv")
    for source, out, want in (
        ("new.csv", "new.csv", "another file than the source"),
        ("new.csv", "same.csv", "another file than the source"),
        ("new", "new/p.csv", "a place outside of the folder that is the source"),
    ):
        with pytest.raises(ConfigError, match=f"^out: expected {want}"):
            predict("no such run", str(tmp_path / source), out=tmp_path / out)
    assert (tmp_path / "new.csv").read_text() == "a\n1\n"


def test_a_full_disk_is_one_line_and_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "p.csv").write_text("old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(RunError, match=r"p\.csv: expected to write there, got: No space left on device$"):
        write(FOUND, tmp_path / "p.csv")
    assert os.listdir(tmp_path) == ["p.csv"]
    assert (tmp_path / "p.csv").read_text() == "old"
