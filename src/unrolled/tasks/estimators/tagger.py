"""Tagger of words in scikit-learn's conventions; nothing of scikit-learn is imported."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data import Sentences
from unrolled.errors import DataError, expected
from unrolled.spec import TAG, TagData
from unrolled.tasks.estimators.base import Estimator
from unrolled.tasks.tag import Schema, TagNetwork, chunk_scores, tagged, write_sentences

__all__ = ["SequenceTagger"]

Array: TypeAlias = npt.NDArray[Any]
Words: TypeAlias = Sequence[Sequence[str]]
OWN = ("validation_share", "split")


class SequenceTagger(Estimator):
    """Tags the words of sentences: `SequenceTagger(minutes=1).fit(words, tags).predict(new)`.

    A sentence is a list of words, its tags are a list of as many texts. Chunks in IOB1, IOB2 or BIOES are
    recognised, and answers keep to the scheme. Parameters that are None are chosen by the number of words.

    Args:
        cell: of the recurrent layers: "gru", "lstm", "rnn", or one that is registered.
        minutes, epochs, steps: how long to train; one of them; default 3 minutes, or 40
            epochs of up to 100,000 words.
        hidden_size, num_layers, dropout, batch_size, learning_rate, embedding_size, weight_decay: as in
            `spec.TrainConfig`; embedding_size is a word's.
        validation_share, split: of what is held out, to choose the best network; see `spec.TagData`.
        controls: also fit simple models on the same split, for `evaluation_`.
        threads: of the processor. run: a directory to keep the run in, with its report and pictures.
        random_state: a seed, or numpy's RandomState or Generator; None: 0.
    Attributes:
        classes_: [K] the tags, sorted. scheme_: "IOB1", "IOB2", "BIOES" or None. network_: the trained
            `TagNetwork`. evaluation_: its scores on the held-out part, a `TagEvaluation`. n_iter_: steps.
    """

    kind = TAG
    network_: TagNetwork
    classes_: Array
    scheme_: str | None

    def __init__(
        self,
        *,
        cell: str = "gru",
        minutes: float | None = None,
        epochs: int | None = None,
        steps: int | None = None,
        hidden_size: int | None = None,
        num_layers: int | None = None,
        dropout: float | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        embedding_size: int | None = None,
        weight_decay: float = 0.01,
        validation_share: float = 0.1,
        split: str = "auto",
        controls: bool = False,
        threads: int | None = None,
        run: str | None = None,
        random_state: Any = 0,
    ) -> None:
        self._keep(locals())

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn asks of an estimator; only it calls this."""
        from sklearn.utils import Tags, TargetTags

        return Tags(estimator_type=None, target_tags=TargetTags(required=True))

    def fit(
        self,
        words: Words,
        tags: Words,
        groups: Sequence[Any] | None = None,
        *,
        columns: Mapping[str, Words] | None = None,
    ) -> Self:
        """Train, and return the estimator.

        Args:
            words: N lists of words. tags: as many tags for each. groups: [N], such as the document that a
                sentence is of; none is in both parts.
            columns: further inputs by name, such as parts of speech, a text for each word.
        Raises:
            ConfigError, DataError, DtypeError, ShapeError: a parameter or the data are invalid.
        """
        sentences = Sentences.from_lists(words, tags, columns, groups=groups)
        params = self.get_params()
        own: dict[str, Any] = {name: params.pop(name) for name in OWN}
        controls, run = params.pop("controls"), params.pop("run")
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "sentences"
            write_sentences(source, sentences)
            data = TagData(str(source), test_share=0.0, controls=controls, **own)
            self._train(data, run, Path(folder), params)
        self._loaded()
        return self

    def _loaded(self) -> None:
        self.classes_, self.scheme_ = np.array(self._schema.tags), self._schema.scheme

    @property
    def _schema(self) -> Schema:
        schema = self._fitted().schema
        assert schema is not None  # by the task
        found: Schema = schema
        return found

    def _sentences(self, words: Words, columns: Mapping[str, Words] | None) -> Sentences:
        return Sentences.from_lists(words, None, columns)

    def predict(self, words: Words, *, columns: Mapping[str, Words] | None = None) -> list[list[str]]:
        """Return the most probable tags of each sentence as a whole, in the scheme of training."""
        network = self._fitted()
        return tagged(network, self._sentences(words, columns)).tags

    def predict_marginals(
        self, words: Words, *, columns: Mapping[str, Words] | None = None
    ) -> list[dict[str, Array]]:
        """Return the probability of each tag at each word, for each sentence: tag → [T], which sum to 1.

        Tags of IOB1 are told apart as in IOB2, where B begins every chunk.
        """
        network, schema = self._fitted(), self._schema
        chances = network.answers(schema.encode(self._sentences(words, columns)), chances=True).chances
        numbers: dict[str, list[int]] = {}
        for number, tag in enumerate(schema.answers):
            numbers.setdefault(tag, []).append(number)
        return [{tag: each[:, chosen].sum(1) for tag, chosen in numbers.items()} for each in chances]

    def score(self, words: Words, tags: Words, *, columns: Mapping[str, Words] | None = None) -> float:
        """Return the F1 of chunks by conlleval's rules; of other tags the share of words with the "
        "correct tag."""
        given = self.predict(words, columns=columns)
        if [len(each) for each in given] != [len(each) for each in tags]:
            raise DataError(expected("tags", "as many for each sentence as words", "others"))
        scores = chunk_scores(tags, given, self.scheme_)
        return scores.accuracy if scores.f1 is None else scores.f1
