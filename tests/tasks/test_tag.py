"""Tagging of words: what is learnt, kept, resumed, answered and refused."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unrolled import load, spec, tasks, train
from unrolled.data import Sentences, from_bioes, read_sentences, to_bioes
from unrolled.errors import CheckpointError, ConfigError, DataError
from unrolled.tasks import SequenceTagger, TagNetwork
from unrolled.tasks.tag import Schema, storing, tagged
from unrolled.tasks.tag.batches import SentenceBatches
from unrolled.tasks.tag.dataset import prepare
from unrolled.tasks.tag.evaluation import evaluate_sentences

VERBS, ENDS = ("sees", "likes", "finds"), ("man", "dog", "tree", "house")


def grammar(number: int = 120, seed: int = 0) -> tuple[list[list[str]], list[list[str]], list[list[str]]]:
    """Sentences such as "the old dog sees Ann": words, tags of chunks, and a part of speech for each."""
    draws = np.random.default_rng(seed)
    words: list[list[str]] = []
    tags: list[list[str]] = []
    speech: list[list[str]] = []
    for _ in range(number):
        rows = []
        for place in range(int(draws.integers(1, 4))):
            if place:
                rows.append((str(draws.choice(VERBS)), "B-VP", "V"))
            if draws.random() < 0.3:
                rows.append((str(draws.choice(["Ann", "Bob", "Zoe"])), "B-NP", "P"))
                continue
            rows.append(("the", "B-NP", "D"))
            rows += [("old", "I-NP", "A")] * int(draws.integers(0, 3))
            rows.append((str(draws.choice(ENDS)), "I-NP", "N"))
        rows.append((".", "O", "."))
        for column, values in zip((words, tags, speech), zip(*rows, strict=True), strict=True):
            column.append(list(values))
    return words, tags, speech


def write(path: Path, number: int = 120, seed: int = 0, *, document: int = 0) -> Path:
    """Write sentences as CoNLL columns."""
    lines = []
    for n, rows in enumerate(zip(*grammar(number, seed), strict=True)):
        if document and n % document == 0:
            lines += ["-DOCSTART- O O", ""]
        lines += [f"{word} {speech} {tag}" for word, tag, speech in zip(*rows, strict=True)] + [""]
    path.write_text("\n".join(lines) + "\n")
    return path


def config(path: Path, **changes: Any) -> spec.TrainConfig:
    own = {name: changes.pop(name) for name in list(changes) if name in spec.TagData.__dataclass_fields__}
    source = own.pop("source", path / "train.conll")
    if not Path(source).exists():
        write(Path(source))
    settings: dict[str, Any] = {"run": str(path / "run"), "cell": "gru", "steps": 40, "hidden_size": 12}
    settings |= {"batch_size": 16, "learning_rate": 0.02, "dropout": 0.1, "threads": 1, "embedding_size": 12}
    return spec.TrainConfig(
        spec.TagData(str(source), **{"tags": "2", "controls": False, **own}), **{**settings, **changes}
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("tag")
    test = write(path / "test.conll", 20, 5)
    with test.open("a") as file:
        file.write("Ann P B-NP\nhums V B-XX\n\n")
    return train.run(config(path, test=str(test), controls=True, telemetry_every=20), observers=[])


def test_a_file_of_columns_is_learnt_and_leaves_its_report(trained: Any) -> None:
    found, run = trained.evaluation, trained.run
    assert found.test.values["f1"] > 0.85 > 0.5 < found.validation.values["f1"]
    assert found.main == "f1"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    measured = next(row["telemetry"] for row in rows if "telemetry" in row)
    assert {"recurrent.l0 z", "recurrent.l0_reverse z"} <= set(measured["closed"])
    assert list(measured["grad_norm"]) == ["recurrent.l0 h"]  # of the way from first to last
    assert set(found.by_type) == {"NP", "VP", "XX"}
    assert found.by_type["XX"] == {"gold": 1, "predicted": 0, "precision": 0, "recall": 0, "f1": 0}
    for name in ("confusion.png", "reliability.png", "error_by_length.png", "controls.json"):
        assert (run / name).stat().st_size > 100
    report = (run / "report.md").read_text()
    assert "the test part has 1 tag not in the training part: B-XX (1 word)" in report
    assert "| NP | " in report
    names = [each.name for each in found.controls]
    assert names[-1] == "words and affixes, linear chain"
    assert all(f"| {name} | " in report for name in names)
    assert tasks.of(trained.model.config).evaluation_of(json.loads((run / "evaluation.json").read_text()))


def test_new_words_are_tagged_with_a_row_each(trained: Any, tmp_path: Path) -> None:
    loaded, source = load(trained.run), tmp_path / "new.conll"
    source.write_text("the D\ngnu N\nsees V\nAnn P\n\nBob P\n\n")
    given = tasks.of(loaded.model.config).predict(loaded, str(source))
    assert list(given.columns) == ["sentence", "position", "word", "tag", "confidence"]
    assert given.columns["word"] == ["the", "gnu", "sees", "Ann", "Bob"]
    assert given.columns["position"] == [1, 2, 3, 4, 1]
    assert given.columns["tag"] == ["B-NP", "I-NP", "B-VP", "B-NP", "B-NP"]
    assert all(0 < each <= 1 for each in given.columns["confidence"])


def test_words_with_empty_tags_are_tagged_as_those_with_any_tags(trained: Any, tmp_path: Path) -> None:
    loaded, source, given = load(trained.run), tmp_path / "new.conll", []
    for tag in ("B-NP", "", "?"):
        source.write_text(f"the\tD\t{tag}\ngnu\tN\t{tag}\n\n")
        given.append(tasks.of(loaded.model.config).predict(loaded, str(source)).columns)
    assert given[0] == given[1] == given[2]


def test_a_file_is_scored_as_the_run_scored_it(trained: Any) -> None:
    loaded = load(trained.run)
    test = loaded.config["data"]["test"]
    found = tasks.of(loaded.model.config).evaluate_source(loaded, test)
    assert found.judged.values == trained.evaluation.test.values
    assert found.validation is None
    assert "not in the training part: B-XX" in str(found)


def test_a_file_with_other_columns_is_refused(trained: Any, tmp_path: Path) -> None:
    source = tmp_path / "bare.conll"
    source.write_text("the\ngnu\n\n")
    loaded = load(trained.run)
    with pytest.raises(DataError, match="column"):
        tasks.of(loaded.model.config).predict(loaded, str(source))


class Stop(train.Observer):
    def step(self, record: train.StepRecord) -> None:
        if record.step == 9:
            raise KeyboardInterrupt


def test_stopped_and_resumed_without_its_source_it_ends_at_the_same_bits(tmp_path: Path) -> None:
    settings = {"steps": 16, "save_every": 5, "dropout": 0.3}
    whole = train.run(
        config(tmp_path / "whole", **settings, source=write(tmp_path / "a")), observers=[], pictures=False
    )
    parts = config(tmp_path / "parts", **settings, source=tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        train.run(parts, observers=[Stop()], pictures=False)
    (tmp_path / "a").unlink()
    again = train.run(replace(parts, resume=True), observers=[], pictures=False)
    for name in ("model/model.safetensors", "evaluation.json"):
        assert (whole.run / name).read_bytes() == (again.run / name).read_bytes()


def test_the_test_file_changes_nothing_in_training(tmp_path: Path) -> None:
    source, runs = write(tmp_path / "train.conll"), []
    for seed in (1, 2):
        test = write(tmp_path / f"test{seed}.conll", 15, seed)
        test.write_text(test.read_text() + "qqqq X B-YY\n\n")
        given = config(tmp_path / str(seed), source=source, test=str(test), steps=8)
        runs.append(train.run(given, observers=[], pictures=False).run)
    first, other = ((run / "model" / "model.safetensors").read_bytes() for run in runs)
    assert first == other
    schemas = [json.loads((run / "model" / "config.json").read_text())["schema"] for run in runs]
    assert schemas[0] == schemas[1]


def test_a_validation_part_of_tags_that_training_has_not_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "own.conll"
    source.write_text("".join(f"w{n} T{n}\nv{n} U{n}\n\n" for n in range(5)))
    with pytest.raises(
        DataError, match="validation part: expected a sentence whose tags are all in training"
    ):
        train.run(config(tmp_path, source=source, tags=None), observers=[])


def test_a_source_is_described_before_anything_is_trained(tmp_path: Path) -> None:
    data = spec.TagData(str(write(tmp_path / "train.conll")), tags="2", controls=False)
    task = tasks.named("tag")
    found = task.overview(task.prepare(data, tmp_path / "data", seed=0))
    assert [(each.name, each.role) for each in found.columns] == [
        ("0", "input"),
        ("1", "input"),
        ("2", "tag"),
    ]
    assert (found.parts, found.unit) == ({"train": 96, "validation": 12, "test": 12}, "sentence")


def test_tags_that_mean_nothing_are_scored_at_chance(tmp_path: Path) -> None:
    words, tags, _ = grammar(150)
    flat = np.random.default_rng(0).permutation([tag for each in tags for tag in each]).tolist()
    source = tmp_path / "shuffled.conll"
    lines = ["\n".join(f"{word} {flat.pop()}" for word in each) + "\n" for each in words]
    source.write_text("\n".join(lines))
    given = config(tmp_path, source=source, tags=None, test_share=0.3, steps=25, controls=True)
    found = train.run(given, observers=[], pictures=False).evaluation
    control = next(each for each in found.controls if each.name.startswith("most frequent tag of the word"))
    assert found.test.values["accuracy"] < control.values["accuracy"] + 0.1


def test_documents_stay_on_one_side(tmp_path: Path) -> None:
    source = write(tmp_path / "docs.conll", 60, document=6)
    dataset = tasks.named("tag").prepare(spec.TagData(str(source)), tmp_path / "data", seed=0)
    groups: Any = [set(dataset.part(name).groups.tolist()) for name in ("train", "validation")]  # type: ignore[attr-defined]
    assert groups[1]
    assert not groups[0] & groups[1]


def made(number: int = 30) -> tuple[TagNetwork, Schema, Sentences]:
    words, tags, speech = grammar(number)
    sentences = Sentences.from_lists(words, tags, {"pos": speech})
    schema = Schema.fit(sentences)
    sizes: dict[str, Any] = {"word_size": 6, "character_size": 5, "character_hidden": 4, "affixes": 4096}
    sizes |= {"affix_size": 3, "column_size": 4, "hidden_size": 7, "num_layers": 2, "dropout": 0.5}
    model = spec.TagModel(
        words=len(schema.words) + 1,
        characters=len(schema.characters) + 2,
        columns=1,
        column_values=schema.column_values,
        tags=len(schema.inside),
        **sizes,
    )
    return TagNetwork(model, seed=1, schema=schema), schema, sentences


def test_sentences_side_by_side_are_tagged_as_one_by_one_in_any_order() -> None:
    network, schema, sentences = made()
    together = network.answers(schema.encode(sentences), chances=True)
    for index in (0, 3, 11):
        alone = network.answers(schema.encode(sentences.take([index])), chances=True)
        np.testing.assert_allclose(alone.chances[0], together.chances[index], rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(alone.paths[0], together.paths[index])
    order = np.random.default_rng(0).permutation(len(sentences))
    shuffled = network.answers(schema.encode(sentences.take(order)), chances=True)
    for place, index in enumerate(order):
        np.testing.assert_allclose(shuffled.chances[place], together.chances[index], rtol=1e-4, atol=1e-6)


def test_a_temperature_flattens_the_probabilities_of_whole_paths() -> None:
    """Against all paths of a short sentence, whose scores are divided by it, transitions too."""
    network, schema, sentences = made()
    with torch.no_grad():
        network.transitions.normal_(generator=torch.Generator().manual_seed(0))
    short = sentences.take([next(n for n, words in enumerate(sentences.words) if len(words) == 4)])
    encoded = schema.encode(short)
    batch = SentenceBatches(encoded, batch_size=1).batch(np.arange(1))
    scores = network.eval().emissions(batch)[0][:, 0].detach().numpy().astype(float)
    moves, count = network.moves().detach().numpy().astype(float), len(schema.inside)
    paths = list(itertools.product(range(count), repeat=len(scores)))
    totals = np.array(
        [
            sum(scores[step, tag] for step, tag in enumerate(path))
            + sum(moves[pair] for pair in itertools.pairwise((count, *path, count + 1)))
            for path in paths
        ]
    )
    shares = np.exp(totals / 3.0 - np.logaddexp.reduce(totals / 3.0))
    network.take(replace(schema, temperature=3.0))
    found = network.answers(encoded, chances=True).chances[0]
    for step in range(len(scores)):
        wanted = [
            sum(s for p, s in zip(paths, shares, strict=True) if p[step] == tag) for tag in range(count)
        ]
        np.testing.assert_allclose(found[step], wanted, atol=1e-6)
    nats = network.eval().fitted([batch])[1]
    right = totals[paths.index(tuple(encoded.tags[0].tolist()))]  # type: ignore[index]
    at = [float(np.logaddexp.reduce(totals / t) - right / t) for t in np.geomspace(0.7, 6, 400)]
    assert nats == pytest.approx(min(at), rel=5e-3)


def test_every_gradient_is_that_of_finite_differences() -> None:
    network, schema, sentences = made(3)
    network.double().eval()
    batch = SentenceBatches(schema.encode(sentences), batch_size=3).batch(np.arange(3))
    state = network.initial_state(3)
    network.loss(batch, state)[0].backward()  # type: ignore[no-untyped-call]
    generator = torch.Generator().manual_seed(0)
    for name, weight in network.named_parameters():
        way = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        values = []
        with torch.no_grad():
            for sign in (1, -2, 1):
                weight += sign * 1e-6 * way
                values.append(float(network.loss(batch, state)[0]))
        assert weight.grad is not None
        slope = float((weight.grad * way).sum())
        assert (values[0] - values[1]) / 2e-6 == pytest.approx(slope, rel=1e-4, abs=1e-5), name


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "BIOES", "BILOU"])
def test_answers_keep_to_the_scheme_of_the_data(scheme: str) -> None:
    from unrolled.data import find_scheme, from_bioes

    words, tags, _ = grammar(40)
    own: Any = "BIOES" if scheme == "BILOU" else scheme
    given = from_bioes(tags, own, "BILU" if scheme == "BILOU" else "BIES")
    sentences = Sentences.from_lists(words, given)
    schema = Schema.fit(sentences)
    assert schema.scheme == own
    paths: Any = schema.encode(sentences).tags
    assert schema.outside(paths) == given
    model = replace(made()[0].config, columns=0, column_values=0, column_size=0, words=len(schema.words) + 1,
                    characters=len(schema.characters) + 2, tags=len(schema.inside))  # fmt: skip
    network = TagNetwork(model, seed=4, schema=schema)
    answered = tagged(network, sentences).tags  # of a network that has learnt nothing
    assert find_scheme(answered).broken == 0


def test_a_schema_of_a_stranger_is_read_strictly() -> None:
    schema = made()[1]
    stored = json.loads(json.dumps(schema.to_json()))
    assert Schema.from_json(stored) == schema
    assert Schema.from_json({**stored, "temperature": 2.0}).temperature == 2.0
    for name, value in (
        ("tags", ["O"]),
        ("words", "a\na"),
        ("scheme", "IOB9"),
        ("values", []),
        ("temperature", 0.0),
        ("more", 1),
    ):
        with pytest.raises(CheckpointError, match="schema"):
            Schema.from_json({**stored, name: value})


def test_what_a_stranger_says_of_reading_is_no_argument() -> None:
    stored = json.loads(json.dumps(made()[1].to_json()))
    for bad in ({"source": "x"}, {"labelled": True}, {"tags": 1}, {"columns": "0"}, {"columns": [1]}, []):
        with pytest.raises(CheckpointError, match="read_as"):
            Schema.from_json({**stored, "read_as": bad})


def test_a_test_file_in_another_scheme_is_taken_in_that_of_training(trained: Any, tmp_path: Path) -> None:
    source, test = write(tmp_path / "train.conll"), read_sentences(write(tmp_path / "test.conll", 30, 5))
    moved = zip(test.words, test.columns[0], from_bioes(to_bioes(test.tags, "IOB2"), "IOB1"), strict=True)
    other = tmp_path / "other.conll"
    other.write_text(
        "".join("".join(f"{' '.join(r)}\n" for r in zip(*each, strict=True)) + "\n" for each in moved)
    )
    found = prepare(spec.TagData(str(source), tags="2", test=str(other)), tmp_path / "data", seed=0)
    assert found.part("test").tags == test.tags
    assert "test: chunks are marked in IOB1 and converted to IOB2" in found.stored.notes
    assert not any("never saw" in note for note in found.stored.notes)
    network = load(trained.run).model
    scores = [evaluate_sentences(network, each).judged.values for each in (test, read_sentences(other))]
    assert scores[0] == scores[1]


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    one = tmp_path / "one.conll"
    one.write_text("a O\nb O\n\n" * 10)
    with pytest.raises(DataError, match="tags: expected 2 to"):
        train.run(config(tmp_path, source=one, tags=None), observers=[])
    with pytest.raises(ConfigError, match="tie_weights"):
        train.run(config(tmp_path, tie_weights=True), observers=[])
    other = tmp_path / "other.conll"
    other.write_text("a O\nb B-NP\n\n" * 10)
    with pytest.raises(DataError, match="test"):
        train.run(config(tmp_path, test=str(other)), observers=[])


def test_the_estimator_fits_lists_predicts_scores_and_is_saved(tmp_path: Path) -> None:
    words, tags, _ = grammar()
    sizes: dict[str, Any] = {"hidden_size": 12, "batch_size": 16, "learning_rate": 0.02, "embedding_size": 12}
    tagger = SequenceTagger(steps=40, threads=1, **sizes).fit(words, tags)
    assert tagger.score(words, tags) > 0.85
    assert (tagger.scheme_, tagger.classes_.tolist()) == ("IOB2", ["B-NP", "B-VP", "I-NP", "O"])
    chances = tagger.predict_marginals([["the", "dog", "."]])[0]
    np.testing.assert_allclose(sum(chances.values()), 1, rtol=1e-5)
    tagger.save(tmp_path / "model")
    again = SequenceTagger.load(tmp_path / "model")
    assert again.predict(words[:5]) == tagger.predict(words[:5])
    assert again.get_params()["hidden_size"] == 12
    with pytest.raises(DataError, match="as many"):
        tagger.score(words[:1], [["O"]])


@pytest.mark.slow
def test_scikit_learn_searches_over_taggers() -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    words, tags, _ = grammar(60)
    tagger = SequenceTagger(steps=15, hidden_size=8, batch_size=16, embedding_size=8, threads=1)
    search = selection.GridSearchCV(tagger, {"learning_rate": [1e-5, 0.03]}, cv=2).fit(words, tags)
    assert search.best_params_ == {"learning_rate": 0.03}


def test_stored_sentences_come_back(tmp_path: Path) -> None:
    words, tags, speech = grammar(10)
    sentences = Sentences.from_lists(words, tags, {"pos": speech}, groups=list("aaaabbbbcc"))
    storing.write_sentences(tmp_path, sentences)
    again = storing.read(tmp_path).sentences
    for name in ("words", "tags", "columns", "features", "ids", "name", "sha256"):
        assert getattr(again, name) == getattr(sentences, name)
    assert again.groups is not None
    assert again.groups.tolist() == list("aaaabbbbcc")
    raw = bytearray((tmp_path / "samples.npz").read_bytes())
    raw[len(raw) // 2] ^= 1
    (tmp_path / "samples.npz").write_bytes(bytes(raw))
    with pytest.raises(DataError):
        storing.read(tmp_path)
