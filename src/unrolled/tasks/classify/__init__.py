"""Whole sequences, texts or series, with one answer each: a class or a number."""

from unrolled.tasks.classify.evaluation import Evaluation as SequenceEvaluation
from unrolled.tasks.classify.evaluation import predicted
from unrolled.tasks.classify.metrics import regression
from unrolled.tasks.classify.network import SequenceNetwork
from unrolled.tasks.classify.schema import Schema
from unrolled.tasks.classify.storing import write_samples
from unrolled.tasks.classify.task import ClassifyTask, RegressTask

__all__ = [
    "ClassifyTask",
    "RegressTask",
    "Schema",
    "SequenceEvaluation",
    "SequenceNetwork",
    "predicted",
    "regression",
    "write_samples",
]
