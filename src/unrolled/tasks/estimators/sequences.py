"""Classifier and regressor in scikit-learn's conventions; nothing of scikit-learn is imported."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data import IGNORED, Samples
from unrolled.errors import CheckpointError, ConfigError, expected
from unrolled.spec import CLASSIFY, REGRESS
from unrolled.tasks.classify import Schema, SequenceNetwork, predicted, regression, write_samples
from unrolled.tasks.estimators.base import Estimator
from unrolled.tasks.estimators.labels import classes_of, kind_of_labels, split_steps, with_labels
from unrolled.tasks.estimators.streams import AnswerStream

__all__ = ["SequenceClassifier", "SequenceRegressor"]

Array: TypeAlias = npt.NDArray[Any]


class _SequenceEstimator(Estimator):
    """What both estimators share: fitting, and answers for new sequences."""

    network_: SequenceNetwork

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn asks of an estimator; only it calls this."""
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        classifies = self.kind is CLASSIFY
        return Tags(
            estimator_type="classifier" if classifies else "regressor",
            target_tags=TargetTags(required=True, multi_output=True),
            classifier_tags=ClassifierTags(multi_label=True) if classifies else None,
            regressor_tags=None if classifies else RegressorTags(),
            input_tags=InputTags(three_d_array=True, string=True, allow_nan=True),
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

    @property
    def _schema(self) -> Schema:
        """What inputs and outputs of the fitted network mean."""
        schema: Schema = self._fitted().schema
        return schema

    def _answers(self, sequences: Any) -> tuple[Array, Array]:
        """Return what `Schema.answers` gives for sequences like those of training, and their lengths [N]."""
        network = self._fitted()
        schema = self._schema
        names = None if schema.scaler is None else schema.scaler.channels
        if isinstance(sequences, Samples):
            samples = sequences
        else:
            samples = Samples.from_arrays(sequences)
            if names is not None and len(names) == len(samples.channels):
                samples = replace(samples, channels=names)
        return predicted(network, schema.inputs(samples, network.tokens)), samples.steps

    def _scores(self, sequences: Any, labels: Any) -> tuple[Array, Array]:
        """Return answers and truth as `data` has them, [N], [N, K], or of all steps with a label [M]."""
        samples = with_labels(sequences, labels, None, classes=self.kind is CLASSIFY)
        schema = self._schema
        if schema.scaler is not None and len(schema.scaler.channels) == len(samples.channels):
            samples = replace(samples, channels=schema.scaler.channels)
        if schema.several or schema.numbers:
            names = schema.classes if schema.several else schema.numbers
            if (
                samples.labels is not None
                and samples.labels.ndim == 2
                and len(names) == samples.labels.shape[1]
            ):
                samples = replace(samples, label_names=names)
        given, truth = self._answers(samples)[0], schema.truth(samples)
        known = truth != IGNORED if truth.dtype.kind == "i" else ~np.isnan(truth)
        return (given[known], truth[known]) if schema.per_step else (given, truth)

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
        minutes, epochs, steps: how long to train; one of them; default 1 minute; 100 epochs where fewer
            than 1,000 series are given; 20 to 100 where texts have up to 250,000 characters together.
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
            the held-out part, a `SequenceEvaluation`. n_features_in_: channels.
            n_iter_: optimizer steps of the network that was kept.
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
        self._keep(locals())

    def fit(self, sequences: Any, labels: Any = None, groups: Any = None) -> Self:
        """Train, and return the estimator.

        Args:
            sequences: N of them; or `data.Samples`, with their own labels where none are given here.
            labels: [N] texts, whole numbers, booleans or other numbers, each value a class; [N, K] of 0
                and 1, which of K labels a sample has; or a list of [T_i], a class of every step, None where
                it is not known.
            groups: [N], such as the person that a sample is of; none is in both parts.
        Raises:
            ConfigError, DataError, ShapeError: a parameter or the data are invalid.
        """
        samples = with_labels(sequences, labels, groups, classes=True)
        kind = "str" if labels is None else kind_of_labels(labels, samples.per_step)
        self._fit(samples)
        if not self._schema.several:
            schema = {**self._contents.config["schema"], "labels": kind}
            self._contents = replace(self._contents, config={**self._contents.config, "schema": schema})
            self.network_.schema = replace(self._schema, labels=kind)
        self._order()
        return self

    def _loaded(self) -> None:
        schema = self._schema
        if schema.scaler is not None:
            self.n_features_in_ = len(schema.scaler.channels)
        self._order()

    def _order(self) -> None:
        """Remember where each class stands among the outputs of the network, which are in order of texts."""
        schema = self._schema
        if schema.several:
            self.classes_, self._columns = np.array(schema.classes), np.arange(len(schema.classes))
            return
        try:
            self.classes_, self._columns = classes_of(schema.classes, schema.labels)
        except ValueError as error:
            raise CheckpointError(expected("schema classes", schema.labels, repr(error))) from None

    def predict_proba(self, sequences: Any) -> Any:
        """Return calibrated probabilities [N, K] in the order of `classes_`.

        With labels of steps it is a list of [T_i, K]. With several labels for a sample, each column is the
        probability of its label.
        """
        answers, steps = self._answers(sequences)
        found: Array = answers[:, self._columns]
        return split_steps(found, steps) if self._schema.per_step else found

    def predict(self, sequences: Any) -> Any:
        """Return the most probable label [N] of each sequence; with labels of steps a list of [T_i].

        With several labels for a sample, 0 and 1, [N, K].
        """
        found = self.predict_proba(sequences)
        if self._schema.several:
            return (found >= 0.5).astype(np.int64)
        if self._schema.per_step:
            return [self.classes_[each.argmax(-1)] for each in found]
        return self.classes_[found.argmax(-1)]

    def score(self, sequences: Any, labels: Any = None) -> float:
        """Return the accuracy: the share of correct labels, of the steps that have one.

        With several labels for a sample, all of them must be correct.
        """
        given, truth = self._scores(sequences, labels)
        if self._schema.several:
            return float(((given >= 0.5) == truth).all(1).mean())
        return float((given.argmax(-1) == truth).mean())


class SequenceRegressor(_SequenceEstimator):
    """Predicts a number from a sequence: `SequenceRegressor(minutes=1).fit(sequences, numbers).predict(new)`.

    Sequences and parameters are those of `SequenceClassifier`, without `balance`.

    Attributes:
        network_: the trained `SequenceNetwork`. evaluation_: its scores on the held-out part, in the unit of
            the numbers. n_features_in_: channels.
            n_iter_: optimizer steps of the network that was kept.
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
        self._keep(locals())

    def fit(self, sequences: Any, numbers: Any = None, groups: Any = None) -> Self:
        """Train, and return the estimator.

        Args:
            sequences: N of them; or `data.Samples`, with their own numbers where none are given here.
            numbers: [N]; [N, K] of several; or a list of [T_i], one of every step, NaN where there is none.
            groups: [N], none of which is in both parts.
        Raises:
            ConfigError, DataError, ShapeError: a parameter or the data are invalid.
        """
        self._fit(with_labels(sequences, numbers, groups, classes=False))
        return self

    def _loaded(self) -> None:
        schema = self._schema
        if schema.scaler is not None:
            self.n_features_in_ = len(schema.scaler.channels)

    def predict(self, sequences: Any) -> Any:
        """Return a number [N] for each sequence, or [N, K], or a list of [T_i], in the unit of training."""
        answers, steps = self._answers(sequences)
        return split_steps(answers, steps) if self._schema.per_step else answers

    def score(self, sequences: Any, numbers: Any = None) -> float:
        """Return R², the share of the variance that is explained; NaN where all numbers are equal.

        With several numbers it is their mean R².
        """
        given, truth = self._scores(sequences, numbers)
        columns = zip(given.T, truth.T, strict=True) if truth.ndim == 2 else [(given, truth)]
        return float(np.mean([regression(a, b).get("r2", float("nan")) for a, b in columns]))
