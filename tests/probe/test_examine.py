"""A trained network's files and a text, examined."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_mutations import seal
from probe_cases import F64, TwoModules, language_model, noise, tokens

from unrolled import probe
from unrolled.errors import CheckpointError, ConfigError, DataError, DtypeError, RunError, ShapeError
from unrolled.probe.batch import copies_at_once
from unrolled.probe.measurements import ANSWERS
from unrolled.probe.report import _context_steps
from unrolled.spec import DataConfig, TrainConfig
from unrolled.train import run

TEXT = "the cat sat on the mat, and the dog ran to the gate. "


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examined")


@pytest.fixture(scope="module")
def stream(home: Path, brief: Callable[[], Any]) -> Path:
    text = home / "text.txt"
    text.write_text(TEXT * 200)
    config = TrainConfig(
        DataConfig(str(text), shape="stream"), run=str(home / "stream"), steps=20, hidden_size=16, num_layers=2,
        bptt_steps=32, batch_size=8, threads=1,
    )  # fmt: skip
    with brief():
        return run(config, observers=[]).run


@pytest.fixture(scope="module")
def lines(home: Path, brief: Callable[[], Any]) -> Path:
    config = TrainConfig(
        DataConfig("sentences"), run=str(home / "lines"), steps=20, hidden_size=16, threads=1
    )
    with brief():
        return run(config, observers=[]).run


def test_a_run_is_measured_on_what_it_held_out(stream: Path):
    seen: list[str] = []
    report = probe.examine(stream, lags=16, progress=lambda name, *_: seen.append(name))
    assert report.omitted == {}
    assert "held out" in report.facts["text"]
    assert report.facts["trained"] == "with windows of 32 steps"
    assert report.gradient_flow is not None
    assert report.gradient_flow.lags == 16
    assert report.memory_horizon is not None
    assert report.memory_horizon.bptt_steps == 32
    assert report.memory_map is not None
    assert report.memory_map.tokens is not None
    assert "".join(report.memory_map.tokens).strip() in TEXT * 3
    assert list(dict.fromkeys(seen)) == [name for name in probe.MEASUREMENTS if name not in ANSWERS]


def test_a_run_of_lines_is_measured_on_lines_and_its_lags_are_those_that_fit(lines: Path):
    report = probe.examine(lines)
    assert report.gradient_flow is not None
    assert report.gradient_flow.rows == 10
    assert report.gradient_flow.lags == 16  # half of the typical line
    assert "fewer than 64, as the rows are short" in report.facts["measured"]
    assert report.lyapunov is not None
    assert report.lyapunov.steps + report.lyapunov.transient == 23  # the shortest line
    assert "trained" not in report.facts
    assert report.long_run is None


def test_another_text_is_measured_and_what_the_model_does_not_know_is_counted(stream: Path, tmp_path: Path):
    text = tmp_path / "other.txt"
    text.write_text((TEXT + "ΩΩ") * 40)
    report = probe.examine(stream, str(text), lags=8)
    assert str(text) in report.facts["text"]
    assert "80 of all unknown" in report.facts["text"]


def test_a_checkpoint_and_a_model_of_a_run_are_measured_on_its_data(stream: Path):
    whole = probe.examine(stream / "model", lags=8)
    step = probe.examine(stream / "checkpoints" / "step-00000020", lags=8)
    assert whole.facts["text"] == step.facts["text"]
    assert "step 20" in step.facts["model"]


def test_equal_calls_give_equal_reports(stream: Path):
    first, second = (probe.examine(stream, lags=8).to_dict() for _ in range(2))
    assert first | {"seconds": 0} == second | {"seconds": 0}
    json.dumps(first, allow_nan=False)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"lags": 0}, ConfigError, "lags: expected a whole number of at least 1, got 0"),
        ({"known_lag": -3}, ConfigError, "known_lag: expected a whole number of at least 1, got -3"),
        ({"lags": 5000}, ShapeError, "lags: expected at most 529, as the batch has 530 steps, got 5000"),
    ],
)
def test_bad_settings_are_one_line(stream: Path, settings: dict[str, int], error: type, message: str):
    with pytest.raises(error) as caught:
        probe.examine(stream, **settings)
    assert str(caught.value) == message


def test_a_folder_of_another_run_or_program_is_not_taken_for_the_models_own_text(
    stream: Path, tmp_path: Path
):
    alone = tmp_path / "zoo" / "mine" / "network"
    shutil.copytree(stream / "model", alone)
    shutil.copytree(stream / "data", tmp_path / "zoo" / "data")  # of whatever else lies there
    (tmp_path / "zoo" / "mine" / "data").mkdir()  # of a user
    with pytest.raises(DataError, match="there is no data beside the model"):
        probe.examine(alone)


def test_a_model_without_data_beside_it_needs_a_text(stream: Path, tmp_path: Path):
    shutil.copytree(stream / "model", tmp_path / "alone")
    with pytest.raises(
        DataError, match=r"FILE: expected a text, as there is no data beside the model, got none"
    ):
        probe.examine(tmp_path / "alone")


def test_data_beside_a_model_is_its_runs_only_where_a_run_is(stream: Path, tmp_path: Path):
    for place in ("model", "data"):
        shutil.copytree(stream / place, tmp_path / place)
    with pytest.raises(DataError, match="there is no data beside the model"):
        probe.examine(tmp_path / "model", lags=8)
    shutil.copy(stream / "config.json", tmp_path / "config.json")
    assert "held out" in probe.examine(tmp_path / "model", lags=8).facts["text"]


@pytest.mark.parametrize("lag", [300, 10_000])
def test_a_known_lag_beyond_the_text_is_measured_as_far_as_the_text_reaches(
    stream: Path, lines: Path, lag: int
):
    for trained in (stream, lines):
        report = probe.examine(trained, known_lag=lag)
        assert f"(fewer than {lag:,}, as the rows are short)" in report.facts["measured"]
        assert report.gradient_flow is not None
        assert report.gradient_flow.lags < lag
        assert report.known_lag == lag


def test_an_empty_and_a_one_token_text_are_refused(stream: Path, tmp_path: Path):
    text = tmp_path / "short.txt"
    for content in ("", "t"):
        text.write_text(content)
        with pytest.raises(DataError):
            probe.examine(stream, str(text))


def test_lines_shorter_than_the_lags_are_one_line(lines: Path):
    with pytest.raises(ShapeError, match="lags: expected at most 39, as the batch has 40 steps, got 50"):
        probe.examine(lines, lags=50)


def test_nothing_a_newer_format_and_altered_data_are_one_line(stream: Path, tmp_path: Path):
    with pytest.raises(RunError, match=r"^run: expected a run, .*, got .* which does not exist$"):
        probe.examine(tmp_path / "nowhere")
    copy = tmp_path / "copy"
    shutil.copytree(stream, copy)
    (copy / "data" / "val.npy").write_bytes(b"altered")
    with pytest.raises(DataError):
        probe.examine(copy)
    seal(copy / "model", version=2)
    with pytest.raises(CheckpointError, match="newer"):
        probe.examine(copy)


def test_a_word_model_of_many_words_is_measured_on_fewer_steps():
    """What is held at once is bounded: the logits of a large vocabulary."""
    from unrolled.data import Split
    from unrolled.tasks.language.task import _stream

    split = Split(np.zeros(100_001, dtype=np.uint32), np.array([0]), 100_000)
    batch = _stream(split, 5, 200_000, 2**25)
    assert batch.inputs.numel() * 200_000 <= 2**25


def test_long_lines_of_many_symbols_are_measured_at_their_beginnings():
    from unrolled.data import Split
    from unrolled.tasks.language.task import _lines

    starts = np.arange(0, 100_000, 10_000)
    split = Split(np.zeros(100_001, dtype=np.uint32), starts, 100_000)
    for symbols, rows in ((20, 10), (20_000, 2)):
        batch = _lines(split, 5, symbols, 2**25)
        assert batch.inputs.shape == (1024, rows)
        assert batch.lengths is not None
        assert batch.lengths.tolist() == [1024] * rows


def test_copies_run_at_once_as_their_outputs_have_room():
    assert copies_at_once(16, 100) == 32
    assert copies_at_once(16, 2**25 // 64) == 4
    assert copies_at_once(16, 2**40) == 1


def test_the_context_curve_takes_fewer_steps_of_more_rows_and_symbols():
    batch = tokens(400, 2)
    assert _context_steps(language_model(), batch, 64) == 320
    assert _context_steps(language_model(vocab_size=60_000, hidden_size=2), batch, 64) == 139
    assert _context_steps(torch.nn.LSTM(2, 2), batch, 64) == 320


def test_more_lags_than_the_context_curve_takes_leave_it_measured():
    report = probe.report(language_model(), tokens(500, 2), lags=330)
    assert report.context_curve is not None
    assert len(report.context_curve.loss) == 160


def test_a_batch_of_another_dtype_is_one_line_and_no_report_without_findings():
    with pytest.raises(DtypeError, match="input: expected float64, as weight_ih_l0, got float32"):
        probe.report(torch.nn.GRU(3, 4, dtype=F64), noise(20, 2, 3).float(), lags=8)


def test_a_model_without_an_output_by_step_has_its_gates_measured_and_the_reason_for_the_rest():
    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.GRU(3, 4, dtype=F64)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            last: torch.Tensor = self.layer(x)[1][-1]
            return last

    report = probe.report(Classifier(), noise(20, 2, 3), lags=8)
    assert report.gates is not None
    assert report.lyapunov is not None
    assert report.omitted["gradient_flow"] == "model: expected an output [20, 2, …], or loss=, got [2, 4]"
    assert "memory_horizon" in report.omitted


def test_a_bidirectional_model_is_measured_where_that_means_something():
    layer = torch.nn.LSTM(3, 4, bidirectional=True, dtype=F64)
    report = probe.report(layer, noise(20, 3, 3), lags=8)
    assert report.gates is not None
    assert report.trajectories is not None
    assert report.gradient_flow is None
    assert "layers that run forward" in report.omitted["gradient_flow"]


def test_any_module_is_reported_and_what_needs_a_language_model_is_left_out_with_the_reason():
    model = TwoModules(
        torch.nn.GRU(3, 4, batch_first=True, dtype=F64), torch.nn.LSTM(4, 4, batch_first=True, dtype=F64)
    )
    report = probe.report(model, noise(2, 24, 3), lags=8)
    assert report.gradient_flow is not None
    assert report.context_curve is None
    assert report.omitted["context_curve"].startswith("targets: expected")
    assert report.update_norms is None


def test_a_batch_of_one_and_half_precision_are_measured():
    one = probe.report(language_model(), tokens(64, 1), lags=8)
    assert one.gradient_flow is not None
    assert np.isnan(one.gradient_flow.flows[0].rate_interval.low)
    half = probe.report(language_model().bfloat16(), tokens(64, 3), lags=8)
    assert half.gradient_flow is not None


def test_rows_that_are_cut_by_resets_have_no_long_run_and_the_others_have():
    batch = tokens(128, 3)
    resets = torch.zeros(128, 3, dtype=torch.bool)
    resets[40, 1] = True
    cut = type(batch)(batch.inputs, batch.targets, None, resets)
    report = probe.report(language_model(), cut, lags=8)
    assert report.long_run is not None
    assert report.long_run.rows == 2
    resets[40] = True
    assert "a row without a reset" in probe.report(language_model(), cut, lags=8).omitted["lyapunov"]
