"""How good the tags are, beside those of simple models on the same split."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data import Sentences, in_scheme, unknown_tags_text
from unrolled.errors import DataError, expected
from unrolled.tasks import controls
from unrolled.tasks.group import Group, gathered
from unrolled.tasks.scores import Control, Judged, Scores, read_controls, read_scores, scores_table
from unrolled.tasks.standing import control_wins
from unrolled.tasks.tag.dataset import TaggedSentences
from unrolled.tasks.tag.metrics import ChunkScores, chunk_scores
from unrolled.tasks.tag.network import Answers, TagNetwork
from unrolled.tasks.tag.schema import Schema

__all__ = ["Evaluation", "Tagged", "evaluate", "evaluate_sentences", "tag_together", "tagged"]

Array: TypeAlias = npt.NDArray[Any]
LABELS = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "accuracy": "accuracy",
    "sentences": "sentences right",
    "nats_per_word": "nats per word",
}
FEW_WORDS = 5000


@dataclass(frozen=True)
class Evaluation(Judged):
    """Scores on the validation part, which chose the network, and on the test part or file, read once."""

    task: str  # "tag"
    validation: Scores | None  # None: of a file alone
    test: Scores | None
    parameters: int
    controls: tuple[Control, ...] = ()
    notes: tuple[str, ...] = ()
    by_type: Mapping[str, Mapping[str, float]] | None = None  # of the judged part, the most frequent first

    @property
    def main(self) -> str:
        """The figure that models are compared by: chunk F1, or accuracy of plain tags."""
        return "f1" if "f1" in self.judged.values else "accuracy"

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Evaluation:
        """Return the evaluation that `to_dict` described. Raises DataError: it is something else."""
        try:
            by_type = stored["by_type"]
            return cls(
                task=str(stored["task"]),
                validation=read_scores(stored["validation"]),
                test=read_scores(stored["test"]),
                parameters=int(stored["parameters"]),
                controls=read_controls(stored["controls"]),
                notes=tuple(map(str, stored["notes"])),
                by_type=None if by_type is None else {name: dict(each) for name, each in by_type.items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(expected("evaluation", "what to_dict gives", repr(error))) from error

    def __str__(self) -> str:
        parts = {"validation": self.validation, "test": self.test}
        table = scores_table("sentence", parts, self.parameters, self.controls, LABELS.__getitem__)
        return "\n".join([table, *self.notes])


@dataclass(frozen=True, eq=False)
class Tagged:
    """Tags that a network gives N sentences."""

    tags: list[list[str]]  # as the data writes them
    confidence: list[Array]  # [T_i] each: how probable that tag is there
    scores: ChunkScores | None = None  # where the right ones are known


def tagged(network: TagNetwork, sentences: Sentences) -> Tagged:
    """Tag sentences, which need no tags of their own."""
    schema = network.schema
    assert schema is not None  # by `load`, and by the task
    return _tagged(schema, sentences, network.answers(schema.encode(sentences)))


def tag_together(network: TagNetwork, dataset: TaggedSentences, group: Group) -> None:
    """Let every process tag its sentences of the held-out parts, so that `tagged_part` has those of all."""
    schema = network.schema
    assert schema is not None  # by `load`
    for part in ("validation", "test") if dataset.has_test else ("validation",):
        encoded = schema.encode(dataset.part(part))
        mine = slice(group.rank, None, group.world_size)
        some = replace(encoded, words=encoded.words[mine], columns=encoded.columns[mine], tags=None)
        own = network.answers(some) if len(some) else Answers([], [], [])
        sizes = np.array([len(words) for words in encoded.words])
        borders = np.cumsum(sizes)[:-1]
        paths = gathered(group, np.concatenate([np.zeros(0, np.int64), *own.paths]), sizes)
        confidence = gathered(group, np.concatenate([np.zeros(0, np.float32), *own.confidence]), sizes)
        every = Answers(np.split(paths, borders), np.split(confidence, borders), [])
        dataset.scored[f"tags of {part}"] = _tagged(schema, dataset.part(part), every)


def _tagged(schema: Schema, sentences: Sentences, answers: Answers) -> Tagged:
    given = schema.outside(answers.paths)
    scores = None if sentences.tags is None else chunk_scores(sentences.tags, given, schema.scheme)
    return Tagged(given, answers.confidence, scores)


def tagged_part(network: TagNetwork, dataset: TaggedSentences, part: str) -> Tagged:
    """Tag a part of a run's sentences, once."""
    key = f"tags of {part}"
    if key not in dataset.scored:
        dataset.scored[key] = tagged(network, dataset.part(part))
    found: Tagged = dataset.scored[key]
    return found


