"""Tagged words: files of columns, JSON lines and long tables as sentences; what is wrong is named by its line."""

import gzip
import json
import time
import tracemalloc

import numpy as np
import pytest

from unrolled.data import Sentences, read_sentences, unknown_tags_text
from unrolled.data.labelled import source
from unrolled.errors import ConfigError, DataError, DtypeError, ShapeError, UnrolledError

CHUNKS = "He PRP B-NP\nsaw VBD B-VP\nthe DT B-NP\ndog NN I-NP\n\nDogs NNS B-NP\nbark VBP B-VP\n"
WORDS = (("He", "saw", "the", "dog"), ("Dogs", "bark"))
TAGS = (("B-NP", "B-VP", "B-NP", "I-NP"), ("B-NP", "B-VP"))
SPEECH = (("PRP", "VBD", "DT", "NN"), ("NNS", "VBP"))


@pytest.fixture
def read(tmp_path):
    """Write a text under a name and read it."""

    def reading(text, name="x.conll", **keywords):
        path = tmp_path / name
        data = text if isinstance(text, bytes) else text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return read_sentences(path, **keywords)

    return reading


def test_all_formats_give_the_same_sentences(read):
    records = [{"tokens": w, "pos": p, "ner_tags": t} for w, p, t in zip(WORDS, SPEECH, TAGS, strict=True)]
    numbered = [
        {**each, "ner_tags": [["B-NP", "I-NP", "B-VP"].index(t) for t in each["ner_tags"]]}
        for each in records
    ]
    rows = [
        f"{'Sentence: ' + str(n) if not at else ''},{word},{SPEECH[n][at]},{TAGS[n][at]}"
        for n, sentence in enumerate(WORDS)
        for at, word in enumerate(sentence)
    ]
    ids = [f"{n}\t{w}\t{SPEECH[n][at]}\t{TAGS[n][at]}" for n, s in enumerate(WORDS) for at, w in enumerate(s)]
    conllu = CHUNKS.replace(" ", "\t").split("\n\n")
    conllu = "\n\n".join(
        "# text = …\n" + "\n".join(f"{n}\t{row}" for n, row in enumerate(part.splitlines(), 1))
        for part in conllu
    )
    found = [
        read(CHUNKS),
        read(CHUNKS, "x.txt.gz", tags=2),
        read(CHUNKS.replace(" ", "\t").replace("\n", "\r\n"), "x.tsv", tags="-1"),
        read(CHUNKS.replace(" ", "   ").replace("\n\n", " \n\t\n\n"), "x.iob"),
        read("-DOCSTART- -X- O\n\n" + CHUNKS, "x.bio"),
        read("word pos tag\n" + CHUNKS),
        read(conllu, "x.conllu"),
        read("\n".join(map(json.dumps, records)), "x.jsonl"),
        read('{"names": ["B-NP", "I-NP", "B-VP"]}\n' + "\n".join(map(json.dumps, numbered)), "x.ndjson"),
        read("Sentence #,Word,POS,Tag\n" + "\n".join(rows), "x.csv"),
        read("sentence_id\ttoken\tpos\tlabel\n" + "\n".join(ids), "x.tsv"),
    ]
    for each in found:
        assert (each.words, each.columns, each.tags, len(each)) == (WORDS, (SPEECH,), TAGS, 2)
        assert each.groups is None
        assert len(set(each.digests())) == 2
        assert each.words[0][0] is found[0].words[0][0] or each.words[0][0] == "He"


def test_columns_are_picked_by_number_or_name(read):
    assert read(CHUNKS, columns=["0"]).features == ()
    assert read(CHUNKS, columns=[]).columns == ()
    picked = read(CHUNKS, words=1, tags=0, columns=[2])
    assert picked.words[1] == ("NNS", "VBP")
    assert picked.tags[1] == ("Dogs", "bark")
    assert picked.features == ("2",)
    named = read("form xpos tag\n" + CHUNKS, tags="xpos", columns=["tag"])
    assert named.tags == SPEECH
    assert named.features == ("tag",)
    line = json.dumps({"words": ["a", "b"], "ner": ["O", "O"], "pos": [3, 4], "lang": ["x", "y"]})
    assert read(line, "x.jsonl").columns == ((("3", "4"),),)
    assert "left out: 'lang'" in " ".join(read(line, "x.jsonl").notes)
    assert read(line, "x.jsonl", columns=["lang"]).columns == ((("x", "y"),),)


