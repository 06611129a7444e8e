"""A run that is stopped anywhere and resumed is the run that never stopped."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from train_cases import Signal, on_disk, stopped

from unrolled import checkpoint, kernels
from unrolled.errors import CheckpointError, ConfigError, DataError, RunError
from unrolled.spec import DataConfig, RunDirectory, TrainConfig, setting_of
from unrolled.tasks import load
from unrolled.train import Observer, Result, Stopped, report, run
from unrolled.train.plan import FREE

Make = Callable[..., TrainConfig]
BACKENDS = ["torch", *(["native"] if kernels.available() else [])]


def resumed(config: TrainConfig, **changes: Any) -> Result:
    return run(replace(config, resume=True, overwrite=False, **changes), observers=[])


def weights(path: str | Path | None, step: int | None = None) -> bytes:
    where = Path(path or "") / "model" if step is None else RunDirectory(path or "").step(step)
    return (where / "model.safetensors").read_bytes()


def losses(path: str | Path | None) -> list[tuple[Any, ...]]:
    rows = [json.loads(line) for line in (Path(path or "") / "metrics.jsonl").read_text().splitlines()]
    return [tuple(value for name, value in row.items() if name != "tokens_per_s") for row in rows]


def assert_equal_runs(a: TrainConfig, b: TrainConfig) -> None:
    assert weights(a.run) == weights(b.run)
    assert losses(a.run) == losses(b.run)
    last = [checkpoint.read(checkpoint.locate(c.run or "", prefer=("LATEST",))) for c in (a, b)]
    assert last[0].model == last[1].model
    assert last[0].optimizer == last[1].optimizer
    assert last[0].progress is not None
    assert last[1].progress is not None
    for progress in (last[0].progress, last[1].progress):
        progress.pop("since")  # holds seconds
    assert last[0].progress == last[1].progress
    assert (Path(a.run or "") / "BEST").read_text() == (Path(b.run or "") / "BEST").read_text()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_stopped_in_the_middle_of_an_epoch_and_resumed_it_ends_at_the_same_bits(
    small: Make, tmp_path: Path, backend: str, cell: str
):
    sizes = {"backend": backend, "cell": cell, "steps": 40, "save_every": 9, "dropout": 0.3, "num_layers": 2}
    whole, parts = small(**sizes, run=str(tmp_path / "whole")), small(**sizes, run=str(tmp_path / "parts"))
    run(whole, observers=[])
    for at in (1, 9, 14, 36, 39):  # before a save and at one, twice between two, and near the end
        assert stopped(replace(parts, resume=at > 1), at).exit_code == 130
        torch.rand(5)  # the caller's random state is no input
    resumed(parts)
    assert_equal_runs(whole, parts)


def test_a_stop_between_two_rows_keeps_the_means_of_the_next_one(small: Make, tmp_path: Path):
    sizes = {"steps": 600, "save_every": 600}  # a row every third step
    whole, parts = small(**sizes, run=str(tmp_path / "whole")), small(**sizes, run=str(tmp_path / "parts"))
    run(whole, observers=[])
    stopped(parts, 100)
    stopped(replace(parts, resume=True), 101)
    resumed(parts)
    assert_equal_runs(whole, parts)


@pytest.mark.parametrize("shape", ["stream", "lines"])
def test_epochs_are_resumed_too(small: Make, tmp_path: Path, shape: str):
    sizes = {"steps": None, "epochs": 3, "save_every": 4, "shape": shape, "dropout": 0.2}
    whole, parts = small(**sizes, run=str(tmp_path / "whole")), small(**sizes, run=str(tmp_path / "parts"))
    steps = run(whole, observers=[]).schedule.steps
    for at in (steps // 3, steps // 3 + 1, steps - 2):  # the first two: around the end of an epoch
        stopped(replace(parts, resume=at != steps // 3), at)
    resumed(parts)
    assert_equal_runs(whole, parts)


def test_minutes_are_resumed_on_the_schedule_that_was_calibrated(small: Make):
    config = small(steps=None, minutes=0.01)
    stopped(config, 1)
    first = checkpoint.read(checkpoint.locate(config.run or "", prefer=("LATEST",))).progress
    result = resumed(config)
    assert first is not None
    assert result.schedule.steps == first["steps"]
    assert result.schedule.save_every == first["save_every"]


def test_a_run_without_a_checkpoint_starts(small: Make, tmp_path: Path):
    resumed(small(run=str(tmp_path / "a")))
    run(small(run=str(tmp_path / "b")), observers=[])
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


@pytest.mark.parametrize("left", ["data", "config.json", "checkpoints", ".data-0123abcd"])
def test_what_a_run_left_that_was_killed_before_its_first_checkpoint_is_in_nobodys_way(
    small: Make, left: str
):
    config = small()
    stopped(config, 1)
    for name in os.listdir(config.run or ""):
        path = Path(config.run or "") / name
        if name not in (left, "config.json"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if left.startswith("."):
        (Path(config.run or "") / left).mkdir()
        (Path(config.run or "") / left / "train.npy").write_bytes(b"torn")
    if left == "checkpoints":
        shutil.rmtree(RunDirectory(config.run or "").step(1))
    resumed(config)
    assert not list(Path(config.run or "").glob(".*"))


def test_a_finished_run_says_so_and_changes_nothing(small: Make):
    class Listen(Observer):
        notes: list[str] = []  # noqa: RUF012

        def note(self, text: str) -> None:
            self.notes.append(text)

    config = small()
    first = run(config, observers=[])
    before = {p: p.stat().st_mtime_ns for p in Path(config.run or "").rglob("*")}
    again = run(replace(config, resume=True), observers=[Listen()])
    assert "6 steps taken, nothing is left to do" in Listen.notes[0]
    assert (again.best_step, again.sample) == (first.best_step, first.sample)
    assert again.evaluation.carried.nats == pytest.approx(first.evaluation.carried.nats, rel=1e-12)
    assert str(again.evaluation) == str(first.evaluation)
    assert {p: p.stat().st_mtime_ns for p in Path(config.run or "").rglob("*")} == before


@pytest.mark.parametrize("lost", ["evaluation.json", "model", "samples.txt", "loss.png"])
def test_a_run_that_was_killed_in_its_report_writes_it_again(small: Make, lost: str):
    config = small()
    first = run(config, observers=[])
    before = weights(config.run)
    (first.run / "evaluation.json").unlink()  # written last
    if (first.run / lost).is_dir():
        shutil.rmtree(first.run / lost)
    (first.run / lost).unlink(missing_ok=True)
    again = resumed(config)
    assert weights(config.run) == before
    assert (again.run / lost).exists()
    assert again.evaluation == first.evaluation


def test_metrics_are_cut_back_to_the_checkpoint_and_torn_lines_go(small: Make, tmp_path: Path):
    sizes = {"steps": 12, "save_every": 4}
    whole, parts = small(**sizes, run=str(tmp_path / "whole")), small(**sizes, run=str(tmp_path / "parts"))
    run(whole, observers=[])
    stopped(parts, 5)
    with open(tmp_path / "parts" / "metrics.jsonl", "a") as file:
        file.write('{"step": 6, "epoch": 0.1, "train_nats_per_token": 1, "val_nats_per_token": null, "tokens_per_s"'
                   ': 1, "grad_norm": 1, "lr": 1}\n{"step": 7, "ep')  # fmt: skip
    resumed(parts)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.txt", "evaluation.json"])
def test_a_pipe_in_the_place_of_a_file_of_the_run_never_blocks_a_resume(small: Make, name: str):
    config = small()
    place = run(config, observers=[]).run / name
    place.unlink()
    os.mkfifo(place)
    for more in ({}, {"steps": 99}):
        with contextlib.suppress(RunError):  # or without the file, where nothing hangs on it
            run(replace(config, resume=True, **more), observers=[])


def test_a_step_that_was_written_but_not_marked_is_taken_again(small: Make, tmp_path: Path):
    sizes = {"steps": 12, "save_every": 4, "keep": 9}
    whole, parts = small(**sizes, run=str(tmp_path / "whole")), small(**sizes, run=str(tmp_path / "parts"))
    run(whole, observers=[])
    stopped(parts, 9)
    for name in ("LATEST", "BEST"):
        (tmp_path / "parts" / name).write_text("step-00000004\n")
    resumed(parts)
    assert_equal_runs(whole, parts)


def test_best_is_marked_where_a_kill_came_before_it(small: Make):
    config = small(steps=30, save_every=10, learning_rate=0.02)
    stopped(config, 20)
    assert (Path(config.run or "") / "BEST").read_text() == "step-00000020\n"
    (Path(config.run or "") / "BEST").write_text("step-00000010\n")
    stopped(replace(config, resume=True), 21)
    assert (Path(config.run or "") / "BEST").read_text() == "step-00000020\n"


def test_a_lost_or_damaged_corpus_is_made_again(small: Make, tmp_path: Path):
    whole, parts = small(run=str(tmp_path / "whole")), small(run=str(tmp_path / "parts"))
    run(whole, observers=[])
    stopped(parts, 3)
    (tmp_path / "parts" / "data" / "train.npy").write_bytes(b"torn")
    stopped(replace(parts, resume=True), 4)
    shutil.rmtree(tmp_path / "parts" / "data")
    resumed(parts)
    assert_equal_runs(whole, parts)


def test_keep_says_how_many_checkpoints_stay(small: Make):
    for keep, steps in ((1, {6}), (2, {5, 6}), (9, set(range(7)))):
        result = run(small(keep=keep, save_every=1, overwrite=True), observers=[])
        left = {int(p.name.removeprefix("step-")) for p in (result.run / "checkpoints").iterdir()}
        assert left == steps | {result.best_step}


def test_what_may_differ_may_differ(small: Make):
    config = small(steps=20, save_every=10)
    stopped(config, 3)
    result = run(replace(config, resume=True, save_every=4, keep=7), observers=[])
    assert result.schedule.save_every == 4
    assert {p.name for p in (result.run / "checkpoints").iterdir()} >= {
        f"step-{s:08d}" for s in (8, 12, 16, 20)
    }


def test_other_threads_are_a_warning(small: Make):
    notes = []

    class Listen(Observer):
        def note(self, text: str) -> None:
            notes.append(text)

    config = small(threads=2)
    stopped(config, 3)
    run(replace(config, resume=True, threads=1), observers=[Listen()])
    assert any(note.startswith("warning   1 thread, where the run had 2") for note in notes)


def test_without_a_word_on_threads_a_run_keeps_its_own(small: Make):
    config = small(threads=1)
    stopped(config, 3)
    resumed(replace(config, threads=None))
    progress = checkpoint.read(checkpoint.locate(config.run or "", prefer=("LATEST",))).progress
    assert progress is not None
    assert progress["threads"] == 1


def test_the_best_before_the_stop_stays_the_best(small: Make):
    class Wreck(Observer):
        def begin(self, config: object, schedule: object, model: Any) -> None:
            self.model = model

        def step(self, record: Any) -> None:
            with torch.no_grad():
                self.model.readout.weight.mul_(-300)

    config = small(steps=12, save_every=3, learning_rate=0.01)
    stopped(config, 6)
    result = run(replace(config, resume=True), observers=[Wreck()])
    assert result.best_step == 6


def test_a_network_that_is_better_than_the_last_alone_is_not_the_best(small: Make):
    class Wreck(Observer):
        def begin(self, config: object, schedule: object, model: Any) -> None:
            self.model = model

        def step(self, record: Any) -> None:
            if record.step == 4:
                with torch.no_grad():
                    self.model.readout.weight.mul_(-30)

    config = small(steps=12, save_every=3, learning_rate=0.001)
    stopped(config, 6, Wreck())
    result = run(replace(config, resume=True), observers=[])
    rows = map(json.loads, (Path(config.run or "") / "metrics.jsonl").read_text().splitlines())
    found = {row["step"]: row["val_nats_per_token"] for row in rows}
    assert found[3] < found[12] < found[6], "it recovers, and not wholly"
    assert result.best_step == 3


def test_a_run_that_saved_nothing_yet_starts_with_its_own_settings(small: Make):
    config = small(seed=5, steps=7, hidden_size=9)
    stopped(config, 1)
    for name in ("LATEST", "BEST"):
        (Path(config.run or "") / name).unlink()
    for step in (0, 1):
        shutil.rmtree(RunDirectory(config.run or "").step(step))
    result = run(TrainConfig(config.data, run=config.run, resume=True, hidden_size=8), observers=[])
    assert (result.config.seed, result.config.steps) == (5, 7)
    assert result.model.config.hidden_size == 8  # what is asked for goes before


def test_an_explosion_that_is_still_finite_can_be_resumed(small: Make):
    config = small(steps=9, save_every=9)
    stopped(config, 4)
    path = RunDirectory(config.run or "").step(4)
    contents = checkpoint.read(path)
    assert contents.progress is not None
    shutil.rmtree(path)
    since = {**contents.progress["since"], "nats": 8.9e19, "grad_norm": 1e30}
    checkpoint.write_step(
        config.run or "", 4, replace(contents, progress={**contents.progress, "since": since})
    )
    resumed(config)


# --------------------------------------------------------------------------------------------- signals


def test_a_signal_that_is_ignored_stays_ignored(small: Make):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as `nohup` and background jobs have it
    try:
        assert run(small(), observers=[Signal(3)]).schedule.steps == 6
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_before_anything_was_saved_says_so_even_over_an_older_run(small: Make):
    class Early(Observer):
        def note(self, text: str) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    config = small()
    for _ in range(2):
        with pytest.raises(Stopped, match=r"^stopped at once by SIGTERM; nothing was saved yet$"):
            run(replace(config, overwrite=True), observers=[Early()])
        run(replace(config, overwrite=True), observers=[])


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_saves_the_step_it_came_in_and_says_how_to_go_on(
    small: Make, book: Path, signum: int, code: int
):
    config = small()
    with pytest.raises(KeyboardInterrupt) as caught:
        run(config, observers=[Signal(3, signum)])
    assert caught.value.exit_code == code  # type: ignore[attr-defined]
    assert str(caught.value) == (
        f"stopped at step 3 of 6, which is saved; go on with: unrolled train {book} --run {config.run} --resume"
    )
    assert checkpoint.locate(config.run or "", prefer=("LATEST",)).name == "step-00000003"


def test_the_second_signal_ends_a_run_at_once_and_leaves_the_checkpoint_before(small: Make):
    config = small(save_every=6)
    with pytest.raises(Stopped, match=r"^stopped at once by SIGTERM; go on with: "):
        run(config, observers=[Signal(3, signal.SIGINT, signal.SIGTERM)])
    assert load(config.run or "").step == 0
    resumed(config)


def test_a_second_signal_while_the_first_is_put_into_words_still_says_how_to_go_on(
    small: Make, monkeypatch: pytest.MonkeyPatch
):
    join, times = shlex.quote, itertools.count()

    def quote(word: str) -> str:
        if next(times) == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return join(word)

    monkeypatch.setattr(shlex, "quote", quote)
    with pytest.raises(Stopped, match=r"^stopped at once by SIGTERM; go on with: unrolled train "):
        run(small(), observers=[Signal(3, signal.SIGINT)])


def test_a_clock_that_goes_backwards_is_nothing_to_a_run(
    small: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole, parts = small(run=str(tmp_path / "whole")), small(run=str(tmp_path / "parts"), tensorboard=True)
    run(whole, observers=[])
    clock = itertools.count(1_700_000_000, -3600)
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    stopped(parts, 3)
    for path in (tmp_path / "parts").rglob("*"):  # what was written lies in the future
        os.utime(path, (2_000_000_000, 2_000_000_000))
    resumed(parts)
    assert_equal_runs(whole, parts)


def test_a_signal_that_python_loses_in_a_callback_ends_the_run_all_the_same(small: Make, capsys: Any):
    class Lost(Observer):
        def step(self, record: Any) -> None:
            if record.step == 2:
                thing = Observer()
                self.watch = weakref.ref(thing, lambda _: [os.kill(os.getpid(), s) for s in (2, 15)])
                del thing

    config = small()
    with pytest.raises(Stopped, match=r"^stopped at step 2 of 6, which is saved"):
        run(config, observers=[Lost()])
    assert "Traceback" not in capsys.readouterr().err


def test_a_signal_that_is_lost_before_the_first_step_ends_the_run_there(small: Make):
    class Lost(Observer):
        def note(self, text: str) -> None:  # nothing is deferred yet: the handler raises, and Python drops it
            thing = Observer()
            self.watch = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGTERM))
            del thing

    with pytest.raises(Stopped, match=r"^stopped at step 0 of 6, which is saved") as caught:
        run(small(), observers=[Lost()])
    assert caught.value.exit_code == 143


def test_a_signal_in_the_report_ends_it_and_a_resume_writes_it_again(
    small: Make, monkeypatch: pytest.MonkeyPatch
):
    config = small()
    with monkeypatch.context() as patch:
        patch.setattr(report, "draw_loss", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(
            Stopped, match=r"^stopped in the report, which a resume writes again; go on with: "
        ):
            run(config, observers=[])
    assert not (Path(config.run or "") / "gates.png").exists()
    assert (resumed(config).run / "gates.png").exists()


def test_handlers_are_given_back(small: Make):
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    run(small(), observers=[])
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


# ------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 13}, r"^hidden_size: expected 12, as the run was started with, got 13$"),
        ({"seed": 1}, r"^seed: expected 0, as the run was started with, got 1$"),
        ({"steps": 7}, r"^steps: expected 6, as the run was started with, got 7$"),
        ({"cell": "gru"}, r"^cell: expected lstm, as the run was started with, got gru$"),
    ],
)
def test_another_config_is_refused_by_name(small: Make, change: dict[str, Any], message: str):
    config = small()
    stopped(config, 2)
    with pytest.raises(ConfigError, match=message):
        resumed(config, **change)
    assert checkpoint.locate(config.run or "", prefer=("LATEST",)).name == "step-00000002"


def test_a_default_that_was_asked_for_by_name_is_held_against_the_run(small: Make):
    config = small(seed=3)
    stopped(config, 2)
    with pytest.raises(ConfigError, match=r"^seed: expected 3, as the run was started with, got 0$"):
        run(replace(config, seed=0, resume=True), observers=[], asked={"seed"})
    resumed(replace(config, seed=0))  # not asked for: follows the run


def test_another_corpus_is_refused_and_the_same_text_elsewhere_is_not(
    small: Make, book: Path, tmp_path: Path
):
    config = small()
    stopped(config, 2)
    other = tmp_path / "other.txt"
    other.write_text(book.read_text() + "x")
    with pytest.raises(
        DataError, match=r"^source: expected the text of the run, sha256 [0-9a-f]{64}, got [0-9a-f]{64} of "
    ):
        resumed(replace(config, data=DataConfig(str(other))))
    other.write_text(book.read_text())
    resumed(replace(config, data=DataConfig(str(other))))
    other.write_text("x" + book.read_text())
    with pytest.raises(DataError, match=r"^source: expected the text of the run"):
        resumed(replace(config, data=DataConfig(str(other))))  # a finished one too


def test_a_folder_whose_bytes_were_chosen_by_auto_is_known_again(small: Make, tmp_path: Path):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text(
        "".join(map(chr, range(0x4E00, 0x5100))) + "\n\n"
    )  # too many kinds for char
    (folder / "b.txt").write_bytes(b"caf\xe9, which is not UTF-8")
    config = replace(small(), data=DataConfig(str(folder), shape="stream"))
    stopped(config, 2)
    stopped(replace(config, resume=True), 3)
    shutil.rmtree(Path(config.run or "") / "data")
    assert resumed(config).config.data.tokens == "byte"


def test_standard_input_is_known_again(small: Make, book: Path, monkeypatch: pytest.MonkeyPatch):
    config = replace(small(), data=DataConfig("-", shape="stream"))
    for at in (2, None):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(book.read_bytes())))
        stopped(config, at) if at else resumed(config)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"another text")))
    with pytest.raises(DataError, match=r"^source: expected the text of the run, .* of -$"):
        resumed(config)


def test_resume_and_overwrite_exclude_each_other(small: Make):
    with pytest.raises(ConfigError, match=r"^resume: expected no `overwrite` beside it, got both$"):
        small(resume=True, overwrite=True)


@pytest.mark.parametrize("other", [{"seed": 1, "shape": "lines"}, {"shape": "stream"}])
def test_another_runs_corpus_is_not_taken_for_the_own_one(small: Make, tmp_path: Path, other: dict[str, Any]):
    whole, parts = (small(shape="lines", run=str(tmp_path / name)) for name in ("whole", "parts"))
    run(whole, observers=[])
    stopped(parts, 2)
    theirs = run(small(**other, run=str(tmp_path / "theirs")), observers=[])
    shutil.rmtree(tmp_path / "parts" / "data")
    shutil.copytree(theirs.run / "data", tmp_path / "parts" / "data")
    resumed(parts)
    assert_equal_runs(whole, parts)


def test_a_corpus_that_cannot_be_made_again_is_refused(
    small: Make, book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = small()
    stopped(config, 2)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(book.read_bytes())))
    turned = tmp_path / "turned.txt"
    turned.write_text("".join(reversed(book.read_text())))  # the same symbols
    other = run(
        replace(config, data=DataConfig(str(turned), shape="stream"), run=str(tmp_path / "b")), observers=[]
    )
    shutil.rmtree(Path(config.run or "") / "data")
    shutil.copytree(other.run / "data", Path(config.run or "") / "data")
    with pytest.raises(DataError, match=r"data: expected the corpus of its checkpoints, got another one$"):
        resumed(replace(config, data=DataConfig("-")))


@pytest.mark.parametrize("kept", ["model", "BEST", "evaluation.json"])
def test_a_finished_model_without_checkpoints_is_not_swept_away(small: Make, kept: str):
    config = small()
    run(config, observers=[])
    left = Path(config.run or "") / kept
    for path in Path(config.run or "").iterdir():
        if path.name in {"model", "BEST", "evaluation.json", "LATEST", "checkpoints"} - {kept}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(
        RunError, match=rf"LATEST: expected the name of a checkpoint, got none beside {kept}$"
    ):
        resumed(config)
    assert left.exists()


@pytest.mark.parametrize("name", ["data/train.npy", "tensorboard/events.out.tfevents.1.mine"])
@pytest.mark.parametrize("how", [{"resume": True}, {"overwrite": True}])
def test_what_no_run_wrote_is_not_swept_away(small: Make, tmp_path: Path, name: str, how: dict[str, bool]):
    mine = tmp_path / "run" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(RunError, match="which may be replaced"):
        run(small(**how), observers=[])
    assert mine.read_text() == "mine"


def test_a_foreign_file_beside_a_damaged_corpus_is_kept(small: Make):
    config = small()
    stopped(config, 2)
    data = Path(config.run or "") / "data"
    (data / "notes.md").write_text("mine")
    (data / "train.npy").write_bytes(b"torn")
    with pytest.raises(RunError, match=r"data: expected a directory written by a run, which may be replaced"):
        resumed(config)
    assert (data / "notes.md").read_text() == "mine"


def test_a_config_of_a_stranger_with_open_sizes_is_refused(small: Make):
    config = small()
    stopped(config, 2)
    path = RunDirectory(config.run or "").step(2)
    contents = checkpoint.read(path)
    shutil.rmtree(path)
    training = {**contents.config["training"], "learning_rate": None}
    checkpoint.write_step(
        config.run or "", 2, replace(contents, config={**contents.config, "training": training})
    )
    with pytest.raises(CheckpointError, match=r"config\.json: expected a value for learning_rate, got none$"):
        resumed(config)


def test_another_process_at_work_in_the_directory_is_noticed(small: Make, tmp_path: Path):
    code = "import sys; from pathlib import Path; from unrolled.train import held\n"
    code += "with held(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(
            RunError, match=r"^run: expected a directory that no run is using, got .*/run, in use$"
        ):
            run(small(), observers=[])
        other.kill()
    run(small(), observers=[])  # the system let go of the lock


def test_the_help_names_what_may_differ():
    words = setting_of(TrainConfig, "resume").help.replace(",", "").split()
    assert {setting_of(TrainConfig, name).flag for name in FREE} <= set(words)


def test_a_damaged_run_says_which_checkpoint_can_be_had_and_how(small: Make):
    config = small(save_every=2)
    stopped(config, 4)
    place = RunDirectory(config.run or "")
    for damaged, whole in ((place.latest, 4), (place.step(4) / "model.safetensors", 2)):
        damaged.write_bytes(b"torn")
        with pytest.raises(CheckpointError) as caught:
            resumed(config)
        told = f"; {place.step(whole)} is whole: load it by that path, or resume from it after: "
        before, _, command = str(caught.value).partition(told)
        assert str(damaged) in before
        assert load(place.step(whole)).step == whole
        echo, line, to, file = command.split()
        assert (echo, to) == ("echo", ">")
        Path(file).write_text(line + "\n")
    with pytest.raises(CheckpointError, match=r"^.*model\.safetensors: .*; .*step-00000002 is whole"):
        load(place.path)  # its best
    assert resumed(config).schedule.steps == 6


def test_checkpoints_without_latest_are_not_swept_away(small: Make):
    config = small()
    stopped(config, 2)
    (Path(config.run or "") / "LATEST").unlink()
    told = r"LATEST: expected the name of a checkpoint, got none beside step-00000002; .*/step-00000002 is whole: "
    with pytest.raises(RunError, match=told):
        resumed(config)
    assert checkpoint.read(RunDirectory(config.run or "").step(2)).step == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 10**9}, "batch: expected at most"),
        ({"epoch": -1}, "epoch: expected int from 0 on, got -1"),
        ({"batch": 1.5}, "batch: expected int"),
        ({"threads": 0}, "threads from 1 to 1024"),
        ({"threads": 10**6}, "threads from 1 to 1024"),
        ({"steps": 1}, "step <= steps"),
        ({"save_every": 0}, "save_every from 1 on"),
        ({"torch_random_state": "00"}, "torch_random_state: expected a state"),
        ({"torch_random_state": "zz"}, "torch_random_state: expected a state"),
        ({"since": []}, "since: expected an object"),
        ({"more": 1}, "unknown field 'more'"),
        ({"best_step": 5}, "expected a checkpoint, got nothing there"),
    ],
)
def test_a_progress_from_a_stranger_is_checked(small: Make, change: dict[str, Any], message: str):
    config = small()
    stopped(config, 2)
    path = RunDirectory(config.run or "").step(2)
    contents = checkpoint.read(path)
    shutil.rmtree(path)
    checkpoint.write_step(
        config.run or "", 2, replace(contents, progress={**(contents.progress or {}), **change})
    )
    before = on_disk(config.run)
    with pytest.raises((CheckpointError, RunError)) as caught:
        resumed(config, keep=7)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert on_disk(config.run) == before


def test_half_of_an_optimizer_is_refused(small: Make):
    config = small()
    stopped(config, 2)
    path = RunDirectory(config.run or "").step(2)
    contents = checkpoint.read(path)
    shutil.rmtree(path)
    moments = {name: t for name, t in (contents.optimizer or {}).items() if name != "exp_avg.readout.bias"}
    checkpoint.write_step(config.run or "", 2, replace(contents, optimizer=moments))
    before = on_disk(config.run)
    with pytest.raises(
        CheckpointError, match=r"^optimizer readout\.bias: expected all of AdamW's moments, got no exp_avg$"
    ):
        resumed(config, keep=7)
    assert on_disk(config.run) == before
