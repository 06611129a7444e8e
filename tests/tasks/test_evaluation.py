"""Scores of a text."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unrolled.data import Document, Split, encode_text
from unrolled.errors import CheckpointError, ConfigError, DataError
from unrolled.spec import ModelConfig
from unrolled.tasks import Evaluation, LanguageModel, Loaded, Score, evaluate_split, evaluate_text
from unrolled.tokens import build

TEXT = "to be, or not to be\nthat is the question\n" * 6


def loaded(kind: str = "char", shape: str = "stream") -> Loaded:
    tokens = build(kind, [TEXT])
    model = LanguageModel(ModelConfig(tokens.size, 6, 7)).eval()
    return Loaded(model, tokens, {"data": {"source": "x", "shape": shape}}, Path("x"), 0)


def score(path: Path, text: str, kind: str = "char", **settings: int) -> object:
    path.write_text(text)
    return evaluate_text(loaded(kind), str(path), **settings)


def test_rates_follow_from_nats_tokens_and_characters():
    found = Score(nats=6.0, tokens=3, characters=12)
    assert found.nats_per_token == 2.0
    assert found.bits_per_char == pytest.approx(6 / math.log(2) / 12)
    assert found.perplexity == pytest.approx(math.exp(2))


def test_a_score_that_is_not_finite_is_none_in_json():
    for nats in (math.nan, math.inf):
        assert json.loads(json.dumps(Score(nats, 3, 3).to_dict(), allow_nan=False))["nats_per_token"] is None


def test_every_character_is_scored_once_whatever_the_symbols(tmp_path: Path):
    for kind in ("char", "byte"):
        found = score(tmp_path / "a", TEXT, kind)
        assert found.tokens == found.characters == len(TEXT)  # type: ignore[attr-defined]
    words = score(tmp_path / "a", TEXT, "word")
    assert words.characters == len(TEXT)  # type: ignore[attr-defined]
    assert words.tokens == len(TEXT.split()) + TEXT.count("\n")  # type: ignore[attr-defined]


def test_carried_and_cold_are_what_a_loop_over_the_logits_gives(tmp_path: Path):
    found = score(tmp_path / "a", TEXT, cold_steps=16)
    model = loaded()
    ids = model.tokens.encode("\n" + TEXT)

    def nats(window: np.ndarray) -> float:
        logits, _ = model.model(torch.from_numpy(window[:-1])[:, None])
        chosen = logits.log_softmax(-1)[:, 0].gather(1, torch.from_numpy(window[1:])[:, None])
        return -float(chosen.detach().sum())

    assert found.carried.nats == pytest.approx(nats(ids), rel=1e-5)  # type: ignore[attr-defined]
    cold = sum(nats(ids[i : i + 17]) for i in range(0, len(ids) - 1, 16))
    assert found.cold.nats == pytest.approx(cold, rel=1e-5)  # type: ignore[attr-defined]


def test_an_evaluation_that_was_stored_is_the_same(tmp_path: Path):
    found: Any = score(tmp_path / "a", TEXT, cold_steps=16)
    again: Any = Evaluation.from_dict(json.loads(json.dumps(found.to_dict())))
    assert replace(again, carried=found.carried, cold=found.cold) == found
    assert (again.carried.nats, again.cold.nats) == pytest.approx((found.carried.nats, found.cold.nats))
    assert again.cold.nats != pytest.approx(again.carried.nats)


def test_lines_are_scored_each_from_the_zero_state():
    model = loaded(shape="lines")
    split = encode_text([Document("a", TEXT)], model.tokens, "lines")
    whole = evaluate_split(model.model, split, shape="lines", unknown=0)
    once = encode_text([Document("a", TEXT[: len(TEXT) // 6])], model.tokens, "lines")
    part = evaluate_split(model.model, once, shape="lines", unknown=0)
    assert whole.carried.nats == pytest.approx(6 * part.carried.nats, rel=1e-5)
    assert whole.cold is None


def test_unknown_symbols_are_counted_and_scored(tmp_path: Path):
    found = score(tmp_path / "a", "to be Ω\n")
    assert found.unknown == 1  # type: ignore[attr-defined]
    assert found.tokens == 8  # type: ignore[attr-defined]


def test_bad_settings_and_models_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"^cold_steps: expected at least 1, got 0$"):
        score(tmp_path / "a", TEXT, cold_steps=0)
    odd = Loaded(loaded().model, loaded().tokens, {"data": {"source": "x"}}, Path("x"), 0)
    with pytest.raises(
        CheckpointError, match=r"^config\.json data\.shape: expected lines or stream, got auto$"
    ):
        evaluate_text(odd, str(tmp_path / "a"))
    empty = Split(np.zeros(1, np.uint8), np.zeros(0, np.int64), 0)
    with pytest.raises(DataError, match=r"^text: expected at least one character, got none$"):
        evaluate_split(loaded().model, empty, shape="stream", unknown=0)


def test_the_carried_score_goes_on_over_the_windows_of_an_evaluation():
    """A text of several windows, by a network that remembers: one pass over all of it gives the same loss."""
    text = TEXT * 12
    ids = encode_text([Document("a", text)], build("char", [text]), "stream").ids
    assert len(ids) > 2.5 * 1024
    model = LanguageModel(ModelConfig(int(ids.max()) + 1, 6, 24, cell="gru"), seed=3).eval()
    with torch.no_grad():
        model.recurrent.bias_ih_l0[24:48] = 6.0  # update gates that keep for 400 steps
        model.readout.weight.mul_(20)
    split = Split(ids, np.zeros(1, np.int64), len(ids) - 1)
    found = evaluate_split(model, split, shape="stream", unknown=0).carried
    targets = torch.from_numpy(ids.astype(np.int64))
    with torch.no_grad():
        whole, _ = model(targets[:-1, None])
        pieces = [model(part[:, None])[0] for part in targets[:-1].split(1024)]  # each from the zero state
    loss = torch.nn.functional.cross_entropy
    assert found.nats_per_token == pytest.approx(float(loss(whole[:, 0], targets[1:])), rel=1e-5)
    assert found.nats_per_token != pytest.approx(float(loss(torch.cat(pieces)[:, 0], targets[1:])), rel=1e-4)