def test_another_file_is_read_alike_and_without_tags(read):
    keywords = json.loads(json.dumps(dict(read(CHUNKS, tags=2).read_as)))
    assert read(CHUNKS, "other.txt", **keywords).tags == TAGS
    bare = read("Dogs NNS\nbark VBP\n", "new.txt", **keywords, labelled=False)
    assert bare.tags is None
    assert bare.columns == (SPEECH[1:],)
    assert bare.read_as == keywords
    line = '{"tokens": ["a"], "ner_tags": ["O"]}'
    keywords = read(line, "x.jsonl").read_as
    assert read('{"tokens": ["b"]}', "y.jsonl", **keywords, labelled=False).tags is None
    table = "id,word,tag\n1,a,O\n"
    keywords = read(table, "x.csv").read_as
    assert read("id,word\n1,a\n", "y.csv", **keywords, labelled=False).tags is None
    assert read("a\nb\n\nc\n", labelled=False).words == (("a", "b"), ("c",))


@pytest.mark.parametrize("cell", ["", "O", "I-x", "?!", "B", "-"])
def test_a_file_to_be_tagged_may_have_anything_or_nothing_in_the_column_of_tags(read, cell):
    cases = [
        ("a\tX\tO\nb\tY\tB-x\n", f"a\tX\t{cell}\nb\tY\tO\n\nb\tY\t{cell}\n", "x.tsv"),
        ("id,word,pos,tag\n1,a,X,O\n1,b,Y,B-x\n",
         f"id,word,pos,tag\n1,a,X,{cell}\n1,b,Y,O\n2,b,Y,{cell}\n", "x.csv"),
        ('{"tokens": ["a", "b"], "pos": ["X", "Y"], "tags": ["O", "B-x"]}',
         f'{{"tokens": ["a", "b"], "pos": ["X", "Y"], "tags": ["{cell}"]}}\n'
         '{"tokens": ["b"], "pos": ["Y"], "tags": null}', "x.jsonl"),
    ]  # fmt: skip
    for tagged, new, name in cases:
        keywords = read(tagged, name).read_as
        found = read(new, name, **keywords, read_tags=False)
        assert (found.words, found.tags) == ((("a", "b"), ("b",)), None)
        assert found.columns == ((("X", "Y"), ("Y",)),)
        assert not any("tag" in note for note in found.notes)
        assert found.read_as == keywords


def test_documents_are_groups(read):
    text = "-DOCSTART- -X- O\n\na x O\n\nb x O\n\n-DOCSTART- -X- O\n\nc x O\n"
    found = read(text)
    assert found.groups.tolist() == ["1", "1", "2"]
    assert found.take([2, 0]).groups.tolist() == ["2", "1"]
    assert read("-DOCSTART-\n\na x O\n").groups is None


def test_a_number_sign_is_a_word_where_it_has_a_tag_and_else_begins_a_comment(read):
    text = "# a remark\n# # O\n5 CD O\n\n# id 7\nthe DT O\n# # O\n#one NN O\n\n#two NN O\n"
    found = read(text)
    assert found.words == (("#", "5"), ("the", "#", "#one"), ("#two",))
    assert found.notes == ("2 comments left out",)


def test_lines_are_known_after_take(read):
    found = read("# x\n\n" + CHUNKS)
    assert [found.where(0, 3), found.where(1, 1)] == ["line 6", "line 9"]
    taken = found.take(np.array([1]))
    assert (taken.where(0, 1), taken.ids, taken.tokens) == ("line 9", ("2",), 2)
    line = json.dumps({"tokens": ["a", "b"], "tags": ["O", "O"]})
    assert read("\n" + line, "x.jsonl").where(0, 1) == "line 2, word 2"
    assert read("id,word,tag\n1,a,O\n1,b,O\n", "x.csv").where(0, 1) == "row 3"


def test_white_space_beyond_spaces_and_tabs_is_part_of_a_word(read):
    assert read("a\u00a0b NN O\n\u3000 NN O\n\x1fx NN O\n").words[0] == ("a\u00a0b", "\u3000", "\x1fx")
    assert read("New York\tO\nis\tO\n").words[0] == ("New York", "is")


def test_numbers_for_tags_are_plain_tags_and_said_so(read):
    found = read('{"tokens": ["a", "b"], "ner_tags": [0, 3]}', "x.jsonl")
    assert found.tags == (("0", "3"),)
    assert "holds numbers" in found.notes[0]


def test_broken_tags_are_counted_with_the_first_line(read):
    found = read("a O\nb I-X\n\nc B-X\nd B-X\ne B-Y\n\ne I-Y\n")
    assert found.notes == (
        "warning: 2 tags violate IOB2, such as I-X after O, line 2, read as conlleval does",
    )


