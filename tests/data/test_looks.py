"""Data that is no prose is recognised by its first kilobytes, and prose is left alone."""

import gzip
import os
import random
from pathlib import Path

import pytest

from unrolled.data import SENTENCES, looks_like

ROOT = Path(__file__).parents[2]
CONLL = "-DOCSTART- -X- O\n\n" + "EU NNP B-ORG\nrejects VBZ O\nGerman JJ B-MISC\ncall NN O\n. . O\n\n" * 5
CONLLU = (
    "# sent_id = 1\n"
    + "".join(f"{i}\tword{i}\tlemma\t{'NOUN' if i % 2 else 'VERB'}\n" for i in range(1, 9))
    + "\n"
)
FOUND = {
    "prices.csv": ("date,price,volume\n" + "".join(f"2026-01-{d:02d},{d}.5,{d * 10}\n" for d in range(1, 9)),
                   "a table: 3 columns separated by commas (date, price, volume)"),
    "numbers.csv": ("".join(f"{d};{d}.5\n" for d in range(9)), "a table: 2 columns separated by semicolons"),
    "labels.tsv": ("text\tlabel\n" + "I like it\tgood\nso dull\tbad\nfine, really\tgood\n" * 3,
                   "a table: 2 columns separated by tabs (text, label)"),
    "quoted.csv": ('review,label\n' + '"Well, it ran,\nand ran",pos\n"No, never",neg\n' * 4,
                   "a table: 2 columns separated by commas (review, label)"),
    "ner.conll": (CONLL, "tagged words: 3 columns, sentences between blank lines"),
    "ud.conllu": (CONLLU * 3, "tagged words: 4 columns, sentences between blank lines"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_a_file_that_is_no_prose_is_recognised(name: str, tmp_path: Path):
    text, words = FOUND[name]
    (tmp_path / name).write_text(text)
    assert looks_like(str(tmp_path / name)) == words
    (tmp_path / "windows").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert looks_like(str(tmp_path / "windows")) == words
    (tmp_path / "packed.gz").write_bytes(gzip.compress(text.encode()))
    assert looks_like(str(tmp_path / "packed.gz")) == words


@pytest.mark.parametrize("name", FOUND)
def test_a_long_file_is_recognised_by_its_beginning(name: str, tmp_path: Path):
    text, words = FOUND[name]
    (tmp_path / name).write_text(text + text[text.index("\n") + 1 :] * 5000 + "anything at all, here")
    assert looks_like(str(tmp_path / name)) == words


def test_a_folder_with_a_folder_per_label_is_recognised(tmp_path: Path):
    for label in ("neg", "pos"):
        (tmp_path / label).mkdir()
        for number in range(4):
            (tmp_path / label / f"{number}.txt").write_text("some words\n")
    (tmp_path / "README").write_text("about")
    assert looks_like(str(tmp_path)) == "labelled files: a folder per label (neg, pos)"


def test_a_folder_with_a_file_of_short_lines_per_label_is_recognised(tmp_path: Path):
    for label, names in {"Czech": "Novak Adamec Dvorak", "Dutch": "Aalsburg Ven Akker"}.items():
        (tmp_path / f"{label}.txt").write_text("\n".join(names.split()) + "\n")
    assert looks_like(str(tmp_path)) == "labelled files: a file per label (Czech, Dutch)"
    (tmp_path / "letter.txt").write_text("Dear Ann,\nall is well, and so am I, as always.\nYours,\nBob\n" * 2)
    assert looks_like(str(tmp_path)) is None
    (tmp_path / "letter.txt").write_text("".join(f"a line of verse, short {n}\n" for n in range(9)))
    assert looks_like(str(tmp_path)) is None


PROSE = {
    "sentences": "\n".join(SENTENCES) + "\n",
    "letters": "Dear Ann,\n\nall is well, and so am I.\n\nYours,\nBob\n" * 9,
    "verse": "the sun, the moon\nthe sea, the shore\nand then, at noon\nthey sing, no more\n" * 2,
    "list": "".join(f"{n}. buy milk, eggs\n" for n in range(9)),
    "names": "Ann Lee\nBob Ray\nCid Poe\n",
    "couplets": "the cat sat on the mat\n\nthe dog sat on the log\n" * 40,
    "indented": "def f(x):\n\treturn x\n\n" * 9,
    "play": "KING: Go, now.\n\nQUEEN: I go, my lord.\n\n" * 9,
    "lines as long as each other": "the cat sat on the mat\n\nthe dog sat on the log\n" * 40,
    "one": "x",
    "nothing": "",
    "json": '{"a": [1,\n2,\n3]}\n',
}


@pytest.mark.parametrize("name", PROSE)
def test_prose_and_source_are_left_alone(name: str, tmp_path: Path):
    (tmp_path / name).write_text(PROSE[name])
    assert looks_like(str(tmp_path / name)) is None


def test_the_files_of_this_repository_are_prose_and_source():
    for path in [
        *ROOT.glob("src/unrolled/**/*.py"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("*.md"),
        ROOT / "Makefile",
    ]:
        assert looks_like(str(path)) is None, path
    assert looks_like(str(ROOT / "src")) is None
    assert looks_like(str(ROOT / "docs")) is None
    assert looks_like(str(ROOT / "tests")) is None


def test_what_cannot_be_looked_at_twice_or_at_all_is_nothing(tmp_path: Path):
    (tmp_path / "torn.gz").write_bytes(b"no gzip")
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 99)
    (tmp_path / "latin").write_bytes(b"caf\xe9,1\n" * 9)
    os.mkfifo(tmp_path / "pipe")
    for source in ("sentences", "stdlib", "-", str(tmp_path / "gone"), "a\0b",
                   *(str(tmp_path / name) for name in ("torn.gz", "binary", "latin", "pipe"))):  # fmt: skip
        assert looks_like(source) is None


def test_hostile_names_of_columns_stay_short_and_printable(tmp_path: Path):
    header = ",".join(["a\x1b[31m" + "b" * 500, *(f"column{i}" for i in range(40))])
    (tmp_path / "a.csv").write_text(header + "\n" + (",".join("1" * 41) + "\n") * 9)
    found = looks_like(str(tmp_path / "a.csv"))
    assert found is not None
    assert found.isprintable()
    assert len(found) < 200


def test_any_bytes_give_a_line_or_nothing(tmp_path: Path):
    generator = random.Random(0)
    for number in range(300):
        size = generator.randrange(2000)
        alphabet = generator.choice([b',"\n;a1', b'\t\n a"', b'{}":,[]\n1a', bytes(range(256))])
        (tmp_path / "x").write_bytes(bytes(generator.choice(alphabet) for _ in range(size)))
        found = looks_like(str(tmp_path / "x"))
        assert found is None or (found.isprintable() and len(found) < 200), number
