"""Whole commands at their real length: `make test-slow`."""

from __future__ import annotations

from pathlib import Path

import pytest

from unrolled import DataConfig, TrainConfig
from unrolled.data import SENTENCES
from unrolled.sample import sample
from unrolled.tasks import load
from unrolled.train import run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_the_ten_sentences_are_learnt_by_heart(cell: str, tmp_path: Path):
    result = run(TrainConfig(DataConfig("sentences"), run=str(tmp_path / "run"), cell=cell), observers=[])
    # ten sentences that differ in their first letters cost ln 10 nats a line to tell apart, 0.07 a symbol
    assert result.evaluation.carried.nats_per_token < 0.15
    lines = "".join(sample(load(result.run), length=2000, temperature=0.5, seed=0)).split("\n")[:-1]
    assert sum(line in SENTENCES for line in lines) >= 0.8 * len(lines)


def test_the_standard_library_is_a_corpus(tmp_path: Path):
    result = run(
        TrainConfig(DataConfig("stdlib"), run=str(tmp_path / "run"), steps=30, hidden_size=64), observers=[]
    )
    assert result.evaluation.tokens > 100_000
    assert result.evaluation.carried.nats_per_token < 4.0


def test_a_network_that_meets_the_zero_state_does_not_run_away_from_it(tmp_path: Path):
    text = "to be, or not to be, that is the question.\n" * 800
    (tmp_path / "book.txt").write_text(text)
    data = DataConfig(str(tmp_path / "book.txt"), shape="stream")
    result = run(
        TrainConfig(data, run=str(tmp_path / "run"), steps=500, hidden_size=64, dropout=0.0), observers=[]
    )
    assert result.evaluation.cold is not None
    assert result.evaluation.carried.nats_per_token < 0.2
    assert result.evaluation.cold.nats_per_token < 0.5