BAD = [
    ("", "x.conll", "source: expected a file with samples, got an empty one"),
    ("\n \n\t\n", "x.conll", "none but comments and blank lines"),
    ("# a remark\n", "x.conll", "none but comments and blank lines"),
    ("-DOCSTART- O\n\n", "x.conll", "none but comments and blank lines"),
    (
        "one\nword\n",
        "x.conll",
        "expected words with tags, separated by spaces or tabs, got one column: 'one'",
    ),
    ("a x O\nb O\n", "x.conll", "source line 2: expected 3 columns separated by spaces, got 2 in 'b O'"),
    ("a O\nb\tx\tO\n", "x.conll", "source line 2: expected 2 columns separated by spaces, got 3"),
    ("a\tO\nb O\n", "x.tsv", "source line 2: expected 2 columns separated by tabs, got 1"),
    ("a\tO\n\tO\n", "x.tsv", "source line 2: expected a word in column 0, got none"),
    ("a\tO\nb\t\n", "x.tsv", "source line 2: expected a tag in column 1, got none"),
    (
        "a B-X\nb X\nc O\n",
        "x.conll",
        "source line 2: expected O, or a letter and a type such as B-NP, got 'X' beside",
    ),
    ("a O\nb\0 O\n", "x.conll", "NUL|0x00"),
    (b"a O\nb\xff O\n", "x.conll", "source: expected UTF-8 text, got byte 0xff"),
    ("a O\n" + "b" * 2**21, "x.conll", "source line 2: expected at most 1048576 characters"),
    (" ".join("a" * 2000) + "\n", "x.conll", "expected at most 1000 columns, got 2000"),
    (b"a O\n", "x.parquet", "expected a text in columns"),
    (
        '{"tokens": ["a"], "tags": ["O", "O"]}',
        "x.jsonl",
        "source line 1: expected 1 in 'tags', one for each word, got 2",
    ),
    ('{"tokens": ["a", 5], "tags": ["O", "O"]}', "x.jsonl", "expected texts in 'tokens', got 5"),
    ('{"tokens": ["a"], "tags": [1.5]}', "x.jsonl", "expected texts in 'tags', got 1.5"),
    (
        '{"tokens": ["a"], "tags": [2], "names": ["O", "B-X"]}',
        "x.jsonl",
        "expected numbers of 2 names, got 2",
    ),
    ('{"tokens": [], "tags": []}', "x.jsonl", "an object with words a line"),
    ('{"text": "a"}', "x.jsonl", "words: expected a key with a list, such as 'tokens' or 'words'"),
    ("word,tag\na,O\n", "x.csv", "id: expected the column that says which sentence a row is of"),
    ("id,word,tag\n1,a\n", "x.csv", "source row 2: expected 3 fields, got 2"),
    ("id,word,tag\n,a,O\n", "x.csv", "source row 2: expected a sentence in 'id', got none"),
    ("id,word,tag\n1,,O\n", "x.csv", "source row 2: expected a text in 'word', got none"),
    (
        "id,word,tag\n1,a,O\n2,b,O\n1,c,O\n",
        "x.csv",
        "id: expected a different one for each sentence, got '1' twice",
    ),
    ('id,word,tag\n1,"a,O\n', "x.csv", "source row 2: expected fields of a table"),
    (
        '{"tokens": ["' + "x" * 10**6 + '"], "tags": ["O"]}',
        "x.jsonl",
        "words and tags of at most 65536 characters",
    ),
    (
        '{"tokens": ["a\\ud800"], "tags": ["O"]}',
        "x.jsonl",
        "words and tags in Unicode, got half a character: 'a\\ud800'",
    ),
    ("id,word,tag\n", "x.csv", "a header alone"),
]


@pytest.mark.parametrize(("text", "name", "message"), BAD, ids=[message[:50] for *_, message in BAD])
def test_what_is_wrong_is_said_in_one_line(read, text, name, message):
    with pytest.raises(DataError, match=message if "|" in message else None) as caught:
        read(text, name)
    assert "|" in message or message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_columns_that_are_not_there_or_are_taken_are_refused(read, tmp_path):
    for keywords, message in [
        ({"tags": 3}, "tags: expected a column of the source: 0 to 2, got '3'"),
        ({"tags": "ner"}, "tags: expected a column of the source"),
        ({"tags": 0}, "tags: expected another column than that of the words"),
        ({"columns": [2]}, "columns: expected other columns than that of the tags"),
        ({"words": "-4"}, "words: expected a column of the source"),
        ({"id": "x"}, "id: expected none for a file of columns"),
    ]:
        with pytest.raises(DataError) as caught:
            read(CHUNKS, **keywords)
        assert message in str(caught.value)
    for keywords in ({"columns": "0"}, {"tags": 1.0}, {"tags": True}):
        with pytest.raises(ConfigError):
            read(CHUNKS, **keywords)
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(DataError):
            read_sentences(path)


