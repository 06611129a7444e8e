"""Trained networks of each task are asked by the probe as the task itself asks them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled import probe, tasks
from unrolled.data import Samples
from unrolled.spec import ClassifyData, ForecastData, RegressData, TagData, TrainConfig, kind_of_stored
from unrolled.train import run

STEPS = 12


def trained(data: Any, home: Path, brief: Callable[[], Any], **more: Any) -> Path:
    config = TrainConfig(
        data, run=str(home / "run"), steps=STEPS, hidden_size=8, batch_size=8, threads=1, **more
    )
    with brief():
        return run(config, observers=[]).run


def asked(path: Path) -> tuple[tasks.Loaded, tasks.Answers]:
    loaded = tasks.load(path)
    task = tasks.named(kind_of_stored(loaded.config).name)
    answers = task.examined(loaded, None, path / "data", lags=8, largest=2**25).answers
    assert answers is not None
    return loaded, answers


def long_table(home: Path, *, number: bool) -> Path:
    """Samples of two columns, one with missing values, an hour from step to step."""
    generator = np.random.default_rng(0)
    rows = ["id,time,flow,heat,y"]
    for name in range(60):
        x = generator.normal(size=(int(generator.integers(6, 12)), 2))
        y = f"{x[-2, 0]:.4f}" if number else ("low", "high")[int(x[-2, 0] > 0)]
        for t, (flow, heat) in enumerate(x):
            gone = "" if generator.random() < 0.2 else f"{heat:.3f}"
            rows.append(f"{name},2024-01-{1 + name % 28:02d}T{t:02d}:00,{flow:.3f},{gone},{y}")
    path = home / "table.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("causal", [False, True])
def test_a_classifier_is_asked_as_it_predicts(causal: bool, tmp_path: Path, brief: Callable[[], Any]):
    table = long_table(tmp_path, number=False)
    data = ClassifyData(str(table), label="y", id="id", causal=causal, validation_share=0.4, controls=True)
    path = trained(data, tmp_path, brief)
    _, answers = asked(path)
    assert list(answers.columns) == ["flow", "heat"]
    assert answers.columns["heat"].shape[-1] == 3  # its mask and the time since its last value too
    assert answers.step.text(3) == "3 h"
    exchange = probe.Exchange.of(answers, 1000)
    stored = json.loads((path / "evaluation.json").read_text())
    score = answers.figure.of(exchange.plain, np.arange(exchange.rows))
    assert score == pytest.approx(stored["validation"]["values"]["accuracy"])
    assert answers.loss(exchange.plain).mean() == pytest.approx(
        stored["validation"]["values"]["nats_per_sample"], rel=1e-4
    )
    assert answers.controls["most frequent class"] >= 0
    if causal:
        seen = probe.steps_seen(exchange)
        assert seen.one_way
        assert seen.score[-1] == pytest.approx(score)
    page = tmp_path / "page.html" if causal else None
    with brief():
        report = probe.examine(path, html=page)
    assert {"reach", "columns", "lag_map", "steps_seen", "gates"} <= {
        name for name in probe.MEASUREMENTS if getattr(report, name) is not None
    }
    assert (report.gradient_flow is not None) == causal
    assert report.update_norms is not None
    assert "one answer each" in report.omitted["context_curve"]
    assert all(finding.name not in ("vanishing", "forgets", "window") for finding in report.findings)
    json.dumps(report.to_dict(), allow_nan=False)
    if page is not None:
        words = page.read_text()
        assert "The score without a column" in words
        assert "heat" in words


def test_a_regressor_and_a_file_are_asked_in_the_targets_unit(tmp_path: Path, brief: Callable[[], Any]):
    table = long_table(tmp_path, number=True)
    path = trained(RegressData(str(table), target="y", id="id", controls=False), tmp_path, brief)
    _, answers = asked(path)
    exchange = probe.Exchange.of(answers, 1000)
    stored = json.loads((path / "evaluation.json").read_text())
    rmse = answers.figure.of(exchange.plain, np.arange(exchange.rows))
    assert rmse == pytest.approx(stored["validation"]["values"]["rmse"], rel=1e-4)
    report = probe.examine(path, str(table))
    assert "60 samples" in report.facts["samples"]


def test_texts_keep_their_boundaries(tmp_path: Path, brief: Callable[[], Any]):
    for name, letters in (("A", "abc"), ("B", "xyz")):
        words = {"".join(np.random.default_rng(n).choice(list(letters), 3 + n % 5)) for n in range(40)}
        (tmp_path / f"{name}.txt").write_text("\n".join(sorted(words)) + "\n")
    folder = tmp_path / "names"
    folder.mkdir()
    for each in tmp_path.glob("*.txt"):
        each.rename(folder / each.name)
    path = trained(ClassifyData(str(folder), label="folder", controls=False), tmp_path, brief)
    _, answers = asked(path)
    exchange = probe.Exchange.of(answers, 1000)
    assert exchange.longest == 7
    whole = probe.steps_seen(exchange)
    assert whole.steps[-1] == 7
    assert whole.score[-1] == pytest.approx(answers.figure.of(exchange.plain, np.arange(exchange.rows)))
    assert answers.step.text(2) == "2 characters"


@pytest.mark.parametrize("causal", [False, True])
def test_a_forecaster_is_asked_as_it_forecasts(causal: bool, tmp_path: Path, brief: Callable[[], Any]):
    hours = np.arange("2024-01-01", "2024-01-20", dtype="datetime64[h]")
    values = np.sin(np.arange(len(hours)) * 2 * np.pi / 24) + 0.1 * np.random.default_rng(0).normal(
        size=len(hours)
    )
    rows = [f"{t},{y:.4f},{t.astype(int) % 7}" for t, y in zip(hours, values, strict=True)]
    table = tmp_path / "load.csv"
    table.write_text("\n".join(["ds,y,week", *rows]) + "\n")
    data = ForecastData(str(table), target="y", horizon=6, known="week", causal=causal, window=None if causal else 48,
                        controls=False)  # fmt: skip
    path = trained(data, tmp_path, brief)
    _, answers = asked(path)
    assert answers.season == 24
    assert answers.step.text(31) == "31 h"
    assert {"value", "week", "week, ahead"} <= set(answers.columns)
    exchange = probe.Exchange.of(answers, 1000)
    if not causal:  # from the zero state it forecasts otherwise than with the one that it carried
        stored = json.loads((path / "evaluation.json").read_text())
        mse = answers.figure.of(exchange.plain, np.arange(exchange.rows))
        assert mse == pytest.approx(stored["validation"]["values"]["mse"], rel=1e-3)
    report = probe.examine(path)
    assert report.reach is not None
    assert report.reach.season == 24
    assert report.columns is not None
    assert report.gates is not None
    assert report.update_norms is not None


def test_a_tagger_is_asked_as_it_tags(tmp_path: Path, brief: Callable[[], Any]):
    generator = np.random.default_rng(0)
    lines: list[str] = []
    for _ in range(60):
        for word in generator.choice(["the", "cat", "sat", "Rome"], int(generator.integers(2, 6))):
            kind, tag = ("N" if word in ("cat", "Rome") else "O"), ("B-X" if word == "Rome" else "O")
            lines += [f"{word} {kind} {tag}"]
        lines.append("")
    source = tmp_path / "train.conll"
    source.write_text("\n".join(lines) + "\n")
    path = trained(TagData(str(source), tags="2", controls=False, validation_share=0.3), tmp_path, brief)
    _, answers = asked(path)
    assert len(answers.columns) == 2
    exchange = probe.Exchange.of(answers, 1000)
    inside = np.arange(len(exchange.plain))[:, None] < exchange.lengths
    assert np.allclose(exchange.plain.sum(-1)[inside], 1)
    report = probe.examine(path)
    assert report.reach is not None
    assert [side.name for side in report.reach.sides] == ["before", "after"]
    assert report.columns is not None
    assert report.update_norms is not None


def test_answers_at_each_step_and_several_labels_are_asked(tmp_path: Path, brief: Callable[[], Any]):
    generator = np.random.default_rng(0)
    arrays = [
        generator.normal(size=(int(generator.integers(6, 12)), 2)).astype(np.float32) for _ in range(50)
    ]
    steps = [np.where(each[:, 0] > 0, "up", "down") for each in arrays]
    steps[0][2] = ""  # no label there
    both = np.stack([[each[-1, 0] > 0, each[-1, 1] > 0] for each in arrays])
    for name, more in (
        ("steps", {"labels": None, "step_labels": steps}),
        ("both", {"labels": both, "label_names": ("a", "b")}),
    ):
        samples = Samples(
            inputs=arrays, channels=("x", "y"), ids=tuple(map(str, range(50))), groups=None, times=None,
            name=name, sha256="0" * 64, **more,
        )  # fmt: skip
        source = tmp_path / name
        tasks.write_samples(source, samples)
        data = ClassifyData(str(source), validation_share=0.4, test_share=0, controls=False)
        path = trained(data, tmp_path / f"of-{name}", brief)
        _, answers = asked(path)
        assert answers.per_step == (name == "steps")
        exchange = probe.Exchange.of(answers, 1000)
        stored = json.loads((path / "evaluation.json").read_text())["validation"]["values"]
        score = answers.figure.of(exchange.plain, np.arange(exchange.rows))
        assert score == pytest.approx(stored["accuracy" if name == "steps" else "subset_accuracy"])
        assert np.isfinite(answers.loss(exchange.plain)).all()
        report = probe.examine(path)
        assert report.reach is not None
        assert report.columns is not None
