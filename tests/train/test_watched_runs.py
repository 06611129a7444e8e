"""`--telemetry`: what is logged while a run goes on, and that a resumed run logs the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_tensorboard import scalars
from train_cases import stopped

from unrolled import figures
from unrolled.spec import DataConfig, TrainConfig
from unrolled.tasks import Telemetry
from unrolled.train import Observer, Schedule, run
from unrolled.train.observers import MetricsFile, Row

Make = Callable[..., TrainConfig]


def lines(path: str | Path | None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(path or "") / "metrics.jsonl").read_text().splitlines()]


def telemetries(path: str | Path | None) -> dict[int, dict[str, Any]]:
    return {line["step"]: line["telemetry"] for line in lines(path) if "telemetry" in line}


@pytest.mark.usefixtures("whole_report")
def test_every_n_steps_the_gradient_by_lag_and_the_gates_are_logged_and_drawn(small: Make):
    path = run(small(steps=10, telemetry_every=3, tensorboard=True), observers=[]).run
    found = telemetries(path)
    assert list(found) == [3, 6, 9]
    names = {f"recurrent.l0 {part}" for part in "hc"}
    assert names <= set(found[3]["grad_norm"])
    assert all(norms[0] > norms[-1] > 0 for norms in found[9]["grad_norm"].values())
    assert set(found[3]["closed"]) == set(found[3]["open"]) >= {"recurrent.l0 f"}
    assert (path / "telemetry.png").read_bytes().startswith(b"\x89PNG")
    logged = scalars(path)
    assert logged["grad_norm_by_lag/recurrent.l0.h/1"] == pytest.approx(
        {step: each["grad_norm"]["recurrent.l0 h"][1] for step, each in found.items()}, rel=1e-6
    )
    assert list(logged["open/recurrent.l0.f"]) == [3, 6, 9]


@pytest.mark.parametrize(("cell", "words"), [("rnn", "states above 0.9"), ("gru", "gates open (above 0.9)")])
def test_the_picture_speaks_of_gates_only_where_there_are_some(small: Make, monkeypatch, cell, words):
    seen: dict[str, Any] = {}
    monkeypatch.setattr(figures, "families", lambda _, **drawn: seen.update(drawn))
    run(small(steps=4, cell=cell, telemetry_every=2), observers=[])
    assert words in seen["panels"]


def test_a_run_of_fewer_steps_than_lie_between_two_is_logged_ten_times_or_more_and_says_so(small: Make):
    class Listen(Observer):
        said: list[str] = []  # noqa: RUF012 (one test)

        def note(self, text: str) -> None:
            self.said.append(text)

    path = run(small(steps=24, telemetry_every=100), observers=[Listen()]).run
    assert list(telemetries(path)) == [2 * n for n in range(1, 13)]
    assert (path / "telemetry.png").exists()
    assert "telemetry every 2 steps: the run has fewer than 100" in Listen.said


def test_a_run_without_it_logs_and_draws_nothing(small: Make):
    path = run(small(), observers=[]).run
    assert telemetries(path) == {}
    assert not (path / "telemetry.png").exists()


def test_it_changes_no_bit_of_the_run(small: Make, tmp_path: Path):
    sizes = {"steps": 12, "dropout": 0.3}
    runs = [
        run(small(**sizes, run=str(tmp_path / str(n)), telemetry_every=n), observers=[]).run for n in (0, 1)
    ]
    plain, watched = ((path / "model" / "model.safetensors").read_bytes() for path in runs)
    assert plain == watched


def test_a_stopped_run_that_is_resumed_logs_what_the_whole_one_does(small: Make, tmp_path: Path):
    sizes = {"steps": 20, "save_every": 6, "telemetry_every": 4, "dropout": 0.3}
    whole, parts = small(**sizes, run=str(tmp_path / "whole")), small(**sizes, run=str(tmp_path / "parts"))
    run(whole, observers=[])
    for at in (7, 8, 13):  # before a telemetry, at one, and after one
        stopped(replace(parts, resume=at > 7), at)
    run(replace(parts, resume=True), observers=[])
    assert telemetries(whole.run) == telemetries(parts.run)
    assert [line["step"] for line in lines(whole.run)] == [line["step"] for line in lines(parts.run)]


def test_a_resumed_run_may_turn_it_on_and_off(small: Make):
    config = small(steps=20, save_every=20)
    stopped(config, 5)
    stopped(replace(config, resume=True, telemetry_every=2), 10)
    path = run(replace(config, resume=True), observers=[], asked={"telemetry_every"}).run
    assert list(telemetries(path)) == [6, 8, 10]


def test_every_observer_is_told(small: Make):
    class Listen(Observer):
        heard: list[int] = []  # noqa: RUF012 (one test)

        def telemetry(self, step: int, found: Telemetry) -> None:
            assert found.lags[0] == 0
            self.heard.append(step)

    run(small(steps=5, telemetry_every=2), observers=[Listen()])
    assert Listen.heard == [2, 4]


ROW = Row(1, 0.5, 1.0, None, 10.0, 0.1, 0.001)


def test_a_row_takes_its_losses_by_their_older_names():
    losses = {"train_nats_per_token": 1.0, "val_nats_per_token": None}
    with pytest.warns(DeprecationWarning, match=r"^train.Row: (train|val)_nats_per_token is now"):
        assert Row(1, 0.5, **losses, tokens_per_s=10.0, grad_norm=0.1, lr=0.001) == ROW


FOUND = Telemetry((0, 1), {"l0 h": (1.0, float("inf"))}, {"l0 f": 0.25}, {"l0 f": 0.5})


def test_a_number_that_json_lacks_is_null_and_comes_back_as_none(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    MetricsFile(path).telemetry(1, FOUND)
    assert "null" in path.read_text()
    ((step, found),) = MetricsFile(path, until=1).telemetries
    assert step == 1
    assert found.grad_norm["l0 h"][0] == 1.0
    assert found.grad_norm["l0 h"][1] != found.grad_norm["l0 h"][1]
    assert "NaN" not in path.read_text()


@pytest.mark.parametrize(
    "torn",
    [
        '{"step": 2, "telemetry": {"lags": [0, 1], "grad_norm": {"l0 h": [1.0]}, "closed": {}, "open": {}}}',
        '{"step": 2, "telemetry": {"lags": "0", "grad_norm": {}, "closed": {}, "open": {}}}',
        '{"step": 2, "telemetry": {"lags": [0], "grad_norm": {}, "closed": {"f": "x"}, "open": {}}}',
        '{"step": 2, "telemetry": {"lags": [0], "grad_norm": [], "closed": {}, "open": {}}}',
        '{"step": 2, "telemetry": 7}',
        '{"step": "2", "telemetry": {}}',
        '{"step": 2, "tele',
        '{"step": 1, "telemetry": {"lags": [], "grad_norm": {}, "closed": {}, "open": {}}}',
    ],
)
def test_a_damaged_line_stays_with_what_follows_it_and_a_torn_end_goes(tmp_path: Path, torn: str):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path)
    file.telemetry(1, FOUND)
    file.row(ROW)
    kept = path.read_bytes()
    kept += torn.encode() + b" \xff\n" + torn.encode() + b"\n" + kept.replace(b'"step": 1', b'"step": 3')
    path.write_bytes(kept + b'{"step": 4, "ep')
    again = cut(MetricsFile(path, until=9))
    assert path.read_bytes() == kept
    assert [row.step for row in again.rows] == [1, 3]
    assert [step for step, _ in again.telemetries] == [1, 3]
    cut(MetricsFile(path, until=2))
    assert path.read_bytes().splitlines() == kept.splitlines()[: 4 if '"step": 1,' in torn else 2]


def cut(file: MetricsFile) -> MetricsFile:
    """Return a file that was cut back, as at the beginning of a run."""
    file.begin(TrainConfig(DataConfig("sentences")), Schedule(9, 9, 0.1), torch.nn.Module())  # type: ignore[arg-type]
    return file


def test_what_another_version_wrote_is_kept(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path)
    file.row(ROW)
    file.telemetry(1, FOUND)
    row, telemetry = path.read_text().splitlines()
    more = [
        row[:-1] + ', "gpu_memory": 12, "note": "x"}',
        telemetry[:-1] + ', "took_s": 0.5}',
        '{"step": 1, "seen_by": "another tool"}',
        row.replace('"step": 1', '"step": 2'),
    ]
    path.write_text("\n".join(more) + "\n")
    again = cut(MetricsFile(path, until=9))
    assert path.read_text().splitlines() == more
    assert [each.step for each in again.rows] == [1, 2]
    assert again.rows[0].val_nats_per_token is None
    assert again.rows[0].train_nats_per_token == 1.0
    assert len(again.telemetries) == 1


def test_a_row_of_another_task_has_its_own_names(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    row = replace(ROW, unit="squared_error", val_loss=2.0)
    MetricsFile(path, unit="squared_error").row(row)
    assert json.loads(path.read_text())["val_squared_error"] == 2.0
    assert MetricsFile(path, until=9, unit="squared_error").rows == [row]
    assert row.val_squared_error == 2.0
    with pytest.raises(AttributeError, match="a row of squared_error has no attribute 'val_nats_per_token'"):
        _ = row.val_nats_per_token
