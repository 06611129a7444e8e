"""Chunk scores against conlleval's rules, transcribed token by token, and against cases worked by hand."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data import from_bioes, read_sentences, to_bioes
from unrolled.errors import ShapeError
from unrolled.tasks.tag.metrics import chunk_scores


def ends(before, kind_before, tag, kind):
    """Whether a chunk ends between two tokens: conlleval's endOfChunk, and S, which is a chunk of its own."""
    found = (before, tag) in [
        ("B", "B"),
        ("B", "O"),
        ("I", "B"),
        ("I", "O"),
        ("E", "E"),
        ("E", "I"),
        ("E", "O"),
    ]
    found = found or before in ("]", "[", "S")
    found = found or (before in ("B", "I") and tag == "S") or (before == "E" and tag in ("B", "S"))
    return found or (before not in ("O", ".") and kind_before != kind)


def begins(before, kind_before, tag, kind):
    """Whether a chunk begins between two tokens: conlleval's startOfChunk, and S."""
    found = (before, tag) in [
        ("B", "B"),
        ("I", "B"),
        ("O", "B"),
        ("O", "I"),
        ("E", "E"),
        ("E", "I"),
        ("O", "E"),
    ]
    found = found or tag in ("[", "]", "S") or (before in ("S", "[", "]") and tag not in ("O", "."))
    found = found or (before == "E" and tag == "B")
    return found or (tag not in ("O", ".") and kind_before != kind)


def split(tag):
    letter, dash, kind = tag.partition("-")
    return (letter, kind) if dash else (tag, "")


def by_conlleval(gold, predicted):
    """Return (gold, predicted, correct) chunks, one token after the other, with conlleval's state."""
    found = given = right = 0
    inside = False
    before = [("O", ""), ("O", "")]
    pairs = []
    for one, other in zip(gold, predicted, strict=True):
        pairs += [*zip(one, other, strict=True), ("O", "O")]  # a sentence ends as with O
    for pair in pairs:
        now = [split(tag) for tag in pair]
        over = [ends(*was, *tag) for was, tag in zip(before, now, strict=True)]
        new = [begins(*was, *tag) for was, tag in zip(before, now, strict=True)]
        if inside and all(over) and before[0][1] == before[1][1]:
            inside, right = False, right + 1
        elif inside and (over[0] != over[1] or now[0][1] != now[1][1]):
            inside = False
        if all(new) and now[0][1] == now[1][1]:
            inside = True
        found, given = found + new[0], given + new[1]
        before = now
    return found, given, right


def counts(scores):
    return scores.chunks.gold, scores.chunks.predicted, scores.chunks.correct


# A bracket after B, I or E, where conlleval opens a chunk without closing the one before, is left out.
LETTERS = [("BI", "IOB2"), ("BIES", "BIOES"), ("BIE", "BIOES"), ("[]", "BIOES")]


@pytest.mark.parametrize(("letters", "scheme"), LETTERS)
@given(data=st.data())
def test_counts_are_those_of_conlleval_for_any_tags(letters, scheme, data):
    names = ["O", *(f"{letter}-{kind}" for letter in letters for kind in ("X", "Y"))]
    tags = st.lists(st.sampled_from(names), min_size=1, max_size=8)
    gold = data.draw(st.lists(tags, min_size=1, max_size=3))
    predicted = [data.draw(st.lists(st.sampled_from(names), min_size=len(g), max_size=len(g))) for g in gold]
    assert counts(chunk_scores(gold, predicted, scheme)) == by_conlleval(gold, predicted)


def test_letters_alone_are_chunks_of_one_type():
    assert counts(chunk_scores([["B", "I", "O", "B"]], [["B", "O", "O", "B"]], "IOB2")) == (2, 2, 1)


def test_a_worked_case():
    #        a chunk of two  | one    | cut short      | of another type
    gold = [["B-NP", "I-NP", "B-VP", "B-NP", "I-NP", "O"], ["B-PP", "O"]]
    other = [["B-NP", "I-NP", "B-VP", "B-NP", "O", "O"], ["B-NP", "B-NP"]]
    scores = chunk_scores(gold, other, "IOB2")
    assert counts(scores) == (4, 5, 2)
    assert (scores.precision, scores.recall, scores.accuracy) == (0.4, 0.5, 5 / 8)
    assert scores.f1 == pytest.approx(2 * 0.4 * 0.5 / 0.9)
    assert {kind: (s.gold, s.predicted, s.correct) for kind, s in scores.by_type.items()} == {
        "NP": (2, 4, 1),
        "PP": (1, 0, 0),
        "VP": (1, 1, 1),
    }
    assert list(scores.values) == ["f1", "precision", "recall", "accuracy"]


def test_broken_tags_are_read_leniently():
    assert counts(chunk_scores([["B-X", "I-X"]], [["I-X", "I-X"]], "IOB2")) == (1, 1, 1)
    assert counts(chunk_scores([["B-X", "I-Y"]], [["B-X", "B-Y"]], "IOB2")) == (2, 2, 2)
    assert counts(chunk_scores([["B-X"], ["I-X"]], [["B-X"], ["B-X"]], "IOB2")) == (2, 2, 2)


def test_scores_do_not_depend_on_the_scheme():
    generator = np.random.default_rng(0)
    names = ["O", "B-X", "I-X", "B-Y", "I-Y"]
    gold, other = ([[names[i] for i in generator.integers(5, size=6)] for _ in range(40)] for _ in range(2))
    want = counts(chunk_scores(gold, other, "IOB2"))
    for scheme in ("IOB1", "BIOES"):
        pair = [from_bioes(to_bioes(tags, "IOB2"), scheme) for tags in (gold, other)]
        assert counts(chunk_scores(*pair, scheme)) == want


def test_plain_tags_have_no_chunks():
    scores = chunk_scores([["NN", "VB"]], [["NN", "NN"]], None)
    assert (scores.f1, scores.precision, scores.recall, scores.accuracy) == (None, None, None, 0.5)
    assert scores.by_type["NN"].f1 == pytest.approx(2 / 3)
    assert scores.values == {"accuracy": 0.5}


def test_nothing_found_is_zero_and_other_shapes_are_refused():
    scores = chunk_scores([["O"]], [["O"]], "IOB2")
    assert (scores.f1, scores.precision, scores.accuracy) == (0.0, 0.0, 1.0)
    assert chunk_scores([], [], "IOB2").f1 == 0
    for gold, other in (([["O"]], []), ([["O"]], [["O", "O"]])):
        with pytest.raises(ShapeError):
            chunk_scores(gold, other, "IOB2")


DATA = Path(os.environ.get("UNROLLED_DATA", "nowhere")) / "conll2000" / "test.txt"


@pytest.mark.skipif(not DATA.exists(), reason="real data is where UNROLLED_DATA says")
def test_real_tags_are_counted_as_conlleval_does():
    gold = read_sentences(DATA).tags
    generator = np.random.default_rng(0)
    names = sorted({tag for each in gold for tag in each})
    other = [
        [names[generator.integers(len(names))] if generator.random() < 0.2 else t for t in g] for g in gold
    ]
    assert counts(chunk_scores(gold, other, "IOB2")) == by_conlleval(gold, other)
    assert chunk_scores(gold, gold, "IOB2").chunks.gold == 23_852  # as the task's paper counts them
