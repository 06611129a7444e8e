"""Runs that older versions wrote are read, and gone on with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from unrolled import checkpoint, data, probe, tokens, train
from unrolled.spec import DataConfig, RunDirectory, TrainConfig
from unrolled.tasks import evaluate_text, load

GOLDEN = Path(__file__).with_name("golden")  # by `unrolled` at e01d719: four steps on book.txt
OLD = RunDirectory(GOLDEN / "run")


def config(run: Path, **settings: object) -> TrainConfig:
    return TrainConfig(DataConfig(str(GOLDEN / "book.txt")), run=str(run), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", [OLD.path, OLD.model, OLD.step(0), OLD.step(4)])
def test_an_old_checkpoint_loads_and_scores_as_it_did(path: Path):
    loaded = load(path)
    assert loaded.tokens.kind == "word"
    if loaded.step == 0:  # the best of this run; its scores are in evaluation.json
        found = evaluate_text(loaded, str(GOLDEN / "book.txt"))
        assert np.isfinite(found.carried.nats)


def test_an_old_corpus_is_opened_again():
    corpus = data.reopen(OLD.data, tokens.load(OLD.model / "tokens.json"))
    assert (corpus.shape, corpus.train.num_targets, corpus.validation.num_targets) == ("stream", 58, 8)


def test_an_old_finished_run_is_finished(tmp_path: Path):
    shutil.copytree(OLD.path, tmp_path / "run")
    result = train.run(config(tmp_path / "run", resume=True), observers=[])
    stored = json.loads(OLD.evaluation.read_text())
    assert result.evaluation.carried.nats_per_token == pytest.approx(stored["nats_per_token"])


def test_an_old_run_goes_on_where_it_stopped(tmp_path: Path):
    place = RunDirectory(tmp_path / "run")
    shutil.copytree(OLD.path, place.path)
    for gone in (place.evaluation, place.samples):
        gone.unlink()
    shutil.rmtree(place.model)
    shutil.rmtree(place.step(4))
    place.latest.write_text("step-00000002\n")
    train.run(config(place.path, resume=True), observers=[])
    found, wanted = (checkpoint.read(each.step(4)).model for each in (place, OLD))
    for name, tensor in wanted.items():
        values = (np.frombuffer(each.data, np.float32) for each in (found[name], tensor))
        np.testing.assert_allclose(*values, atol=1e-5, err_msg=name)


def test_an_old_run_is_probed_on_its_own_text():
    assert "held out" in probe.examine(OLD.step(4), lags=2).facts["text"]
