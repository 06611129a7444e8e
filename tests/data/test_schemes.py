"""Schemes of tags: recognised, checked against an enumeration of legal tags, converted without loss."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data import Sentences, chunks, find_scheme, from_bioes, in_scheme, legal, scheme_of, to_bioes
from unrolled.errors import ConfigError, DataError

SCHEMES = ("IOB1", "IOB2", "BIOES")
SPELLINGS = ("BIES", "BILU", "BMES", "BMLU")


def written(pieces, scheme, spelling="BIES"):
    """Return the tags of a sentence of (type or None, length), by each scheme's definition."""
    begin, inside, end, single = spelling
    tags, before = [], None
    for kind, length in pieces:
        if kind is None:
            tags += ["O"] * length
        elif scheme == "IOB1":
            tags += [f"{'B' if before == kind else 'I'}-{kind}"] + [f"I-{kind}"] * (length - 1)
        elif scheme == "IOB2":
            tags += [f"B-{kind}"] + [f"I-{kind}"] * (length - 1)
        elif length == 1:
            tags += [f"{single}-{kind}"]
        else:
            tags += [f"{begin}-{kind}"] + [f"{inside}-{kind}"] * (length - 2) + [f"{end}-{kind}"]
        before = kind
    return tags


PIECES = st.lists(
    st.tuples(st.sampled_from([None, "NP", "VP", "B-X"]), st.integers(1, 4)), min_size=1, max_size=6
)
DOCUMENTS = st.lists(PIECES, min_size=1, max_size=4)


@given(DOCUMENTS, st.sampled_from(SCHEMES), st.sampled_from(SPELLINGS))
def test_every_scheme_goes_to_bioes_and_back_without_loss(document, scheme, spelling):
    tags = [written(pieces, scheme, spelling) for pieces in document]
    bioes = to_bioes(tags, scheme)
    assert bioes == [written(pieces, "BIOES") for pieces in document]
    assert from_bioes(bioes, scheme, spelling) == tags


@given(DOCUMENTS, st.sampled_from(SCHEMES))
def test_what_is_written_by_a_scheme_keeps_to_it(document, scheme):
    tags = [written(pieces, scheme) for pieces in document]
    names = sorted({tag for each in tags for tag in each})
    allowed, start = legal(names, scheme), len(names)
    for each in tags:
        path = [start, *map(names.index, each), start + 1]
        assert all(allowed[a, b] for a, b in itertools.pairwise(path))
    found = find_scheme(tags)
    assert found.broken == 0
    assert found.scheme == scheme or found.scheme is None or len(set(names)) < 5


@given(DOCUMENTS)
def test_chunks_are_those_that_were_written(document):
    for scheme in SCHEMES:
        firsts, lasts, kinds = chunks([written(pieces, scheme) for pieces in document])
        begin, want = 0, []
        for kind, length in itertools.chain.from_iterable(document):
            want += [] if kind is None else [(begin, begin + length - 1, kind)]
            begin += length
        assert list(zip(firsts.tolist(), lasts.tolist(), kinds, strict=True)) == want


@pytest.mark.parametrize("scheme", SCHEMES)
def test_legal_transitions_are_those_that_chunks_have(scheme):
    """Of all sentences of up to 4 tags, the legal ones are exactly those that some chunks are written as."""
    letters = "BIES" if scheme == "BIOES" else "BI"
    names = ["O", *(f"{letter}-{kind}" for letter in letters for kind in "XY")]
    allowed, start = legal(names, scheme), len(names)
    for size in (1, 2, 3):
        want = set()
        for cuts in itertools.product([0, 1], repeat=size - 1):
            lengths = [len(run) for run in "".join("x" if not c else "x " for c in (*cuts, 0)).split()]
            for kinds in itertools.product([None, "X", "Y"], repeat=len(lengths)):
                want.add(tuple(written(list(zip(kinds, lengths, strict=True)), scheme)))
        found = {
            tuple(names[tag] for tag in tags)
            for tags in itertools.product(range(len(names)), repeat=size)
            if all(allowed[a, b] for a, b in itertools.pairwise([start, *tags, start + 1]))
        }
        assert found == want


