"""Controls of the tagger: against enumeration, numerical gradients, python-crfsuite, and published figures."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from unrolled.data import Sentences, read_sentences
from unrolled.errors import DataError, ShapeError
from unrolled.tasks.controls import suited_tags
from unrolled.tasks.controls.chain import Batch, Chain, _gradients, fit_chain
from unrolled.tasks.controls.tag_features import Features, _shape
from unrolled.tasks.tag.metrics import chunk_scores

DATA = Path(os.environ.get("UNROLLED_DATA", "nowhere")) / "conll2000"
LENGTHS = np.array([3, 1, 4, 2, 3])
BEGINS = np.concatenate([[0], np.cumsum(LENGTHS)])
TAGS = 3


def drawn(seed=0):
    """Return scores [tokens, K] and the small weights: bias, follows, first, last."""
    generator = np.random.default_rng(seed)
    shapes = [(TAGS,), (TAGS, TAGS), (TAGS,), (TAGS,)]
    return generator.normal(size=(int(LENGTHS.sum()), TAGS)), [generator.normal(size=s) for s in shapes]


def paths_of(scores, small, begin, end):
    """Return every path of a sentence with its score."""
    bias, follows, first, last = small
    found = {}
    for path in itertools.product(range(TAGS), repeat=end - begin):
        total = first[path[0]] + last[path[-1]]
        total += sum(scores[begin + t, tag] + bias[tag] for t, tag in enumerate(path))
        found[path] = total + sum(follows[a, b] for a, b in itertools.pairwise(path))
    return found


def loss(scores, small, targets):
    """Return −log p of all sentences by enumeration."""
    total = 0.0
    for begin, end in itertools.pairwise(BEGINS):
        paths = paths_of(scores, small, begin, end)
        total += np.log(sum(np.exp(each) for each in paths.values())) - paths[tuple(targets[begin:end])]
    return total


def test_the_gradient_is_that_of_the_enumerated_likelihood():
    scores, small = drawn()
    targets = np.random.default_rng(1).integers(TAGS, size=len(scores))
    batch = Batch.of(np.arange(len(LENGTHS)), BEGINS)
    error, gradients = _gradients(scores[batch.tokens], targets[batch.tokens], batch, small)
    found = np.empty_like(error)
    found[batch.tokens] = error
    for array, gradient in zip([scores, *small], [found, *gradients], strict=True):
        want = np.empty_like(array)
        for at in np.ndindex(array.shape):
            kept, sides = array[at], []
            for step in (1e-5, -1e-5):
                array[at] = kept + step
                sides.append(loss(scores, small, targets))
            array[at] = kept
            want[at] = (sides[0] - sides[1]) / 2e-5
        np.testing.assert_allclose(gradient, want, atol=1e-8)


def test_viterbi_finds_the_best_of_all_paths():
    scores, small = drawn(2)
    rows = np.arange(1, len(scores) + 1)[:, None]
    chain = Chain(np.concatenate([np.zeros((1, TAGS)), scores]), *small)
    found = chain.decode(rows, BEGINS)
    for begin, end in itertools.pairwise(BEGINS):
        paths = paths_of(scores, small, begin, end)
        assert tuple(found[begin:end]) == max(paths, key=paths.get)


def text(seed=0, sentences=120):
    """Return sentences whose tags follow from a suffix and the tag before."""
    generator = np.random.default_rng(seed)
    words, tags, columns = [], [], []
    for _ in range(sentences):
        size = int(generator.integers(1, 9))
        stems = ["".join(generator.choice(list("bcdfg"), size=3)) for _ in range(size)]
        ends = generator.integers(3, size=size)
        own = ["O" if end == 0 else "B-X" if end == 1 else "B-Y" for end in ends]
        own = [f"I-{own[t][2:]}" if t and own[t] == own[t - 1] != "O" else tag for t, tag in enumerate(own)]
        words.append([stem + ("o", "ing", "ed")[end] for stem, end in zip(stems, ends, strict=True)])
        columns.append([str(end) for end in ends])
        tags.append(own)
    return Sentences.from_lists(words, tags, {"end": columns})


def test_the_linear_chain_learns_from_affixes_neighbours_and_columns():
    train, test = text(), text(1, 60)
    bare = [Sentences.from_lists(each.words, each.tags) for each in (train, test)]
    scores = {}
    for name, fit in suited_tags(train).items():
        fitted = fit(train)
        scores[name] = chunk_scores(test.tags, fitted.predict(test), "IOB2").accuracy
        assert fitted.parameters > 0
        assert fitted.seconds >= 0
    assert list(scores) == [
        "most frequent tag of the word",
        "most frequent tag of column end",
        "words and affixes, linear chain",
    ]
    assert scores["words and affixes, linear chain"] > 0.97
    linear = suited_tags(bare[0])["words and affixes, linear chain"](bare[0])
    assert chunk_scores(test.tags, linear.predict(bare[1]), "IOB2").accuracy > 0.95
    assert linear.predict(bare[1]) == suited_tags(bare[0])["words and affixes, linear chain"](
        bare[0]
    ).predict(bare[1])


def test_an_answer_does_not_depend_on_what_stands_beside_it(monkeypatch):
    train, test = text(), text(2, 50)
    for fit in suited_tags(train).values():
        fitted = fit(train)
        together = fitted.predict(test)
        assert [len(each) for each in together] == [len(each) for each in test.words]
        assert [fitted.predict(test.take([i]))[0] for i in range(len(test))] == together
        monkeypatch.setattr("unrolled.tasks.controls.tags.MOST_WORDS", 80)
        assert fitted.predict(test) == together
        monkeypatch.undo()


def test_labels_mean_nothing_when_they_are_shuffled():
    train = text()
    flat = list(itertools.chain.from_iterable(train.tags))
    np.random.default_rng(0).shuffle(flat)
    shuffled = [[flat.pop() for _ in words] for words in train.words]
    broken = Sentences.from_lists(train.words, shuffled)
    test = text(3)
    test = Sentences.from_lists(test.words, test.tags)
    usual = max(sum(tag == kind for tags in test.tags for tag in tags) for kind in ("O", "B-X", "B-Y"))
    fitted = suited_tags(broken)["words and affixes, linear chain"](broken)
    assert chunk_scores(test.tags, fitted.predict(test), "IOB2").accuracy < usual / test.tokens + 0.1


def test_what_is_large_is_bounded(monkeypatch):
    train = text()
    monkeypatch.setattr("unrolled.tasks.controls.tags.MOST_WORDS", 100)
    monkeypatch.setattr("unrolled.tasks.controls.tags.MOST_WEIGHTS", 1000)
    fitted = suited_tags(train)["words and affixes, linear chain"](train)
    assert fitted.note.startswith("trained on ")
    assert fitted.parameters < 1000 + 100
    assert Features(train, 300).rows <= 300


def test_other_columns_and_missing_tags_are_refused():
    train = text()
    bare = Sentences.from_lists(train.words)
    for fit in suited_tags(train).values():
        with pytest.raises(ShapeError, match=r"expected columns \['end'\], got \[\]"):
            fit(train).predict(bare)
    with pytest.raises(DataError, match="tags to train on"):
        suited_tags(bare)


def test_features_are_those_of_neighbours_in_the_same_sentence():
    train = Sentences.from_lists([["a", "b"], ["c"]], [["O", "O"], ["O"]])
    rows = Features(train, 10**6)(train)
    assert rows.min() > 0
    one = Features(train, 10**6)(train.take([1]))
    assert (one == rows[2:]).all()
    assert rows[1, 1] != rows[2, 1]  # the word before: a, and none
    other = Features(train, 10**6)(Sentences.from_lists([["z"]]))
    assert other[0, 2] == 0
    assert _shape("Feb-15b") == "Xx-dx"


def test_a_penalty_and_adagrad_do_not_move_the_row_of_unknown_features():
    rows, targets = np.array([[0, 1], [2, 0], [0, 0]]), np.array([0, 1, 1])
    chain = fit_chain(rows, np.array([0, 2, 3]), targets, 3, 2, epochs=3)
    assert not chain.weights[0].any()
    assert np.isfinite(chain.weights).all()


@pytest.mark.skipif(not DATA.exists(), reason="real data is where UNROLLED_DATA says")
@pytest.mark.parametrize(("columns", "name", "want"), [([1], "column 1", 77.07), ([], "the word", 71.83)])
def test_the_most_frequent_tags_are_the_published_baselines(columns, name, want):
    train, test = (read_sentences(DATA / f"{part}.txt", columns=columns) for part in ("train", "test"))
    fitted = suited_tags(train)[f"most frequent tag of {name}"](train)
    assert round(100 * chunk_scores(test.tags, fitted.predict(test), "IOB2").f1, 2) == want


@pytest.mark.slow
@pytest.mark.skipif(not DATA.exists(), reason="real data is where UNROLLED_DATA says")
def test_the_linear_chain_is_as_good_as_crfsuite_with_the_same_features(tmp_path):
    crfsuite = pytest.importorskip("pycrfsuite")
    whole = read_sentences(DATA / "train.txt")
    order = np.random.default_rng(0).permutation(len(whole))
    train, test = whole.take(order[:1500]), whole.take(order[1500:2300])
    own = suited_tags(train)["words and affixes, linear chain"](train).predict(test)
    features = Features(train, 10**6)
    trainer = crfsuite.Trainer(verbose=False)

    def items(sentences):
        rows = [[str(row) for row in word if row] for word in features(sentences).tolist()]
        return [rows[a:b] for a, b in itertools.pairwise(sentences.begins)]

    for words, tags in zip(items(train), train.tags, strict=True):
        trainer.append(words, tags)
    trainer.set_params({"c1": 0.0, "c2": 0.5, "max_iterations": 60})
    trainer.train(str(tmp_path / "model"))
    tagger = crfsuite.Tagger()
    tagger.open(str(tmp_path / "model"))
    other = [tagger.tag(words) for words in items(test)]
    f1, theirs = (chunk_scores(test.tags, given, "IOB2").f1 for given in (own, other))
    assert f1 > theirs - 0.005
