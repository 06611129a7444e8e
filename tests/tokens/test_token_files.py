"""Token files: golden bytes, and files from strangers."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unrolled.errors import TokenError
from unrolled.files import parsed_bytes
from unrolled.tokens import build, files, from_json, load
from unrolled.tokens.files import MOST_PARSED

LAW = settings(deadline=None, max_examples=60)
HEAD = {"format": "unrolled-tokens", "version": 1}
START = b'{"format": "unrolled-tokens", "version": 1, "kind": '
GOLDEN = {
    "char": START + b'"char", "symbols": ["<unk>", "\\n", " ", "a", "\\u00e9"]}\n',
    "byte": START + b'"byte"}\n',
    "word": START + b'"word", "symbols": ["<unk>", "\\n", "\\u00e9", "a"]}\n',
}


@pytest.mark.parametrize("kind", ["char", "byte", "word"])
def test_the_file_of_a_vocabulary_has_these_bytes_and_loads_again(kind, tmp_path):
    tokens = build(kind, ["é a é"])
    tokens.save(tmp_path / "tokens.json")
    assert (tmp_path / "tokens.json").read_bytes() == GOLDEN[kind]
    assert load(tmp_path / "tokens.json") == tokens
    assert [p.name for p in tmp_path.iterdir()] == ["tokens.json"]


@LAW
@given(st.sampled_from(["char", "byte", "word"]), st.text())
def test_what_is_written_is_read(kind, text):
    tokens = build(kind, [text])
    again = from_json(json.loads(json.dumps(tokens.to_json())))
    assert again == tokens
    assert again.encode(text).tolist() == tokens.encode(text).tolist()


def char(*symbols):
    return {**HEAD, "kind": "char", "symbols": ["<unk>", "\n", *symbols]}


def word(*symbols):
    return {**HEAD, "kind": "word", "symbols": ["<unk>", "\n", *symbols]}


BAD = [
    ([], "tokens: expected an object, got list"),
    ({}, "tokens.format: expected 'unrolled-tokens', got nothing"),
    ({"format": "other"}, "tokens.format: expected 'unrolled-tokens', got 'other'"),
    ({**HEAD, "version": 2, "kind": "byte"}, "tokens.version: expected 1, got 2"),
    ({**HEAD, "version": True, "kind": "byte"}, "tokens.version: expected 1, got True"),
    ({**HEAD, "version": 1.0, "kind": "byte"}, "tokens.version: expected 1, got 1.0"),
    (HEAD, "tokens.kind: expected one of char, byte, word, bpe, got nothing"),
    ({**HEAD, "kind": "bpe:300"}, "tokens.kind: expected one of char, byte, word, bpe, got 'bpe:300'"),
    ({**HEAD, "kind": ["char"]}, "tokens.kind: expected one of char, byte, word, bpe, got ['char']"),
    (
        {**HEAD, "kind": "byte", "symbols": []},
        "tokens: expected the keys format, version, kind, got unknown key 'symbols'",
    ),
    (
        {**char(), "merges": 1},
        "tokens: expected the keys format, version, kind, symbols, got unknown key 'merges'",
    ),
    ({**HEAD, "kind": "char"}, "tokens.symbols: expected a list, got nothing"),
    ({**HEAD, "kind": "word", "symbols": "ab"}, "tokens.symbols: expected a list, got 'ab'"),
    ({**HEAD, "kind": "char", "symbols": []}, r"tokens.symbols: expected ['<unk>', '\n'] first, got []"),
    (
        {**HEAD, "kind": "word", "symbols": ["\n", "<unk>"]},
        r"tokens.symbols: expected ['<unk>', '\n'] first, got ['\n', '<unk>']",
    ),
    (char("a", "bc"), "tokens.symbols[3]: expected one character, got 'bc'"),
    (char(""), "tokens.symbols[2]: expected one character, got ''"),
    (char(7), "tokens.symbols[2]: expected a text, got 7"),
    (char(["a"]), "tokens.symbols[2]: expected a text, got ['a']"),
    (char("\ud800"), r"tokens.symbols[2]: expected text without lone surrogates, got '\ud800'"),
    (char("b", "a", "b"), "tokens.symbols: expected each symbol once, got 'b' twice"),
    (char("\n"), r"tokens.symbols: expected each symbol once, got '\n' twice"),
    (word("a b"), "tokens.symbols[2]: expected a word without spaces, got 'a b'"),
    (word(""), "tokens.symbols[2]: expected a word without spaces, got ''"),
    (word(None), "tokens.symbols[2]: expected a text, got None"),
    (word("a\udfff"), r"tokens.symbols[2]: expected text without lone surrogates, got 'a\udfff'"),
    (word("a", "b", "a"), "tokens.symbols: expected each symbol once, got 'a' twice"),
    (word("<unk>"), "tokens.symbols: expected each symbol once, got '<unk>' twice"),
    (
        word("x" * 99 + " "),
        "tokens.symbols[2]: expected a word without spaces, got 'xxxxxxxxxxxx...xxxxxxxxxxxx '",
    ),
]


@pytest.mark.parametrize(("obj", "message"), BAD)
def test_a_file_that_is_no_vocabulary_is_refused_in_one_line(obj, message):
    with pytest.raises(TokenError) as caught:
        from_json(obj)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "a JSON object, got Expecting value: line 1 column 1 (char 0)"),
        (
            b"\x80\x04.",
            "a JSON object, got 'utf-8' codec can't decode byte 0x80 in position 0: invalid start byte",
        ),
        (b"[" * 100_000, "a JSON object, got one that is nested too deeply"),
        (b'{"kind": 1, "kind": 2}', "a JSON object, got duplicate key 'kind'"),
    ],
)
def test_a_file_that_is_no_json_is_refused_in_one_line(data, message, tmp_path):
    path = tmp_path / "tokens.json"
    path.write_bytes(data)
    with pytest.raises(TokenError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: expected {message}"


def test_a_message_about_a_file_names_it(tmp_path):
    path = tmp_path / "tokens.json"
    path.write_text(json.dumps(char("ab")))
    with pytest.raises(
        TokenError, match=f"^{re.escape(str(path))}.symbols\\[2\\]: expected one character, got 'ab'$"
    ):
        load(path)


def test_a_long_file_is_refused_before_it_is_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST_FILE", 10)
    path = tmp_path / "tokens.json"
    with path.open("wb") as file:
        file.truncate(2**40)  # a hole, of which no more than the bound is read
    with pytest.raises(TokenError, match=r": expected at most 10 bytes, got a longer file$"):
        load(path)


@pytest.mark.parametrize("item", ["[]", "{}", "0.5", '"a"', '"\\u00e9"', '{"a":1}'])
def test_a_file_that_grows_when_it_is_parsed_is_refused_before(item, tmp_path, monkeypatch):
    monkeypatch.setattr(json, "loads", None)
    path = tmp_path / "tokens.json"
    path.write_text('{"symbols": [' + ",".join([item] * 2**20) + "]}")
    with pytest.raises(
        TokenError,
        match=r"^.*: expected a document of at most 37748736 bytes once parsed, got one of up to \d+$",
    ):
        load(path)


def test_a_large_vocabulary_is_within_the_estimate():
    words = {**HEAD, "kind": "word", "symbols": [f"w{i:07d}" for i in range(267_735)]}
    merges = {**HEAD, "kind": "bpe", "merges": [[65_000, 65_000]] * 65_280}
    for vocabulary in (words, merges):
        assert parsed_bytes(json.dumps(vocabulary).encode()) <= MOST_PARSED


def test_a_missing_file_and_an_unwritable_place_are_token_errors(tmp_path):
    path = tmp_path / "none" / "tokens.json"
    with pytest.raises(TokenError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: expected a token file, got No such file or directory"
    with pytest.raises(TokenError) as caught:
        build("byte", []).save(path)
    assert str(caught.value) == f"{path}: expected a path that can be written, got No such file or directory"
