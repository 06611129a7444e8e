"""What a source looks like: a note for who expects more than a language model."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from unrolled.data import form_of

TABLE = "time,x,y\n" + "".join(f"{n},{n * 2},{n * 3}\n" for n in range(3000))
TAGGED = "The DT\ncat NN\nsits VB\n\nA DT\ndog NN\nsleeps VB\n"
PROSE = "The quick brown fox, the lazy dog, and others.\nThey met; it rained, and so on.\n\nThe end.\n" * 50


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (TABLE, "a table of 3 columns, separated by ,"),
        (TABLE.replace(",", ";"), "a table of 3 columns, separated by ;"),
        ("a\t1\n" * 9, "a table of 2 columns, separated by tab"),
        (TAGGED, "tagged words, 2 columns, as in CoNLL files"),
        ("# a comment\n" + TAGGED, "tagged words, 2 columns, as in CoNLL files"),
        (PROSE, None),
        ("one line", None),
        ("word\nword\n\nword\nword\nword\nword\n", None),
        ("", None),
    ],
)
def test_a_file_is_told_by_its_first_lines(text: str, form: str | None, tmp_path: Path):
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "a.gz").write_bytes(gzip.compress(text.encode()))
    assert form_of(str(tmp_path / "a.txt")) == form_of(str(tmp_path / "a.gz")) == form


def test_a_folder_per_label_is_told_from_a_folder_of_texts(tmp_path: Path):
    for label in ("neg", "pos"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.txt").write_text("text")
    assert form_of(str(tmp_path)) == "a folder per label (neg, pos, ...)"
    (tmp_path / "README.txt").write_text("text")
    assert form_of(str(tmp_path)) is None


def test_what_cannot_be_read_is_left_to_who_reads_it(tmp_path: Path):
    (tmp_path / "torn.gz").write_bytes(gzip.compress(TABLE.encode())[:20])
    for source in ("sentences", "stdlib", "-", str(tmp_path / "gone"), str(tmp_path / "torn.gz"), "a\0b"):
        assert form_of(source) is None


def test_training_says_what_it_detected_and_what_it_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from unrolled.cli import main

    (tmp_path / "data.csv").write_text(TABLE[:2000])
    argv = [
        "train",
        str(tmp_path / "data.csv"),
        "--run",
        str(tmp_path / "run"),
        "--steps",
        "2",
        "--hidden",
        "4",
    ]
    assert main(argv) == 0
    assert "the source looks like a table of 3 columns, separated by ,; it is" in capsys.readouterr().err
