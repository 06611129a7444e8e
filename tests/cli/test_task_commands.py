"""Tasks on the command line: the flag names the task, new files are answered and scored."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from cli_cases import QUICK, TEXT, gestures, said

from unrolled.cli import main


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