def evaluate(network: TagNetwork, dataset: TaggedSentences) -> Evaluation:
    """Score a network on the parts that it was not trained on; the test part is read here, once."""
    parts: dict[str, Scores] = {}
    for part in ("validation", "test") if dataset.has_test else ("validation",):
        found = tagged_part(network, dataset, part)
        parts[part] = _figures(found.tags, found.scores, dataset.part(part))
    evaluation = Evaluation(
        task="tag",
        validation=parts["validation"],
        test=parts.get("test"),
        parameters=_size(network),
        controls=_controls(dataset) if dataset.data.controls else (),
        by_type=_types(tagged_part(network, dataset, "test" if dataset.has_test else "validation").scores),
    )
    return Evaluation(**{**evaluation.__dict__, "notes": tuple(_verdict(evaluation, dataset))})


def evaluate_sentences(network: TagNetwork, sentences: Sentences) -> Evaluation:
    """Score a network on other sentences, whose chunks are taken in the scheme of training."""
    schema = network.schema
    assert schema is not None  # by `load`
    scheme: Any = schema.scheme
    sentences = in_scheme(sentences, scheme, schema.spelling)
    found = tagged(network, sentences)
    if found.scores is None:
        raise DataError(expected("source", "a tag for each word", "none"))
    unknown = sentences.unknown_tags(schema.tags)
    notes = [*sentences.notes, *([unknown_tags_text(unknown)] if unknown else [])]
    scores = _figures(found.tags, found.scores, sentences)
    return Evaluation("tag", None, scores, _size(network), notes=tuple(notes), by_type=_types(found.scores))


def _size(network: TagNetwork) -> int:
    return sum(weight.numel() for weight in network.parameters())


def _figures(given: Sequence[Sequence[str]], scores: ChunkScores | None, sentences: Sentences) -> Scores:
    """Return the figures of tags: of chunks, of words, and the share of sentences without a fault."""
    assert scores is not None  # by `prepare`
    assert sentences.tags is not None
    pairs = zip(given, sentences.tags, strict=True)
    whole = sum(tuple(one) == tuple(other) for one, other in pairs) / len(sentences)
    return Scores(len(sentences), {**scores.values, "sentences": whole})


def _types(scores: ChunkScores | None) -> dict[str, dict[str, float]]:
    """Return the figures of each type of chunk, or of each plain tag, the most frequent first."""
    assert scores is not None
    ranked = sorted(scores.by_type.items(), key=lambda pair: (-pair[1].gold, pair[0]))
    names = ("gold", "predicted", "precision", "recall", "f1")
    return {kind: {name: getattr(each, name) for name in names} for kind, each in ranked}


def _controls(dataset: TaggedSentences) -> tuple[Control, ...]:
    """Fit each control on the training part and score it on the part that the network is judged by."""
    if "controls" in dataset.scored:
        kept: tuple[Control, ...] = dataset.scored["controls"]
        return kept
    train, part = dataset.part("train"), dataset.part("test" if dataset.has_test else "validation")
    found, notes = [], []
    for name, fit in controls.suited_tags(train).items():
        begin = time.perf_counter()
        fitted = fit(train)
        given = fitted.predict(part)
        seconds = time.perf_counter() - begin
        assert part.tags is not None  # by `prepare`
        scores = chunk_scores(part.tags, given, dataset.schema.scheme)
        found.append(Control(name, fitted.parameters, seconds, _figures(given, scores, part).values))
        notes += [f"control {name}: {fitted.note}"] if fitted.note else []
    dataset.scored["controls"], dataset.scored["notes on controls"] = tuple(found), notes
    return tuple(found)


def _verdict(found: Evaluation, dataset: TaggedSentences) -> list[str]:
    """Say plainly where a control wins, and why that may be."""
    on_controls: list[str] = dataset.scored.get("notes on controls", [])
    wins = control_wins(found, LABELS[found.main])
    if wins is None:
        return on_controls
    notes = [wins]
    words = dataset.part("train").tokens
    if words < FEW_WORDS:
        notes.append(f"This is to be expected: {words:,} training words are few for a recurrent network.")
    return notes + on_controls
