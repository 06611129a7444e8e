"""Holding out: nothing lost, nothing twice, every character accounted for."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.data import Document, encode_text, prepare
from unrolled.data.preparing import choose_lines
from unrolled.spec import DataConfig

LAW = settings(deadline=None, max_examples=60)
texts = st.lists(st.text("ab é\n", min_size=1, max_size=30), min_size=1, max_size=4)
kinds = st.sampled_from(["char", "byte", "word", "bpe:258"])
shares = st.floats(0.01, 0.99)


def prepared(texts, **settings):
    """Return the corpus of a folder of texts, and its whole as it is encoded in memory."""
    with tempfile.TemporaryDirectory() as folder:
        for number, text in enumerate(texts):
            (Path(folder) / f"{number}.txt").write_text(text, newline="")
        try:
            corpus = prepare(DataConfig(folder, **settings), Path(folder) / ".data", seed=0)
        except ValueError:  # too short, or only white space
            return None, None
    documents = [Document(str(number), text) for number, text in enumerate(texts)]
    return corpus, encode_text(documents, corpus.tokens, settings["shape"])


def test_the_last_tenth_of_one_document_is_cut_as_nanogpt_does_and_starts_at_a_boundary():
    text = "abcdefghijklmnopqrstuvwxyz"
    corpus, _ = prepared([text], shape="stream", tokens="char")
    train, validation, tokens = corpus.train, corpus.validation, corpus.tokens
    assert tokens.decode(train.ids) == "\n" + text[: int(26 * 0.9)]
    assert tokens.decode(validation.ids) == "\n" + text[int(26 * 0.9) :]
    assert (train.starts.tolist(), validation.starts.tolist()) == ([0], [0])
    assert (train.characters, validation.characters) == (23, 3)


def test_a_cut_at_a_document_takes_that_documents_boundary():
    corpus, _ = prepared(["abcd", "efg"], shape="stream", tokens="char", validation_share=0.5)  # int(8 / 2)
    assert corpus.tokens.decode(corpus.train.ids) == "\nabcd"
    assert corpus.tokens.decode(corpus.validation.ids) == "\nefg"
    assert (corpus.train.characters, corpus.validation.characters) == (4, 3)


@LAW
@given(texts, kinds, shares)
def test_the_parts_of_a_stream_hold_every_token_and_character_once(texts, kind, share):
    corpus, whole = prepared(texts, shape="stream", tokens=kind, validation_share=share)
    if corpus is None:
        return
    train, validation, boundary = corpus.train, corpus.validation, corpus.tokens.boundary
    if corpus.validation_is_train:
        assert train.ids.tolist() == validation.ids.tolist() == whole.ids.tolist()
        assert train.starts.tolist() == validation.starts.tolist() == whole.starts.tolist()
        return
    kept = train.num_targets
    at_start = kept + 1 in whole.starts
    joined = train.ids[1:].tolist() + [boundary] * at_start + validation.ids[1:].tolist()
    assert joined == whole.ids[1:].tolist()
    assert train.characters + validation.characters + at_start == whole.characters
    assert train.ids[0] == validation.ids[0] == boundary
    shifted = (validation.starts[1:] + kept + at_start).tolist()
    assert train.starts.tolist() == [s for s in whole.starts if s < kept]
    assert shifted == [s for s in whole.starts if s > kept + at_start]


@LAW
@given(texts, kinds, shares)
def test_the_cut_is_the_first_place_after_the_share_where_no_token_goes_across(texts, kind, share):
    corpus, whole = prepared(texts, shape="stream", tokens=kind, validation_share=share)
    if corpus is None or corpus.validation_is_train:
        return
    joined, cut = "\n".join(texts), corpus.train.characters
    least = int(whole.characters * (1 - share))
    encode = corpus.tokens.encode
    assert encode(joined[:cut]).tolist() == corpus.train.ids[1:].tolist()
    assert encode(joined[:cut]).tolist() + encode(joined[cut:]).tolist() == encode(joined).tolist()
    if kind in ("char", "byte"):
        assert cut == least
    else:  # a character that is not blank goes on, or blanks do
        assert least <= cut
        assert not [place for place in range(max(least, 1), cut) if "\n" in joined[place - 1 : place + 1]]


@LAW
@given(st.lists(st.text("ab é", min_size=1).map(lambda t: "x" + t), min_size=1, max_size=40), kinds, shares)
def test_the_parts_of_lines_hold_every_line_once(lines, kind, share):
    corpus, whole = prepared(["\n".join(lines)], shape="lines", tokens=kind, validation_share=share)
    if corpus is None:
        return
    train, validation = corpus.train, corpus.validation
    if len(lines) < 10:
        assert corpus.validation_is_train
        assert train.ids.tolist() == validation.ids.tolist() == whole.ids.tolist()
        return
    assert sorted(rows(train) + rows(validation)) == sorted(rows(whole))
    assert 1 <= len(validation.starts) == min(max(1, round(share * len(lines))), len(lines) - 1)
    assert train.characters + validation.characters == whole.characters
    assert validation.ids[-1] == train.ids[-1] == corpus.tokens.boundary
    if kind == "char":
        assert train.characters == train.num_targets


def rows(split):
    ends = [*split.starts[1:], split.num_targets]
    return [split.ids[a : b + 1].tolist() for a, b in zip(split.starts, ends, strict=True)]


def test_the_choice_of_lines_is_the_seeds():
    def chosen(seed):
        return choose_lines(20, 0.25, np.random.default_rng(seed)).tolist()

    assert chosen(0) == chosen(0)
    assert len({tuple(chosen(seed)) for seed in range(5)}) > 1
    assert sum(chosen(0)) == 5
    assert choose_lines(9, 0.5, np.random.default_rng(0)) is None


def test_both_parts_keep_the_order_of_the_lines():
    corpus, _ = prepared(["\n".join(map(chr, range(97, 117)))], shape="lines", tokens="char")
    for part in (corpus.train, corpus.validation):
        text = corpus.tokens.decode(part.ids)
        assert text == "".join(sorted(text.replace("\n", ""))).replace("", "\n")


def test_documents_whose_tail_has_no_words_are_counted():
    corpus, whole = prepared(["a b c d", "  "], shape="stream", tokens="word", validation_share=0.5)
    assert corpus.train.characters + corpus.validation.characters == whole.characters == 10


@pytest.mark.parametrize("shape", ["stream", "lines"])
def test_a_corpus_without_white_space_is_one_part_for_words(shape):
    corpus, whole = prepared(["onelongword"], shape=shape, tokens="word")
    assert corpus.validation_is_train
    assert corpus.train.ids.tolist() == corpus.validation.ids.tolist() == whole.ids.tolist()


def test_a_document_of_bytes_is_cut_at_a_byte(tmp_path):
    (tmp_path / "x").write_bytes(bytes(range(128, 148)))
    config = DataConfig(str(tmp_path / "x"), shape="stream", tokens="byte", validation_share=0.25)
    corpus = prepare(config, tmp_path / "data", seed=0)
    assert (corpus.train.characters, corpus.validation.characters) == (15, 5)
