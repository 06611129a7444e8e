"""The parts of the trainer, one by one."""

from __future__ import annotations

import math
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unrolled.data import Split, StreamBatches
from unrolled.data.arrays import ArrayFile
from unrolled.errors import NonFiniteError, RunError
from unrolled.spec import DataConfig, ModelConfig, TrainConfig
from unrolled.tasks import LanguageModel, is_finite
from unrolled.tasks.language.sizing import bytes_needed, sizes
from unrolled.train import Schedule, choose_dtype, report, resolve, resources, rundir
from unrolled.train.finite import check_gradient
from unrolled.train.fit import Feed, Stepper, StepRecord, make_optimizer
from unrolled.train.processes import Processes
from unrolled.train.progress import ProgressBar


def corpus(tokens: int, shape: str = "stream") -> Any:
    split = types.SimpleNamespace(ids=np.zeros(tokens + 1, np.uint8), num_targets=tokens)
    return types.SimpleNamespace(shape=shape, train=split, tokens_setting="char", validation_is_train=False)


def test_the_rate_warms_up_linearly_peaks_once_and_ends_near_zero():
    schedule = Schedule(1000, 100, 2.0)
    rates = [schedule.learning_rate(step) for step in range(1000)]
    assert rates[0] == pytest.approx(2.0 / 30)
    assert max(rates) == pytest.approx(2.0)
    assert rates.index(max(rates)) == 29
    assert rates[29:] == sorted(rates[29:], reverse=True)
    assert rates[-1] < 1e-4


def test_a_run_of_one_step_has_a_rate():
    assert Schedule(1, 1, 1.0).learning_rate(0) == 1.0


def test_only_matrices_decay():
    model = LanguageModel(ModelConfig(5, 4, 4))
    decayed, free = make_optimizer(model, lr=0.1, weight_decay=0.3).param_groups
    assert {id(p) for p in decayed["params"] + free["params"]} == {id(p) for p in model.parameters()}
    assert all(p.dim() == 2 for p in decayed["params"])
    assert decayed["weight_decay"] == 0.3
    assert all(p.dim() == 1 for p in free["params"])
    assert free["weight_decay"] == 0.0


def test_what_the_user_sets_stays_and_the_rest_comes_from_the_rule():
    asked = TrainConfig(DataConfig("x"), hidden_size=77, batch_size=5)
    found = resolve(asked, corpus(1_000_000))
    assert (found.hidden_size, found.batch_size) == (77, 5)
    rule = sizes(1_000_000, 3.0)
    assert (found.num_layers, found.learning_rate) == (rule.num_layers, rule.learning_rate)
    assert found.minutes == 3.0
    assert found.data.shape == "stream"


def test_a_tiny_corpus_is_trained_by_steps():
    assert resolve(TrainConfig(DataConfig("x")), corpus(324)).steps == 400
    with pytest.warns(DeprecationWarning, match="corpus is now dataset"):
        assert resolve(TrainConfig(DataConfig("x")), corpus=corpus(324)).steps == 400


def test_more_time_and_more_text_never_choose_a_smaller_network():
    chosen = [sizes(n, m) for n in (100, 10**4, 10**5, 10**6, 10**7) for m in (3.0,)]
    units = [s.hidden_size * s.num_layers for s in chosen]
    assert units == sorted(units)
    assert sizes(10**6, 30).hidden_size > sizes(10**6, 3).hidden_size


def test_a_text_that_is_read_often_is_trained_with_more_dropout_and_a_short_run_of_an_lstm_faster():
    assert sizes(10**6, 3).dropout > sizes(10**6, 1).dropout
    assert sizes(10**7, 3).dropout == sizes(10**6, 1).dropout
    given = [{"epochs": 2}, {"epochs": 7}, {"steps": 20_000}]
    found = [resolve(TrainConfig(DataConfig("x"), **each), corpus(1_000_000)).dropout for each in given]  # type: ignore[arg-type]
    assert found == [0.1, 0.2, 0.2]
    assert sizes(10**6, 3, "rnn") == sizes(10**6, 3, "gru")
    assert sizes(10**6, 0.5, "gru").learning_rate < sizes(10**6, 0.5, "lstm").learning_rate
    assert (
        sizes(10**6, 3, "gru").dropout == sizes(10**6, 1, "gru").dropout == 0.1
    )  # measured for an LSTM alone
    assert sizes(10**6, 1, "gru").dropout == sizes(10**6, 1, "lstm").dropout
    assert resolve(TrainConfig(DataConfig("x"), cell="rnn"), corpus(1_000_000)).learning_rate == 3e-3


