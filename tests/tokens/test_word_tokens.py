"""Words: Mikolov's convention, frequency order, single spaces."""

import tempfile
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.errors import ConfigError, TokenError
from unrolled.tokens import WordTokens, build, counting
from unrolled.tokens.counting import WordCounts

LAW = settings(deadline=None, max_examples=60)
words = st.text(st.characters(exclude_characters=" \t\n", exclude_categories=["Cs"]), min_size=1)
tidy = st.lists(st.lists(words).map(" ".join)).map("\n".join)


def test_words_are_ranked_by_frequency_then_by_code_points():
    tokens = build("word", ["b a b\nc a <unk>", "d"])
    assert tokens.to_json()["symbols"] == ["<unk>", "\n", "a", "b", "c", "d"]
    assert (tokens.kind, tokens.size, tokens.unknown, tokens.boundary) == ("word", 6, 0, 1)


def test_max_words_counts_every_id_and_rarer_words_become_unknown():
    tokens = build("word", ["a a b b c\n"], max_words=4)
    ids = tokens.encode("a c b d\n")
    assert ids.tolist() == [2, 0, 3, 0, 1]
    assert tokens.count_unknown(ids) == 2
    assert tokens.decode(ids) == "a <unk> b <unk>\n"


def test_one_end_of_sentence_a_line_and_unk_in_the_text_is_the_unknown_word():
    tokens = build("word", [" no it was n't black monday \n but <unk> \n"])
    ids = tokens.encode(" no <unk> \n but \n")
    assert tokens.decode(ids) == "no <unk>\nbut\n"
    assert tokens.count_unknown(ids) == 1


def test_only_spaces_tabs_and_newlines_separate_words():
    tokens = build("word", ["a\u00a0b c,\td"])
    assert tokens.to_json()["symbols"][2:] == ["a\u00a0b", "c,", "d"]


@LAW
@given(tidy)
def test_decode_undoes_encode_for_texts_with_single_spaces(text):
    tokens = build("word", [text])
    ids = tokens.encode(text)
    assert ids.dtype == np.int64
    assert tokens.decode(ids) == text
    assert tokens.count_unknown(ids) == text.replace("\n", " ").split(" ").count("<unk>")


@LAW
@given(st.text("ab \t\nc"), st.text("ab \t\nd"))
def test_streamed_pieces_join_to_the_decoded_text(corpus, text):
    tokens = build("word", [corpus])
    ids = tokens.encode(text)
    decoder = tokens.decoder()
    for _ in range(2):
        assert "".join(decoder.feed(int(i)) for i in ids) + decoder.finish() == tokens.decode(ids)


def test_a_word_of_over_1024_characters_is_unknown():
    longest = "x" * 1024
    tokens = build("word", [f"a {longest} {longest}y\n", "z" * 5000])
    assert tokens.to_json()["symbols"] == ["<unk>", "\n", "a", longest]
    assert tokens.encode(f"{longest} {longest}y").tolist() == [3, 0]


def test_long_words_that_are_not_counted_go_to_no_file():
    counts = WordCounts(scratch=None)
    for _ in range(40):
        counts.feed("x" * 2**20)
    assert counts.top(5) == []


def test_a_text_with_very_many_kinds_of_word_opens_a_few_files(monkeypatch):
    monkeypatch.setattr(counting, "MOST_WORDS", 2)
    monkeypatch.setattr(counting, "MOST_RUNS", 4)
    made, most = [], 0

    def scratch():
        nonlocal most
        made.append(tempfile.TemporaryFile())  # noqa: SIM115 (closed by the counts)
        most = max(most, sum(not file.closed for file in made))
        return made[-1]

    counts, other = WordCounts(scratch), WordCounts(scratch)
    for number in range(200):
        (other if number % 3 else counts).feed(f"w{number % 40} w{number % 23} w{number % 60}")
        if number % 20 == 19:
            counts.merge(other)
            assert sum(not file.closed for file in made) < 4
    words = [f"w{number % by}" for number in range(200) for by in (40, 23, 60)]
    expected = sorted(Counter(words).items(), key=lambda item: (-item[1], item[0]))
    assert counts.top(99) == [word for word, _ in expected]
    assert len(made) > 20
    assert most <= 2 * 4 + 1
    assert all(file.closed for file in made)


@pytest.mark.parametrize("wrong", [1, 0, True, 2.5])
def test_a_vocabulary_below_two_words_is_refused(wrong):
    with pytest.raises(
        ConfigError, match=rf"^max_words: expected a whole number of at least 2, got {wrong}$"
    ):
        WordTokens.build(["a"], max_words=wrong)


def test_another_kind_is_refused():
    with pytest.raises(
        ConfigError, match=r"^tokens: expected one of auto, char, byte, word, bpe:N, got 'bpe'$"
    ):
        build("bpe", ["a"])


def test_an_id_outside_the_vocabulary_is_named():
    with pytest.raises(TokenError, match=r"^ids: expected 0 to 2, got 3$"):
        build("word", ["a"]).decode([3])
