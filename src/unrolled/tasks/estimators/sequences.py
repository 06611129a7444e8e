"""Classifier and regressor in scikit-learn's conventions; nothing of scikit-learn is imported."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data import Samples
from unrolled.errors import CheckpointError, ConfigError, DataError, expected
from unrolled.spec import CLASSIFY, REGRESS
from unrolled.tasks.classify import Schema, SequenceNetwork, predicted, regression, write_samples
from unrolled.tasks.estimators.base import Estimator
from unrolled.tasks.estimators.streams import AnswerStream

__all__ = ["SequenceClassifier", "SequenceRegressor"]

Array: TypeAlias = npt.NDArray[Any]


class _SequenceEstimator(Estimator):
    """What both have in common: fitting, and answers for new sequences."""

    network_: SequenceNetwork

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn asks of an estimator; only it calls this."""
        from sklearn.utils import ClassifierTags, RegressorTags, Tags, TargetTags

        classifies = self.kind is CLASSIFY
        return Tags(
            estimator_type="classifier" if classifies else "regressor",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags() if classifies else None,
            regressor_tags=None if classifies else RegressorTags(),
        )

    def _fit(self, samples: Samples) -> None:
        """Train on samples, in a directory of their own that is gone afterwards unless `run` names it."""
        params = self.get_params()
        data_names = {"validation_share", "split", "missing", "tokens", "causal", "pooling", "balance"}
        own: dict[str, Any] = {name: params.pop(name) for name in data_names & set(params)}
        controls, run = params.pop("controls"), params.pop("run")
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "samples"
            write_samples(source, samples)
            data: Any = self.kind.data(str(source), test_share=0.0, controls=controls, **own)
            self._train(data, run, Path(folder), params)
        if not samples.is_text:
            self.n_features_in_ = len(samples.channels)

    def _answers(self, sequences: Any) -> Array:
        """Return probabilities [N, K] or numbers [N], for sequences like those of training."""
        network = self._fitted()
        schema: Schema = network.schema
        names = None if schema.scaler is None else schema.scaler.channels
        samples = Samples.from_arrays(sequences)
        if names is not None and len(names) == len(samples.channels):
            samples = replace(samples, channels=names)
        return predicted(network, schema.inputs(samples, network.tokens))

    def stream(self, state: bytes | None = None) -> AnswerStream:
        """Return a stream of the fitted model: `step(x)` gives the answer so far, without torch behind it.

        Args:
            state: what `AnswerStream.save` returned; default: before the first step.
        Raises:
            ConfigError: it is not fitted, or not with causal=True. StateError: another model's state.
        """
        if not self._fitted().config.causal:
            want = "True, set before fit: a network that reads both ways needs the end first"
            raise ConfigError(expected("causal", want, "False"))
        return AnswerStream(self._contents, getattr(self, "_columns", None), state)


