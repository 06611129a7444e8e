"""Tags by simple models: the most frequent tag of a word, and a linear chain on words and affixes."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TypeAlias

import numpy as np

from unrolled.data import Sentences
from unrolled.errors import DataError, ShapeError, counted, expected
from unrolled.tasks.controls.chain import fit_chain
from unrolled.tasks.controls.tag_features import Features

__all__ = ["FittedTags", "suited_tags"]

MOST_WEIGHTS = 2**24  # of the linear chain, 64 MiB, and as much again while it is trained
MOST_WORDS = 500_000  # that it is trained on
MOST_STEPS = 2**31  # words times what one costs, by which it takes fewer words where there are many tags
MOST_COLUMNS = 3  # whose values have a most frequent tag each
MOST_TAGS = 1000


@dataclass(frozen=True, eq=False)
class FittedTags:
    """A control after its training."""

    predict: Callable[[Sentences], list[list[str]]]  # sentences with the columns of training → tags
    parameters: int
    seconds: float  # to fit it
    note: str = ""  # what was left out, so that it takes no longer than a control should


FitTags: TypeAlias = Callable[[Sentences], FittedTags]


def suited_tags(train: Sentences) -> Mapping[str, FitTags]:
    """Return the controls for sentences of this kind, by name; each is fitted with the training sentences.

    The most frequent tag of each word, of each value of a further column (the baseline of CoNLL-2000), and a
    linear-chain conditional random field on words, affixes, shapes, neighbours and further columns.
    """
    found: dict[str, FitTags] = {
        "most frequent tag of the word": lambda sentences: _frequent(sentences, None)
    }
    for index, name in enumerate(train.features[:MOST_COLUMNS]):
        found[f"most frequent tag of column {name}"] = lambda sentences, at=index: _frequent(sentences, at)  # type: ignore[misc]
    if len({tag for each in _tags(train) for tag in each}) <= MOST_TAGS:
        found["words and affixes, linear chain"] = _linear
    return found


def _tags(sentences: Sentences) -> Sequence[Sequence[str]]:
    if sentences.tags is None:
        raise DataError(expected("sentences", "tags to train on", "none"))
    return sentences.tags


def _frequent(train: Sentences, column: int | None) -> FittedTags:
    """Each value takes its most frequent tag, one that training never saw the most frequent of all."""
    begin = time.perf_counter()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    values = train.words if column is None else train.columns[column]
    for value, tag in zip(chain.from_iterable(values), chain.from_iterable(_tags(train)), strict=True):
        counts[value][tag] += 1
    best = {value: tags.most_common(1)[0][0] for value, tags in counts.items()}
    usual = Counter(chain.from_iterable(_tags(train))).most_common(1)[0][0]

    def predict(sentences: Sentences) -> list[list[str]]:
        _check(sentences, train.features)
        given = sentences.words if column is None else sentences.columns[column]
        return [[best.get(value, usual) for value in each] for each in given]

    return FittedTags(predict, len(best) + 1, time.perf_counter() - begin)


def _linear(train: Sentences) -> FittedTags:
    begin = time.perf_counter()
    names = sorted({tag for each in _tags(train) for tag in each})
    whole, most = train.tokens, MOST_STEPS // (len(names) ** 2 + 32 * len(names))
    features_of = train.features
    train = _fewer(train, min(MOST_WORDS, most))
    features = Features(train, MOST_WEIGHTS // len(names))
    numbers = {name: number for number, name in enumerate(names)}
    targets = np.array([numbers[tag] for tag in chain.from_iterable(_tags(train))])
    fitted = fit_chain(features(train), train.begins, targets, features.rows, len(names))
    note = f"trained on {train.tokens:,} of {counted(whole, 'word')}" if train.tokens < whole else ""

    def predict(sentences: Sentences) -> list[list[str]]:
        _check(sentences, features_of)
        found: list[list[str]] = []
        for part in _parts(sentences):
            tags = [names[number] for number in fitted.decode(features(part), part.begins)]
            borders = part.begins.tolist()
            found += [tags[a:b] for a, b in pairwise(borders)]
        return found

    return FittedTags(predict, fitted.parameters, time.perf_counter() - begin, note)


def _check(sentences: Sentences, features: tuple[str, ...]) -> None:
    if sentences.features != features:
        raise ShapeError(expected("sentences", f"columns {list(features)}", list(sentences.features)))


def _fewer(train: Sentences, most: int) -> Sentences:
    """Return as many sentences, drawn by chance, as have at most so many words; one at least."""
    if train.tokens <= most:
        return train
    drawn = np.random.default_rng(0).permutation(len(train))
    total = np.cumsum(np.diff(train.begins)[drawn])
    return train.take(np.sort(drawn[: max(1, int(np.searchsorted(total, most, "right")))]))


def _parts(sentences: Sentences) -> list[Sentences]:
    """Cut sentences into runs of at most some 100,000 words, or one sentence."""
    if sentences.tokens <= MOST_WORDS // 4:
        return [sentences]
    run = sentences.begins[1:] // (MOST_WORDS // 4)
    borders = [0, *(np.flatnonzero(np.diff(run)) + 1).tolist(), len(sentences)]
    return [sentences.take(range(a, b)) for a, b in pairwise(borders) if b > a]
