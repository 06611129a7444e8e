"""A whole run: what it leaves, what repeats, and what it refuses."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from train_cases import on_disk

from unrolled import checkpoint, kernels, tasks
from unrolled import data as data_room
from unrolled.errors import BackendError, ConfigError, DataError, NonFiniteError, RunError
from unrolled.spec import DataConfig, TrainConfig
from unrolled.tasks import load
from unrolled.train import Observer, Row, run
from unrolled.train.pace import Pace

Make = Callable[..., TrainConfig]

FIELDS = ["step", "epoch", "train_nats_per_token", "val_nats_per_token", "tokens_per_s", "grad_norm", "lr"]


def rows_of(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.usefixtures("whole_report")
@pytest.mark.parametrize("shape", ["stream", "lines"])
def test_a_run_leaves_everything_that_is_promised(small: Make, shape: str):
    result = run(small(shape=shape), observers=[])
    left = {p.name for p in result.run.iterdir()}
    assert left == {
        "config.json", "metrics.jsonl", "loss.png", "gates.png", "samples.txt", "evaluation.json",
        "checkpoints", "model", "data", "LATEST", "BEST",
    }  # fmt: skip
    assert list(rows_of(result.run)[0]) == FIELDS
    assert rows_of(result.run)[0]["step"] == 0
    assert rows_of(result.run)[-1]["step"] == 6
    assert (result.run / "loss.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.usefixtures("whole_report")
def test_a_run_of_an_rnn_has_a_picture_of_its_states(small: Make):
    assert (run(small(cell="rnn"), observers=[]).run / "gates.png").exists()


@pytest.mark.usefixtures("whole_report")
def test_a_network_whose_state_runs_to_infinity_still_leaves_its_report(small: Make):
    class Break(Observer):
        def begin(self, config: object, schedule: object, model: object) -> None:
            with torch.no_grad():  # finite over the windows, infinite over the length of a sample
                model.recurrent.weight_hh_l0.copy_(2 * torch.eye(12))  # type: ignore[attr-defined]

    config = small(cell="rnn", nonlinearity="relu", steps=2, shape="lines", learning_rate=1e-6)
    result = run(config, observers=[Break()])
    samples = (result.run / "samples.txt").read_text().split("--- sample ")[1:]
    assert len(samples) == 5
    assert min(map(len, samples)) < 400  # symbols that a sample has where nothing ends it
    json.loads((result.run / "evaluation.json").read_text(), parse_constant=lambda _: pytest.fail("not JSON"))


def test_a_run_path_with_dots_is_the_path_it_means(small: Make, tmp_path: Path):
    assert run(small(run=str(tmp_path / "a" / ".." / "b")), observers=[]).run == tmp_path / "b"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "book.txt"]


def test_training_lowers_the_loss(small: Make):
    rows = rows_of(run(small(steps=80, learning_rate=0.02), observers=[]).run)
    assert rows[-1]["val_nats_per_token"] < 0.8 * rows[0]["val_nats_per_token"]


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_equal_seeds_give_equal_weights_and_losses(small: Make, tmp_path: Path, cell: str):
    first = run(small(cell=cell, dropout=0.3, run=str(tmp_path / "a")), observers=[])
    torch.rand(3)  # the caller's random state is no input
    second = run(small(cell=cell, dropout=0.3, run=str(tmp_path / "b")), observers=[])
    other = run(small(cell=cell, dropout=0.3, run=str(tmp_path / "c"), seed=1), observers=[])
    weights = [(r.run / "model" / "model.safetensors").read_bytes() for r in (first, second, other)]
    assert weights[0] == weights[1] != weights[2]
    losses = [[r["train_nats_per_token"] for r in rows_of(x.run)] for x in (first, second)]
    assert losses[0] == losses[1]


def test_the_callers_random_state_and_threads_are_given_back(small: Make):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    run(small(threads=1, dropout=0.5), observers=[])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_backends_agree(small: Make, tmp_path: Path):
    both = [run(small(backend=b, run=str(tmp_path / b)), observers=[]).model for b in ("reference", "torch")]
    for a, b in zip(both[0].parameters(), both[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_the_stored_model_is_the_best_one_by_validation(small: Make):
    class Wreck(Observer):
        def begin(self, config: object, schedule: object, model: object) -> None:
            self.model = model

        def step(self, record: object) -> None:
            if record.step == 7:  # type: ignore[attr-defined]
                with torch.no_grad():
                    self.model.readout.weight.mul_(-300)  # type: ignore[attr-defined]

    result = run(small(steps=12, save_every=3, learning_rate=0.01), observers=[Wreck()])
    assert result.best_step == 6
    checked = [r for r in rows_of(result.run) if r["val_nats_per_token"] is not None]
    best = min(checked, key=lambda r: r["val_nats_per_token"])
    assert result.best_step == best["step"]
    assert (result.run / "BEST").read_text().strip() == f"step-{result.best_step:08d}"
    loaded = load(result.run)
    assert loaded.path.name == "model"
    for stored, kept in zip(loaded.model.parameters(), result.model.parameters(), strict=True):
        assert torch.equal(stored, kept)


def test_step_zero_is_saved_before_the_first_step(small: Make):
    class Stop(Observer):
        def step(self, record: object) -> None:
            raise KeyboardInterrupt

    config = small()
    with pytest.raises(KeyboardInterrupt):
        run(config, observers=[Stop()])
    assert load(config.run or "").step == 0


def test_a_checkpoint_holds_what_a_resume_needs(small: Make):
    result = run(small(), observers=[])
    contents = checkpoint.read(checkpoint.locate(result.run / "checkpoints" / "step-00000006"))
    assert contents.optimizer is not None
    assert contents.progress is not None
    assert {"state.h", "state.c", "exp_avg.readout.weight"} <= set(contents.optimizer)
    assert contents.optimizer["state.h"].shape == (1, 4, 12)
    wanted = {"step", "steps", "epoch", "batch", "torch_random_state", "threads", "corpus_sha256"}
    assert wanted <= set(contents.progress)


def test_minutes_become_steps_by_a_calibration(small: Make):
    result = run(small(steps=None, minutes=0.02), observers=[])
    assert result.schedule.steps >= 1
    stored = json.loads((result.run / "config.json").read_text())
    progress = checkpoint.read(checkpoint.locate(result.run, prefer=("LATEST",))).progress
    assert progress is not None
    assert progress["steps"] == result.schedule.steps
    assert stored["training"]["minutes"] == 0.02


def test_epochs_become_steps(small: Make):
    result = run(small(steps=None, epochs=2), observers=[])
    assert rows_of(result.run)[-1]["epoch"] == pytest.approx(2.0)


def test_observers_see_every_step_and_every_row(small: Make):
    class Watch(Observer):
        def __init__(self) -> None:
            self.steps: list[int] = []
            self.rows: list[Row] = []
            self.ended = 0

        def step(self, record: object) -> None:
            self.steps.append(record.step)  # type: ignore[attr-defined]

        def row(self, row: Row) -> None:
            self.rows.append(row)

        def end(self) -> None:
            self.ended += 1

    watch = Watch()
    run(small(), observers=[watch])
    assert watch.steps == [1, 2, 3, 4, 5, 6]
    assert watch.rows[0].val_nats_per_token is not None
    assert watch.ended == 1


def test_the_ten_sentences_are_all_trained_on_and_the_report_says_so(small: Make):
    config = replace(small(shape="lines"), data=DataConfig("sentences"))
    result = run(config, observers=[])
    assert result.validation_is_train
    assert json.loads((result.run / "evaluation.json").read_text())["validation_is_train"] is True


# ------------------------------------------------------------------------------------------- bad input


def test_a_directory_that_holds_a_run_is_refused_and_left_as_it_was(small: Make):
    config = small()
    run(config, observers=[])
    before = (Path(config.run or "") / "model" / "model.safetensors").read_bytes()
    with pytest.raises(
        RunError, match=r"^run: expected a free directory, got .*/run, which holds a run; name an"
    ):
        run(replace(config, seed=5), observers=[])
    assert (Path(config.run or "") / "model" / "model.safetensors").read_bytes() == before


def test_a_run_is_not_written_into_the_folder_that_it_reads(small: Make, tmp_path: Path):
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("a text\n" * 50)
    for run_at in (str(folder), f"{folder}/../texts", f"{folder}/run", f"{folder}/no/run"):
        with pytest.raises(RunError, match=rf"^run: expected a directory outside the source {folder}, got "):
            run(replace(small(run=run_at), data=DataConfig(str(folder))), observers=[])
    assert [path.name for path in folder.iterdir()] == ["a.txt"]


def test_overwrite_replaces_the_run_but_only_once_the_text_is_known_to_be_good(
    small: Make, book: Path, monkeypatch: pytest.MonkeyPatch
):
    config = replace(small(), overwrite=True)
    run(config, observers=[])
    (Path(config.run or "") / "notes.md").write_text("mine")
    before = on_disk(config.run)
    with pytest.raises(DataError):
        run(replace(config, data=DataConfig(str(book.parent / "gone.txt"))), observers=[])
    assert load(config.run or "").step is not None, "the old run must survive a bad source"
    refused = lambda *_, **__: (_ for _ in ()).throw(BackendError("no"))  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(tasks.LanguageModel, "__init__", refused)
        with pytest.raises(BackendError):
            run(replace(config, hidden_size=9), observers=[])
    assert on_disk(config.run) == before, "and a network that is refused"
    run(replace(config, hidden_size=9), observers=[])
    assert load(config.run or "").model.config.hidden_size == 9
    assert (Path(config.run or "") / "notes.md").read_text() == "mine"


def test_a_bad_source_leaves_no_directory_behind(small: Make, tmp_path: Path):
    with pytest.raises(DataError, match=r"^source: expected"):
        run(
            replace(small(), data=DataConfig(str(tmp_path / "gone.txt")), run=str(tmp_path / "x" / "y")),
            observers=[],
        )
    assert not (tmp_path / "x").exists()


def test_sizes_beyond_the_memory_are_refused_before_the_old_run_is_touched(small: Make):
    config = small(overwrite=True)
    run(config, observers=[])
    with pytest.raises(
        ConfigError, match=r"^sizes: expected a run within \d+ GiB of memory, got about [\d,]+ GiB for"
    ):
        run(replace(config, hidden_size=65536, num_layers=64), observers=[])
    assert load(config.run or "").model.config.hidden_size == 12


def test_the_corpus_of_a_run_can_be_read_by_whoever_the_umask_allows(small: Make):
    umask = os.umask(0)
    os.umask(umask)
    data = run(small(), observers=[]).run / "data"
    assert data.stat().st_mode & 0o777 == 0o777 & ~umask
    assert (data / "train.npy").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_run_path_that_is_a_file_is_refused(small: Make, book: Path):
    with pytest.raises(
        RunError, match=r"^run: expected a directory or a new path, got the file .*book\.txt$"
    ):
        run(small(run=str(book)), observers=[])


def test_an_unwritable_directory_is_refused(small: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    monkeypatch.setattr(
        os, "access", lambda *_: False
    )  # what it says to all but root, who may write anywhere
    with pytest.raises(RunError, match=r"^run: expected a writable directory, got .*locked, which is not$"):
        run(small(run=str(locked / "run")), observers=[])


def test_without_kernels_the_native_backend_is_refused_before_a_text_is_read(
    small: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(kernels, "available", lambda: False)
    monkeypatch.setattr(kernels, "why_not", lambda: "no compiler was found")
    message = (
        r"^backend: expected one that this install has \(auto, reference, torch\), got native: no compiler"
    )
    with pytest.raises(BackendError, match=message):
        run(small(backend="native"), observers=[])
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not kernels.available(), reason=str(kernels.why_not()))
@pytest.mark.parametrize(("dtype", "near"), [("float32", 1e-3), ("bfloat16", 0.02)])
def test_the_native_backend_trains_as_the_reference_does(small: Make, dtype: str, near: float):
    got = {}
    for backend in ("native", "reference"):
        result = run(small(backend=backend, dtype=dtype, overwrite=True), observers=[])
        assert result.config.dtype == dtype
        got[backend] = result.evaluation.carried.nats_per_token
    assert got["native"] == pytest.approx(got["reference"], abs=near)


def test_a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_last_checkpoint(small: Make):
    config = small(steps=30, learning_rate=1e30, save_every=1)
    with pytest.raises(
        NonFiniteError, match=r"^(loss|gradient norm|validation) at step \d+: expected a finite number, got "
    ):
        run(config, observers=[])
    assert all(bool(torch.isfinite(p).all()) for p in load(config.run or "").model.parameters())


def test_a_broken_parameter_is_named(small: Make):
    class Break(Observer):
        def begin(self, config: object, model_config: object, model: object) -> None:
            self.model = model

        def step(self, record: object) -> None:
            if record.step == 3:  # type: ignore[attr-defined]
                with torch.no_grad():
                    self.model.recurrent.weight_hh_l0[0, 0] = float("nan")  # type: ignore[attr-defined]

    with pytest.raises(
        NonFiniteError,
        match=r"^loss at step 4: .*first in the parameter recurrent\.weight_hh_l0 \(layer 1\);",
    ):
        run(small(save_every=6), observers=[Break()])
    with pytest.raises(
        NonFiniteError, match=r"^validation at step 3: .*parameter recurrent\.weight_hh_l0 \(layer 1\);"
    ):
        run(small(save_every=1, overwrite=True), observers=[Break()])


def test_a_broken_gradient_is_named_before_clipping_spreads_it(small: Make):
    class Break(Observer):
        def begin(self, config: object, schedule: object, model: object) -> None:
            weight = model.embedding.weight  # type: ignore[attr-defined]
            weight.register_hook(lambda gradient: gradient * float("nan"))

    with pytest.raises(
        NonFiniteError, match=r"^gradient norm at step 1: .*the gradient of embedding\.weight;"
    ):
        run(small(), observers=[Break()])


def test_the_layer_whose_state_ran_to_infinity_is_named_with_flags_that_may_help(small: Make):
    class Break(Observer):
        def begin(self, config: object, schedule: object, model: object) -> None:
            self.model = model

        def step(self, record: object) -> None:
            with torch.no_grad():  # the second layer's sum of two such leaves the range of a float
                self.model.recurrent.bias_ih_l1.fill_(3e38)  # type: ignore[attr-defined]
                self.model.recurrent.bias_hh_l1.fill_(3e38)  # type: ignore[attr-defined]

    config = small(cell="rnn", nonlinearity="relu", num_layers=2, learning_rate=0.003)
    message = (
        r"^loss at step 2: expected a finite number, got (inf|nan); first in the output of recurrent "
        r"\(layer 2 of 2\); the last checkpoint is kept; what may help in a new run: --nonlinearity tanh, --lr 0\.001, --clip 0\.2$"
    )
    with pytest.raises(NonFiniteError, match=message):
        run(replace(config, save_every=6), observers=[Break()])


def test_the_report_counts_unknown_words(small: Make, book: Path):
    data = DataConfig(str(book), shape="stream", tokens="word", max_words=6)
    result = run(replace(small(), data=data), observers=[])
    assert result.evaluation.unknown > 0
    assert json.loads((result.run / "evaluation.json").read_text())["unknown"] == result.evaluation.unknown


def test_a_calibration_changes_nothing_that_follows(small: Make, tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(Pace, "fitted", lambda _self, schedule, _step: schedule)  # by the clock
    monkeypatch.setattr(Pace, "is_over", lambda _: False)
    first = run(small(steps=None, minutes=0.01, dropout=0.4, run=str(tmp_path / "a")), observers=[])
    same = small(steps=first.schedule.steps, dropout=0.4, run=str(tmp_path / "b"))
    second = run(same, observers=[])
    weights = [(r.run / "model" / "model.safetensors").read_bytes() for r in (first, second)]
    assert weights[0] == weights[1]


def test_a_second_run_in_the_same_directory_is_refused_and_the_first_one_ends(
    small: Make, monkeypatch: pytest.MonkeyPatch
):
    config = small()
    prepare = data_room.prepare
    refused = []

    def slow(*args: object, **kwargs: object) -> object:
        for second in (config, replace(config, overwrite=True), replace(config, resume=True)):
            with pytest.raises(
                RunError, match=r"^run: expected a directory that no run is using, got .*, in use$"
            ):
                run(second, observers=[])
            refused.append(second)
        return prepare(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(data_room, "prepare", slow)
    run(config, observers=[])
    assert len(refused) == 3
    assert load(config.run or "").step is not None
    assert not (Path(config.run or "") / ".lock").exists()


def test_standard_input_is_a_source(small: Make, monkeypatch: pytest.MonkeyPatch, book: Path):
    stdin = io.TextIOWrapper(io.BytesIO(book.read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)
    result = run(replace(small(), data=DataConfig("-")), observers=[])
    assert json.loads((result.run / "config.json").read_text())["data"]["source"] == "-"
