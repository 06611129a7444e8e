"""Holding out: nothing lost, nothing twice, every character accounted for."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.data import Document, encode_text
from unrolled.data.splitting import split_lines, split_stream
from unrolled.tokens import build

LAW = settings(deadline=None, max_examples=100)
texts = st.lists(st.text("ab é\n", min_size=1, max_size=30), min_size=1, max_size=4)
kinds = st.sampled_from(["char", "byte", "word"])
shares = st.floats(0.01, 0.99)


def documents_of(texts):
    return [Document(str(i), text) for i, text in enumerate(texts)]


def test_the_last_tenth_of_one_document_is_cut_as_nanogpt_does_and_starts_at_a_boundary():
    text = "abcdefghijklmnopqrstuvwxyz"
    tokens = build("char", [text])
    whole = encode_text(documents_of([text]), tokens, "stream")
    train, validation = split_stream(whole, documents_of([text]), tokens, 0.1)
    assert tokens.decode(train.ids) == "\n" + text[: int(26 * 0.9)]
    assert tokens.decode(validation.ids) == "\n" + text[int(26 * 0.9) :]
    assert (train.starts.tolist(), validation.starts.tolist()) == ([0], [0])
    assert (train.characters, validation.characters) == (23, 3)


def test_a_cut_at_a_document_takes_that_documents_boundary():
    texts = ["abcd", "efg"]
    tokens = build("char", texts)
    whole = encode_text(documents_of(texts), tokens, "stream")
    train, validation = split_stream(whole, documents_of(texts), tokens, 0.5)  # int(8 / 2) = 4
    assert tokens.decode(train.ids) == "\nabcd"
    assert tokens.decode(validation.ids) == "\nefg"
    assert (train.characters, validation.characters) == (4, 3)


@LAW
@given(texts, kinds, shares)
def test_the_parts_of_a_stream_hold_every_token_and_character_once(texts, kind, share):
    documents, tokens = documents_of(texts), build(kind, texts)
    whole = encode_text(documents, tokens, "stream")
    kept = int(whole.num_targets * (1 - share))
    parts = split_stream(whole, documents, tokens, share)
    if parts is None:
        assert kept < 1 or whole.num_targets - kept < 2
        return
    train, validation = parts
    at_start = kept + 1 in whole.starts
    assert train.num_targets == kept
    joined = train.ids[1:].tolist() + [tokens.boundary] * at_start + validation.ids[1:].tolist()
    assert joined == whole.ids[1:].tolist()
    assert train.characters + validation.characters + at_start == whole.characters
    assert train.ids[0] == validation.ids[0] == tokens.boundary
    shifted = (validation.starts[1:] + kept + at_start).tolist()
    assert train.starts.tolist() == [s for s in whole.starts if s < kept]
    assert shifted == [s for s in whole.starts if s > kept + at_start]
    if kind == "char":
        assert train.characters == train.num_targets


@LAW
@given(st.lists(st.text("ab é", min_size=1).map(lambda t: "x" + t), min_size=1, max_size=40), kinds, shares)
def test_the_parts_of_lines_hold_every_line_once(lines, kind, share):
    documents, tokens = documents_of(["\n".join(lines)]), build(kind, lines)
    whole = encode_text(documents, tokens, "lines")
    parts = split_lines(whole, documents, share, np.random.default_rng(0))
    if len(lines) < 10:
        assert parts is None
        return
    train, validation = parts
    assert sorted(rows(train) + rows(validation)) == sorted(rows(whole))
    assert 1 <= len(validation.starts) == min(max(1, round(share * len(lines))), len(lines) - 1)
    assert train.characters + validation.characters == whole.characters
    assert validation.ids[-1] == train.ids[-1] == tokens.boundary
    if kind == "char":
        assert train.characters == train.num_targets


def rows(split):
    ends = [*split.starts[1:], split.num_targets]
    return [split.ids[a : b + 1].tolist() for a, b in zip(split.starts, ends, strict=True)]


def test_the_choice_of_lines_is_the_seeds_and_keeps_their_order():
    lines = [chr(97 + i) for i in range(20)]
    documents, tokens = documents_of(["\n".join(lines)]), build("char", lines)
    whole = encode_text(documents, tokens, "lines")

    def chosen(seed):
        return tokens.decode(split_lines(whole, documents, 0.25, np.random.default_rng(seed))[1].ids)

    assert chosen(0) == chosen(0)
    assert len({chosen(seed) for seed in range(5)}) > 1
    assert chosen(0) == "".join(sorted(chosen(0).replace("\n", ""))).replace("", "\n")


def test_one_document_whose_tail_has_no_words_is_counted():
    texts = ["a b c d", "  "]
    documents, tokens = documents_of(texts), build("word", texts)
    whole = encode_text(documents, tokens, "stream")
    train, validation = split_stream(whole, documents, tokens, 0.5)
    assert train.characters + validation.characters == whole.characters == 10


def test_a_document_of_bytes_is_cut_at_a_byte():
    documents, tokens = [Document("x", bytes(range(128, 148)))], build("byte", [])
    whole = encode_text(documents, tokens, "stream")
    train, validation = split_stream(whole, documents, tokens, 0.25)
    assert (train.characters, validation.characters) == (15, 5)
