"""Tasks on the command line: the flag names the task, new files are answered and scored, bad input is a line."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_cases import TEXT

from unrolled import spec
from unrolled.cli import main
from unrolled.cli.flags import data_flags, named_task
from unrolled.errors import ConfigError

QUICK = ["--steps", "6", "--hidden", "8", "--no-controls"]
KINDS = ("walk", "sit")


def gestures(samples: int = 24, *, labelled: bool = True) -> str:
    """A long table: rows of a sample, two channels, a person, and what the person does."""
    draw = random.Random(samples)
    rows = ["sample,subject,ax,ay" + ",activity" * labelled]
    for sample in range(samples):
        for step in range(draw.randrange(4, 9)):
            x, y = draw.gauss(0, 0.3) + (sample % 2) * math.sin(step), draw.gauss(0, 0.3)
            rows.append(f"g{sample},p{sample % 6},{x:.3f},{y:.3f}" + f",{KINDS[sample % 2]}" * labelled)
    return "\n".join(rows) + "\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, brief: Callable[[], Any]) -> Path:
    """A folder with a table, and a classifier and a regressor that were trained on it."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "gestures.csv").write_text(gestures())
    (folder / "new.csv").write_text(gestures(5, labelled=False))
    table = str(folder / "gestures.csv")
    with brief():
        for flags in (["--label", "activity", "--columns", "ax,ay"], ["--target", "ax", "--columns", "ay"]):
            source = table
            if flags[0] == "--target":
                source = str(folder / "wide.csv")
                rows = [f"{n % 7 + 0.5},{n % 7},{n % 3},1" for n in range(20)]
                Path(source).write_text("\n".join(["much,a,b,c", *rows]) + "\n")
                flags = ["--target", "much"]
            run = str(folder / flags[0].strip("-"))
            assert main(["train", source, *flags, "--run", run, *QUICK]) == 0
    return folder


def said(capsys: pytest.CaptureFixture[str], argv: list[str]) -> str:
    """Return the one line that a refused command prints."""
    try:
        code = main(argv)
    except SystemExit as stop:
        code = int(str(stop.code))
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.count("\n") == 1, err
    return err.strip().removeprefix("unrolled: ")


def test_new_samples_are_answered_in_a_table(place: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["predict", str(place / "label"), str(place / "new.csv")]) == 0
    out, err = capsys.readouterr()
    header, *rows = out.splitlines()
    assert header == "id,prediction,confidence,p sit,p walk"
    assert [row.split(",")[0] for row in rows] == [f"g{n}" for n in range(5)]
    for row in rows:
        _, answer, confidence, *shares = row.split(",")
        assert float(confidence) == max(map(float, shares))
        assert answer == ("sit", "walk")[shares.index(confidence)]
        assert sum(map(float, shares)) == pytest.approx(1)
    assert err.splitlines()[-1] == "5 answers"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_answers_are_the_same_in_every_format(place: Path, tmp_path: Path, capsys, suffix: str):
    out = tmp_path / f"p{suffix}"
    assert main(["predict", str(place / "target"), str(place / "wide.csv"), "--out", str(out)]) == 0
    assert capsys.readouterr().out == ""
    main(["predict", str(place / "target"), str(place / "wide.csv"), "--json"])
    wanted = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    polars = pytest.importorskip("polars")
    read = {".csv": polars.read_csv, ".jsonl": polars.read_ndjson, ".parquet": polars.read_parquet}[suffix]
    found = read(out).to_dicts()
    assert [each["prediction"] for each in found] == [each["prediction"] for each in wanted]
    assert [str(each["id"]) for each in found] == [each["id"] for each in wanted]
    assert {path.name for path in tmp_path.iterdir()} == {out.name}


