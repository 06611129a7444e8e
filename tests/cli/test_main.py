"""The command line: what it prints, and what it answers to bad input."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cli_cases import SMALL, TEXT

from unrolled import kernels
from unrolled.cli import main
from unrolled.cli.parser import EXAMPLES, build, commands_of
from unrolled.spec import CELLS


def said(capsys: pytest.CaptureFixture[str], argv: list[str]) -> tuple[int, str]:
    """Return the exit code and what was printed on standard error, which must be one line."""
    try:
        code = main(argv)
    except SystemExit as stop:
        code = int(str(stop.code))
    err = capsys.readouterr().err
    assert err.count("\n") == 1, f"expected one line, got {err!r}"
    assert "Traceback" not in err
    return code, err.strip()


@pytest.mark.usefixtures("in_brief")
def test_training_says_what_it_decided_and_where_everything_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "book.txt").write_text(TEXT)
    assert main(["train", str(tmp_path / "book.txt"), "--run", str(tmp_path / "run"), *SMALL]) == 0
    out, err = capsys.readouterr()
    assert "nats/token" in out
    assert "bits/char" in out
    assert f"unrolled sample {tmp_path / 'run'}" in out
    assert "characters as stream, char tokens" in err


def test_a_probe_says_what_it_measured_and_what_is_wrong(trained: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["probe", str(trained), "--lags", "8"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"{trained}: LSTM 1 x 8\n")
    assert "findings: " in out
    assert err == ""


@pytest.mark.usefixtures("in_brief")
def test_a_probe_writes_a_page_and_says_where(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    page = tmp_path / "report.html"
    assert main(["probe", str(trained), "--lags", "8", "--html", str(page)]) == 0
    assert f"the page is {page}" in capsys.readouterr().out
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_a_page_that_cannot_be_written_is_refused_before_anything_is_measured(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for place, got in (
        (tmp_path / "no" / "page.html", "a place that can be written, got {}: No such file or directory"),
        (tmp_path, "a file to write, got a directory: {}"),
    ):
        code, line = said(capsys, ["probe", str(trained), "--html", str(place)])
        assert code == 2
        assert line == f"unrolled: --html: expected {got.format(place)}"


@pytest.mark.usefixtures("in_brief")
@pytest.mark.parametrize("watched", [True, False])
def test_training_names_the_pictures_that_it_drew_and_no_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], watched: bool
):
    settings = [
        "--steps",
        "2",
        "--hidden",
        "8",
        "--cell",
        "rnn",
        *["--telemetry"] * watched,
        "--threads",
        "1",
    ]
    assert main(["train", "sentences", "--run", str(tmp_path / "run"), *settings]) == 0
    named = set(re.findall(r"\w+\.png", capsys.readouterr().out))
    assert named == {path.name for path in (tmp_path / "run").glob("*.png")}
    assert ("telemetry.png" in named) is watched


def test_a_probe_is_json_on_request(trained: Path, capsys: pytest.CaptureFixture[str]):
    book = str(trained.parent / "book.txt")
    assert main(["probe", str(trained), book, "--lags", "8", "--known-lag", "500", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["gradient_flow"]["lags"] == 8
    assert [(each["name"], each["flag"]) for each in found["findings"]] == [("blind", "--steps 8")]  # after 4
    assert "trajectories" not in found


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--lags", "0"], "--lags: expected at least 1, got 0"),
        (["--lags", "9999"], "--lags: expected at most "),
        (["--known-lag", "-1"], "--known-lag: expected at least 1, got -1"),
        (["nowhere.txt"], "got no such path nowhere.txt"),
    ],
)
def test_a_bad_probe_is_one_line(
    trained: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
):
    code, line = said(capsys, ["probe", str(trained), *flags])
    assert code == 2
    assert message in line


def test_a_sample_starts_with_the_prompt_and_repeats_with_the_seed(
    trained: Path, capsys: pytest.CaptureFixture[str]
):
    argv = ["sample", str(trained), "--prompt", "the q", "--length", "30", "--seed", "1"]
    assert main(argv) == 0
    first = capsys.readouterr().out
    assert first.startswith("the q")
    assert len(first) == len("the q") + 30 + 1
    main(argv)
    assert capsys.readouterr().out == first
    main([*argv[:-1], "2"])
    assert capsys.readouterr().out != first


def test_eval_prints_carried_and_cold_scores_and_counts_the_unknown(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "other.txt").write_text("the dog wörked\nüber the fox\n")
    assert main(["eval", str(trained), str(tmp_path / "other.txt"), "--json", "--cold", "8"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["unknown"] == 2
    assert found["tokens"] == found["characters"] == 28
    assert found["bits_per_char"] == pytest.approx(found["nats_per_token"] / 0.6931471805599453)
    assert set(found["cold"]) == {"nats_per_token", "bits_per_char", "perplexity"}
    assert main(["eval", str(trained), str(tmp_path / "other.txt")]) == 0
    assert "2 unknown" in capsys.readouterr().out


def test_doctor_speaks_text_and_json(capsys: pytest.CaptureFixture[str]):
    assert main(["doctor"]) == 0
    assert "torch" in capsys.readouterr().out
    assert main(["doctor", "--json"]) == 0
    assert "packages" in json.loads(capsys.readouterr().out)


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 0
    assert "unrolled train sentences" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("unrolled 0.")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--hidden", "0"], "--hidden: expected at least 1, got 0"),
        (["--batch", "-3"], "--batch: expected at least 1, got -3"),
        (["--layers", "0"], "--layers: expected at least 1, got 0"),
        (["--bptt", "0"], "--bptt: expected at least 1, got 0"),
        (["--dropout", "1"], "--dropout: expected less than 1, got 1.0"),
        (["--lr", "nan"], "--lr: expected a finite number, got nan"),
        (["--lr", "0"], "--lr: expected more than 0, got 0.0"),
        (["--minutes", "-1"], "--minutes: expected more than 0, got -1.0"),
        (["--steps", "0"], "--steps: expected at least 1, got 0"),
        (["--threads", "0"], "--threads: expected at least 1, got 0"),
        (["--cell", "transformer"], f"--cell: expected one of {', '.join(CELLS)}, got 'transformer'"),
        (["--tokens", "bpe"], "--tokens: expected one of auto, char, byte, word, bpe:N, got 'bpe'"),
        (
            ["--steps", "5", "--minutes", "3"],
            "--minutes: expected one of --minutes, --epochs, --steps, got --minutes and --steps",
        ),
        (["--cell", "rnn", "--chrono", "9"], "--chrono: expected a gated cell (lstm, gru), got --cell rnn"),
        (
            ["--cell", "gru", "--forget-bias", "2"],
            "--forget-bias: expected --cell lstm without --chrono, got --cell gru",
        ),
        (["--init", "ones"], "--init: expected one of orthogonal, uniform, got 'ones'"),
        (["--nonlinearity", "relu"], "--nonlinearity: expected --cell rnn, got --cell lstm"),
        (["--tie", "--hidden", "8", "--embedding", "9"], "--tie: expected --embedding 8, got 9"),
        (["--max-words", "9"], "--max-words: expected --tokens word, got --tokens auto"),
        (["--resume", "--overwrite"], "--resume: expected no --overwrite beside it, got both"),
        (["--run", ""], "--run: expected a directory or a new path, got an empty text"),
        (["--steps", "9" * 20], f"--steps: expected at most 1000000000, got {'9' * 20}"),
        (["--seed", "9" * 20], f"--seed: expected at most 4294967295, got {'9' * 20}"),
        (
            ["--as", "lines", "--bptt", "8"],
            "--bptt: expected a stream, got lines, each of which is a window",
        ),
        (["--restart", "2"], "--restart: expected at most 1, got 2.0"),
    ],
)
def test_a_bad_setting_is_one_line_and_exit_code_2(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "a.txt").write_text(TEXT)
    argv = ["train", str(tmp_path / "a.txt"), "--run", str(tmp_path / "run"), *flags]
    assert said(capsys, argv) == (2, f"unrolled: {message}")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        (["train"], "SOURCE: expected a value, got none (see unrolled train --help)"),
        (
            ["train", "x", "--hiden", "3"],
            "--hiden: expected a flag of unrolled train, got an unknown one; did you mean --hidden?",
        ),
        (["train", "x", "--hidden", "many"], "--hidden: expected a whole number, got 'many'"),
        (["train", "x", "--learning-rate", "3"], "did you mean --lr? (see unrolled train --help)"),
        (
            ["train", "x", "--lr", "-1e-3"],
            "--lr: expected a value, got none; one that begins with - is written --lr=VALUE",
        ),
        (["train", "x", "--tie=3"], "--tie: expected no value, got '3'"),
        (
            ["train", "my", "book.txt"],
            "'book.txt': expected no further argument; a name with spaces is written in quotes",
        ),
        (
            ["train", "--telemetry", "book.txt"],
            "expected a whole number, got 'book.txt'; write --telemetry=100, or SOURCE before",
        ),
        (
            ["fly"],
            "COMMAND: expected one of train, sweep, sample, predict, eval, stream, quantize, export, probe, lab, doctor, got 'fly'",
        ),
        (["trian", "x"], "got 'trian'; did you mean train? (see unrolled --help)"),
        (
            ["probe", "x", "--steps", "9"],
            "--steps: expected a flag of unrolled probe, got an unknown one (see unrolled probe --help)",
        ),
        (["probe", "x", "--lag", "9"], "did you mean --lags? (see unrolled probe --help)"),
        (["--nonsense"], "--nonsense: expected a flag of unrolled, got an unknown one (see unrolled --help)"),
    ],
)
def test_a_mistyped_command_is_one_line_and_exit_code_2(
    argv: list[str], part: str, capsys: pytest.CaptureFixture[str]
):
    code, line = said(capsys, argv)
    assert code == 2
    assert part in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected"),
        (b"x", "expected"),
        (b"caf\xe9 au lait\n" * 3, "--tokens byte"),
    ],
    ids=["empty", "one character", "latin-1"],
)
def test_a_file_that_is_no_text_is_one_line(
    content: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "a.txt").write_bytes(content)
    code, line = said(capsys, ["train", str(tmp_path / "a.txt"), "--run", str(tmp_path / "run"), *SMALL])
    assert code == 2
    assert line.startswith("unrolled: SOURCE: expected")
    assert message in line
    assert not (tmp_path / "run").exists()


def test_a_message_names_only_flags_of_the_command_that_runs(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9 au lait\n" * 3)
    for command in ("eval", "probe"):
        code, line = said(capsys, [command, str(trained), str(tmp_path / "a.txt")])
        assert code == 2
        assert line.startswith("unrolled: SOURCE: expected UTF-8 text, got byte 0xe9 at offset 3, line 1 of ")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--length", "0"], "--length: expected at least 1, got 0"),
        (["--seed", "-1"], "--seed: expected at least 0, got -1"),
        (["--temperature", "-1"], "--temperature: expected"),
        (["--top-k", "0"], "--top-k: expected"),
        (["--top-p", "1.5"], "--top-p: expected"),
        (["--prompt", "Ω"], "--prompt: expected symbols of the model's vocabulary, got unknown ones: 'Ω'"),
    ],
)
def test_a_bad_sample_setting_is_one_line(
    flags: list[str], message: str, trained: Path, capsys: pytest.CaptureFixture[str]
):
    code, line = said(capsys, ["sample", str(trained), *flags])
    assert code == 2
    assert line.startswith(f"unrolled: {message}")


def test_a_path_without_a_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for command in (["sample", str(tmp_path)], ["eval", str(tmp_path / "gone"), "sentences"],
                    ["probe", str(tmp_path / "gone")]):  # fmt: skip
        code, line = said(capsys, command)
        assert code == 2
        told = f"unrolled: RUN: expected a run, checkpoint or model directory, got {command[1]!r}, "
        assert line.startswith(told)


def test_a_cold_window_longer_than_the_text_is_the_text(trained: Path, capsys: pytest.CaptureFixture[str]):
    argv = ["eval", str(trained), str(trained.parent / "book.txt"), "--json"]
    assert main([*argv, "--cold", "9" * 20]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cold"]["nats_per_token"] == pytest.approx(found["nats_per_token"], rel=1e-4)


@pytest.mark.usefixtures("in_brief")
def test_cold_windows_of_a_model_of_lines_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    argv = ["train", "sentences", "--run", str(tmp_path / "run"), "--steps", "2", "--hidden", "4"]
    assert main(argv) == 0
    capsys.readouterr()
    code, line = said(capsys, ["eval", str(tmp_path / "run"), "sentences", "--cold", "9"])
    assert (code, line) == (2, "unrolled: --cold: expected a model of a stream, got one of lines, each of which "
                               "starts cold")  # fmt: skip
    code, line = said(capsys, ["train", "sentences", "--run", str(tmp_path / "b"), "--validation", "0.2"])
    assert (code, line) == (2, "unrolled: --validation: expected a corpus that a part can be held out of, "
                               "got sentences")  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [["train", "sentences"], ["sample", "x"], ["eval", "x", "y"], ["predict", "x", "y"], ["probe", "x"]],
)
def test_without_torch_every_command_names_the_extra_in_one_line(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    rooms = ("data", "nn", "ops", "predict", "probe", "sample", "tasks", "train")
    for name in [m for m in sys.modules if m.startswith(tuple(f"unrolled.{room}" for room in rooms))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(kernels, "available", lambda: False)  # with them, a sample needs no torch
    code, line = said(capsys, command)
    assert code == 2
    assert line == "unrolled: torch: expected an installed package, got none: pip install 'unrolled[train]'"


def test_an_altered_model_file_is_one_line(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    file = copy / "model" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    code, line = said(capsys, ["sample", str(copy)])
    assert code == 2
    assert "model.safetensors" in line
    file.write_bytes(content[:-5])
    code, line = said(capsys, ["sample", str(copy)])
    assert code == 2
    assert "model.safetensors" in line


def test_what_no_room_foresaw_is_one_line_too(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from unrolled import predict

    def fail(error: BaseException) -> None:
        monkeypatch.setattr(predict, "load", lambda _: (_ for _ in ()).throw(error))

    fail(OSError(28, "No space left on device", "/full/disk"))
    assert said(capsys, ["eval", str(trained), "sentences"]) == (
        2,
        "unrolled: /full/disk: expected to read or write it, got: No space left on device",
    )
    fail(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate"))
    assert said(capsys, ["eval", str(trained), "sentences"])[0] == 2
    fail(MemoryError())
    assert said(capsys, ["eval", str(trained), "sentences"])[0] == 2
    fail(KeyboardInterrupt())
    assert said(capsys, ["eval", str(trained), "sentences"]) == (130, "unrolled: interrupted")
    monkeypatch.setenv("PATH", "")  # the command to go on with is one that can be pasted, as "next:" is
    fail(KeyboardInterrupt("stopped; go on with: unrolled train a --resume"))
    pasted = f"unrolled: stopped; go on with: {sys.executable} -m unrolled train a --resume"
    assert said(capsys, ["eval", str(trained), "sentences"]) == (130, pasted)


def test_debug_shows_the_traceback(tmp_path: Path):
    from unrolled.errors import RunError

    with pytest.raises(RunError):
        main(["sample", str(tmp_path), "--debug"])


@pytest.mark.usefixtures("in_brief")
def test_the_next_command_can_be_pasted_into_a_shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["./my tools/unrolled"])
    run = tmp_path / "it's mine"
    assert main(["train", "sentences", "--run", str(run), "--steps", "2", "--hidden", "4"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("next: ")
    assert shlex.split(line)[1:] == ["my tools/unrolled", "sample", str(run), "--length", "400"]


@pytest.mark.usefixtures("in_brief")
def test_an_older_flag_works_and_says_what_it_is_called_now(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    argv = ["train", "sentences", "--run", str(tmp_path / "run"), "--steps", "2", "--hidden", "4"]
    assert main([*argv, "--start", "uniform"]) == 0
    assert capsys.readouterr().err.startswith("unrolled: --start is now --init; the older name goes in 0.3\n")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["model"]["init"] == config["training"]["init"] == "uniform"
    with pytest.raises(SystemExit):
        build().parse_args(["train", "--help"])
    assert "--start" not in capsys.readouterr().out


def test_the_help_of_train_states_the_default_of_each_task_where_they_differ():
    words = " ".join(commands_of(build())["train"].format_help().split())
    about = words[words.index("--validation X share") : words.index("--id COLUMN")]
    assert about.count("default: 0.1") == 3  # a text, --label, --tags
    assert about.count("default: 0.2") == 1  # --horizon


@pytest.mark.parametrize("command", ["train", "predict", "eval", "stream", "probe"])
def test_the_help_of_a_command_ends_with_examples_that_the_parser_takes(command: str):
    assert commands_of(build())[command].format_help().endswith(EXAMPLES[command])
    lines = [line.strip() for line in EXAMPLES[command].splitlines() if line.startswith("  unrolled")]
    for line in lines:
        words = re.split(r" {2,}| <", line)[0].split()[1:]
        assert build().parse_args(words).command == command


@pytest.mark.parametrize(
    ("given", "before", "found"),
    [
        ({}, "", "1000 None"),
        ({"GOMP_SPINCOUNT": "7"}, "", "7 None"),
        ({"OMP_WAIT_POLICY": "active"}, "", "None active"),
        ({}, "sys.modules['torch'] = None;", "None None"),
    ],
)
def test_threads_that_wait_sleep_soon_unless_somebody_says_how_they_wait(
    given: dict[str, str], before: str, found: str
):
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {name: value for name, value in os.environ.items() if name not in names} | given
    program = (
        f"import os, sys; from unrolled.cli import main; {before} main(['--version']); "
        f"print(*map(os.environ.get, {names}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.splitlines()[-1] == found
