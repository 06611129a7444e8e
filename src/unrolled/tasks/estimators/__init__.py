"""Estimators in scikit-learn's conventions: a file for those of each kind of answer, on one base."""

from unrolled.tasks.estimators.forecaster import Forecaster
from unrolled.tasks.estimators.sequences import SequenceClassifier, SequenceRegressor
from unrolled.tasks.estimators.tagger import SequenceTagger

__all__ = ["Forecaster", "SequenceClassifier", "SequenceRegressor", "SequenceTagger"]