def test_a_file_is_scored_and_without_one_what_the_run_wrote_is_shown(place: Path, tmp_path: Path, capsys):
    text = gestures().replace(",sit\n", ",fly\n")
    (tmp_path / "test.csv").write_text(text)
    assert main(["eval", str(place / "label"), str(tmp_path / "test.csv"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["test"]["samples"] == 24
    assert found["test"]["values"]["accuracy"] <= 0.5
    assert "12 samples of classes that training has not" in found["notes"][-1]
    assert main(["eval", str(place / "label"), "--json"]) == 0
    stored = json.loads((place / "label" / "evaluation.json").read_text())
    assert json.loads(capsys.readouterr().out) == {
        k: v for k, v in stored.items() if k != "validation_is_train"
    }


@pytest.mark.usefixtures("in_brief")
def test_training_says_which_commands_come_next(place: Path, tmp_path: Path, capsys):
    argv = ["train", str(place / "gestures.csv"), "--label", "activity", "--run", str(tmp_path / "run")]
    assert main([*argv, *QUICK]) == 0
    out, err = capsys.readouterr()
    assert f"unrolled predict {tmp_path / 'run'} new.csv" in out
    assert "sample" not in out.partition("next:")[2]
    assert "2 classes" in err
    assert "samples/s" in err
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (stored["task"], stored["training"]["cell"], stored["model"]["cell"]) == ("classify", "gru", "gru")


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["predict", "label", "new.csv", "--out", "new.csv"], "--out: expected another file than the source"),
        (["predict", "label", "new.csv", "--out", "p.txt"], "--out: expected a file .parquet, .csv, .jsonl"),
        (["predict", "label", "new.csv", "--out", "no/p.csv"], "--out: expected a file in a directory that exists"),
        (["predict", "label", "new.csv", "--out", "label/metrics.jsonl"], "--out: expected a file that is none of"),
        (["predict", "label", "wide.csv"], "id: expected a column of the table: 'much', 'a'"),
        (["predict", "label", "gone.csv"], "SOURCE: expected a file or a folder, got no such path"),
        (["eval", "label", "new.csv"], "SOURCE: expected a column 'activity' with a label for each sample"),
        (["eval", "label", "gestures.csv", "--cold", "9"], "--cold: expected a model of text, got one of the task"),
        (["train", "gestures.csv", "--label", "activity", "--target", "ax"],
         "--label: expected no --target beside it, as each names another task, got both"),
        (["train", "gestures.csv", "--label", "activity", "--as", "lines"],
         "--as: expected no --label beside it, as it is a setting of a text, got both"),
        (["train", "book.txt", "--balance"], "--balance: expected --label beside it, got none"),
        (["train", "book.txt", "--group", "a"], "--group: expected --label or --target"),
        (["train", "gestures.csv", "--label"], "--label: expected the name of a column, got none"),
        (["train", "gestures.csv"], "SOURCE: expected a text, got a table: 5 columns separated by commas"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(
    place: Path, capsys, monkeypatch: pytest.MonkeyPatch, argv: list[str], line: str
):
    monkeypatch.chdir(place)
    (place / "book.txt").write_text(TEXT)
    before = (place / "label" / "metrics.jsonl").read_bytes()
    assert line in said(capsys, argv)
    assert (place / "label" / "metrics.jsonl").read_bytes() == before
    assert not (place / "runs").exists()


@pytest.mark.usefixtures("in_brief")
def test_a_table_is_text_only_where_somebody_insists(place: Path, tmp_path: Path, capsys):
    argv = [
        "train",
        str(place / "gestures.csv"),
        "--run",
        str(tmp_path / "run"),
        "--steps",
        "2",
        "--hidden",
        "4",
    ]
    line = said(capsys, argv)
    assert "--label COLUMN" in line
    assert "--as-text reads it as text" in line
    assert main([*argv, "--as-text"]) == 0
    assert "it is trained on as plain text" in capsys.readouterr().err
    (
        tmp_path / "run" / "data" / "train.npy"
    ).unlink()  # made anew in a resumed run, whatever the text looks like
    assert main([*argv[:-4], "--resume", "--steps", "3"]) == 0


def test_flags_of_one_name_are_settings_of_one_type():
    for flag in data_flags():
        for kind in flag.kinds:
            own = spec.setting_of(kind.data, flag.setting.name)
            assert (own.flag, own.type) == (flag.setting.flag, flag.setting.type), (kind.name, own.name)


def test_the_flag_of_the_task_that_has_all_of_them_names_it(monkeypatch: pytest.MonkeyPatch):
    from dataclasses import dataclass, replace

    @dataclass(frozen=True)
    class Later:
        source: str = spec.setting("", "a table", flag="SOURCE")
        target: str | None = spec.setting(None, "what is forecast", flag="--target")
        ahead: int = spec.setting(1, "steps ahead", flag="--ahead")

    monkeypatch.setitem(
        spec.TASKS, "later", replace(spec.REGRESS, name="later", data=Later, asked_by="ahead")
    )
    assert named_task({"source", "steps"}) is spec.LANGUAGE
    assert named_task({"label"}) is spec.CLASSIFY
    assert named_task({"target"}) is spec.REGRESS
    assert named_task({"target", "ahead"}).name == "later"
    with pytest.raises(ConfigError, match="label: expected no `ahead` beside it"):
        named_task({"label", "ahead"})
