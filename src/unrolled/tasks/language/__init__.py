"""The task of predicting the next symbol of a text: network, evaluation, generation, report, and the Hub."""

from unrolled.tasks.language.evaluation import COLD_STEPS, Evaluation, Score, evaluate_split, evaluate_text
from unrolled.tasks.language.generation import continuation, generate
from unrolled.tasks.language.network import LanguageModel
from unrolled.tasks.language.task import LanguageTask

__all__ = [
    "COLD_STEPS",
    "Evaluation",
    "LanguageModel",
    "LanguageTask",
    "Score",
    "continuation",
    "evaluate_split",
    "evaluate_text",
    "generate",
]
