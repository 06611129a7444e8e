"""Tasks on the command line: the flag names the task, new files are answered and scored, bad input is a line."""

from __future__ import annotations

import json
import math
import random
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_cases import TEXT

from unrolled import spec
from unrolled.cli import main
from unrolled.cli.flags import check_task, data_flags, named_task
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


@pytest.mark.parametrize("written", ["", "?", "not known yet"])
def test_what_stands_for_a_label_of_new_samples_is_not_read(
    place: Path, tmp_path: Path, capsys, written: str
):
    new = tmp_path / "new.csv"
    lines = (place / "new.csv").read_text().splitlines()
    new.write_text("\n".join([lines[0] + ",activity", *(f"{line},{written}" for line in lines[1:])]) + "\n")
    main(["predict", str(place / "label"), str(place / "new.csv")])
    wanted = capsys.readouterr().out
    assert main(["predict", str(place / "label"), str(new)]) == 0
    assert capsys.readouterr().out == wanted
    if not written:
        assert "got none in row 2" in said(capsys, ["eval", str(place / "label"), str(new)])
    wide = tmp_path / "wide.csv"
    wide.write_text(f"much,a,b,c\n{written},1,2,3\n4.5,3,2,1\n,3,2,1\n")
    assert main(["predict", str(place / "target"), str(wide)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


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
    assert "12 samples of classes that never occur in the training data" in found["notes"][-1]
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
    assert "unrolled stream" not in out
    assert main([*argv, *QUICK, "--causal", "--overwrite"]) == 0
    assert f"unrolled stream {tmp_path / 'run'} < steps.jsonl" in capsys.readouterr().out


@pytest.mark.usefixtures("in_brief")
def test_a_causal_run_that_does_not_stream_names_no_stream(tmp_path: Path, capsys):
    rows = "".join(f"{t},{t % 7},{t % 3}\n" for t in range(60))
    (tmp_path / "load.csv").write_text(f"ds,y,k\n{rows}")
    argv = [
        "train",
        str(tmp_path / "load.csv"),
        "--horizon",
        "2",
        "--known",
        "k",
        "--causal",
        "--no-controls",
    ]
    assert main([*argv, "--run", str(tmp_path / "run"), *QUICK]) == 0
    assert "unrolled stream" not in capsys.readouterr().out


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


def test_a_dry_run_says_what_a_run_would_do_and_writes_nothing(
    place: Path, tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    argv = ["train", str(place / "gestures.csv"), "--label", "activity", "--group", "subject", "--dry-run"]
    assert main([*argv, "--steps", "9"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    rows = {line[10:].split()[0]: line[10:].split()[1:3] for line in out.splitlines()[1:6]}
    assert rows == {
        "sample": ["text", "id"],
        "subject": ["text", "group"],
        "ax": ["number", "input"],
        "ay": ["number", "input"],
        "activity": ["text", "label"],
    }
    for part in ("most frequent class", "for 9 steps", "training samples", "runs/gestures", "MiB"):
        assert part in out
    assert list(tmp_path.iterdir()) == []
    assert main([*argv, "--minutes", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seconds"] == 60
    assert found["columns"][0] == {
        "name": "sample",
        "type": "text",
        "role": "id",
        "examples": ["g0", "g1", "g2"],
    }
    assert sum(found["parts"].values()) == 24
    assert found["config"]["hidden_size"] > 0
    (tmp_path / "book.txt").write_text(TEXT)
    assert main(["train", "book.txt", "--dry-run"]) == 0
    assert "1.0 min by --minutes" not in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"book.txt"}


@pytest.mark.usefixtures("in_brief")
def test_a_dry_run_of_tags_and_forecasts_shows_columns_roles_parts_and_controls(tmp_path: Path, capsys):
    words = "".join(f"dog{n} NN B-X\nbarks VB O\n\n" for n in range(40))
    (tmp_path / "train.conll").write_text(words)
    rows = [f"2024-01-{1 + n // 24:02d} {n % 24:02d}:00,{n % 24},{n % 7}" for n in range(480)]
    (tmp_path / "load.csv").write_text("\n".join(["ds,y,temperature", *rows]) + "\n")
    for argv, roles in (
        (["train.conll", "--tags", "2"], {"tag", "input"}),
        (["load.csv", "--horizon", "4", "--known", "temperature"], {"time", "target", "known"}),
    ):
        assert main(["train", str(tmp_path / argv[0]), *argv[1:], "--dry-run", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert roles <= {column["role"] for column in found["columns"]}
        assert found["parts"]["train"] > found["parts"]["validation"] > 0
        assert len(found["controls"]) >= 2


@pytest.mark.usefixtures("in_brief")
def test_a_resumed_run_keeps_its_cell_where_the_cell_of_the_rule_is_asked_for(place: Path, tmp_path: Path):
    run, table = str(tmp_path / "run"), str(place / "gestures.csv")
    argv = ["train", table, "--label", "activity", "--columns", "ax,ay", "--run", run, "--hidden", "8"]
    assert main([*argv, "--no-controls", "--cell", "lstm", "--steps", "2"]) == 0
    assert (
        main(
            [
                "train",
                table,
                "--label",
                "activity",
                "--run",
                run,
                "--resume",
                "--cell",
                "auto",
                "--steps",
                "3",
            ]
        )
        == 0
    )
    assert json.loads((tmp_path / "run" / "config.json").read_text())["training"]["cell"] == "lstm"


@pytest.mark.usefixtures("in_brief")
def test_what_reading_one_way_costs_is_said_to_be_unknown_with_the_command_that_measures_it(
    place: Path, tmp_path: Path, capsys
):
    run = tmp_path / "run"
    argv = ["train", str(place / "gestures.csv"), "--label", "activity", "--columns", "ax,ay", *QUICK]
    assert main([*argv, "--causal", "--run", str(run)]) == 0
    said = next(line for line in capsys.readouterr().out.splitlines() if "was not measured" in line)
    command = shlex.split(said.partition("To measure it: ")[2])
    assert "--causal" not in command
    assert main(command[command.index("train") :]) == 0  # which is made from then on
    assert "was not measured" not in capsys.readouterr().out
    assert main([*argv, "--causal", "--run", str(run), "--overwrite"]) == 0
    assert "was not measured" not in capsys.readouterr().out
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("run", command[-1])]
    for config in configs:
        config["training"].pop("run")
        assert config["data"].pop("causal") is (config is configs[0])
    assert configs[0]["data"] == configs[1]["data"]
    assert configs[0]["training"] == configs[1]["training"]


@pytest.mark.usefixtures("in_brief")
def test_a_file_that_is_scored_says_where_the_controls_are(place: Path, tmp_path: Path, capsys):
    run, table = str(tmp_path / "run"), str(place / "gestures.csv")
    argv = ["train", table, "--label", "activity", "--columns", "ax,ay", "--run", run]
    assert main([*argv, "--steps", "2", "--hidden", "4"]) == 0
    capsys.readouterr()
    assert main(["eval", run, table]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(str(tmp_path / "run" / "controls.json"))
    assert main(["eval", str(place / "label"), table]) == 0  # which has none
    assert "controls" not in capsys.readouterr().out


@pytest.mark.usefixtures("in_brief")
def test_several_seeds_give_mean_and_spread_and_finished_ones_are_kept(place: Path, tmp_path: Path, capsys):
    argv = ["train", str(place / "gestures.csv"), "--label", "activity", "--run", str(tmp_path / "run")]
    argv += ["--steps", "4", "--hidden", "4", "--seeds", "2", "--seed", "3"]
    assert main(argv) == 0
    assert "2 seeds (3 to 4)" in capsys.readouterr().out
    found = json.loads((tmp_path / "run" / "seeds.json").read_text())
    accuracy = found["figures"]["accuracy"]
    one, other = (
        json.loads((tmp_path / "run" / f"seed-{seed}" / "evaluation.json").read_text())["validation"][
            "values"
        ]
        for seed in (3, 4)
    )
    assert accuracy["values"] == [one["accuracy"], other["accuracy"]]
    assert accuracy["mean"] == pytest.approx((one["accuracy"] + other["accuracy"]) / 2)
    assert accuracy["std"] == pytest.approx(abs(one["accuracy"] - other["accuracy"]) / 2**0.5)
    assert "most frequent class" in found["controls"]
    before = (tmp_path / "run" / "seed-3" / "model" / "model.safetensors").stat()
    assert main([*argv, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == found
    assert err.count("nothing is left to do") == 2
    assert (tmp_path / "run" / "seed-3" / "model" / "model.safetensors").stat() == before
    refused = said(capsys, [*argv[:-4], "--seeds", "2", "--run", str(place / "label")])
    assert refused.startswith("--run: expected a directory for several runs")


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


@pytest.mark.usefixtures("in_brief")
def test_a_folder_of_classes_is_learnt_and_lines_are_answered(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("names").mkdir()
    for name, end in {"Czech": "ova", "Dutch": "sen"}.items():
        Path("names", f"{name}.txt").write_text("\n".join(f"{c}a{end}" for c in "BDFGHKLMN") + "\n")
    Path("new.txt").write_text("Zasen\n\nRova\n")
    assert main(["train", "names", "--label", "folder", *QUICK]) == 0
    assert "predict runs/names new.txt" in capsys.readouterr().out
    assert main(["predict", "runs/names", "new.txt"]) == 0
    out, err = capsys.readouterr()
    assert [line.split(",")[0] for line in out.splitlines()] == ["id", "new.txt:1", "new.txt:3"]
    assert "1 sample left out: a blank line" in err
    assert "expected" in said(capsys, ["eval", "runs/names", "new.txt"])


def test_a_message_names_the_flag_and_not_pythons_keyword(tmp_path: Path, capsys):
    pytest.importorskip("polars")
    rows = "".join(f"{s},{t},{s * t},{'a' if s % 2 else 'b'}\n" for s in range(6) for t in range(4))
    (tmp_path / "long.csv").write_text("piece,t,x,label\n" + rows)
    assert main(["train", str(tmp_path / "long.csv"), "--label", "label", "--dry-run"]) == 2
    line = capsys.readouterr().err
    assert "--id: expected the column that says which sample a row is of, or --columns with" in line
