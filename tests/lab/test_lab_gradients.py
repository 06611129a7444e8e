"""Exploding and vanishing gradients: what is measured, and that the answer is what was measured."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lab_numbers import computed, unbacked, without_timing

from unrolled import LabConfig, lab
from unrolled.lab import gradients
from unrolled.lab.gradients import STARTS, bigram_nats, build, fate, flow, measured, outcome, words
from unrolled.lab.gradients_report import answer, likelihood
from unrolled.lab.speed_batches import texts

TINY = {"hidden_size": 8, "rows": 4, "steps": 12, "trained_steps": 16, "characters": 20_000}
NAMES = ("rnn", "rnn-3", "gru", "lstm", "lstm-torch")


@pytest.fixture(scope="module", autouse=True)
def _tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradients, "QUICK", TINY)
        patch.setattr(gradients, "QUICK_STARTS", NAMES)
        yield


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> lab.Lab:
    return lab.run(LabConfig("gradients", quick=True, seeds=2, out=str(tmp_path_factory.mktemp("lab"))))


@pytest.fixture(scope="module")
def document(found: lab.Lab) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(found.results.read_text())
    return stored


@pytest.fixture(scope="module")
def trials(found: lab.Lab) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((found.out / "trials.json").read_text())["trials"]
    return stored


def settings(name: str, **change: Any) -> dict[str, Any]:
    return {**STARTS[name], "hidden_size": 16, "embedding_size": 8, "seed": 3, **change}


def test_every_number_of_the_section_stands_in_the_results(found: lab.Lab, document: dict[str, Any]):
    assert unbacked(found.report.read_text(), document) == []


def test_the_report_computes_no_number_itself(document: dict[str, Any]):
    assert computed(gradients.EXPERIMENT, document["sections"]["gradients"]["summary"]) == []


def test_a_run_gives_the_same_for_a_seed(document: dict[str, Any], tmp_path: Path):
    again = lab.run(LabConfig("gradients", quick=True, seeds=2, out=str(tmp_path)))
    assert without_timing(json.loads(again.results.read_text())) == without_timing(document)


def test_all_pictures_are_there(found: lab.Lab):
    names = ["rnn", "gru", "lstm", "trained", "losses"]
    assert [picture.name for picture in found.figures] == [f"gradients-{name}.png" for name in names]
    assert all(picture.stat().st_size > 10_000 for picture in found.figures)


def test_every_run_is_counted_at_every_pace(document: dict[str, Any], trials: dict[str, Any]):
    summary = document["sections"]["gradients"]["summary"]
    for kind, runs in (("rnn", 4), ("gru", 2), ("lstm", 4)):
        found = summary["kinds"][kind]
        assert found["runs"] == runs
        usual = found["usual"]["start"]["runs"]
        assert usual + sum(gain["runs"] for gain in found["gains"]) == runs
        trained = [c["result"]["trained"]["AdamW"] for c in trials.values() if c["settings"]["cell"] == kind]
        assert found["below_bigram"] == sum(one["below_bigram"] for one in trained)
        assert found["trainings"] == 2 * runs
        cells = [c["result"] for c in trials.values() if c["settings"]["cell"] == kind]
        for word in ("free", "clipped"):
            trained = [cell["trained"][f"{rate} {word}"] for cell in cells for rate in (1, 4)]
            for event in ("diverged", "exploded"):
                assert found[event][word] == sum(run[event] for run in trained)
    falling = 0
    for name, start in summary["starts"].items():
        assert sum(start["start"]["fates"].values()) == start["start"]["runs"] == 2
        rates = [c["result"]["start"]["rate"] for c in trials.values() if c["settings"]["name"] == name]
        if sum(rates) < 0:
            assert math.exp(sum(rates) / 2 * start["start"]["half_life"]) == pytest.approx(0.5)
            falling += 1
    assert falling


def test_a_contracting_start_loses_its_gradient_at_the_rate_of_its_gain():
    text = texts(20_000, 2**13, 256)
    rates = {}
    for gain in (0.5, 0.9):
        model = build(settings("rnn", gain=gain), text.tokens.size)
        with torch.no_grad():
            model.embedding.weight.mul_(0.01)  # so small that tanh is the identity
        rates[gain] = flow(model, measured(text, 80), 40)["rate"]
        assert rates[gain] == pytest.approx(math.log(gain), abs=0.02)


@pytest.mark.parametrize(("name", "value"), [("lstm-forget-0", 0.0), ("lstm", 1.0), ("lstm-forget-3", 3.0)])
def test_the_forget_bias_is_the_one_that_the_report_names(name: str, value: float):
    bias = build(settings(name), 30).recurrent.bias_ih_l0[16:32]
    assert bias.tolist() == [value] * 16
    assert words(STARTS[name]) == f"LSTM, orthogonal, forget bias {value:g}"


def test_a_start_is_called_by_what_it_is():
    assert [words(STARTS[name]) for name in ("rnn-torch", "rnn-relu", "gru-chrono", "lstm-0.5")] == [
        "RNN, torch.nn's own",
        "RNN, identity and relu",
        "GRU, orthogonal, chrono 64",
        "LSTM, orthogonal, gain 0.5, forget bias 1",
    ]


def test_a_gradient_vanishes_holds_or_explodes_by_what_is_left_after_the_lags():
    assert [fate(rate, 50) for rate in (-math.inf, -0.093, -0.092, 0.0, 0.092, 0.093)] == [
        "vanishes", "vanishes", "holds", "holds", "holds", "explodes",
    ]  # fmt: skip


def test_a_network_with_weights_that_are_not_finite_has_no_rate_and_is_counted():
    text = texts(20_000, 2**13, 256)
    model = build(settings("rnn"), text.tokens.size)
    with torch.no_grad():
        model.readout.bias[0] = math.nan
    assert flow(model, measured(text, 20), 10)["fate"] == "not finite"


@pytest.mark.parametrize(
    ("losses", "diverged"),
    [([4.0, 3.0, 2.0], False), ([4.0, 2.0, 5.0], True), ([4.0, math.nan], True), ([4.0, math.inf], True)],
)
def test_a_run_diverges_if_its_loss_is_not_finite_or_ends_above_its_start(
    losses: list[float], diverged: bool
):
    found = outcome(losses, math.inf, 1.0)
    assert found["diverged"] is diverged
    assert found["largest_norm"] is None
    assert found["exploded"] is True
    assert outcome(losses, 100.0, 1.0)["exploded"] is False
    assert (found["end_nats_per_char"] is None) == (not math.isfinite(losses[-1]))


def test_an_event_is_likely_from_half_of_the_runs_on():
    assert [likelihood(count, 4) for count in (0, 1, 2, 4)] == ["not found", "possible", "likely", "likely"]


def test_the_answer_changes_with_the_numbers(document: dict[str, Any]):
    lectured = made_up(document, vanished={"rnn": 4, "gru": 0, "lstm": 0}, diverged={"rnn": 3, "lstm": 0})
    turned = made_up(document, vanished={"rnn": 0, "gru": 0, "lstm": 4}, diverged={"rnn": 0, "lstm": 3})
    first, second = answer(lectured), answer(turned)
    assert "in an RNN vanishing ones are likely, exploding ones possible" in first
    assert "in an LSTM vanishing ones are not found, exploding ones not found" in first
    assert "in an LSTM vanishing ones are likely, exploding ones possible" in second
    assert row(first, "an RNN")[:5] == ["4 of 4 runs"] * 2 + ["0 of 4 runs"] * 2 + ["2, 2"]
    assert row(first, "an RNN")[8:] == ["3 of 8 runs", "0 of 8 runs", "0 of 4 runs"] * 2
    assert row(second, "an RNN")[:5] == ["0 of 4 runs"] * 4 + ["20, 20"]
    assert "gradients vanish more often in RNNs (4 of 4 runs) than in LSTMs (0 of 4)" in first
    assert "they explode more often in RNNs (3 of 8 runs) than in LSTMs (0 of 8)" in first
    assert "gradients vanish more often in LSTMs (4 of 4 runs) than in RNNs (0 of 4)" in second
    assert "they explode more often in LSTMs (3 of 8 runs) than in RNNs (0 of 8)" in second


def test_the_answer_says_that_nothing_was_found_where_nothing_was(document: dict[str, Any]):
    none = {"rnn": 0, "gru": 0, "lstm": 0}
    calm = answer(made_up(document, vanished=none, diverged=none))
    assert "likely" not in calm
    assert "gradients vanish in neither" in calm
    assert "While SGD trains without clipping they explode in neither." in calm


def test_the_table_of_pairs_loses_what_counting_them_one_by_one_says():
    text = "abababcab" * 3
    ids = np.array([ord(c) - ord("a") for c in text], dtype=np.int64)
    split = dataclasses.replace(texts(20_000, 2**13, 256).long_text, ids=ids)
    pairs, firsts = Counter(itertools.pairwise(text)), Counter(text[:-1])
    nats = -sum(n * math.log(n / firsts[a]) for (a, _), n in pairs.items()) / (len(text) - 1)
    assert bigram_nats(split, 3) == pytest.approx(nats)


def test_only_runs_that_beat_the_table_of_pairs_count_as_trained(trials: dict[str, Any]):
    made = []
    for key, trial in trials.items():
        result = copy.deepcopy(trial["result"])
        result["trained"]["AdamW"]["below_bigram"] = trial["settings"]["seed"] == 0
        made.append(lab.Done(key, trial["settings"], result))
    summed = gradients.EXPERIMENT.summary(made)
    kinds = summed["kinds"]
    for kind, usual in (("rnn", 1), ("gru", 1), ("lstm", 2)):
        assert kinds[kind]["usual"]["trained"]["runs"] == usual
        assert kinds[kind]["usual"]["start"]["runs"] == 2 * usual
    kinds["lstm"]["usual"]["trained"].update(runs=0, fates=dict.fromkeys(gradients.FATES, 0))
    assert "in an LSTM vanishing ones are not known, as none was trained" in answer(summed)
    assert "After training gradients vanish: RNNs 1 of 1 runs, LSTMs 0 of 0 runs." in answer(summed)


def row(text: str, name: str) -> list[str]:
    """Return the figures in the table's column of a kind of cell."""
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    column = text.splitlines()[2].strip("| ").split(" | ").index(name) + 1
    return [line[column] for line in cells[2:]][:14]


def made_up(
    document: dict[str, Any], *, vanished: dict[str, int], diverged: dict[str, int]
) -> dict[str, Any]:
    """Return a summary of four usual runs a kind, of which so many vanished, and diverged without clipping."""
    summary = copy.deepcopy(document["sections"]["gradients"]["summary"])
    for name, kind in summary["kinds"].items():
        kind["runs"], kind["trainings"] = 4, 8
        for event in ("diverged", "exploded"):
            kind[event] = {"free": diverged.get(name, 0), "clipped": 0, "AdamW": 0}
        for when in ("start", "trained"):
            lost = vanished[name]
            fates = {"vanishes": lost, "holds": 4 - lost, "explodes": 0, "not finite": 0}
            kind["usual"][when] |= {"runs": 4, "fates": fates, "half_life": 2.0 if lost else 20.0}
    return summary