class SequenceClassifier(_SequenceEstimator):
    """Tells a sequence's class: `SequenceClassifier(minutes=1).fit(sequences, labels).predict(new)`.

    Sequences are arrays [T_i, C] or [T_i] of unequal length, one array [N, T, C] or [N, T], or texts. NaN is
    a missing value. A part is held out to choose the best network and to calibrate probabilities; groups stay
    on one side. Parameters that are None are chosen by the number of samples and their lengths.

    Args:
        cell: of the recurrent layers: "gru", "lstm", "rnn", or one that is registered.
        minutes, epochs, steps: how long to train; one of them; default 1 minute, or 100 epochs where fewer
            than 1,000 series are given.
        hidden_size, num_layers, dropout, batch_size, learning_rate, embedding_size, weight_decay: as in
            `spec.TrainConfig`.
        causal: read one way only, so that an answer depends on no later step.
        pooling: "mean+max", "last" or "attention", of the steps' outputs.
        balance: every class weighs the same, however rare it is.
        missing: "mask", "drop" or "refuse". tokens: of texts: "char", "byte", "word" or "bpe:N".
        validation_share, split: of what is held out; see `data.partition`.
        controls: fit simple models on the same split, for `evaluation_`.
        threads: of the processor. run: a directory to keep the run in, with its report and pictures.
        random_state: a seed, or numpy's RandomState or Generator; None: 0.
    Attributes:
        classes_: [K] the labels, sorted. network_: the trained `SequenceNetwork`. evaluation_: its scores on
            the held-out part, a `SequenceEvaluation`. n_features_in_: channels. n_iter_: optimizer steps.
    """

    kind = CLASSIFY
    _estimator_type = "classifier"
    classes_: Array

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
        causal: bool = False,
        pooling: str = "mean+max",
        balance: bool = False,
        missing: str = "mask",
        tokens: str = "auto",
        validation_share: float = 0.1,
        split: str = "auto",
        controls: bool = False,
        threads: int | None = None,
        run: str | None = None,
        random_state: Any = 0,
    ) -> None:
        given = locals()
        for name in self._names():
            setattr(self, name, given[name])

    def fit(self, sequences: Any, labels: Any, groups: Any = None) -> Self:
        """Train.

        Args:
            sequences: N of them. labels: [N] texts, whole numbers, truth values or other numbers, each value
                a class. groups: [N], such as the person that a sample is of; none is on both sides.
        Raises:
            ConfigError, DataError, ShapeError: a parameter or the data are not right.
        """
        given = np.asarray(labels)
        if given.dtype.kind not in "OSUbiuf" or given.ndim != 1:
            raise DataError(expected("labels", "[N] texts or numbers", f"{list(given.shape)} {given.dtype}"))
        names = [str(value) for value in given.tolist()]
        self._fit(Samples.from_arrays(sequences, names, groups))
        self.classes_ = np.unique(given)
        kind = {"b": "bool", "i": "int", "u": "int", "f": "float"}.get(given.dtype.kind, "str")
        schema = {**self._contents.config["schema"], "labels": kind}
        self._contents = replace(self._contents, config={**self._contents.config, "schema": schema})
        self._order()
        return self

    def _loaded(self) -> None:
        schema: Any = self.network_.schema
        types: dict[str, Any] = {"int": int, "float": float, "bool": "True".__eq__, "str": str}
        try:
            self.classes_ = np.unique(np.array(list(map(types[schema.labels], schema.classes))))
        except ValueError as error:
            raise CheckpointError(expected("schema classes", schema.labels, repr(error))) from None
        if schema.scaler is not None:
            self.n_features_in_ = len(schema.scaler.channels)
        self._order()

    def _order(self) -> None:
        """Remember where each class stands among the outputs of the network, which are in order of texts."""
        schema: Any = self.network_.schema
        place = {name: number for number, name in enumerate(schema.classes)}
        self._columns = np.array([place[str(value)] for value in self.classes_.tolist()])

    def predict_proba(self, sequences: Any) -> Array:
        """Return calibrated probabilities [N, K], in the order of `classes_`."""
        answers = self._answers(sequences)
        found: Array = answers[:, self._columns]
        return found

    def predict(self, sequences: Any) -> Array:
        """Return the most probable label [N] of each sequence."""
        chosen = self.predict_proba(sequences).argmax(-1)
        found: Array = self.classes_[chosen]
        return found

    def score(self, sequences: Any, labels: Sequence[Any] | Array) -> float:
        """Return the share of right answers."""
        return float((self.predict(sequences) == np.asarray(labels)).mean())


class SequenceRegressor(_SequenceEstimator):
    """Predicts a number from a sequence: `SequenceRegressor(minutes=1).fit(sequences, numbers).predict(new)`.

    Sequences and parameters are those of `SequenceClassifier`, without `balance`.

    Attributes:
        network_: the trained `SequenceNetwork`. evaluation_: its scores on the held-out part, in the unit of
            the numbers. n_features_in_: channels. n_iter_: optimizer steps.
    """

    kind = REGRESS
    _estimator_type = "regressor"

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
        causal: bool = False,
        pooling: str = "mean+max",
        missing: str = "mask",
        tokens: str = "auto",
        validation_share: float = 0.1,
        split: str = "auto",
        controls: bool = False,
        threads: int | None = None,
        run: str | None = None,
        random_state: Any = 0,
    ) -> None:
        given = locals()
        for name in self._names():
            setattr(self, name, given[name])

    def fit(self, sequences: Any, numbers: Any, groups: Any = None) -> Self:
        """Train.

        Args:
            sequences: N of them. numbers: [N]. groups: [N], none of which is on both sides of the split.
        Raises:
            ConfigError, DataError, ShapeError: a parameter or the data are not right.
        """
        self._fit(Samples.from_arrays(sequences, np.asarray(numbers, np.float64), groups))
        return self

    def _loaded(self) -> None:
        schema: Any = self.network_.schema
        if schema.scaler is not None:
            self.n_features_in_ = len(schema.scaler.channels)

    def predict(self, sequences: Any) -> Array:
        """Return a number [N] for each sequence, in the unit of training."""
        return self._answers(sequences)

    def score(self, sequences: Any, numbers: Sequence[float] | Array) -> float:
        """Return R², the share of the variance that is explained; NaN where all numbers are alike."""
        return regression(self.predict(sequences), np.asarray(numbers, np.float64)).get("r2", float("nan"))