@pytest.mark.parametrize(("native", "taken"), [(True, "bfloat16"), (False, "float32")])
def test_automatic_bfloat16_is_for_processors_that_have_it(
    native: bool, taken: str, monkeypatch: pytest.MonkeyPatch
):
    module = sys.modules["unrolled.train.fit"]
    monkeypatch.setattr(module, "native_bfloat16", lambda: native)
    assert choose_dtype("auto") == taken
    assert choose_dtype("float32") == "float32"
    assert choose_dtype("bfloat16") == "bfloat16"


def test_a_feed_goes_on_into_the_next_epoch_and_says_when_a_state_starts():
    split = Split(np.arange(41, dtype=np.uint8), np.zeros(1, np.int64), 40)
    feed = Feed(StreamBatches(split, batch_size=2, bptt_steps=5, seed=0))
    fresh = [feed.next()[1] for _ in range(10)]
    first_epoch = feed.batches.len_of(0)
    assert fresh[0]
    assert fresh[first_epoch]
    assert sum(fresh[: first_epoch + 1]) == 2
    assert feed.epoch >= 1


def test_a_broken_gradient_is_named():
    model = LanguageModel(ModelConfig(5, 4, 4))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    assert model.readout.weight.grad is not None
    assert model.embedding.weight.grad is not None
    model.embedding.weight.grad[0, 0] = math.nan  # what came of it, further from the loss
    model.readout.weight.grad[0, 0] = math.inf
    with pytest.raises(NonFiniteError, match=r"first in the gradient of readout\.weight;"):
        check_gradient(model, math.inf, where="step 3", advice="; x")


def test_the_estimate_of_memory_grows_with_weights_and_with_batches():
    model = ModelConfig(50, 256, 256, 2)
    small, wide = bytes_needed(model, rows=1, steps=1), bytes_needed(model, rows=64, steps=100)
    weights = sum(p.numel() for p in LanguageModel(model).parameters())
    assert small > 4 * 8 * weights
    assert wide - small > 4 * 64 * 99 * 2 * 256 * 10


def test_a_resolved_config_resolves_to_itself():
    for shape in ("stream", "lines"):
        once = resolve(TrainConfig(DataConfig("x")), corpus(10_000, shape))
        assert resolve(once, corpus(10_000, shape)) == once


def test_a_small_corpus_is_trained_by_epochs():
    found = resolve(TrainConfig(DataConfig("x")), corpus(10_000))
    assert (found.epochs, found.minutes, found.steps) == (40, None, None)


