"""Files and flags that no task can take: each is refused in one line, and nothing is left."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from cli_cases import TEXT, said

from unrolled import spec
from unrolled.cli import main
from unrolled.cli.flags import check_task, data_flags, named_task
from unrolled.errors import ConfigError


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["predict", "label", "new.csv", "--out", "new.csv"], "--out: expected another file than the source"),
        (["predict", "label", "new.csv", "--out", "p.txt"], "--out: expected a file .parquet, .csv, .jsonl"),
        (["predict", "label", "new.csv", "--out", "no/p.csv"], "--out: expected a file in a directory that exists"),
        (["predict", "label", "new.csv", "--out", "label/metrics.jsonl"], "--out: expected a file that is none of"),
        (["predict", "label", "wide.csv"], "id: expected a column of the table: 'much', 'a'"),
        (["predict", "label", "gone.csv"], "SOURCE: expected a file or a folder, got no such path"),
        (["eval", "label", "new.csv"], "SOURCE: expected 'activity' with a label for each sample"),
        (["eval", "label", "gestures.csv", "--cold", "9"], "--cold: expected a model of text, got one of the task"),
        (["train", "gestures.csv", "--label", "activity", "--target", "ax"],
         "--label: expected no --target beside it, as each names another task, got both"),
        (["train", "gestures.csv", "--label", "activity", "--as", "lines"],
         "--as: expected no --label beside it, as it is a setting for a text, got both"),
        (["train", "book.txt", "--balance"], "--balance: expected --label beside it, got none"),
        (["train", "book.txt", "--group", "a"], "--group: expected --label or --target"),
        (["train", "gestures.csv", "--label"], "--label: expected the name of a column, got none"),
        (["train", "gestures.csv", "--label", "activity", "--resume", "--dry-run"], "--resume: expected false"),
        (["train", "gestures.csv", "--label", "activity", "--seeds", "1"], "--seeds: expected at least 2, got 1"),
        (["train", "gestures.csv", "--label", "activity", "--test", "wide.csv"],
         "--test: expected a column of the table: 'much', 'a', 'b', 'c', got 'activity'"),
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


FILES = {  # name: (header, a row of sample s at step t, flags, the one line that is said)
    "empty": ("", "", ["--label", "x"], "SOURCE: expected a file with samples, got an empty one"),
    "header alone": ("a,label", "", ["--label", "label"], "SOURCE: expected a table with rows"),
    "no candidate": ("a,b", "{r},{r}", ["--label"], "--label: expected the name of a column, got none, and no"),
    "two candidates": ("a,kind,colour", "{r},k{m},c{m}", ["--label"], "with 2 candidates: 'kind', 'colour'"),
    "two texts": ("title,body,label", "a title {s},a body {t},{m}", ["--label", "label"],
                  "--columns: expected the column of the texts, got none, with 2 candidates"),
    "text among numbers": ("sample,a,label", "{s},{x},{m}", ["--label", "label"],
                           "column 'a': expected numbers, got 'broken' in row 7"),
    "constant label": ("sample,a,label", "{s},{r},one", ["--label", "label"], "--label: expected 2 to 10,000"),
    "constant target": ("sample,a,y", "{s},{r},2.5", ["--target", "y"], "--target: expected numbers that differ"),
    "target among the inputs": ("sample,a,b,y", "{s},{r},{s},{s}", ["--target", "y"],
                                "--columns: expected inputs other than the label 'y', or --columns with"),
    "missing target": ("sample,a,y", "{s},{r},{n}", ["--target", "y"], "column 'y': expected a finite number"),
    "classes of one": ("sample,a,label", "{s},{r},c{s}", ["--label", "label"], "got 12 classes of 1"),
    "one group": ("sample,who,a,label", "{s},p,{r},{m}", ["--label", "label", "--group", "who"],
                  "--group: expected at least 2 groups"),
    "a group on both sides": ("sample,who,a,label", "{s},p{t},{r},{m}", ["--label", "label", "--group", "who"],
                              "--group: expected one value of 'who' in each sample"),
    "not sorted": ("sample,time,a,label", "{s},{m},{r},{m}", ["--label", "label"],
                   "column 'time': expected rising times in each sample"),
    "no such column": ("sample,a,label", "{s},{r},{m}", ["--label", "lable"], "--label: expected a column of"),
    "texts as a target": ("sample,a,y", "{s},{r},k{m}", ["--target", "y"], "column 'y': expected numbers"),
    "a language model's flag": ("sample,a,label", "{s},{r},{m}", ["--label", "label", "--tie"], "--tie: expected"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_learnt_from_is_one_line_and_nothing_is_left(
    name: str, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
):
    header, row, flags, line = FILES[name]
    monkeypatch.chdir(tmp_path)
    draw = random.Random(0)
    rows = [header]
    for sample in range(12 if row else 0):
        for step in range(3):
            values = {"s": sample, "t": step, "m": sample % 2, "r": f"{draw.random():.4f}"}
            values |= {
                "x": "broken" if len(rows) == 6 else values["r"],
                "n": "" if sample == 3 else sample + 0.5,
            }
            rows.append(row.format(**values))
    Path("data.csv").write_text("\n".join(rows) + "\n" if header else "")
    assert line in said(capsys, ["train", "data.csv", *flags, "--steps", "2"])
    assert [path.name for path in tmp_path.iterdir()] == ["data.csv"]


@pytest.mark.usefixtures("in_brief")
def test_what_training_has_not_is_counted_and_named(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    """A class of one sample, classes of the test file that never occur in training; groups on both sides are refused."""
    monkeypatch.chdir(tmp_path)
    rows = [
        f"s{s},p{s % 5},{(s + t) % 4}.5,{'rare' if s == 0 else 'ab'[s % 2]}"
        for s in range(30)
        for t in range(4)
    ]
    test = [f"t{s},p{s},{(s + t) % 4}.5,{'az'[s % 2]}" for s in range(6) for t in range(4)]
    for file, lines in (("train.csv", rows), ("other.csv", test)):
        Path(file).write_text("\n".join(["sample,who,a,label", *lines]) + "\n")
    argv = ["train", "train.csv", "--label", "label", "--test", "other.csv", "--steps", "2", "--hidden", "4"]
    assert main([*argv, "--no-controls", "--run", "a"]) == 0
    err = capsys.readouterr().err
    assert "1 class has one sample, which stays in training: 'rare'" in err
    assert "3 test samples of classes that never occur in the training data: z" in err
    line = said(capsys, [*argv, "--no-controls", "--run", "b", "--group", "who"])
    assert line.startswith(
        "--test: expected values of 'who' that do not occur in the training data, got 5 groups on both sides"
    )


def test_a_model_of_another_task_is_one_line(trained: Path, place: Path, capsys: pytest.CaptureFixture[str]):
    for argv, line in {
        (
            "predict",
            str(trained),
            str(place / "new.csv"),
        ): "RUN: expected a network that predicts, got one of",
        ("sample", str(place / "label")): "RUN: expected a model of text",
        ("quantize", str(place / "label")): "RUN: expected a language model",
    }.items():
        assert line in said(capsys, list(argv))


def test_a_message_names_the_flag_and_not_pythons_keyword(tmp_path: Path, capsys):
    pytest.importorskip("polars")
    rows = "".join(f"{s},{t},{s * t},{'a' if s % 2 else 'b'}\n" for s in range(6) for t in range(4))
    (tmp_path / "long.csv").write_text("piece,t,x,label\n" + rows)
    assert main(["train", str(tmp_path / "long.csv"), "--label", "label", "--dry-run"]) == 2
    line = capsys.readouterr().err
    assert "--id: expected the column that says which sample a row is of, or --columns with" in line


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
    assert named_task({"target", "ahead", "label"}).name == "later"  # what is too many, `check_task` says
    with pytest.raises(ConfigError, match="label: expected no `ahead` beside it, as each names another task"):
        check_task(named_task({"target", "ahead", "label"}), {"target", "ahead", "label"})
    with pytest.raises(ConfigError, match="label: expected no `ahead` beside it"):
        named_task({"label", "ahead"})