@given(DOCUMENTS, st.sampled_from(SCHEMES), st.sampled_from(SCHEMES))
def test_sentences_are_taken_in_the_scheme_of_others(document, scheme, other):
    tags = [written(pieces, scheme) for pieces in document]
    sentences = Sentences.from_lists(tags, tags)
    taken = in_scheme(sentences, other)
    if find_scheme(sentences).scheme == scheme:
        assert [list(each) for each in taken.tags] == [written(pieces, other) for pieces in document]
        assert len(taken.notes) == (taken.tags != sentences.tags)
    assert in_scheme(sentences, None) is sentences


def test_plain_tags_have_no_scheme_and_every_order():
    assert scheme_of([["NN", "VBD", "."], ["-LRB-", "O"]]) is None
    assert scheme_of([["I", "E", "T"]]) is None
    assert to_bioes([["NN"]], None) == from_bioes([["NN"]], None) == [["NN"]]
    allowed = legal(["NN", "VB"], None)
    assert allowed[:2, :2].all()
    assert allowed[2, :2].all()
    assert allowed[:2, 3].all()
    assert not allowed[:, 2].any()
    assert not allowed[3].any()
    assert legal([], "IOB2").shape == (2, 2)


def test_segmentation_with_letters_alone_is_read():
    assert scheme_of([["B", "I", "B", "I"]]) == "IOB2"
    assert find_scheme([["B", "M", "E", "S"], ["S", "B", "E"]]).spelling == "BMES"
    assert to_bioes([["B", "M", "E", "S"]], "BIOES") == [["B", "I", "E", "S"]]
    assert from_bioes([["B", "I", "E", "S"]], "BIOES", "BMES") == [["B", "M", "E", "S"]]


def test_the_spelling_is_found():
    assert find_scheme([["B-X", "L-X", "O", "U-X"]]).spelling == "BILU"
    assert find_scheme([["B-X", "E-X", "O", "S-X"]]).spelling == "BIES"


def test_schemes_are_told_apart_and_breaks_counted():
    assert scheme_of([["I-X", "B-X", "O"]]) == "IOB1"
    assert scheme_of([["I-X", "I-X", "O"]]) == "IOB1"
    assert scheme_of([["B-X", "I-X", "O"]]) == "IOB2"
    mostly = [["B-X", "I-X"]] * 9 + [["O", "I-X"]]
    found = find_scheme(mostly)
    assert (found.scheme, found.broken) == ("IOB2", 1)
    assert found.first == "I-X after O, sentence 9, word 2"
    assert to_bioes(mostly, "IOB2")[9] == ["O", "S-X"]
    torn = find_scheme([["B-X", "E-X"], ["S-X"], ["O", "B-X"]])
    assert (torn.scheme, torn.broken, torn.first) == ("BIOES", 1, "B-X at the end, sentence 2, word 2")
    assert find_scheme([["S-X"], ["E-X"], ["S-X"]]).first == "E-X at the beginning, sentence 1, word 1"


def test_what_no_rule_reads_is_refused():
    for tags in (
        ["B-X", "X", "O"],
        ["B-X", "0", "O"],
        ["O", "B-X", "I-"],
        ["O", "B-X", "I"],
        ["O", "I-X", "b-X"],
    ):
        with pytest.raises(DataError, match="sentence 0, word"):
            scheme_of([tags])
    with pytest.raises(ConfigError):
        legal(["O"], "IOB3")


def test_conversion_of_any_tags_gives_legal_ones():
    generator = np.random.default_rng(1)
    names = ["O", *(f"{letter}-{kind}" for letter in "BIESLUM" for kind in "XY")]
    tags = [[names[i] for i in generator.integers(len(names), size=5)] for _ in range(300)]
    bioes = to_bioes(tags, "BIOES")
    assert find_scheme(bioes).broken == 0
    for one, other in zip(chunks(tags), chunks(bioes), strict=True):
        assert list(one) == list(other)
