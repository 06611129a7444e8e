"""`unrolled export`: exit codes, one line for a mistake, and a user's own file."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from unrolled import files, kernels, nn
from unrolled.cli import main
from unrolled.export import subject_of

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
SHORT = ["--steps", "3", "--hidden", "6", "--batch", "4"]


def table(rows: int, *, label: bool = True, columns: str = "ax,ay") -> str:
    lines = [f"sample,{columns}" + (",activity" if label else "")]
    for sample in range(rows):
        for step in range(4 + sample % 3):
            cells = [str((sample * 3 + step * k) % 7) for k in range(1, len(columns.split(",")) + 1)]
            lines.append(",".join([str(sample), *cells, *([("walk", "sit")[sample % 2]] if label else [])]))
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory, brief) -> Path:
    folder = tmp_path_factory.mktemp("export")
    (folder / "train.csv").write_text(table(24))
    (folder / "text.txt").write_text("to be or not to be, that is the question\n" * 30)
    with brief():
        for name, words in {
            "both": ["train.csv", "--label", "activity"],
            "causal": ["train.csv", "--label", "activity", "--causal"],
            "text": ["text.txt", "--layers", "1"],
        }.items():
            source, *rest = words
            given = [str(folder / source), *rest, "--run", str(folder / name), *SHORT]
            assert main(["train", *given]) == 0
    (folder / "new.csv").write_text(table(5, label=False))
    (folder / "other.csv").write_text(table(5, label=False, columns="ax,az"))
    return folder


@pytest.mark.parametrize(
    ("run", "to", "file"),
    [
        ("both", "onnx", "new.csv"),
        ("causal", "onnx-step", "new.csv"),
        ("text", "onnx", "text.txt"),
        ("text", "onnx-step", "text.txt"),
    ],
)
def test_a_run_is_exported_and_compared_on_the_users_file(run, to, file, place, tmp_path, capsys):
    out = tmp_path / ("m.pt2" if to == "torch" else "m.onnx")
    code = main(
        ["export", str(place / run), "--to", to, "--out", str(out), "--check", str(place / file), "--json"]
    )
    found = json.loads(capsys.readouterr().out)
    assert code == 0
    assert found["check"]["passed"]
    assert found["file_check"]["passed"]
    assert found["file_check"]["count"] > 5
    assert found["bytes"] == out.stat().st_size


def test_a_difference_on_the_users_file_is_exit_code_1(place, tmp_path, capsys, monkeypatch):
    run = ["export", str(place / "both"), "--to", "onnx", "--out", str(tmp_path / "m.onnx")]
    from unrolled.export.sequences import SequenceInterface

    whole = SequenceInterface.on_file

    def shorter(self, source):  # a file whose rows are read wrongly on their side
        for feeds in whole(self, source):
            yield feeds | {"lengths": feeds["lengths"] - 1}

    from unrolled.export.onnx.format import OnnxSequences

    monkeypatch.setattr(SequenceInterface, "on_file", shorter)
    inner = OnnxSequences._runner

    def runner(self, interface, file):
        run_it = inner(self, interface, file)
        return lambda feeds: run_it(feeds | {"lengths": feeds["lengths"] + (feeds["h_0"].max() == 0)})

    monkeypatch.setattr(OnnxSequences, "_runner", runner)
    assert main([*run, "--check", str(place / "new.csv")]) == 1
    said = capsys.readouterr().out
    assert "your file: DIFFERENT: the largest difference is" in said
    assert (tmp_path / "m.onnx").exists()  # to look at


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["both", "--to", "onnx-step"], "network: expected one that reads one way, trained with"),
        (["both", "--to", "onnx", "--opset", "7"], "--opset: expected 13, the first one that "),
        (["both", "--to", "tflite"], "--to: expected one of onnx, onnx-step, c, torch, keras, got 'tflite'"),
        (
            ["both", "--to", "onnx", "--check", "other.csv"],
            "--check: expected a file like that of training, got ",
        ),
        (
            ["both", "--to", "onnx", "--check", "missing.csv"],
            "--check: expected a file like that of training, got ",
        ),
        (["nothing", "--to", "onnx"], "expected "),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(words, line, place, tmp_path, capsys):
    run, *rest = words
    rest = [str(place / each) if each.endswith(".csv") else each for each in rest]
    suffix = "pt2" if "torch" in rest else "onnx"
    code = main(["export", str(place / run), *rest, "--out", str(tmp_path / f"m.{suffix}")])
    said = capsys.readouterr().err
    assert code == 2
    assert said.count("\n") == 1
    assert line in said, said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("given", "missing"), [(["--to", "onnx"], "--out"), (["--out", "m.onnx"], "--to")])
def test_a_missing_flag_is_one_line(given, missing, capsys):
    assert main(["export", "run", *given]) == 2
    assert f"{missing}: expected a value, got none" in capsys.readouterr().err


def test_without_a_compiler_stderr_says_so_and_a_file_that_was_to_be_compared_is_exit_code_1(
    place, tmp_path, capsys, monkeypatch
):
    if not kernels.available():
        pytest.skip(str(kernels.why_not()))
    monkeypatch.setenv("CC", "/nonexistent")
    out = tmp_path / "m"
    run = ["export", str(place / "causal"), "--to", "c", "--out", str(out)]
    assert main(run) == 0
    said = capsys.readouterr().err
    reason = "$CC is '/nonexistent', which is not a command here"
    assert said == f"unrolled: {out} was written, but not compiled and not compared with ours: {reason}\n"
    assert json.loads((out / "export.json").read_text())["check"]["result"] == "not compiled"
    assert main([*run, "--overwrite", "--check", str(place / "new.csv")]) == 1


def test_what_is_there_stays_unless_it_is_to_be_replaced(place, tmp_path, capsys):
    out = tmp_path / "m.onnx"
    out.write_text("mine")
    run = ["export", str(place / "both"), "--to", "onnx", "--out", str(out)]
    assert main(run) == 2
    assert "--out: expected a place where nothing is yet, or --overwrite" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert main([*run, "--overwrite"]) == 0
    assert out.stat().st_size > 1000


@pytest.mark.parametrize(("to", "out"), [("onnx", "m.onnx"), ("torch", "m"), ("c", "m")])
def test_a_full_disk_is_one_line_that_names_the_place(to, out, place, tmp_path, capsys, monkeypatch):
    if to == "c" and not kernels.available():
        pytest.skip(str(kernels.why_not()))

    def full(*_given, **_named):  # as write() says it, without a name
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(files, "write", full)
    path = tmp_path / out
    assert main(["export", str(place / "causal"), "--to", to, "--out", str(path)]) == 2
    said = capsys.readouterr().err
    assert said == f"unrolled: {path}: expected to write there, got: No space left on device\n"
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named_as_it_was_given(place, tmp_path, capsys, monkeypatch):
    def refused(self, *_given, **_named):
        raise PermissionError(13, "Permission denied", str(self))

    for to, method in (("onnx", "touch"), ("onnx", "write_bytes"), ("torch", "mkdir")):
        out = tmp_path / f"m{'.onnx' if to == 'onnx' else ''}"
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, refused)
            assert main(["export", str(place / "causal"), "--to", to, "--out", str(out)]) == 2
        said = capsys.readouterr().err
        assert said == f"unrolled: {out}: expected to write there, got: Permission denied\n"
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["RESET_BEFORE_GRU", "PEEPHOLE_LSTM", "LSTM", "RNN"])
def test_a_network_is_described_by_the_name_of_its_cell(mode):
    assert subject_of(nn.layer(mode.lower(), 3, 5, 2)).describe() == f"{mode} 2 x 5, layers alone"
