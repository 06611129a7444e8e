"""The ten sentences: what is trained, and that a reader can compute the printed numbers again."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lab_numbers import unbacked, without_timing

from unrolled import LabConfig, lab
from unrolled.data import SENTENCES, Document, encode_text
from unrolled.lab import sentences
from unrolled.lab.experiment import Done
from unrolled.spec import ModelConfig
from unrolled.tasks import LanguageModel, continuation
from unrolled.tokens import CharTokens

MODELS = ("neuron", "layer", "lstm")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> lab.Lab:
    return lab.run(LabConfig("sentences", quick=True, seeds=1, out=str(tmp_path_factory.mktemp("lab"))))


@pytest.fixture(scope="module")
def document(found: lab.Lab) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(found.results.read_text())
    return stored


@pytest.fixture(scope="module")
def trials(found: lab.Lab) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((found.out / "trials.json").read_text())["trials"]
    return stored


def unit(trials: dict[str, Any], model: str) -> dict[str, Any]:
    stored: dict[str, Any] = trials[f"sentences/{model}/seed=0"]["result"]["unit"]
    return stored


def test_every_number_of_the_section_stands_in_the_results(found: lab.Lab, document: dict[str, Any]):
    assert unbacked(found.report.read_text(), document) == []


def test_a_quick_run_gives_the_same_for_a_seed(document: dict[str, Any], tmp_path: Path):
    again = lab.run(LabConfig("sentences", quick=True, seeds=1, out=str(tmp_path)))
    assert without_timing(json.loads(again.results.read_text())) == without_timing(document)


def test_all_pictures_and_tables_are_there(found: lab.Lab):
    report = found.report.read_text()
    for picture in found.figures:
        assert picture.stat().st_size > 10_000
        assert f"]({picture.name})" in report
    assert all(sentence in report for sentence in SENTENCES)


def test_the_best_possible_loss_is_that_of_counting_what_follows_each_beginning():
    lines = [sentence + "\n" for sentence in SENTENCES]
    after = Counter(line[:end] for line in lines for end in range(len(line) + 1))
    nats = sum(
        math.log(after[line[: n - 1]] / after[line[:n]]) for line in lines for n in range(1, len(line) + 1)
    )
    assert sentences.floor_nats() == pytest.approx(nats / sum(map(len, lines)))


def test_the_trivial_control_is_the_entropy_of_the_characters():
    text = "".join(sentence + "\n" for sentence in SENTENCES)
    nats = -sum(math.log(text.count(symbol) / len(text)) for symbol in text) / len(text)
    assert sentences.unigram_nats() == pytest.approx(nats)


def test_a_layer_and_an_lstm_complete_all_that_can_be_and_no_model_beats_the_best_possible(
    document: dict[str, Any],
):
    summary = document["sections"]["sentences"]["summary"]
    assert summary["text"]["completable"] == len({s.split()[0] for s in SENTENCES}) == 8
    for name in MODELS:
        model = summary["models"][name]
        assert model["nats_per_char"]["low"] > sentences.floor_nats()
        assert model["completed"]["high"] <= 8
    assert summary["models"]["neuron"]["nats_per_char"]["high"] < sentences.unigram_nats()
    assert summary["models"]["layer"]["completed"]["median"] == 8
    assert summary["models"]["lstm"]["completed"]["median"] == 8
    assert summary["models"]["neuron"]["solved_at"]["censored"] == 1


@pytest.mark.parametrize("name", MODELS)
def test_the_units_numbers_give_its_output_when_they_are_computed_again(trials: dict[str, Any], name: str):
    stored = unit(trials, name)
    for step in stored["steps"]:
        gates = {}
        for gate, weights in stored["weights"].items():
            terms = zip(
                weights["weight_ih"] + weights["weight_hh"], step["x"] + step["h_before"], strict=True
            )
            total = sum(w * value for w, value in terms) + weights["bias"]
            gates[gate] = math.tanh(total) if gate in "gh" else 1 / (1 + math.exp(-total))
        if name == "lstm":
            c = gates["f"] * step["c_before"] + gates["i"] * gates["g"]
            assert step["c"] == pytest.approx(c, abs=1e-5)
            assert step["h"] == pytest.approx(gates["o"] * math.tanh(c), abs=1e-5)
        else:
            assert step["h"] == pytest.approx(gates["h"], abs=1e-5)
        assert stored["along"]["h"][step["t"] - 1] == step["h"]
    assert not any(stored["steps"][0]["h_before"])
    for before, after in zip(stored["steps"], stored["steps"][1:], strict=False):
        assert after["h_before"][stored["unit"]] == before["h"]


def test_the_printed_equations_are_true_as_they_stand(found: lab.Lab):
    known = {"tanh": math.tanh, "sigmoid": lambda x: 1 / (1 + math.exp(-x))}
    lines = re.findall(r"^.  \w_\d = (.+)$", found.report.read_text(), re.M)
    assert len(lines) == 4 + 4 + 4 * 6
    for line in lines:
        sides = [eval(side, known) for side in line.split(" = ")]  # noqa: S307
        assert sides == pytest.approx([sides[-1]] * len(sides), abs=2e-3), line


def test_the_unit_is_that_of_the_network(trials: dict[str, Any]):
    tokens = CharTokens.build([sentences.TEXT])
    symbols = [step["symbol"] for step in unit(trials, "lstm")["steps"]]
    assert "".join(symbols) == "\n" + SENTENCES[0][:3]
    model = LanguageModel(ModelConfig(tokens.size, 16, 64), seed=5)
    ids = torch.from_numpy(tokens.encode("\nFay"))
    stored = sentences.one_unit(model, ids, tokens, steps=4)
    y, _ = model.hidden(ids[:, None], model.initial_state(1))
    assert [step["h"] for step in stored["steps"]] == pytest.approx(y[:, 0, 0].tolist(), abs=1e-6)


def test_completions_side_by_side_are_those_of_one_after_another():
    tokens = CharTokens.build([sentences.TEXT])
    model = LanguageModel(ModelConfig(tokens.size, 8, 16), seed=3).eval()
    for word, text in zip(sentences.FIRST_WORDS, sentences.completions(model, tokens), strict=True):
        ids = continuation(
            model,
            tokens,
            tokens.encode(word).tolist(),
            lines=True,
            length=sentences.LONGEST,
            generator=np.random.default_rng(0),
            temperature=0,
        )
        assert text == word + tokens.decode(list(ids)).partition("\n")[0]


def test_predictions_are_the_probabilities_of_the_next_characters():
    tokens = CharTokens.build([sentences.TEXT])
    model = LanguageModel(ModelConfig(tokens.size, 8, 16), seed=3).eval()
    ids = torch.from_numpy(tokens.encode("\n" + SENTENCES[0] + "\n"))
    found, state = sentences._predictions(model, ids), model.initial_state(1)
    assert len(found) == len(SENTENCES[0]) + 1
    for step, probability in enumerate(found):
        logits, state = model.step(ids[step : step + 1], state)
        assert probability == pytest.approx(logits.softmax(-1)[0, ids[step + 1]].item(), rel=1e-4)


def test_the_step_of_the_solution_is_the_first_one(monkeypatch: pytest.MonkeyPatch):
    """By completions that are made up: all right from the second look on."""
    looks = itertools.chain([[""] * len(SENTENCES)], itertools.repeat(list(SENTENCES)))
    monkeypatch.setattr(sentences, "completions", lambda *_: next(looks))
    tokens = CharTokens.build([sentences.TEXT])
    split = encode_text([Document("sentences", sentences.TEXT)], tokens, "lines")
    settings = {"seed": 0, "steps": 8, "look_every": 2, "learning_rate": 0.01}
    curve, solved_at = sentences._train(
        LanguageModel(ModelConfig(tokens.size, 2, 2)), split, tokens, settings
    )
    assert (curve["step"], solved_at) == ([2, 4, 6, 8], 4)


def test_what_was_expected_is_drawn_along_the_first_sentence(document: dict[str, Any]):
    section = document["sections"]["sentences"]
    assert section["summary"]["read"] == "\n" + SENTENCES[0] + "\n"
    for name in MODELS:
        shown = section["curves"]["shown"][name]
        assert len(shown["probability"]) == len(SENTENCES[0]) + 1 == len(shown["unit"]["h"])
        assert all(0 <= probability <= 1 for probability in shown["probability"])


def test_every_model_chooses_its_rate_before_its_seeds_are_trained_with_it():
    config = LabConfig(seeds=2)
    plan = sentences.trials(config)
    assert [trial.key for trial in plan] == [f"sentences/{m}/rate" for m in MODELS]
    chosen = Done(plan[1].key, plan[1].settings, {"rate": 0.008})
    runs = sentences.further(config, [chosen])
    assert [trial.key for trial in runs] == ["sentences/layer/seed=0", "sentences/layer/seed=1"]
    assert {trial.settings["learning_rate"] for trial in runs} == {0.008}
    assert not {trial.settings["seed"] for trial in runs} & set(plan[1].settings["tuning_seeds"])
    quick = sentences.trials(LabConfig(quick=True))
    assert all(q.settings["steps"] < c.settings["steps"] for q, c in zip(quick, plan, strict=True))


@pytest.mark.parametrize(
    ("solved_at", "losses", "best"),
    [
        ({0.05: (None, None), 0.02: (90, 30), 0.008: (70, 60)}, {}, 0.02),  # sums of 120 and 130 steps
        ({0.05: (10, None), 0.02: (250, 100), 0.008: (280, 290)}, {}, 0.05),  # a miss counts all steps, 300
        ({}, {0.05: 2.0, 0.02: 2.2, 0.008: 1.9}, 0.008),  # none got there: the lower loss
    ],
)
def test_the_rate_is_the_one_that_completes_soonest(
    solved_at: dict[float, tuple[int | None, int | None]],
    losses: dict[float, float],
    best: float,
    monkeypatch: pytest.MonkeyPatch,
):
    def train(*given: Any) -> Any:
        settings = given[-1]
        rate, place = settings["learning_rate"], settings["seed"] - 1000
        return {"nats_per_char": [3.0, losses.get(rate, 1.0)]}, solved_at.get(rate, (None, None))[place]

    monkeypatch.setattr(sentences, "_train", train)
    (plan, *_) = sentences.trials(LabConfig())
    settings = {**plan.settings, "rates": [0.05, 0.02, 0.008], "steps": 300}
    assert sentences.choose(settings)["rate"] == best