def test_hostile_files_give_sentences_or_one_line(read):
    generator = np.random.default_rng(0)
    seeds = {
        "x.conll": CHUNKS.encode(),
        "x.tsv": ("# x\n" + CHUNKS.replace(" ", "\t")).encode(),
        "x.jsonl": b'{"tokens": ["a", "b"], "tags": [0, 1], "names": ["O", "B-X"]}\n{"tokens": ["c"], "tags": [1]}\n',
        "x.csv": b'Sentence #,Word,Tag\nS 1,a,O\n,"b""",B-X\nS 2,c,O\n',
    }
    pieces = [
        b"",
        b"\0",
        b"\xff",
        b"\n",
        b",",
        b"\t",
        b" ",
        b'"',
        b"{",
        b"#",
        b"-DOCSTART-",
        b"\r",
        b"\xe2\x80\xa8",
    ]
    for name, data in seeds.items():
        for _ in range(150):
            at, more = sorted(int(n) for n in generator.integers(0, len(data) + 1, 2))
            piece = pieces[generator.integers(len(pieces))]
            changed = data[:at] + piece + data[(at + 1 if generator.integers(2) else more) :]
            try:
                found = read(changed, name)
            except UnrolledError as error:
                message = str(error)
            else:
                message = ""
                assert all(words and all(words) for words in found.words)
                assert [*map(len, found.words)] == [*map(len, found.tags)]
            assert len(message.splitlines()) < 2
            assert len(message) < 1000


def test_memory_is_bounded(read, monkeypatch):
    monkeypatch.setattr(source, "most_bytes", lambda: 2**20)
    monkeypatch.setattr("unrolled.data.labelled.tokens.most_bytes", lambda: 2**20)
    with pytest.raises(DataError, match="at most 1048576 bytes"):
        read("a O\n" * 300_000)
    tracemalloc.start()
    with pytest.raises(DataError, match="sentences that fit into memory"):
        read("a O\n\n" * 200_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 8 * 2**20


def test_a_large_file_is_read_fast(read):
    begin = time.process_time()
    found = read(CHUNKS.replace("\nDogs", "\n" + "a NN O\n" * 9 + "Dogs") * 13_000)
    assert found.tokens == 13_000 * 15
    assert time.process_time() - begin < 3


def test_lists_of_python_become_sentences():
    found = Sentences.from_lists(WORDS, TAGS, {"pos": SPEECH}, groups=[7, 8])
    assert (found.words, found.tags, found.features, found.columns) == (WORDS, TAGS, ("pos",), (SPEECH,))
    assert found.groups.tolist() == ["7", "8"]
    assert found.where(1, 0) == "sentence 1, word 1"
    assert Sentences.from_lists(WORDS).sha256 != found.sha256
    assert Sentences.from_lists(np.array([["a", "b"]])).words == (("a", "b"),)
    for error, arguments in [
        (DataError, ([],)),
        (DataError, ([[]],)),
        (DataError, ([[""]],)),
        (DataError, ([["\ud800"]],)),
        (DtypeError, (["a"],)),
        (DtypeError, ("a",)),
        (DtypeError, ([[1]],)),
        (ShapeError, ([["a"]], [["O", "O"]])),
        (ShapeError, ([["a"]], [["O"], ["O"]])),
    ]:
        with pytest.raises(error):
            Sentences.from_lists(*arguments)
    with pytest.raises(ShapeError):
        Sentences.from_lists(WORDS, groups=[1])
    with pytest.raises(DataError):
        Sentences.from_lists(WORDS, ids=[1, 1])


def test_sentences_are_alike_where_words_and_every_further_column_are():
    speech = (SPEECH[1], ("NNP", "VBP"), SPEECH[1])
    first, second, third = Sentences.from_lists(WORDS[1:] * 3, columns={"pos": speech}).digests()
    assert first == third != second


def test_tags_that_training_never_saw_are_counted():
    test = Sentences.from_lists([["a", "b"], ["c"]], [["I-LST", "O"], ["I-LST"]])
    assert test.unknown_tags({"O"}) == {"I-LST": 2}
    assert unknown_tags_text({"I-LST": 2}) == "1 tag not in the training part: I-LST (2 words)"
