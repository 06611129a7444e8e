"""What a run on tagged sentences leaves to look at: tables, pictures, and report.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled import figures, files
from unrolled.data import Sentences
from unrolled.errors import counted
from unrolled.spec import RunDirectory
from unrolled.tasks.calibration import reliability
from unrolled.tasks.ranges import ranges
from unrolled.tasks.run_report import (
    comparison_lines,
    parts_line,
    picture_lines,
    write_controls,
    write_predictions,
)
from unrolled.tasks.stored_arrays import PARTS
from unrolled.tasks.tag.dataset import TaggedSentences
from unrolled.tasks.tag.evaluation import LABELS, Evaluation, Tagged, evaluate, tagged_part
from unrolled.tasks.tag.network import TagNetwork

__all__ = ["prediction_columns", "write_report"]

Array: TypeAlias = npt.NDArray[Any]
DRAWN = 30  # tags of the picture: the most frequent ones, all others as one
EVERY_TYPE = 200  # rows of the table of types
CONFUSED = 12  # rows of the table of what is taken for what
OTHERS = "all others"


def write_report(network: TagNetwork, dataset: TaggedSentences, directory: Path) -> Iterator[Path]:
    """Write pictures, predictions, controls.json and report.md into a run, yielding each file's path."""
    place, found = RunDirectory(directory), evaluate(network, dataset)
    given = tagged_part(network, dataset, found.part)
    if dataset.data.controls:
        yield write_controls(place, found)
    sentences = dataset.part(found.part)
    yield write_predictions(place, prediction_columns(sentences, given.tags, given.confidence))
    drawn = list(_draw(place, sentences, given, f"{dataset.name}, {found.part} part"))
    yield from drawn
    files.replace(place.report, _page(dataset, found, given, drawn))
    yield place.report


def prediction_columns(
    sentences: Sentences, tags: Sequence[Sequence[str]], confidence: Sequence[Array]
) -> dict[str, list[Any]]:
    """Return the table of predictions, a row for each word; with the right tag where it is known."""
    lengths = [len(each) for each in sentences.words]
    columns: dict[str, list[Any]] = {
        "sentence": [name for name, n in zip(sentences.ids, lengths, strict=True) for _ in range(n)],
        "position": [place for n in lengths for place in range(1, n + 1)],
        "word": list(chain.from_iterable(sentences.words)),
    }
    if sentences.tags is not None:
        columns["label"] = list(chain.from_iterable(sentences.tags))
    columns["tag"] = list(chain.from_iterable(tags))
    columns["confidence"] = np.round(np.concatenate(confidence).astype(float), 6).tolist()
    return columns


def _draw(place: RunDirectory, sentences: Sentences, given: Tagged, where: str) -> Iterator[Path]:
    right, answered = _flat(sentences.tags), _flat(given.tags)
    names, counts = _confusion(right, answered)
    path = place.picture("confusion.png")
    figures.confusion(path, counts=counts, classes=names, noun="tag", title=where)
    yield path
    wrong = right != answered
    confidence = np.concatenate(given.confidence)[:, None]
    path = place.picture("reliability.png")
    figures.reliability(path, **reliability(confidence, wrong.astype(int))._asdict(), title=where)
    yield path
    lengths = np.array([len(each) for each in sentences.words])
    begins = np.cumsum(lengths) - lengths
    shares = np.add.reduceat(wrong, begins) / lengths
    by_length = ranges(lengths, shares)
    if len(by_length.labels) > 1:
        path = place.picture("error_by_length.png")
        words = {"xlabel": "words in the sentence", "ylabel": "share of wrong tags", "title": where}
        figures.error_by(path, **by_length._asdict(), **words)
        yield path


def _flat(tags: Any) -> Array:
    return np.array(list(chain.from_iterable(tags)))


def _confusion(right: Array, answered: Array) -> tuple[list[str], Array]:
    """Return tags, the most frequent first, and how often each is taken for each [K, K]."""
    kinds, frequencies = np.unique(np.concatenate([right, answered]), return_counts=True)
    ranked = kinds[np.argsort(-frequencies, kind="stable")].tolist()
    names = ranked if len(ranked) <= DRAWN else [*ranked[: DRAWN - 1], OTHERS]
    number = {name: n for n, name in enumerate(names)}
    codes = [
        np.array([number.get(tag, len(names) - 1) for tag in side.tolist()]) for side in (right, answered)
    ]
    counts = np.bincount(codes[0] * len(names) + codes[1], minlength=len(names) ** 2)
    return names, np.asarray(counts.reshape(len(names), len(names)))


def _page(dataset: TaggedSentences, found: Evaluation, given: Tagged, pictures: Sequence[Path]) -> str:
    """Return report.md."""
    sizes = {name: len(dataset.part(name)) for name in PARTS}
    scheme = dataset.schema.scheme
    marks = "plain" if scheme is None else f"{scheme}, chunks scored by conlleval's rules"
    lines = [f"# {files.printable(dataset.name)}", ""]
    lines += [f"{parts_line(sizes, 'sentence')}. {counted(len(dataset.schema.tags), 'tag')}, {marks}.", ""]
    lines += [f"- {note}" for note in dataset.stored.notes] + [""] * bool(dataset.stored.notes)
    lines += comparison_lines(found, LABELS.__getitem__, ".4f")
    lines += ["", *_types(found.by_type or {}, "type of chunk" if scheme else "tag")]
    lines += ["", *_mistakes(dataset.part(found.part), given)]
    lines += picture_lines(pictures)
    return "\n".join(lines) + "\n"


def _types(by_type: Mapping[str, Mapping[str, float]], word: str) -> list[str]:
    """Return the table of types, the most frequent first."""
    lines = [f"| {word} | true | predicted | precision | recall | F1 |", "| --- |" + " --- |" * 5]
    for kind, each in list(by_type.items())[:EVERY_TYPE]:
        shown = " | ".join(f"{each[name]:.3f}" for name in ("precision", "recall", "f1"))
        lines.append(f"| {_cell(kind)} | {each['gold']:,} | {each['predicted']:,} | {shown} |")
    return lines


def _mistakes(sentences: Sentences, given: Tagged) -> list[str]:
    """Return the table of what is most often taken for what, with the words that it happens to."""
    rows = zip(_flat(sentences.words).tolist(), _flat(sentences.tags).tolist(), _flat(given.tags).tolist(),
               strict=True)  # fmt: skip
    wrong = [(right, answer, word) for word, right, answer in rows if right != answer]
    if not wrong:
        return ["No tag is wrong."]
    lines = ["| true tag | predicted | times | examples |", "| --- | --- | --- | --- |"]
    for (right, answer), times in Counter(each[:2] for each in wrong).most_common(CONFUSED):
        words = Counter(word for one, other, word in wrong if (one, other) == (right, answer))
        some = ", ".join(_cell(word) for word, _ in words.most_common(4))
        lines.append(f"| {_cell(right)} | {_cell(answer)} | {times:,} | {some} |")
    return lines


def _cell(text: str) -> str:
    return files.printable(files.shortened(text)).replace("|", "\\|")