@pytest.mark.parametrize(
    ("seconds", "save_every", "found"),
    [
        (100.0, None, (8303, 10, None)),  # 0.97 x 99 s, less 3 + 10 validations of 1 s, at 0.01 s a step
        (100.0, 50, (3101, 63, None)),  # a step carries a fiftieth of a validation
        (20.0, None, (1272, 3, None)),  # a short run validates less often
        (10.0, None, (500, 2, 8)),  # then on fewer batches
        (2.0, None, (104, 2, 1)),
        (0.5, None, (1, 2, 1)),  # and takes a step whatever the budget
    ],
)
def test_a_calibration_divides_the_budget_among_steps_and_validations(
    seconds: float,
    save_every: int | None,
    found: tuple[int, int, int | None],
    monkeypatch: pytest.MonkeyPatch,
):
    clock = [0.0]
    monkeypatch.setattr(resources, "time", types.SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(resources, "seconds_a_step", lambda *_, **__: 0.01)

    class Batches:
        carries_state = True

        def epoch(self, n: int) -> Any:
            for _ in range(10):
                clock[0] += 0.1
                yield None

        def len_of(self, n: int) -> int:
            return 10

    class Network:
        def evaluate(self, batches: Any, *, carry: bool) -> tuple[float, int]:
            return 0.0, len(list(batches))

    stepper: Any = types.SimpleNamespace(network=Network(), processes=Processes())
    parts: Any = Batches()
    plan = resources.steps_within(seconds, stepper, parts, save_every=save_every, checks=10)
    assert plan[:3] == found
    assert plan.check_s == pytest.approx(0.1 * (found[2] or 10))


def test_slow_first_steps_are_not_reckoned_with(monkeypatch: pytest.MonkeyPatch):
    clock = [0.0]
    model = LanguageModel(ModelConfig(5, 4, 4))
    feed: Any = types.SimpleNamespace(anew=lambda: None)
    stepper = Stepper(model, make_optimizer(model, lr=0.1, weight_decay=0.0), feed, lambda _: 0.1)

    def step(_: Stepper, number: int) -> None:
        clock[0] += 1.0 if number <= 3 else 0.1

    monkeypatch.setattr(Stepper, "step", step)
    monkeypatch.setattr(resources, "time", types.SimpleNamespace(perf_counter=lambda: clock[0]))
    assert resources.seconds_a_step(stepper, budget=4.0) == pytest.approx(0.1)


def test_the_figures_of_the_bar_follow_the_newest_step_slowly():
    bar = ProgressBar()
    for loss in (1.0, 2.0):
        bar.step(StepRecord(1, 0.5, loss, tokens=int(100 * loss), seconds=0.5, grad_norm=loss, lr=0.1))
    assert bar._figures(0.5).split("  ") == ["epoch 0.50", "1.050", "210 tok/s", "|g| 1.05"]


class Found:
    """An evaluation of a task of one's own."""

    def __init__(self, **values: object) -> None:
        self.values = values

    def to_dict(self) -> dict[str, object]:
        return self.values


@pytest.mark.parametrize("value", [math.nan, math.inf, [1.0, -math.inf]])
def test_an_evaluation_that_json_cannot_hold_is_refused_and_leaves_the_old_one(value: object, tmp_path: Path):
    path = tmp_path / "evaluation.json"
    report.write_evaluation(Found(error=None), path, validation_is_train=False)
    with pytest.raises(NonFiniteError, match=r"evaluation: expected finite numbers, or None for others"):
        report.write_evaluation(Found(error=value), path, validation_is_train=False)
    assert report.read_evaluation(path) == {"error": None, "validation_is_train": False}


@pytest.mark.parametrize(
    "content",
    [
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": 1, "a": 2}',
        b"[1]",
        b"[" * 9000,
        b'{"a": "' + b"x" * 2**23 + b'"}',
        b"\xff",
        b"",
    ],
)
def test_a_file_that_is_no_evaluation_is_one_line(content: bytes, tmp_path: Path):
    path = tmp_path / "evaluation.json"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"evaluation\.json: expected") as caught:
        report.read_evaluation(path)
    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)


def test_a_missing_evaluation_and_a_link_are_one_line(tmp_path: Path):
    with pytest.raises(RunError, match=r"evaluation\.json: expected a regular file, got nothing there"):
        report.read_evaluation(tmp_path / "evaluation.json")
    (tmp_path / "other").write_text("{}")
    (tmp_path / "evaluation.json").symlink_to(tmp_path / "other")
    with pytest.raises(RunError, match=r"evaluation\.json: expected a regular file"):
        report.read_evaluation(tmp_path / "evaluation.json")


def test_a_corpus_and_the_directories_of_a_run_have_their_names_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        done.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def placed(old: Path, new: Path) -> None:
        done.append(f"name {new}")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", placed)
    run = tmp_path / "a" / "run"
    with rundir.held(run):
        assert done == [str(run.parent), str(tmp_path)]
        done.clear()
        with rundir.staging(run) as staged:
            array = ArrayFile(staged / "train.npy", "u1")
            array.finish()
            array.place()
            assert done[1:] == [f"name {staged}/train.npy", str(staged)]
            done.clear()
            rundir.settle(staged, run, overwrite=False)
        assert done == [f"name {run}/data", str(run)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_a_tensor_is_finite_unless_it_holds_nan_or_infinity(dtype: torch.dtype):
    assert is_finite(torch.zeros(0, 3, dtype=dtype))
    assert is_finite(torch.ones(2, 3, dtype=dtype, requires_grad=dtype.is_floating_point))
    for wrong in (math.nan, math.inf, -math.inf) if dtype.is_floating_point else ():
        assert not is_finite(torch.tensor([[0.0, wrong], [1.0, 2.0]], dtype=dtype))


def test_the_lock_file_of_a_killed_process_is_removed_unless_it_is_held(tmp_path):
    lock = tmp_path / ".lock"
    lock.touch()
    rundir.remove_left_lock(tmp_path)
    assert not lock.exists()
    rundir.remove_left_lock(tmp_path)  # where there is none
    with rundir.held(tmp_path):
        rundir.remove_left_lock(tmp_path)
        assert lock.exists()
